//! The one way our programs wait: for descriptors and signals, until a deadline.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use mio::net::UnixStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
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
    /// Where a signal's handler writes to, and where that is read: the pair that `signals` has made
    /// for itself.
    pair: [RawFd; 2],
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
        let pair = next_pair()?;
        let mut caught = Signals::new(signals.iter().map(|signal| signal.0))?;
        poll.registry().register(&mut caught, SIGNALS, Interest::READABLE)?;
        Ok(Self { poll, events: Events::with_capacity(16), signals: caught, pair })
    }

    /// In a copy of the process that made this (see [`crate::fork`]): waits for itself from now on,
    /// and for none of the descriptors that the original waits for. `signals` are those, of the ones
    /// that are caught, that are to be heard and unblocked; what the original did not hear yet is not
    /// for the copy.
    ///
    /// Everything stays where it is in memory, which the copy then goes on to share.
    pub fn in_copy(mut self, signals: &[Signal]) -> io::Result<Self> {
        self.poll = Poll::new()?;
        let kind = (AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK);
        let (one, other) = socketpair(kind.0, kind.1, None, kind.2)?;
        for (fresh, place) in [one, other].into_iter().zip(self.pair) {
            put_in_place(&fresh, place)?;
        }
        self.signals.pending().for_each(drop);
        let reader = self.pair[0];
        self.poll.registry().register(&mut SourceFd(&reader), SIGNALS, Interest::READABLE)?;
        SignalSet::of(signals).unblock();
        Ok(self)
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
        let patience = deadline.saturating_duration_since(Instant::now());
        let rest = Duration::from_nanos(u64::from(patience.subsec_nanos() % 1_000_000));
        if patience >= GRAIN {
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

/// Where the next pair of sockets will be, its reader first: the kernel gives the lowest free numbers.
fn next_pair() -> io::Result<[RawFd; 2]> {
    let (one, other) = UnixStream::pair()?;
    Ok([one.as_raw_fd(), other.as_raw_fd()])
}

/// Closes what is open under this number, and opens the fresh one there.
fn put_in_place(fresh: &OwnedFd, place: RawFd) -> io::Result<()> {
    // SAFETY: dup3 has no memory arguments. Whoever owns the number goes on to own it, and finds a
    // socket there as before.
    Errno::result(unsafe { libc::dup3(fresh.as_raw_fd(), place, libc::O_CLOEXEC) })?;
    Ok(())
}
