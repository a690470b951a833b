//! Effects: keeps the grace though init's one thread hangs, as on a file system that does not answer: a second
//! thread knows when the time is over, kills, and exits.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use sys::errno_text::errno_of;
use sys::signal::SignalSet;
use sys::{Errno, Pid, Signal, has_children, log, procfs, reap_next};

use crate::state::exit_code::KILLED;

/// How often it checks, while a signal waits, whether init goes on.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// How long it kills, where init is not process 1.
const LAST_KILLS: Duration = Duration::from_millis(100);
/// No deadline.
const NONE: u64 = u64::MAX;

/// The part of init.
pub struct Watchdog {
    shared: Arc<SharedClock>,
}

/// What both threads know.
struct SharedClock {
    began: Instant,
    /// When the grace is over, in milliseconds since then.
    deadline: AtomicU64,
    /// How often init has gone around its event loop.
    turns: AtomicU64,
    wake: EventFd,
}

/// What the thread watches.
struct Watch {
    shared: Arc<SharedClock>,
    /// Readable while a signal waits for init.
    signals: OwnedFd,
    /// Those that ask for a stop.
    stopping: SignalSet,
    /// How long one of them may wait.
    limit: Duration,
}

impl Watchdog {
    /// Starts the thread. `signals` is what init reads its signals from; one of `stopping` that it does not
    /// read within `limit` ends everything.
    pub fn start(signals: BorrowedFd<'_>, stopping: &[Signal], limit: Duration) -> Result<Self, Errno> {
        let wake = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let (began, deadline, turns) = (Instant::now(), AtomicU64::new(NONE), AtomicU64::new(0));
        let shared = Arc::new(SharedClock { began, deadline, turns, wake });
        let signals = signals.try_clone_to_owned().map_err(|error| errno_of(&error))?;
        let watch = Watch { shared: Arc::clone(&shared), signals, stopping: SignalSet::of(stopping), limit };
        sys::thread::spawn(move || watch.run()).map_err(|error| errno_of(&error))?;
        Ok(Self { shared })
    }

    /// From now on everything ends at this moment at the latest.
    pub fn end_by(&self, deadline: Instant) {
        let after = deadline.saturating_duration_since(self.shared.began).as_millis();
        self.shared.deadline.store(after.try_into().unwrap_or(NONE), Ordering::SeqCst);
        let _ = self.shared.wake.write(1);
    }

    /// Init goes on.
    pub fn is_alive(&self) {
        self.shared.turns.fetch_add(1, Ordering::Relaxed);
    }
}

impl Watch {
    fn run(&self) {
        loop {
            let is_pending = self.wait(true, self.time_left());
            if self.time_left().is_some_and(|left| left.is_zero()) || (is_pending && self.is_stuck()) {
                end_everything();
            }
        }
    }

    /// Whether init does nothing about a signal that asks for a stop until the time is over.
    fn is_stuck(&self) -> bool {
        let (since, turns) = (Instant::now(), self.shared.turns.load(Ordering::Relaxed));
        while self.shared.turns.load(Ordering::Relaxed) == turns {
            if self.time_left().is_some_and(|left| left.is_zero()) {
                return true;
            }
            if since.elapsed() >= self.limit {
                return SignalSet::pending().meets(self.stopping);
            }
            self.wait(false, Some(CHECK_INTERVAL.min(self.limit.saturating_sub(since.elapsed()))));
        }
        false
    }

    fn time_left(&self) -> Option<Duration> {
        let deadline = self.shared.deadline.load(Ordering::SeqCst);
        let passed = self.shared.began.elapsed();
        (deadline != NONE).then(|| Duration::from_millis(deadline).saturating_sub(passed))
    }

    /// Waits for init's word and, if asked for, for a signal; whether there is one.
    fn wait(&self, for_signals: bool, timeout: Option<Duration>) -> bool {
        let mut asked = vec![PollFd::new(self.shared.wake.as_fd(), PollFlags::POLLIN)];
        if for_signals {
            asked.push(PollFd::new(self.signals.as_fd(), PollFlags::POLLIN));
        }
        // A part of a millisecond more: the time is over then.
        let rounded = timeout.map(|timeout| timeout + Duration::from_millis(1));
        let timeout = rounded.map_or(PollTimeout::NONE, |left| left.try_into().unwrap_or(PollTimeout::MAX));
        let _ = poll(&mut asked, timeout);
        let is_ready = asked.last().is_some_and(|asked| asked.any() == Some(true));
        let _ = self.shared.wake.read();
        for_signals && is_ready
    }
}

/// Kills what there is, and exits. Nothing here waits for a file system, but for /proc.
fn end_everything() -> ! {
    log::write_line(
        b"init: fatal: the grace is over, but init waits, as when a file system hangs: everything is killed",
    );
    let own = nix::unistd::getpid();
    if own.as_raw() == 1 {
        let _ = Signal::KILL.send(Pid::from_raw(-1));
    } else {
        // What a child leaves behind becomes a child of init.
        let begun = Instant::now();
        while begun.elapsed() < LAST_KILLS {
            for pid in procfs::children(own) {
                let _ = Signal::KILL.send(pid);
            }
            while reap_next().is_some() {}
            if !has_children() {
                break;
            }
            std::thread::sleep(LAST_KILLS / 50);
        }
    }
    sys::process::entry::exit_at_once(KILLED)
}
