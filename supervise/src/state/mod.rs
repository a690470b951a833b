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

pub use service::Service;

/// Which of the two services of a runsv.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
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
pub struct Target {
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
pub struct Started {
    /// The process.
    pub pid: Pid,
    /// Whether it leads a session of its own (`process-group`).
    pub is_group: bool,
    /// How long it may take (`timeout-finish`).
    pub limit: Option<Duration>,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A control byte was read from a service's FIFO.
    Command(Role, Command),
    /// runsv itself was sent TERM, which means `x` (RSV-62).
    Term,
    /// A child ended; `has_finish` tells whether `./finish` can be read now.
    Exited {
        /// Which child.
        pid: Pid,
        /// How.
        ending: ExitStatus,
        /// Whether there is a `./finish` to run.
        has_finish: bool,
    },
    /// Time has passed.
    Tick,
    /// Outcome: a script was started.
    Started(Role, Script, Started),
    /// Outcome: there is no process for a script; the warning was given.
    NotStarted(Role, Script),
    /// Outcome: a control script runs.
    HookStarted(ControlScript, Pid),
    /// Outcome: there is no such control script, or no process for it.
    NoControlScript(ControlScript),
    /// Outcome: how the service wants to be stopped.
    Settings(Role, Settings),
    /// Outcome: whether a group still has members.
    GroupProbed(Role, bool),
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
pub enum Action {
    /// Write the status files of a service.
    Publish(Role, Status),
    /// Add to the history of a service.
    Remember(Role, HistoryEvent),
    /// Start a script; the outcome is [`Event::Started`] or [`Event::NotStarted`].
    Start(Role, Script),
    /// Start a control script, telling it the service's process; the outcome is
    /// [`Event::HookStarted`] or [`Event::NoControlScript`].
    RunControlScript(ControlScript, Option<Pid>),
    /// Find out how the service wants to be stopped; the outcome is [`Event::Settings`].
    ReadSettings(Role),
    /// Send a signal.
    Signal(Target, Signal),
    /// Find out whether a group has members; the outcome is [`Event::GroupProbed`].
    ProbeGroup(Role, Pid),
    /// A process is the service's no longer, although it lives.
    Abandon(Pid),
    /// Say which processes the service has left behind.
    NameLeftovers,
    /// End the processes the service has left behind outside its group.
    EndLeftovers,
    /// Close this process's write end of the log pipe; the outcome is [`Event::LogPipeClosed`].
    CloseLogPipe,
    /// Say who still holds the log pipe.
    NameLogHolders,
}

/// How long a log service may take from the end of its input until it is sent TERM.
pub const LOG_PATIENCE: Duration = Duration::from_secs(5);

/// How long a log service may take from that TERM until it is killed.
pub const LOG_TERM_PATIENCE: Duration = Duration::from_secs(25);

/// How long a process killed on the way out is waited for (DEV-5).
pub const KILL_PATIENCE: Duration = Duration::from_secs(1);

/// How long something a service left behind has to end before it is named.
pub const STRAY_PATIENCE: Duration = Duration::from_millis(250);

/// A service, its log service, and their end.
#[derive(Debug)]
pub struct Supervisor {
    main: Service,
    log: Option<Service>,
    leaving: Option<Leaving>,
    actions: VecDeque<Action>,
}

/// The last stretch: the service is down for good, the log service reads to its end.
#[derive(Debug)]
struct Leaving {
    /// When patience with the log service ends next.
    deadline: Instant,
    was_sent_term: bool,
}

impl Supervisor {
    /// A supervisor of a service that is wanted up or down, and of its log service, if any.
    pub fn new(main: Want, log: Option<Want>, now: Now) -> Self {
        Self {
            main: Service::new(Role::Main, main, now),
            log: log.map(|want| Service::new(Role::Log, want, now)),
            leaving: None,
            actions: VecDeque::new(),
        }
    }

    /// The group of an earlier `./run`, whose runsv was killed, is ended first.
    pub fn take_over(&mut self, role: Role, leader: Pid, now: Now) {
        match role {
            Role::Main => self.main.take_over(leader, now),
            Role::Log => {
                if let Some(log) = &mut self.log {
                    log.take_over(leader, now);
                }
            }
        }
    }

    /// The one way in. Outcomes of actions come in here, too, before any other event.
    pub fn handle(&mut self, event: Event, now: Now) {
        // What was written before a death comes first: it may take an exit back, or keep a service
        // from being started once more (RSV-25, RSV-32).
        let may_start = !matches!(event, Event::Exited { .. });
        let may_leave =
            matches!(event, Event::Tick | Event::Term | Event::Command(Role::Main, Command::Exit));
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

    /// What is to be done next. An outcome goes to [`Supervisor::handle`] at once.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to come back with [`Event::Tick`] at the latest.
    pub fn next_deadline(&self) -> Option<Instant> {
        let leaving = self.leaving.as_ref().map(|leaving| leaving.deadline);
        let main = if self.leaving.is_none() { self.main.next_deadline() } else { None };
        let log = self.log.as_ref().and_then(Service::next_deadline);
        [leaving, main, log].into_iter().flatten().min()
    }

    /// What is to be published of a service.
    pub fn status(&self, role: Role) -> Option<Status> {
        self.service(role).map(Service::status)
    }

    /// Whether a service takes commands now. While its control script runs it does not (DEV-2);
    /// the bytes stay in the FIFO.
    pub fn takes_commands(&self, role: Role) -> bool {
        self.actions.is_empty() && self.service(role).is_some_and(Service::takes_commands)
    }

    /// Whether there is nothing left to supervise.
    pub fn is_finished(&self) -> bool {
        self.leaving.is_some() && self.actions.is_empty() && self.log.as_ref().is_none_or(Service::is_over)
    }

    /// Whether the service is down for good, unless something that came in takes that back: the next
    /// [`Event::Tick`] is too late for it.
    pub fn is_about_to_leave(&self) -> bool {
        self.leaving.is_none() && self.main.is_over()
    }

    fn service(&self, role: Role) -> Option<&Service> {
        match role {
            Role::Main => Some(&self.main),
            Role::Log => self.log.as_ref(),
        }
    }

    fn dispatch(&mut self, event: Event, now: Now) {
        let actions = &mut self.actions;
        match event {
            // Once its pipe is closed the service cannot be started any more (DEV-20).
            Event::Command(Role::Main, _) | Event::Term if self.leaving.is_some() => {}
            Event::Command(Role::Main, command) => {
                actions.push_back(Action::Remember(Role::Main, HistoryEvent::Told(command)));
                self.main.command(command, now, actions);
            }
            Event::Term => {
                actions.push_back(Action::Remember(Role::Main, HistoryEvent::ToldToLeave));
                self.main.command(Command::Exit, now, actions);
            }
            Event::Command(Role::Log, command) => {
                let is_leaving = self.leaving.is_some();
                if let Some(log) = &mut self.log
                    && !(is_leaving && matches!(command, Command::Up | Command::Down | Command::Once))
                {
                    actions.push_back(Action::Remember(Role::Log, HistoryEvent::Told(command)));
                    log.command(command, now, actions);
                }
            }
            Event::Exited { pid, ending, has_finish } => {
                self.main.exited(pid, ending, has_finish, now, actions);
                if let Some(log) = &mut self.log {
                    log.exited(pid, ending, false, now, actions);
                }
            }
            Event::Tick => {
                if self.leaving.is_none() {
                    self.main.tick(now, actions);
                }
                if let Some(log) = &mut self.log {
                    log.tick(now, actions);
                }
                self.lose_patience_with_log(now);
            }
            Event::Started(Role::Main, ..)
            | Event::NotStarted(Role::Main, _)
            | Event::HookStarted(..)
            | Event::NoControlScript(_)
            | Event::Settings(Role::Main, _)
            | Event::GroupProbed(Role::Main, _) => self.main.outcome(event, now, actions),
            Event::Started(Role::Log, ..)
            | Event::NotStarted(Role::Log, _)
            | Event::Settings(Role::Log, _)
            | Event::GroupProbed(Role::Log, _) => {
                if let Some(log) = &mut self.log {
                    log.outcome(event, now, actions);
                }
            }
            Event::LogPipeClosed { has_unread } => {
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
        self.leaving = Some(Leaving { deadline: now.monotonic + LOG_PATIENCE, was_sent_term: false });
        self.actions.push_back(Action::NameLeftovers);
        if self.log.is_some() {
            self.actions.push_back(Action::CloseLogPipe);
            self.actions.push_back(Action::Remember(Role::Log, HistoryEvent::InputEnds));
        }
    }

    /// A log service that does not end is told to, and at last made to.
    fn lose_patience_with_log(&mut self, now: Now) {
        let Some(leaving) = &mut self.leaving else { return };
        if now.monotonic < leaving.deadline {
            return;
        }
        let Some(target) = self.log.as_ref().and_then(Service::target) else {
            leaving.deadline = now.monotonic + LOG_PATIENCE;
            return;
        };
        if leaving.was_sent_term {
            self.actions.push_back(Action::Signal(target, Signal::KILL));
            leaving.deadline = now.monotonic + KILL_PATIENCE;
        } else {
            self.actions.push_back(Action::NameLogHolders);
            self.actions.push_back(Action::Signal(target, Signal::TERM));
            self.actions.push_back(Action::Signal(target, Signal::CONT));
            leaving.was_sent_term = true;
            leaving.deadline = now.monotonic + LOG_TERM_PATIENCE;
        }
    }
}
