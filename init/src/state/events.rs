//! Machine: what crosses its border. Events come in, actions go out; neither does anything.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use sys::{Errno, ExitStatus, Pid, Signal};

use super::service_end::ServiceEnd;

/// The three times at which hooks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookStage {
    /// Before the first service.
    Start,
    /// When a stop was asked for, while every service still runs.
    Drain,
    /// After the last service.
    Finish,
}

impl HookStage {
    /// The directory of the stage's hooks.
    pub fn directory(self) -> &'static str {
        match self {
            Self::Start => "start.d",
            Self::Drain => "drain.d",
            Self::Finish => "finish.d",
        }
    }
}

/// What init starts itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnProgram {
    /// runsvdir.
    Runsvdir,
    /// COMMAND.
    Command,
    /// A hook.
    Hook,
}

/// What a service's record says, as far as a stop is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportedState {
    /// The service is down.
    pub is_down: bool,
    /// It is to be started again.
    pub is_wanted_up: bool,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LifecycleEvent {
    /// A signal has arrived.
    Signal(Signal),
    /// Children have died.
    Reaped {
        /// Who, and how.
        deaths: Vec<(Pid, ExitStatus)>,
        /// Whether none is left, known or not.
        is_childless: bool,
    },
    /// A critical service has ended, and nobody had asked it to.
    CriticalEnded {
        /// Its name.
        name: String,
        /// How, if its runsv tells.
        ending: Option<ExitStatus>,
    },
    /// The runsv of a critical service keeps no history: its end will not be known.
    CriticalUnknown(String),
    /// A critical service has done something.
    CriticalChanged(OsString),
    /// Something was put into the services directory.
    DirectoryChanged,
    /// Outcome: critical services are watched.
    CriticalWatched {
        /// Those that were not watched before.
        new: Vec<OsString>,
        /// Those whose changes nobody will tell.
        blind: Vec<OsString>,
        /// Whether some cannot be watched yet.
        is_complete: bool,
    },
    /// What the status of supervisors says: whether their services are down.
    Statuses(Vec<(Pid, ReportedState)>),
    /// Outcome: the hooks of a stage.
    HooksFound(HookStage, Vec<PathBuf>),
    /// Outcome: whether anybody is left of a process group.
    GroupProbed {
        /// The process that led it.
        leader: Pid,
        /// Whether there is.
        is_there: bool,
    },
    /// Outcome: what the history of a supervisor that has ended tells of its service's end.
    ServiceEndRead(Pid, ServiceEnd),
    /// Outcome: it is started.
    Started(OwnProgram, Pid),
    /// Outcome: there was no process to be had for it.
    NotStarted(OwnProgram, Errno),
    /// A child has ended that could not become the program it was started for.
    NotExecuted(Pid, Errno),
    /// Outcome: whom init has for children, or that nobody can tell.
    ChildrenListed(Option<Vec<AdoptedChild>>),
    /// Outcome: whom the escalation on late services hit, service by service.
    Escalated(Vec<(LateService, Vec<String>)>),
    /// Outcome: what was left in the lifecycle when everything was to have ended.
    Swept(Vec<String>),
    /// Time has passed.
    Tick,
}

/// A child of init that it did not start itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptedChild {
    /// The process.
    pub pid: Pid,
    /// What it is.
    pub kind: ChildKind,
}

/// What a child of init can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChildKind {
    /// A runsv, its service's name and what that says it needs.
    Supervisor {
        /// The name.
        name: String,
        /// From `dependencies.d`.
        needs: Vec<String>,
    },
    /// A service, or its `finish`, that has lost its runsv.
    Orphan {
        /// The service's name.
        name: String,
    },
    /// A logger that has lost its runsv.
    OrphanedLogger {
        /// The service's name.
        name: String,
    },
    /// A runsvdir's child on its way to become a runsv.
    Starting,
    /// Anything else: what a service has left behind.
    Leftover,
}

/// A service that is late, by its runsv or, if that is lost, its own process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LateService {
    /// The process.
    pub pid: Pid,
    /// How late it is.
    pub escalation: Escalation,
}

/// How hard a late service is escalated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Escalation {
    /// KILL to all that its runsv runs, but for the logger; `./finish` may run.
    Run,
    /// The same once more: now it hits `./finish` and what else the runsv waits for.
    Finish,
    /// TERM to a logger that does not leave at the end of its input.
    Logger,
    /// KILL to logger and runsv.
    Supervisor,
}

impl Escalation {
    /// What follows.
    pub fn next(self) -> Option<Self> {
        match self {
            Self::Run => Some(Self::Finish),
            Self::Finish => Some(Self::Logger),
            Self::Logger => Some(Self::Supervisor),
            Self::Supervisor => None,
        }
    }
}

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Said even with `--quiet`.
    Problem,
    /// The same, but not again and again.
    Warning,
    /// Said normally.
    Info,
    /// Said with `--verbose`.
    Detail,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LifecycleAction {
    /// Say a line.
    Say(LogLevel, String),
    /// Look up the hooks of a stage: [`LifecycleEvent::HooksFound`].
    FindHooks(HookStage),
    /// Start a hook: [`LifecycleEvent::Started`] or [`LifecycleEvent::NotStarted`].
    StartHook {
        /// Which.
        path: PathBuf,
        /// Why everything stops, for `$INIT_REASON`.
        reason: Option<String>,
        /// How long it may take, for `$INIT_REMAINING_MS`.
        remaining: Option<Duration>,
    },
    /// Start COMMAND, in the terminal's foreground if there is one.
    StartCommand,
    /// Start runsvdir.
    StartRunsvdir,
    /// Watch the services that are marked critical: [`LifecycleEvent::CriticalWatched`].
    WatchCritical,
    /// See whether a critical service has ended by itself: [`LifecycleEvent::CriticalEnded`].
    CheckCritical(OsString),
    /// Read how the service of a supervisor, which has ended, did: [`LifecycleEvent::ServiceEndRead`].
    ReadServiceEnd(Pid, String),
    /// The terminal's foreground is init's again.
    TakeTerminal,
    /// Send a signal to a process.
    Signal(Pid, Signal),
    /// Send a signal to a process group.
    SignalGroup(Pid, Signal),
    /// See whether anybody is left of a process group: [`LifecycleEvent::GroupProbed`].
    ProbeGroup(Pid),
    /// See whom init has adopted, and whom a runsvdir still has that does not die:
    /// [`LifecycleEvent::ChildList`].
    ListChildren(Option<Pid>),
    /// Ask an orphaned service to end, as its directory says.
    StopOrphan(Pid),
    /// Tell every runsv through its FIFO to end, for want of a child_list.
    ExitAllByFifo,
    /// From now on, say when these supervisors' services are down: [`LifecycleEvent::Statuses`].
    WatchStatus(Vec<Pid>),
    /// Say whether these supervisors' services are down now: [`LifecycleEvent::Statuses`].
    ReadStatus(Vec<Pid>),
    /// No change of anything is to be told any more.
    Unwatch,
    /// CONT to whatever somebody has stopped of these and of their families.
    ContinueStopped(Vec<Pid>),
    /// Be hard on late services: [`LifecycleEvent::Escalated`].
    Escalate(Vec<LateService>),
    /// Go before all others where that is allowed: there is a grace to keep.
    RaisePriority,
    /// TERM to what these supervisors, whose services are down, still have for children, but for
    /// loggers and control scripts.
    EndLeftovers(Vec<Pid>),
    /// TERM to what services have left to init, sparing these.
    EndAdopted(Vec<Pid>),
    /// A signal to whatever is left: [`LifecycleEvent::Swept`].
    Sweep(Signal),
}
