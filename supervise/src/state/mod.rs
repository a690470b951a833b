//! State: decides for a service and its log service. No system call, no clock, no file: events and the
//! time come in, actions go out, and the outcome of an action comes back as an event before any other.

mod command_steps;
#[cfg(test)]
mod random_walk;
mod service;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use servicedir::{Command, HistoryEvent, Readiness, Status, Want};
use sys::{ExitStatus, Now, Pid, Signal};

pub use service::ServiceState;

/// Which of the two services of a supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServiceRole {
    /// The service itself.
    Main,
    /// Its log service.
    Log,
}

/// A program that is started for a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// `./run`.
    Run,
    /// `./finish`, with the exit status of `./run`.
    Finish(ExitStatus),
}

/// The receiver of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignalTarget {
    /// The process, or the leader of the group.
    pub pid: Pid,
    /// Whether the signal is for the whole process group.
    pub is_group: bool,
}

/// How a service is to be stopped, from the files in its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// `down-signal`: sent instead of TERM.
    pub signal: Signal,
    /// `timeout-kill`: the time from that signal to KILL.
    pub kill_after: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { signal: Signal::TERM, kill_after: None }
    }
}

/// A program that was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartedScript {
    /// The process.
    pub pid: Pid,
    /// Whether it leads a session of its own (`process-group`).
    pub is_group: bool,
    /// How long it may run (`timeout-finish`).
    pub limit: Option<Duration>,
    /// Whether it says itself when it is ready.
    pub notifies: bool,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceEvent {
    /// A control byte was read from a service's FIFO.
    Command(ServiceRole, Command),
    /// The supervisor was told to leave, by TERM to runsv; it means `x` (RSV-62).
    Term,
    /// A child ended; `has_finish` tells whether `./finish` can be read now.
    Exited {
        /// Which child.
        pid: Pid,
        /// How.
        exit_status: ExitStatus,
        /// Whether there is a `./finish` to run.
        has_finish: bool,
    },
    /// `./run` has said something of itself.
    Notified {
        /// That it is ready, or that it is not any longer.
        is_ready: Option<bool>,
        /// That the limit of its stop is not to be reached before so long.
        extension: Option<Duration>,
    },
    /// Time has passed.
    Tick,
    /// Outcome: a script was started.
    Started(ServiceRole, Script, StartedScript),
    /// Outcome: a script could not be started; the warning was logged.
    NotStarted(ServiceRole, Script),
    /// Outcome: a control script runs.
    ControlScriptStarted(ControlScript, Pid),
    /// Outcome: there is no such control script, or it could not be started.
    NoControlScript(ControlScript),
    /// Outcome: how the service is to be stopped.
    Settings(ServiceRole, Settings),
    /// Outcome: whether a group still has members.
    GroupProbed(ServiceRole, bool),
    /// Outcome: the log pipe is closed for writing.
    LogPipeClosed {
        /// Whether the pipe has unread data.
        has_unread: bool,
    },
}

/// A control script, and what it is run for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlScript {
    /// `control/u`, before each start.
    BeforeStart,
    /// `control/BYTE`, for a command.
    ForCommand(u8),
}

impl ControlScript {
    /// The byte in the script's name.
    pub fn byte(self) -> u8 {
        match self {
            Self::BeforeStart => b'u',
            Self::ForCommand(byte) => byte,
        }
    }
}

/// What the effects are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceAction {
    /// Write the status files of a service.
    Publish(ServiceRole, Status),
    /// Write whether the service is ready.
    PublishReadiness(Readiness),
    /// Add to the history of a service.
    Remember(ServiceRole, HistoryEvent),
    /// Start a script; the outcome is [`ServiceEvent::Started`] or [`ServiceEvent::NotStarted`].
    Start(ServiceRole, Script),
    /// Start a control script with the pid of the service's process; the outcome is
    /// [`ServiceEvent::ControlScriptStarted`] or [`ServiceEvent::NoControlScript`].
    RunControlScript(ControlScript, Option<Pid>),
    /// Read how the service is to be stopped; the outcome is [`ServiceEvent::Settings`].
    ReadSettings(ServiceRole),
    /// Send a signal.
    Signal(SignalTarget, Signal),
    /// Find out whether a group has members; the outcome is [`ServiceEvent::GroupProbed`].
    ProbeGroup(ServiceRole, Pid),
    /// Wait no longer for a process, although it lives.
    Abandon(Pid),
    /// Log which leftovers the service has.
    NameLeftovers,
    /// Kill the leftovers of the service outside its group.
    EndLeftovers,
    /// Close this process's write end of the log pipe; the outcome is [`ServiceEvent::LogPipeClosed`].
    CloseLogPipe,
    /// Log which processes still hold the log pipe.
    NameLogHolders,
}

/// From the end of a log service's input to TERM.
pub const LOG_END_TIMEOUT: Duration = Duration::from_secs(5);

/// From that TERM to KILL.
pub const LOG_TERM_TIMEOUT: Duration = Duration::from_secs(25);

/// How long to wait for a process that was killed after an exit command (DEV-5).
pub const KILL_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a leftover has to end before it is logged.
pub const LEFTOVER_DELAY: Duration = Duration::from_millis(250);

/// The state of a service and of its log service.
#[derive(Debug)]
pub struct ServicePair {
    main: ServiceState,
    log: Option<ServiceState>,
    leaving: Option<Leaving>,
    actions: VecDeque<ServiceAction>,
}

/// The service is down for good; the log service reads to the end of its input.
#[derive(Debug)]
struct Leaving {
    /// When the log service is sent the next signal.
    deadline: Instant,
    was_sent_term: bool,
}

impl ServicePair {
    /// A service that is wanted up or down, and its log service, if it has one.
    pub fn new(main: Want, log: Option<Want>, now: Now) -> Self {
        Self {
            main: ServiceState::new(ServiceRole::Main, main, now),
            log: log.map(|want| ServiceState::new(ServiceRole::Log, want, now)),
            leaving: None,
            actions: VecDeque::new(),
        }
    }

    /// The group of a `./run` that an earlier supervisor has left is ended first.
    pub fn take_over(&mut self, role: ServiceRole, leader: Pid, now: Now) {
        match role {
            ServiceRole::Main => self.main.take_over(leader, now),
            ServiceRole::Log => {
                if let Some(log) = &mut self.log {
                    log.take_over(leader, now);
                }
            }
        }
    }

    /// The one place where events come in. Outcomes of actions come in before any other event.
    pub fn handle(&mut self, event: ServiceEvent, now: Now) {
        // Commands that were written before a death are handled before its consequences: they may take an
        // exit back, or keep a service from being started once more (RSV-25, RSV-32).
        let may_start = !matches!(event, ServiceEvent::Exited { .. });
        // A `k` that has left `./finish` behind is final: a `u` after it would start a service beside it
        // (QRK-4).
        let may_leave = matches!(
            event,
            ServiceEvent::Tick
                | ServiceEvent::Term
                | ServiceEvent::Command(ServiceRole::Main, Command::Exit | Command::Kill)
        );
        self.dispatch(event, now);
        // The log service is started first, so that the log has a reader (RSV-25).
        if let Some(log) = self.log.as_mut().filter(|_| may_start) {
            log.settle(now, &mut self.actions);
        }
        if may_start && self.leaving.is_none() {
            self.main.settle(now, &mut self.actions);
        }
        if may_leave {
            self.leave_if_wanted(now);
        }
    }

    /// The next action. Its outcome goes to [`ServicePair::handle`] at once.
    pub fn next_action(&mut self) -> Option<ServiceAction> {
        self.actions.pop_front()
    }

    /// When the next [`ServiceEvent::Tick`] is due at the latest.
    pub fn next_deadline(&self) -> Option<Instant> {
        let leaving = self.leaving.as_ref().map(|leaving| leaving.deadline);
        let main = if self.leaving.is_none() { self.main.next_deadline() } else { None };
        let log = self.log.as_ref().and_then(ServiceState::next_deadline);
        [leaving, main, log].into_iter().flatten().min()
    }

    /// The status record of a service.
    pub fn status(&self, role: ServiceRole) -> Option<Status> {
        self.service(role).map(ServiceState::status)
    }

    /// Whether a service takes commands now. While its control script runs it does not (DEV-2);
    /// the bytes stay in the FIFO.
    pub fn takes_commands(&self, role: ServiceRole) -> bool {
        self.actions.is_empty() && self.service(role).is_some_and(ServiceState::takes_commands)
    }

    /// Whether `./run` has said that it is ready; `None` if it does not run, or has no way to say so.
    pub fn is_ready(&self) -> Option<bool> {
        self.main.is_ready()
    }

    /// Whether what `./run` says counts.
    pub fn takes_notifications(&self) -> bool {
        self.actions.is_empty() && self.main.takes_notifications()
    }

    /// Whether there is nothing left to supervise.
    pub fn is_finished(&self) -> bool {
        self.leaving.is_some()
            && self.actions.is_empty()
            && self.log.as_ref().is_none_or(ServiceState::is_over)
    }

    /// Whether the service is down for good, unless a command takes that back before the next
    /// [`ServiceEvent::Tick`].
    pub fn is_about_to_leave(&self) -> bool {
        self.leaving.is_none() && self.main.is_over()
    }

    fn service(&self, role: ServiceRole) -> Option<&ServiceState> {
        match role {
            ServiceRole::Main => Some(&self.main),
            ServiceRole::Log => self.log.as_ref(),
        }
    }

    fn dispatch(&mut self, event: ServiceEvent, now: Now) {
        let actions = &mut self.actions;
        match event {
            // Once its pipe is closed the service cannot be started any more (DEV-20).
            ServiceEvent::Command(ServiceRole::Main, _) | ServiceEvent::Term if self.leaving.is_some() => {}
            ServiceEvent::Command(ServiceRole::Main, command) => {
                actions.push_back(ServiceAction::Remember(ServiceRole::Main, HistoryEvent::Told(command)));
                self.main.command(command, now, actions);
            }
            ServiceEvent::Term => {
                actions.push_back(ServiceAction::Remember(ServiceRole::Main, HistoryEvent::ToldToLeave));
                self.main.command(Command::Exit, now, actions);
            }
            ServiceEvent::Command(ServiceRole::Log, command) => {
                let is_leaving = self.leaving.is_some();
                if let Some(log) = &mut self.log
                    && !(is_leaving && matches!(command, Command::Up | Command::Down | Command::Once))
                {
                    actions.push_back(ServiceAction::Remember(ServiceRole::Log, HistoryEvent::Told(command)));
                    log.command(command, now, actions);
                }
            }
            ServiceEvent::Exited { pid, exit_status, has_finish } => {
                self.main.exited(pid, exit_status, has_finish, now, actions);
                if let Some(log) = &mut self.log {
                    log.exited(pid, exit_status, false, now, actions);
                }
            }
            ServiceEvent::Notified { is_ready, extension } => {
                self.main.notified(is_ready, extension, now, actions);
            }
            ServiceEvent::Tick => {
                if self.leaving.is_none() {
                    self.main.tick(now, actions);
                }
                if let Some(log) = &mut self.log {
                    log.tick(now, actions);
                }
                self.escalate_log_stop(now);
            }
            ServiceEvent::Started(ServiceRole::Main, ..)
            | ServiceEvent::NotStarted(ServiceRole::Main, _)
            | ServiceEvent::ControlScriptStarted(..)
            | ServiceEvent::NoControlScript(_)
            | ServiceEvent::Settings(ServiceRole::Main, _)
            | ServiceEvent::GroupProbed(ServiceRole::Main, _) => self.main.outcome(event, now, actions),
            ServiceEvent::Started(ServiceRole::Log, ..)
            | ServiceEvent::NotStarted(ServiceRole::Log, _)
            | ServiceEvent::Settings(ServiceRole::Log, _)
            | ServiceEvent::GroupProbed(ServiceRole::Log, _) => {
                if let Some(log) = &mut self.log {
                    log.outcome(event, now, actions);
                }
            }
            ServiceEvent::LogPipeClosed { has_unread } => {
                if let Some(log) = &mut self.log {
                    log.read_to_the_end(has_unread, actions);
                }
            }
        }
    }

    /// RSV-60: when the service is down for good, the log service gets the end of its input.
    fn leave_if_wanted(&mut self, now: Now) {
        if !self.is_about_to_leave() {
            return;
        }
        self.leaving = Some(Leaving { deadline: now.monotonic + LOG_END_TIMEOUT, was_sent_term: false });
        self.actions.push_back(ServiceAction::NameLeftovers);
        if self.log.is_some() {
            self.actions.push_back(ServiceAction::CloseLogPipe);
            self.actions.push_back(ServiceAction::Remember(ServiceRole::Log, HistoryEvent::InputEnds));
        }
    }

    /// Sends TERM, and at last KILL, to a log service that does not end with its input.
    fn escalate_log_stop(&mut self, now: Now) {
        let Some(leaving) = &mut self.leaving else { return };
        if now.monotonic < leaving.deadline {
            return;
        }
        let Some(target) = self.log.as_ref().and_then(ServiceState::target) else {
            leaving.deadline = now.monotonic + LOG_END_TIMEOUT;
            return;
        };
        if leaving.was_sent_term {
            self.actions.push_back(ServiceAction::Signal(target, Signal::KILL));
            leaving.deadline = now.monotonic + KILL_TIMEOUT;
        } else {
            self.actions.push_back(ServiceAction::NameLogHolders);
            self.actions.push_back(ServiceAction::Signal(target, Signal::TERM));
            self.actions.push_back(ServiceAction::Signal(target, Signal::CONT));
            leaving.was_sent_term = true;
            leaving.deadline = now.monotonic + LOG_TERM_TIMEOUT;
        }
    }
}
