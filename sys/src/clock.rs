//! The two clocks: one that cannot jump, for deadlines, and the wall clock, for time stamps that other programs read.

use std::time::{Duration, Instant, SystemTime};

/// A moment, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// For deadlines and lifetimes; unaffected when the clock is set.
    pub monotonic: Instant,
    /// For the time stamps that other programs read.
    pub wall: SystemTime,
}

impl Now {
    /// The present.
    pub fn read() -> Self {
        Self { monotonic: Instant::now(), wall: SystemTime::now() }
    }
}

impl std::ops::Add<Duration> for Now {
    type Output = Self;

    /// The moment `later` after this one, on both clocks.
    fn add(self, later: Duration) -> Self {
        Self { monotonic: self.monotonic + later, wall: self.wall + later }
    }
}

/// The time since the machine was started, in the ticks that the kernel counts the ages of processes
/// in. There are a hundred of them in a second, whatever the kernel counts in itself.
pub fn ticks() -> u64 {
    const TICKS: u64 = 100;
    let Ok(time) = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME) else { return 0 };
    let [seconds, nanoseconds] =
        [time.tv_sec(), time.tv_nsec()].map(|number| u64::try_from(number).unwrap_or(0));
    seconds.saturating_mul(TICKS).saturating_add(nanoseconds / (1_000_000_000 / TICKS))
}
