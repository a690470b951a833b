//! Event source: commands, one at a time, from the control FIFOs, and the request to leave.

use std::cmp::Reverse;
use std::os::fd::{AsFd as _, BorrowedFd};

use servicedir::Command;
use servicedir::control_fifo::ControlFifo;

use crate::notification::Notification;
use crate::state::{ServiceEvent, ServicePair, ServiceRole};

/// A source of events that a host watches for a supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventPort {
    /// The control FIFO of the service.
    Main,
    /// The control FIFO of its log service.
    Log,
    /// What `./run` says of its readiness; there may be two such descriptors.
    Notification,
}

impl From<ServiceRole> for EventPort {
    fn from(role: ServiceRole) -> Self {
        match role {
            ServiceRole::Main => Self::Main,
            ServiceRole::Log => Self::Log,
        }
    }
}

/// The control FIFOs of a service and of its log service, and what the service says of itself.
pub struct EventSource {
    fifos: Vec<Fifo>,
    notification: Option<Notification>,
    is_told_to_leave: bool,
}

struct Fifo {
    role: ServiceRole,
    control: ControlFifo,
    /// Whether the host was given the descriptor.
    is_watched: bool,
    is_readable: bool,
    /// How many more bytes are taken in this turn.
    left: u32,
}

/// How many bytes are taken from a FIFO in one turn: a client that writes without end must not keep other
/// clients from being served.
const TURN: u32 = 64;

impl EventSource {
    /// Reads from these FIFOs.
    pub fn new(controls: Vec<(ServiceRole, ControlFifo)>) -> Self {
        let mut event_source = Self { fifos: Vec::new(), notification: None, is_told_to_leave: false };
        event_source.replace_fifos(controls);
        event_source
    }

    /// Reads from these FIFOs instead of the old ones.
    pub fn replace_fifos(&mut self, controls: Vec<(ServiceRole, ControlFifo)>) {
        self.fifos = controls
            .into_iter()
            .map(|(role, control)| Fifo { role, control, is_watched: false, is_readable: true, left: TURN })
            .collect();
    }

    /// Reads what a `./run` says, too, or no longer.
    pub fn set_notification(&mut self, notification: Option<Notification>) {
        self.notification = notification;
    }

    /// What the last message has said of the state of the service, which is given once.
    pub fn take_text(&mut self) -> Option<String> {
        self.notification.as_mut().and_then(Notification::take_text)
    }

    /// The descriptors that the host was not given yet.
    pub fn unwatched(&mut self) -> impl Iterator<Item = (EventPort, BorrowedFd<'_>)> {
        let fifos = self.fifos.iter_mut().filter(|fifo| !fifo.is_watched).map(|fifo| {
            fifo.is_watched = true;
            (fifo.role.into(), fifo.control.as_fd())
        });
        let notification = self.notification.iter_mut().flat_map(Notification::unwatched);
        fifos.chain(notification.map(|descriptor| (EventPort::Notification, descriptor)))
    }

    /// A descriptor may have something to read.
    pub fn readable(&mut self, port: EventPort) {
        for fifo in self.fifos.iter_mut().filter(|fifo| EventPort::from(fifo.role) == port) {
            fifo.is_readable = true;
        }
        if let Some(notification) = self.notification.as_mut().filter(|_| port == EventPort::Notification) {
            notification.readable();
        }
    }

    /// The service is to go down, and its supervisor to leave.
    pub fn told_to_leave(&mut self) {
        self.is_told_to_leave = true;
    }

    /// Whether the request to leave has come already; the answer is given once.
    pub fn take_request_to_leave(&mut self) -> bool {
        std::mem::take(&mut self.is_told_to_leave)
    }

    /// Begins the next turn, with so many bytes for each FIFO.
    pub fn begin_turn(&mut self) {
        for fifo in &mut self.fifos {
            fifo.left = TURN;
        }
        if let Some(notification) = &mut self.notification {
            notification.begin_turn();
        }
    }

    /// Whether something has come in that the last turn left for the next one.
    pub fn has_more(&self, state: &ServicePair) -> bool {
        let is_told_to_leave = self.is_told_to_leave && state.takes_commands(ServiceRole::Main);
        is_told_to_leave
            || self.notification.as_ref().is_some_and(Notification::has_more)
            || self.fifos.iter().any(|fifo| fifo.is_readable && state.takes_commands(fifo.role))
    }

    /// The next event, in RSV-25's order: bytes one at a time, from one FIFO and from the other, then
    /// TERM. `None` when nothing is left, or the turn is over. Bytes for a service that takes no commands
    /// now stay in its FIFO. What the service says of itself comes last.
    pub fn next(&mut self, state: &ServicePair) -> Option<ServiceEvent> {
        // A command that was written before the service was down may take the exit back, also if the
        // poll has not reported it yet.
        let is_last_read = state.is_about_to_leave();
        // The FIFO that had less of its turn is next.
        self.fifos.sort_by_key(|fifo| (Reverse(fifo.left), fifo.role == ServiceRole::Log));
        for fifo in &mut self.fifos {
            if let Some(command) = fifo.next(state, is_last_read) {
                return Some(ServiceEvent::Command(fifo.role, command));
            }
        }
        let is_heeded = state.takes_commands(ServiceRole::Main) && self.take_request_to_leave();
        if is_heeded {
            return Some(ServiceEvent::Term);
        }
        self.notification.as_mut().and_then(Notification::next)
    }
}

impl Fifo {
    /// The next command; other bytes are skipped silently (RSV-26).
    fn next(&mut self, state: &ServicePair, is_last_read: bool) -> Option<Command> {
        while (self.is_readable || is_last_read) && self.left > 0 && state.takes_commands(self.role) {
            let Some(byte) = self.control.read_byte() else {
                self.is_readable = false;
                return None;
            };
            self.left -= 1;
            if let Some(command) = Command::from_byte(byte) {
                return Some(command);
            }
        }
        None
    }
}
