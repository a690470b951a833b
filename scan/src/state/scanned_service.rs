//! One service of the directory, and the supervisor that it has.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::time::{Duration, Instant};

use sys::FileId;

use super::arrival::Arrival;

/// A supervisor is not started sooner than this after its service's previous start.
pub(super) const THROTTLE: Duration = Duration::from_secs(1);

/// The longest pause between two attempts of a supervisor that keeps refusing.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long a service waits in silence for the supervisor that has its name: the interval at which the
/// original scans.
pub(super) const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A service: a directory under a name.
#[derive(Debug)]
pub(super) struct ScannedService<S> {
    pub(super) name: OsString,
    pub(super) home: FileId,
    /// Its entry has not gone.
    pub(super) is_present: bool,
    /// Its entry cannot be read at present.
    pub(super) is_hidden: bool,
    pub(super) first_seen: Instant,
    /// Until its directory counts as complete.
    pub(super) arrival: Option<Arrival>,
    pub(super) last_start: Option<Instant>,
    pub(super) refusals: u32,
    pub(super) state: SupervisorState<S>,
}

/// What is known of the supervisor of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SupervisorState<S> {
    /// To be started as soon as it may be.
    Ready { not_before: Option<Instant> },
    /// The start was requested.
    Starting,
    /// Its supervisor is ours and runs.
    Running { supervisor: S, since: Instant },
    /// Its supervisor is ours, and was asked to leave. At `complain_at` it is said that another service
    /// waits for that, unless it was said.
    Leaving { supervisor: S, complain_at: Option<Instant> },
    /// A supervisor that is not ours has it.
    Occupied { retry_at: Option<Instant> },
}

impl<S> SupervisorState<S> {
    pub(super) const READY: Self = Self::Ready { not_before: None };

    pub(super) fn asked_to_leave(supervisor: S, now: Instant) -> Self {
        Self::Leaving { supervisor, complain_at: Some(now + LEAVE_TIMEOUT) }
    }
}

impl<S> ScannedService<S> {
    pub(super) fn is_due(
        &self,
        now: Instant,
        no_process_before: Option<Instant>,
        taken: &HashSet<(FileId, &OsStr)>,
    ) -> bool {
        self.due_at(no_process_before).is_some_and(|moment| moment <= now) && !self.is_blocked(taken)
    }

    /// What only one supervisor may have at a time: a name in a services directory.
    pub(super) fn place(&self) -> (FileId, &OsStr) {
        (self.home, self.name.as_os_str())
    }

    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.state, SupervisorState::Leaving { .. })
    }

    /// Two directories that follow each other under one name never run at the same time (B34).
    pub(super) fn is_blocked(&self, taken: &HashSet<(FileId, &OsStr)>) -> bool {
        self.is_hidden || taken.contains(&self.place())
    }

    /// When the next step is due; `None` if something else has to happen first. There are no
    /// processes to be had before `no_process_before`.
    pub(super) fn due_at(&self, no_process_before: Option<Instant>) -> Option<Instant> {
        let step = match self.state {
            SupervisorState::Ready { not_before } => not_before.unwrap_or(self.first_seen),
            SupervisorState::Occupied { retry_at } => retry_at?,
            SupervisorState::Starting | SupervisorState::Running { .. } | SupervisorState::Leaving { .. } => {
                return None;
            }
        };
        let rested = self.last_start.map(|start| start + pause_after(self.refusals));
        Some(step).max(rested).max(no_process_before).max(self.arrival.map(|arrival| arrival.due))
    }
}

/// How long after its start the next one comes, with so many refusals in a row.
fn pause_after(refusals: u32) -> Duration {
    let doublings = refusals.saturating_sub(1).min(8);
    (THROTTLE * 2_u32.saturating_pow(doublings)).min(LONGEST_PAUSE)
}
