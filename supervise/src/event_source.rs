//! Effects: turns readiness, signals, deaths and bytes into events, one at a time.

use std::cmp::Reverse;
use std::io;
use std::time::Instant;

use servicedir::Command;
use servicedir::lock::ControlFifo;
use sys::{ExitStatus, Pid, Poller, Signal, reap_next};

use crate::state::{ServicePair, ServiceRole};

/// What runsv catches (RSV-17).
pub const CAUGHT: [Signal; 2] = [Signal::TERM, Signal::CHLD];

/// Where everything comes in.
pub struct EventSource {
    poller: Poller,
    fifos: Vec<Fifo>,
    has_dead: bool,
    is_told_to_leave: bool,
}

struct Fifo {
    role: ServiceRole,
    control: ControlFifo,
    is_readable: bool,
    /// How many more bytes are taken in this turn.
    left: u32,
}

/// How many bytes a FIFO has in one turn: who writes without end must keep nobody else from being
/// heard.
const TURN: u32 = 64;

/// What came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incoming {
    /// A child ended.
    Death(Pid, ExitStatus),
    /// A command was read.
    Command(ServiceRole, Command),
    /// TERM was sent to this process.
    Term,
}

impl EventSource {
    /// Begins to listen to these FIFOs.
    pub fn new(poller: Poller, controls: Vec<(ServiceRole, ControlFifo)>) -> io::Result<Self> {
        // Whatever happened before the first wait is looked for, too.
        let mut event_source = Self { poller, fifos: Vec::new(), has_dead: true, is_told_to_leave: false };
        event_source.listen_to(controls)?;
        Ok(event_source)
    }

    /// Listens to these FIFOs instead of the old ones.
    pub fn listen_to(&mut self, controls: Vec<(ServiceRole, ControlFifo)>) -> io::Result<()> {
        self.fifos.clear();
        for (role, control) in controls {
            self.poller.watch(&control, token_of(role))?;
            self.fifos.push(Fifo { role, control, is_readable: true, left: TURN });
        }
        Ok(())
    }

    /// Whether TERM has come already; it is not told again.
    pub fn is_told_to_leave_early(&mut self) -> bool {
        self.sleep_until(Some(Instant::now()));
        std::mem::take(&mut self.is_told_to_leave)
    }

    /// Sleeps until something may have come in, at most until `deadline`.
    pub fn sleep_until(&mut self, deadline: Option<Instant>) {
        let wakeup = self.poller.wait(deadline);
        for signal in wakeup.signals {
            match signal {
                Signal::TERM => self.is_told_to_leave = true,
                _ => self.has_dead = true,
            }
        }
        for token in wakeup.ready {
            for fifo in self.fifos.iter_mut().filter(|fifo| token_of(fifo.role) == token) {
                fifo.is_readable = true;
            }
        }
    }

    /// Begins the next turn, with so many bytes for each FIFO.
    pub fn begin_turn(&mut self) {
        for fifo in &mut self.fifos {
            fifo.left = TURN;
        }
    }

    /// Whether something has come in that the last turn left for the next one.
    pub fn has_more(&self, state: &ServicePair) -> bool {
        let is_told_to_leave = self.is_told_to_leave && state.takes_commands(ServiceRole::Main);
        is_told_to_leave || self.fifos.iter().any(|fifo| fifo.is_readable && state.takes_commands(fifo.role))
    }

    /// The next thing that came in, in RSV-25's order: deaths, bytes one at a time, from one FIFO and
    /// from the other, TERM. `None` when nothing is left, or the turn is over. Bytes for a service
    /// that takes no commands now stay in its FIFO.
    pub fn next(&mut self, state: &ServicePair) -> Option<Incoming> {
        if self.has_dead {
            match reap_next() {
                Some((pid, exit_status)) => return Some(Incoming::Death(pid, exit_status)),
                None => self.has_dead = false,
            }
        }
        // What was written before the service was down may take the exit back, also if the poll has
        // not told of it, yet.
        let is_last_look = state.is_about_to_leave();
        // The one that had less of its turn is next.
        self.fifos.sort_by_key(|fifo| (Reverse(fifo.left), fifo.role == ServiceRole::Log));
        for fifo in &mut self.fifos {
            if let Some(command) = fifo.next(state, is_last_look) {
                // A death between two bytes is seen between them.
                self.has_dead = true;
                return Some(Incoming::Command(fifo.role, command));
            }
        }
        if self.is_told_to_leave && state.takes_commands(ServiceRole::Main) {
            self.is_told_to_leave = false;
            return Some(Incoming::Term);
        }
        None
    }
}

impl Fifo {
    /// The next command; other bytes are skipped silently (RSV-26).
    fn next(&mut self, state: &ServicePair, is_last_look: bool) -> Option<Command> {
        while (self.is_readable || is_last_look) && self.left > 0 && state.takes_commands(self.role) {
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

fn token_of(role: ServiceRole) -> usize {
    match role {
        ServiceRole::Main => 0,
        ServiceRole::Log => 1,
    }
}
