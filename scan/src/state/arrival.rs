//! When a new service directory counts as complete.

use std::time::{Duration, Instant};

/// How long nothing must have happened in a service directory that is made, or changed, in its place:
/// its parts come one after the other.
pub(super) const QUIET_IN_PLACE: Duration = Duration::from_secs(1);

/// How long nothing must have happened to the name of a service directory that has arrived whole:
/// `ln -sfn` makes a link under a temporary name first.
pub(super) const QUIET_WHOLE: Duration = Duration::from_millis(20);

/// If a directory is changed again and again, its service is started after this, nevertheless.
pub(super) const LONGEST_ARRIVAL: Duration = Duration::from_secs(60);

/// A service directory that has come, or come back, while it was watched, and may not be complete.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    since: Instant,
    quiet: Duration,
    /// When it counts as complete if nothing happens until then.
    pub(super) due: Instant,
    /// Nothing but its name is against it.
    pub(super) is_temporary: bool,
}

impl Arrival {
    pub(super) fn new(quiet: Duration, is_temporary: bool, now: Instant) -> Self {
        Self { since: now, quiet, due: now + quiet, is_temporary }
    }

    /// Something has happened to it.
    pub(super) fn disturb(&mut self, now: Instant) {
        self.due = (now + self.quiet).min(self.since + LONGEST_ARRIVAL);
    }

    /// Something has happened in it.
    pub(super) fn change(&mut self, now: Instant) {
        self.quiet = QUIET_IN_PLACE;
        self.is_temporary = false;
        self.disturb(now);
    }
}
