//! State: the events that come in and the actions that go out.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use servicedir::HistoryEvent;
use sys::{Errno, ExitStatus, Pid, Signal};

use super::critical_ends::UnaskedEnd;

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

/// The programs that init starts for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnProgram {
    /// COMMAND.
    Command,
    /// A hook.
    Hook,
}

/// A supervisor, of one service and its logger. No other has had or will have its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SupervisorId(pub u64);

/// What a supervisor says of its service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServiceReport {
    /// Whether it is wanted up.
    pub is_wanted_up: bool,
    /// Since when `./run` runs.
    pub running_since: Option<Instant>,
    /// Whether `./run` has said that it is ready; `None` if it has no way to say so.
    pub is_ready: Option<bool>,
    /// Whether it is down for good. Its logger may still read.
    pub is_gone: bool,
    /// Whether a `finish` or a control script takes part in its stop.
    pub has_stop_scripts: bool,
    /// Whether it has a logger.
    pub has_log: bool,
}

/// What the `check` of a service has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckResult {
    /// There is none.
    Missing,
    /// The service is up.
    Up,
    /// It is not.
    NotUp,
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
    /// Children that belong to no supervisor were reaped.
    Reaped(Vec<(Pid, ExitStatus)>),
    /// Whether init has no child left at all.
    Childless(bool),
    /// A supervisor has begun. A service that needs others is held.
    ServiceOpened {
        /// The supervisor.
        id: SupervisorId,
        /// The service's name.
        name: String,
        /// What it needs, from its `dependencies.d`.
        needs: Vec<String>,
    },
    /// What a service that has ended, and may be started again, needs by now. It is held.
    ServiceNeeds(SupervisorId, Vec<String>),
    /// Outcome: what those services need that have changed files since they were started.
    NeedsChanged(Vec<(SupervisorId, Vec<String>)>),
    /// What a supervisor says has changed.
    ServiceChanged(SupervisorId, ServiceReport),
    /// Something has happened to a service.
    ServiceHappened(SupervisorId, HistoryEvent),
    /// Outcome: whether a service has a file `critical`, and how many ends in a row are too many.
    CriticalRead(SupervisorId, UnaskedEnd, Option<u32>),
    /// A supervisor is gone.
    ServiceClosed(SupervisorId),
    /// All services that the last scan has found were begun.
    Scanned,
    /// Another process supervises the service of this name.
    FoundOccupied(String),
    /// An entry of the services directory is the directory of another one, which is supervised.
    FoundTwin {
        /// The entry.
        name: String,
        /// The other one.
        first: String,
    },
    /// Outcome: what the `check` of a service says.
    Checked(SupervisorId, CheckResult),
    /// Outcome: the hooks of a stage.
    HooksFound(HookStage, Vec<PathBuf>),
    /// Outcome: whether a process group has members.
    GroupProbed {
        /// Its leader.
        leader: Pid,
        /// Whether it has.
        is_there: bool,
    },
    /// Outcome: the process was spawned.
    Started(OwnProgram, Pid),
    /// Outcome: no process could be spawned.
    NotStarted(OwnProgram, Errno),
    /// A child could not execute its program, and has exited.
    NotExecuted(Pid, Errno),
    /// Outcome: which processes the escalation has signalled, by service.
    Escalated(Vec<(LateService, Vec<String>)>),
    /// Outcome: names of processes that were left and have been killed.
    Swept(Vec<String>),
    /// Time has passed.
    Tick,
}

/// A late service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LateService {
    /// Its supervisor.
    pub id: SupervisorId,
    /// The step that is due.
    pub escalation: Escalation,
}

/// The steps against a late service, each harder than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Escalation {
    /// KILL to `./run` and its descendants; `./finish` may run.
    Run,
    /// The same again, now also to `./finish` and control scripts.
    Finish,
    /// TERM to a logger that does not exit at the end of its input.
    Logger,
    /// KILL to all that is left.
    All,
}

impl Escalation {
    /// The next step.
    pub fn next(self) -> Option<Self> {
        match self {
            Self::Run => Some(Self::Finish),
            Self::Finish => Some(Self::Logger),
            Self::Logger => Some(Self::All),
            Self::All => None,
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
    /// Supervise the services directory from now on.
    StartScanning,
    /// Scan the services directory now.
    Scan,
    /// Supervise no new services from now on.
    StopScanning,
    /// Let a held service start.
    Release(SupervisorId),
    /// Hold a service before its next start.
    Hold(SupervisorId),
    /// Read the file `critical` of a service, which has ended: [`LifecycleEvent::CriticalRead`].
    ReadCritical(SupervisorId, UnaskedEnd),
    /// Run the `check` of a service: [`LifecycleEvent::Checked`].
    Check(SupervisorId),
    /// Stop these services for good.
    StopServices(Vec<SupervisorId>),
    /// Take the terminal's foreground back.
    TakeTerminal,
    /// Stop as this signal stops a job of a shell; once continued, continue COMMAND.
    Suspend(Option<Pid>, Signal),
    /// Continue COMMAND, in the terminal's foreground.
    Resume(Pid),
    /// Send a signal to COMMAND or a hook.
    Signal(Pid, Signal),
    /// Send a signal to the process group of COMMAND or a hook.
    SignalGroup(Pid, Signal),
    /// Send HUP to COMMAND if it ignores TERM and has a terminal, as an interactive shell: it ends as it does
    /// when its terminal closes.
    HangUp(Pid),
    /// Check whether a process group has members: [`LifecycleEvent::GroupProbed`].
    ProbeGroup(Pid),
    /// Send CONT to every stopped process of COMMAND, of these services, and of their descendants.
    ContinueStopped(Option<Pid>, Vec<SupervisorId>),
    /// Take the next step against late services: [`LifecycleEvent::Escalated`].
    Escalate(Vec<LateService>),
    /// There is a grace to keep, which ends then: [`LifecycleEvent::NeedsChanged`].
    KeepGrace(Instant),
    /// Send TERM to what these services have left behind.
    EndLeftovers(Vec<SupervisorId>),
    /// Send TERM to the descendants of init, except for services, COMMAND, hooks and theirs.
    EndAdopted,
    /// Send a signal to every process that is left: [`LifecycleEvent::Swept`].
    Sweep(Signal),
}
