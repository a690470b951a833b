//! Machine: what runsv decides. No system call, no clock, no file: events and the time come in,
//! actions go out, and the outcome of an action comes back as an event before anything else.

mod command_steps;
#[cfg(test)]
mod random_walk;
mod service;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use servicedir::{Command, HistoryEvent, Status, Want};
use sys::{ExitStatus, Now, Pid, Signal};

pub use service::ServiceState;

/// Which of the two services of a runsv.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServiceRole {
    /// The service itself.
    Main,
    /// Its log service.
    Log,
}

/// A program that belongs to the life of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// `./run`.
    Run,
    /// `./finish`, and how `./run` ended.
    Finish(ExitStatus),
}

/// Whom a signal is meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignalTarget {
    /// The process, or the leader of the group.
    pub pid: Pid,
    /// Whether the whole process group is meant.
    pub is_group: bool,
}

/// How a service wants to be stopped, from the files in its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// `down-signal`: sent instead of TERM.
    pub signal: Signal,
    /// `timeout-kill`: from that signal to KILL.
    pub kill_after: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { signal: Signal::TERM, kill_after: None }
    }
}

/// What a program was started as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartedScript {
    /// The process.
    pub pid: Pid,
    /// Whether it leads a session of its own (`process-group`).
    pub is_group: bool,
    /// How long it may take (`timeout-finish`).
    pub limit: Option<Duration>,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceEvent {
    /// A control byte was read from a service's FIFO.
    Command(ServiceRole, Command),
    /// runsv itself was sent TERM, which means `x` (RSV-62).
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
    /// Time has passed.
    Tick,
    /// Outcome: a script was started.
    Started(ServiceRole, Script, StartedScript),
    /// Outcome: there is no process for a script; the warning was given.
    NotStarted(ServiceRole, Script),
    /// Outcome: a control script runs.
    ControlScriptStarted(ControlScript, Pid),
    /// Outcome: there is no such control script, or no process for it.
    NoControlScript(ControlScript),
    /// Outcome: how the service wants to be stopped.
    Settings(ServiceRole, Settings),
    /// Outcome: whether a group still has members.
    GroupProbed(ServiceRole, bool),
    /// Outcome: the log pipe is closed for writing; whether something unread is in it.
    LogPipeClosed {
        /// Whether the logger has something left to read.
        has_unread: bool,
    },
}

/// Which control script, and on whose behalf.
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

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceAction {
    /// Write the status files of a service.
    Publish(ServiceRole, Status),
    /// Add to the history of a service.
    Remember(ServiceRole, HistoryEvent),
    /// Start a script; the outcome is [`ServiceEvent::Started`] or [`ServiceEvent::NotStarted`].
    Start(ServiceRole, Script),
    /// Start a control script, telling it the service's process; the outcome is
    /// [`ServiceEvent::ControlScriptStarted`] or [`ServiceEvent::NoControlScript`].
    RunControlScript(ControlScript, Option<Pid>),
    /// Find out how the service wants to be stopped; the outcome is [`ServiceEvent::Settings`].
    ReadSettings(ServiceRole),
    /// Send a signal.
    Signal(SignalTarget, Signal),
    /// Find out whether a group has members; the outcome is [`ServiceEvent::GroupProbed`].
    ProbeGroup(ServiceRole, Pid),
    /// A process is the service's no longer, although it lives.
    Abandon(Pid),
    /// Say which processes the service has left behind.
    NameLeftovers,
    /// End the processes the service has left behind outside its group.
    EndLeftovers,
    /// Close this process's write end of the log pipe; the outcome is [`ServiceEvent::LogPipeClosed`].
    CloseLogPipe,
    /// Say who still holds the log pipe.
    NameLogHolders,
}

/// How long a log service may take from the end of its input until it is sent TERM.
pub const LOG_END_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a log service may take from that TERM until it is killed.
pub const LOG_TERM_TIMEOUT: Duration = Duration::from_secs(25);

/// How long a process killed on the way out is waited for (DEV-5).
pub const KILL_TIMEOUT: Duration = Duration::from_secs(1);

/// How long something a service left behind has to end before it is named.
pub const LEFTOVER_DELAY: Duration = Duration::from_millis(250);

/// A service, its log service, and their end.
#[derive(Debug)]
pub struct ServicePair {
    main: ServiceState,
    log: Option<ServiceState>,
    leaving: Option<Leaving>,
    actions: VecDeque<ServiceAction>,
}

/// The last stretch: the service is down for good, the log service reads to its end.
#[derive(Debug)]
struct Leaving {
    /// When patience with the log service ends next.
    deadline: Instant,
    was_sent_term: bool,
}

impl ServicePair {
    /// A supervisor of a service that is wanted up or down, and of its log service, if any.
    pub fn new(main: Want, log: Option<Want>, now: Now) -> Self {
        Self {
            main: ServiceState::new(ServiceRole::Main, main, now),
            log: log.map(|want| ServiceState::new(ServiceRole::Log, want, now)),
            leaving: None,
            actions: VecDeque::new(),
        }
    }

    /// The group of an earlier `./run`, whose runsv was killed, is ended first.
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

    /// The one way in. Outcomes of actions come in here, too, before any other event.
    pub fn handle(&mut self, event: ServiceEvent, now: Now) {
        // What was written before a death comes first: it may take an exit back, or keep a service
        // from being started once more (RSV-25, RSV-32).
        let may_start = !matches!(event, ServiceEvent::Exited { .. });
        let may_leave = matches!(
            event,
            ServiceEvent::Tick | ServiceEvent::Term | ServiceEvent::Command(ServiceRole::Main, Command::Exit)
        );
        self.dispatch(event, now);
        // The log service is started first, so that somebody listens (RSV-25).
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

    /// What is to be done next. An outcome goes to [`ServicePair::handle`] at once.
    pub fn next_action(&mut self) -> Option<ServiceAction> {
        self.actions.pop_front()
    }

    /// When to come back with [`ServiceEvent::Tick`] at the latest.
    pub fn next_deadline(&self) -> Option<Instant> {
        let leaving = self.leaving.as_ref().map(|leaving| leaving.deadline);
        let main = if self.leaving.is_none() { self.main.next_deadline() } else { None };
        let log = self.log.as_ref().and_then(ServiceState::next_deadline);
        [leaving, main, log].into_iter().flatten().min()
    }

    /// What is to be published of a service.
    pub fn status(&self, role: ServiceRole) -> Option<Status> {
        self.service(role).map(ServiceState::status)
    }

    /// Whether a service takes commands now. While its control script runs it does not (DEV-2);
    /// the bytes stay in the FIFO.
    pub fn takes_commands(&self, role: ServiceRole) -> bool {
        self.actions.is_empty() && self.service(role).is_some_and(ServiceState::takes_commands)
    }

    /// Whether there is nothing left to supervise.
    pub fn is_finished(&self) -> bool {
        self.leaving.is_some()
            && self.actions.is_empty()
            && self.log.as_ref().is_none_or(ServiceState::is_over)
    }

    /// Whether the service is down for good, unless something that came in takes that back: the next
    /// [`ServiceEvent::Tick`] is too late for it.
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

    /// A log service that does not end is told to, and at last made to.
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
