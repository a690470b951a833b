//! The supervisor of one service and its log service, for a host with an event loop.

use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use sys::{Error, ExitStatus, Logger, Now, Pid, Signal};

use crate::directory::Directory;
use crate::effects::Effects;
use crate::event_source::{EventPort, EventSource};
use crate::reopening::OpenFiles;
use crate::startup::{self, Startup};
use crate::state::{ServiceAction, ServiceEvent, ServicePair, ServiceRole};

/// How soon a file or a message that could not be written is tried again.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// What a supervisor must know of the process it is in.
#[derive(Debug, Clone, Copy)]
pub struct Hosting {
    /// The signals that the host catches: its children get their default action (RSV-15).
    pub caught: &'static [Signal],
    /// Whether the process supervises more than this service.
    ///
    /// If it does not, as with runsv, every child of the process that was not started by the supervisor
    /// is a leftover of the service. If it does, there is no telling which service a leftover belongs
    /// to: none is named, and with `process-group` only the group is ended. Each script then leads a
    /// session of its own.
    pub is_shared: bool,
}

/// A service and its log service.
///
/// It owns no event loop, and nothing of the process: signals, reaping, limits and the standard error are
/// the host's. It changes the working directory to its own whenever it acts, and leaves it there.
///
/// A host opens it, calls [`start`](Self::start), and then, again and again until it
/// [is finished](Self::is_finished):
///
/// 1. watches the [new descriptors](Self::new_descriptors), and sleeps until the [deadline](Self::next_deadline);
/// 2. passes on what has happened: [`readable`](Self::readable), [`told_to_leave`](Self::told_to_leave),
///    [`child_exited`](Self::child_exited);
/// 3. gives it a turn if the deadline is reached: [`begin_turn`](Self::begin_turn), [`step`](Self::step)
///    until there is no more, [`end_turn`](Self::end_turn). Before each step it reaps, so that a death
///    between two commands is handled between them (RSV-25).
///
/// Processes that live when it is dropped go on to live.
pub struct Supervisor {
    pub(crate) directory: Directory,
    pub(crate) state: ServicePair,
    pub(crate) effects: Effects,
    event_source: EventSource,
    /// What was taken from it, and is handled with the next step.
    upcoming: Option<ServiceEvent>,
    files: OpenFiles,
    /// When to write again what could not be written.
    retry_at: Option<Instant>,
    /// Whether something has happened since the last turn that only a turn completes.
    is_turn_due: bool,
    last_turn: Instant,
}

impl Supervisor {
    /// Opens the service directory `dir` (LAY-7).
    pub fn open(dir: &OsStr, logger: Logger, hosting: Hosting) -> Result<Startup, Error> {
        startup::open(dir, logger, hosting)
    }

    pub(crate) fn new(
        directory: Directory,
        state: ServicePair,
        effects: Effects,
        event_source: EventSource,
        files: OpenFiles,
    ) -> Self {
        let last_turn = Instant::now();
        Self {
            directory,
            state,
            effects,
            event_source,
            upcoming: None,
            files,
            retry_at: None,
            is_turn_due: true,
            last_turn,
        }
    }

    /// Starts what is to be started; nothing, if the request to leave has come already.
    pub fn start(&mut self, now: Now) {
        self.enter();
        if let Some(request) = self.event_source.take_request_to_leave() {
            self.handle(request, now);
        }
        self.handle(ServiceEvent::Tick, now);
    }

    /// The descriptors to watch from now on, each given once. They are closed when they are replaced.
    pub fn new_descriptors(&mut self) -> impl Iterator<Item = (EventPort, BorrowedFd<'_>)> {
        self.event_source.unwatched()
    }

    /// The same for good, and without looking into the service's directory, which may hang: the rest is done
    /// with the next turn. False if it has to be [`told_to_leave`](Self::told_to_leave) instead.
    pub fn stop_at_once(&mut self, now: Now) -> bool {
        let is_plain = self.state.is_running(ServiceRole::Main)
            && self.state.takes_commands(ServiceRole::Main)
            && self.effects.begin_deferral();
        if is_plain {
            self.handle(ServiceEvent::FinalTerm, now);
            self.is_turn_due = true;
        }
        is_plain
    }

    /// Whether the service is kept from being started, because of what it depends on. To be followed by a
    /// turn.
    pub fn hold(&mut self, is_held: bool) {
        self.state.hold(is_held);
        self.is_turn_due = true;
    }

    /// A descriptor may have something to read.
    pub fn readable(&mut self, port: EventPort) {
        self.event_source.readable(port);
    }

    /// The service is to go down, and the supervisor is then finished, as after `x` (RSV-62).
    pub fn told_to_leave(&mut self) {
        self.event_source.told_to_leave(ServiceEvent::Term);
    }

    /// The same, and no command takes it back.
    pub fn told_to_leave_for_good(&mut self) {
        self.event_source.told_to_leave(ServiceEvent::FinalTerm);
    }

    /// A child of the process was reaped; whether it was started by this supervisor. A child that was
    /// started by none is offered to all: the end of a process group may be noticed by it.
    pub fn child_exited(&mut self, pid: Pid, exit_status: ExitStatus, now: Now) -> bool {
        let is_own = self.effects.has_child(pid);
        if is_own {
            self.enter();
        }
        // Asked only then: the directory may hang.
        let has_finish = self.effects.is_run(pid) && self.effects.has_finish();
        self.effects.child_exited(pid);
        self.handle(ServiceEvent::Exited { pid, exit_status, has_finish }, now);
        self.is_turn_due |= is_own;
        is_own
    }

    /// Begins a turn: writes what could not be written before, in a new place if the old one was removed.
    pub fn begin_turn(&mut self) {
        self.enter();
        self.effects.end_deferral();
        self.event_source.begin_turn();
        if self.retry_at.take().is_some() {
            self.reopen_if_lost();
            self.effects.catch_up();
        }
    }

    /// Whether there is a command, or the request to leave, for the next [`step`](Self::step). A host of many
    /// reaps only then: to find that no child has died costs time for each child.
    pub fn has_step(&mut self) -> bool {
        if self.upcoming.is_none() && !self.is_finished() {
            self.upcoming = self.event_source.next(&self.state);
        }
        self.upcoming.is_some()
    }

    /// Handles one command, or the request to leave; whether there was one.
    pub fn step(&mut self, now: Now) -> bool {
        if !self.has_step() {
            return false;
        }
        let Some(event) = self.upcoming.take() else { return false };
        self.enter();
        match event {
            ServiceEvent::Command(..) => self.effects.refresh_messages(),
            ServiceEvent::Notified { .. } => {
                if let Some(text) = self.event_source.take_text() {
                    self.effects.publish_text(text);
                }
            }
            _ => {}
        }
        self.handle(event, now);
        true
    }

    /// Ends a turn: lets time pass, also for a service that is sent commands without end.
    pub fn end_turn(&mut self, now: Now) {
        self.enter();
        self.handle(ServiceEvent::Tick, now);
        self.is_turn_due = false;
        self.last_turn = now.monotonic;
        self.retry_at = self.effects.is_behind().then(|| now.monotonic + RETRY_DELAY);
    }

    /// When the next turn is due at the latest; at once, in the past, if there is something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        let is_due = self.is_turn_due || self.event_source.has_more(&self.state);
        let at_once = is_due.then_some(self.last_turn);
        [self.state.next_deadline(), self.retry_at, at_once].into_iter().flatten().min()
    }

    /// Whether the service was told to exit and is gone, and its log service, too.
    pub fn is_finished(&self) -> bool {
        self.state.is_finished()
    }

    /// Whether `./run` has said that it is ready; `None` if it does not run, or has neither `notification-fd`
    /// nor `notify-socket`.
    pub fn is_ready(&self) -> Option<bool> {
        self.state.is_ready()
    }

    /// Gives the last messages a moment to be read.
    pub fn conclude(&mut self) {
        self.effects.conclude();
    }

    /// Goes to the service's directory before anything is done for it. If that cannot be entered,
    /// nothing is started or written until it can.
    fn enter(&mut self) {
        let is_there = self.directory.enter().is_ok() || self.directory.is_current();
        self.effects.set_away(!is_there);
    }

    /// Lets the state decide, and carries out what it says; an outcome goes back before anything else.
    pub(crate) fn handle(&mut self, event: ServiceEvent, now: Now) {
        let began = Instant::now();
        self.state.handle(event, now);
        while let Some(action) = self.state.next_action() {
            if let Some(outcome) = self.perform(action) {
                // The action may have taken long.
                self.state.handle(outcome, now + began.elapsed());
            }
        }
        self.effects.publish();
        if let Some(notification) = self.effects.take_notification() {
            self.event_source.set_notification(Some(notification));
        } else if !self.state.takes_notifications() {
            self.event_source.set_notification(None);
        }
    }

    fn perform(&mut self, action: ServiceAction) -> Option<ServiceEvent> {
        if self.effects.is_deferring() {
            if let Ok(outcome) = self.effects.perform_deferred(action) {
                return outcome;
            }
            self.enter();
            self.effects.end_deferral();
        }
        self.effects.perform(action)
    }

    fn reopen_if_lost(&mut self) {
        if let Some(reopened) = self.files.reopen_if_lost(&mut self.directory, &self.effects) {
            self.event_source.replace_fifos(reopened.controls);
            self.effects.publish_all_again(reopened.locks);
        }
    }
}
