//! The two clocks: one that cannot jump, for deadlines, and the wall clock, for stamps others read.

use std::time::{Duration, Instant, SystemTime};

/// A moment, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// For deadlines and lifetimes; unaffected when somebody sets the clock.
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
