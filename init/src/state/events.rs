//! State: the events that come in and the actions that go out.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use sys::{Errno, ExitStatus, Pid, Signal};

use super::service_end::ServiceEnd;

/// When hooks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookStage {
    /// Before the first service.
    Start,
    /// After the stop request, while every service still runs.
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

/// The programs that init starts itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnProgram {
    /// runsvdir.
    Runsvdir,
    /// COMMAND.
    Command,
    /// A hook.
    Hook,
}

/// What the status of a service says about its stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportedState {
    /// The service is down.
    pub is_down: bool,
    /// It is wanted up.
    pub is_wanted_up: bool,
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LifecycleEvent {
    /// A process has sent this signal.
    Signal(Signal),
    /// The kernel has sent this signal, as for a terminal.
    KernelSignal(Signal),
    /// COMMAND was stopped by this signal.
    CommandStopped(Pid, Signal),
    /// Children were reaped.
    Reaped {
        /// The processes and their exit statuses.
        deaths: Vec<(Pid, ExitStatus)>,
        /// Whether init has no child left at all.
        is_childless: bool,
    },
    /// A critical service has ended, and no client had requested that.
    CriticalEnded {
        /// Its name.
        name: String,
        /// Its exit status, if the history tells.
        ending: Option<ExitStatus>,
    },
    /// The runsv of a critical service keeps no history: its end cannot be known.
    CriticalUnknown(String),
    /// The status of a critical service has changed.
    CriticalChanged(OsString),
    /// A name was added to the services directory.
    DirectoryChanged,
    /// Outcome: critical services are watched.
    CriticalWatched {
        /// Those that had no watch before.
        new: Vec<OsString>,
        /// Those that cannot be watched.
        blind: Vec<OsString>,
        /// Whether all are there.
        is_complete: bool,
    },
    /// What the status files of supervisors say.
    Statuses(Vec<(Pid, ReportedState)>),
    /// Outcome: the hooks of a stage.
    HooksFound(HookStage, Vec<PathBuf>),
    /// Outcome: whether a process group has members.
    GroupProbed {
        /// Its leader.
        leader: Pid,
        /// Whether it has.
        is_there: bool,
    },
    /// Outcome: how the service of a supervisor that has exited has ended.
    ServiceEndRead(Pid, ServiceEnd),
    /// Outcome: the process was spawned.
    Started(OwnProgram, Pid),
    /// Outcome: no process could be spawned.
    NotStarted(OwnProgram, Errno),
    /// A child could not execute its program, and has exited.
    NotExecuted(Pid, Errno),
    /// Outcome: the children of init, or `None` where /proc does not tell.
    ChildrenListed(Option<Vec<AdoptedChild>>),
    /// Outcome: which processes the escalation has signalled, by service.
    Escalated(Vec<(LateService, Vec<String>)>),
    /// Outcome: names of processes that were left and have been killed.
    Swept(Vec<String>),
    /// Time has passed.
    Tick,
}

/// A child of init that another process started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptedChild {
    /// The process.
    pub pid: Pid,
    /// What it is.
    pub kind: ChildKind,
}

/// What such a child is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChildKind {
    /// A runsv.
    Supervisor {
        /// The service's name.
        name: String,
        /// The names in `dependencies.d`.
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
    /// A child of runsvdir that has not executed runsv yet.
    Starting,
    /// Any other process: a service has left it behind.
    Leftover,
}

/// A late service, by its runsv or, if that is gone, by its own process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LateService {
    /// The process.
    pub pid: Pid,
    /// The step that is due.
    pub escalation: Escalation,
}

/// The steps against a late service, each harder than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Escalation {
    /// KILL to the children of its runsv, but not to the logger; `./finish` may run.
    Run,
    /// The same again, now also to `./finish` and control scripts.
    Finish,
    /// TERM to a logger that does not exit at the end of its input.
    Logger,
    /// KILL to logger and runsv.
    Supervisor,
}

impl Escalation {
    /// The next step.
    pub fn next(self) -> Option<Self> {
        match self {
            Self::Run => Some(Self::Finish),
            Self::Finish => Some(Self::Logger),
            Self::Logger => Some(Self::Supervisor),
            Self::Supervisor => None,
        }
    }
}

/// How important a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Logged even with `--quiet`.
    Problem,
    /// The same, but not repeated.
    Warning,
    /// Logged normally.
    Info,
    /// Logged with `--verbose`.
    Detail,
}

/// What the effects are to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LifecycleAction {
    /// Log a line.
    Log(LogLevel, String),
    /// Find the hooks of a stage: [`LifecycleEvent::HooksFound`].
    FindHooks(HookStage),
    /// Start a hook: [`LifecycleEvent::Started`] or [`LifecycleEvent::NotStarted`].
    StartHook {
        /// The program.
        path: PathBuf,
        /// The reason of the stop, for `$INIT_REASON`.
        reason: Option<String>,
        /// Its time, for `$INIT_REMAINING_MS`.
        remaining: Option<Duration>,
    },
    /// Start COMMAND, in the terminal's foreground if there is one.
    StartCommand,
    /// Start runsvdir.
    StartRunsvdir,
    /// Watch the services with a file `critical`: [`LifecycleEvent::CriticalWatched`].
    WatchCritical,
    /// Check whether a critical service has ended: [`LifecycleEvent::CriticalEnded`].
    CheckCritical(OsString),
    /// Read how the service of a supervisor that has exited has ended: [`LifecycleEvent::ServiceEndRead`].
    ReadServiceEnd(Pid, String),
    /// Take the terminal's foreground back.
    TakeTerminal,
    /// Stop as this signal stops a job of a shell; once continued, continue COMMAND.
    Suspend(Option<Pid>, Signal),
    /// Continue COMMAND, in the terminal's foreground.
    Resume(Pid),
    /// Send a signal to a process.
    Signal(Pid, Signal),
    /// Send a signal to a process group.
    SignalGroup(Pid, Signal),
    /// Check whether a process group has members: [`LifecycleEvent::GroupProbed`].
    ProbeGroup(Pid),
    /// List the children of init, and of a runsvdir that lives: [`LifecycleEvent::ChildrenListed`].
    ListChildren(Option<Pid>),
    /// Stop an orphaned service as its directory says.
    StopOrphan(Pid),
    /// Write `x` to the control FIFO of every runsv: the children of init are not known.
    ExitAllByFifo,
    /// Watch the status of these supervisors: [`LifecycleEvent::Statuses`].
    WatchStatus(Vec<Pid>),
    /// Read the status of these supervisors: [`LifecycleEvent::Statuses`].
    ReadStatus(Vec<Pid>),
    /// Remove all watches.
    Unwatch,
    /// Send CONT to every stopped process of these and their descendants.
    ContinueStopped(Vec<Pid>),
    /// Take the next step against late services: [`LifecycleEvent::Escalated`].
    Escalate(Vec<LateService>),
    /// Raise the priority as far as possible: there is a grace to keep.
    RaisePriority,
    /// Send TERM to the children of these supervisors of services that are down, but for loggers and control
    /// scripts.
    EndLeftovers(Vec<Pid>),
    /// Send TERM to the children of init, except for these.
    EndAdopted(Vec<Pid>),
    /// Send a signal to every process that is left: [`LifecycleEvent::Swept`].
    Sweep(Signal),
}
