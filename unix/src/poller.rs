//! The one way our programs wait: for descriptors and signals, until a deadline.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use signal_hook_mio::v1_0::Signals;

use crate::signal::{Signal, SignalSet};

/// The token of the signals; descriptors have smaller ones.
const SIGNALS: Token = Token(usize::MAX);

/// mio's poll with the signals of the program.
///
/// Readiness is edge-triggered and only a hint: whoever is woken reads until it would block.
pub struct Poller {
    poll: Poll,
    events: Events,
    signals: Signals,
}

/// What a wait brought.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Wakeup {
    /// The tokens of descriptors that may be ready.
    pub ready: Vec<usize>,
    /// The signals that have arrived, each at least once.
    pub signals: Vec<Signal>,
}

impl Poller {
    /// Starts to catch `signals`, which are also unblocked, whatever was inherited.
    pub fn new(signals: &[Signal]) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut caught = Signals::new(signals.iter().map(|signal| signal.0))?;
        poll.registry().register(&mut caught, SIGNALS, Interest::READABLE)?;
        SignalSet::of(signals).unblock();
        Ok(Self { poll, events: Events::with_capacity(16), signals: caught })
    }

    /// Wakes for `descriptor` from now on; whatever is ready already counts as new.
    pub fn watch(&self, descriptor: impl AsFd, token: usize) -> io::Result<()> {
        let descriptor = descriptor.as_fd().as_raw_fd();
        self.poll.registry().register(&mut SourceFd(&descriptor), Token(token), Interest::READABLE)
    }

    /// Wakes no longer for `descriptor`.
    pub fn forget(&self, descriptor: impl AsFd) -> io::Result<()> {
        self.poll.registry().deregister(&mut SourceFd(&descriptor.as_fd().as_raw_fd()))
    }

    /// Waits for something to happen, at most until `deadline`. An interrupted or failed wait
    /// comes back empty: the caller looks at the world anyway.
    pub fn wait(&mut self, deadline: Option<Instant>) -> Wakeup {
        let patience = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let mut wakeup = Wakeup::default();
        if self.poll.poll(&mut self.events, patience).is_err() {
            return wakeup;
        }
        for event in &self.events {
            match event.token() {
                SIGNALS => wakeup.signals.extend(self.signals.pending().map(Signal)),
                Token(token) => wakeup.ready.push(token),
            }
        }
        wakeup
    }
}
