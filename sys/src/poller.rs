//! The one way in which the programs wait: for descriptors and signals, until a deadline.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use signal_hook_mio::v1_0::Signals;

use crate::signal::{Signal, SignalSet};

/// The token of the signals; descriptors have smaller ones.
const SIGNALS: Token = Token(usize::MAX);

/// mio's poll with the signals of the program.
///
/// Readiness is edge-triggered and only a hint: a caller reads until the read would block.
pub struct Poller {
    poll: Poll,
    events: Events,
    /// Never dropped: its reading end goes before its handlers, and a signal in
    /// between would be answered by a SIGPIPE, which a program that is about to exit would die of.
    signals: ManuallyDrop<Signals>,
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
        let poller = Self::without_unblocking(signals)?;
        SignalSet::of(signals).unblock();
        Ok(poller)
    }

    /// Starts to catch `signals`; those that are blocked are heard when they are unblocked.
    pub fn without_unblocking(signals: &[Signal]) -> io::Result<Self> {
        let poll = Poll::new()?;
        // A signal that arrives when its handler is installed, but not yet registered, would be lost.
        let before = SignalSet::of(signals).block();
        let caught = Signals::new(signals.iter().map(|signal| signal.0));
        before.set_as_mask();
        let mut caught = caught?;
        poll.registry().register(&mut caught, SIGNALS, Interest::READABLE)?;
        Ok(Self { poll, events: Events::with_capacity(16), signals: ManuallyDrop::new(caught) })
    }

    /// Wakes for `descriptor` from now on; whatever is ready already counts as new.
    pub fn watch(&self, descriptor: impl AsFd, token: usize) -> io::Result<()> {
        let descriptor = descriptor.as_fd().as_raw_fd();
        self.poll.registry().register(&mut SourceFd(&descriptor), Token(token), Interest::READABLE)
    }

    /// Wakes when `descriptor` can be written to, from now on; if it can be already, that counts as new.
    pub fn watch_room(&self, descriptor: impl AsFd, token: usize) -> io::Result<()> {
        let descriptor = descriptor.as_fd().as_raw_fd();
        self.poll.registry().register(&mut SourceFd(&descriptor), Token(token), Interest::WRITABLE)
    }

    /// Wakes no longer for `descriptor`.
    pub fn forget(&self, descriptor: impl AsFd) -> io::Result<()> {
        self.poll.registry().deregister(&mut SourceFd(&descriptor.as_fd().as_raw_fd()))
    }

    /// Waits as [`Poller::wait`] does, but to a part of a millisecond, which is what the kernel counts
    /// in there: what happens within the last of them is seen at the deadline.
    pub fn wait_precisely(&mut self, deadline: Option<Instant>) -> Wakeup {
        const GRAIN: Duration = Duration::from_millis(1);
        let Some(deadline) = deadline else { return self.wait(None) };
        let timeout = deadline.saturating_duration_since(Instant::now());
        let rest = Duration::from_nanos(u64::from(timeout.subsec_nanos() % 1_000_000));
        if timeout >= GRAIN {
            let wakeup = self.wait(deadline.checked_sub(rest));
            // It may have been interrupted: then there is more than the rest left.
            let is_early = deadline.saturating_duration_since(Instant::now()) > rest + GRAIN;
            if wakeup != Wakeup::default() || is_early {
                return wakeup;
            }
        }
        std::thread::sleep(rest.min(deadline.saturating_duration_since(Instant::now())));
        self.wait(Some(deadline))
    }

    /// Waits for something to happen, at most until `deadline`. An interrupted or failed wait
    /// comes back empty: the caller checks its sources anyway.
    pub fn wait(&mut self, deadline: Option<Instant>) -> Wakeup {
        let timeout = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let mut wakeup = Wakeup::default();
        if self.poll.poll(&mut self.events, timeout).is_err() {
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
