//! Hands: turns readiness, signals, deaths and bytes into events, one at a time.

use std::io;
use std::time::Instant;

use servicedir::Command;
use servicedir::owner::Control;
use unix::{Ending, Pid, Poller, Signal, reap_next};

use crate::machine::{Role, Supervisor};

/// What runsv catches (RSV-17).
pub const CAUGHT: [Signal; 2] = [Signal::TERM, Signal::CHLD];

/// Where everything comes in.
pub struct Inbox {
    poller: Poller,
    fifos: Vec<Fifo>,
    has_dead: bool,
    is_told_to_leave: bool,
}

struct Fifo {
    role: Role,
    control: Control,
    is_readable: bool,
}

/// What came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mail {
    /// A child ended.
    Death(Pid, Ending),
    /// A command was read.
    Command(Role, Command),
    /// TERM was sent to this process.
    Term,
}

impl Inbox {
    /// Begins to listen to these FIFOs.
    pub fn new(poller: Poller, controls: Vec<(Role, Control)>) -> io::Result<Self> {
        // Whatever happened before the first wait is looked for, too.
        let mut inbox = Self { poller, fifos: Vec::new(), has_dead: true, is_told_to_leave: false };
        inbox.listen_to(controls)?;
        Ok(inbox)
    }

    /// Listens to these FIFOs instead of the old ones.
    pub fn listen_to(&mut self, controls: Vec<(Role, Control)>) -> io::Result<()> {
        self.fifos.clear();
        for (token, (role, control)) in controls.into_iter().enumerate() {
            self.poller.watch(&control, token)?;
            self.fifos.push(Fifo { role, control, is_readable: true });
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
            if let Some(fifo) = self.fifos.get_mut(token) {
                fifo.is_readable = true;
            }
        }
    }

    /// The next thing that came in, in RSV-25's order: deaths, bytes one at a time, TERM. Bytes for
    /// a service that takes no commands now stay in its FIFO.
    pub fn next(&mut self, machine: &Supervisor) -> Option<Mail> {
        if self.has_dead {
            match reap_next() {
                Some((pid, ending)) => return Some(Mail::Death(pid, ending)),
                None => self.has_dead = false,
            }
        }
        for fifo in &mut self.fifos {
            while fifo.is_readable && machine.takes_commands(fifo.role) {
                match fifo.control.read_byte() {
                    Some(byte) => {
                        // Other bytes are skipped silently (RSV-26).
                        if let Some(command) = Command::from_byte(byte) {
                            // A death between two bytes is seen between them.
                            self.has_dead = true;
                            return Some(Mail::Command(fifo.role, command));
                        }
                    }
                    None => fifo.is_readable = false,
                }
            }
        }
        if self.is_told_to_leave && machine.takes_commands(Role::Main) {
            self.is_told_to_leave = false;
            return Some(Mail::Term);
        }
        None
    }
}
