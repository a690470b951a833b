//! State: when to scan the services directory. No system call, no clock.

use std::time::{Duration, Instant};

/// How often to scan without a reported change.
const SAFETY_NET: Duration = Duration::from_secs(60);

/// How often to scan where changes are not reported, and after a scan that failed.
const BLIND: Duration = Duration::from_secs(5);

/// For so long a directory that could be scanned before may be missing: a program that
/// exchanges it by two renames is between them.
const GAP: Duration = Duration::from_secs(1);

/// After a scan, so many times its length pass until the next one: a directory that changes all the time
/// does not take all of the processor.
const PAUSE_PER_SCAN: u32 = 4;

/// A change that was reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectoryChange {
    /// Something is new, or gone, or elsewhere.
    Something,
    /// A directory was removed; what is there now may only look like it.
    DirectoryRemoved,
    /// There were more changes than could be reported.
    Lost,
}

/// How a scan went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScanOutcome {
    /// Everything was read, and every change will be reported.
    Watching,
    /// Everything was read, but changes will not be reported.
    Blind,
    /// Nothing could be read.
    Failed,
}

/// A scan that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanRequest {
    /// A signal asked for it (RSD-14).
    pub is_forced: bool,
    /// Even what seems to be the same is to be examined.
    pub is_thorough: bool,
}

/// When to scan.
#[derive(Debug)]
pub struct ScanSchedule {
    requested: Option<ScanRequest>,
    paused_until: Instant,
    routine: Instant,
    /// Since when the directory cannot be scanned that could be scanned before.
    missing: Option<Instant>,
    /// The last scan succeeded, or one not longer than [`GAP`] before it.
    is_known: bool,
}

impl ScanSchedule {
    /// Scans at once.
    pub fn new(now: Instant) -> Self {
        Self { requested: None, paused_until: now, routine: now, missing: None, is_known: false }
    }

    /// Takes in a change.
    pub fn changed(&mut self, change: DirectoryChange) {
        self.request(ScanRequest { is_forced: false, is_thorough: change != DirectoryChange::Something });
    }

    /// Takes in a request to scan now.
    pub fn force(&mut self) {
        self.request(ScanRequest { is_forced: true, is_thorough: true });
    }

    /// The scan to make now, if one is due.
    pub fn due(&self, now: Instant) -> Option<ScanRequest> {
        match self.requested {
            Some(request) if request.is_forced || self.paused_until <= now => Some(request),
            _ if self.routine <= now => Some(ScanRequest {
                is_forced: self.requested.is_some_and(|request| request.is_forced),
                is_thorough: true,
            }),
            _ => None,
        }
    }

    /// Takes in how a scan went that began at `begun`.
    pub fn scanned(&mut self, outcome: ScanOutcome, begun: Instant, now: Instant) {
        self.requested = None;
        self.paused_until = now + now.saturating_duration_since(begun) * PAUSE_PER_SCAN;
        self.routine = match outcome {
            ScanOutcome::Watching => now + SAFETY_NET,
            ScanOutcome::Failed if self.is_known => self.missing.map_or(now, |since| since + GAP),
            ScanOutcome::Blind | ScanOutcome::Failed => now + BLIND,
        };
        if outcome != ScanOutcome::Failed {
            (self.is_known, self.missing) = (true, None);
        }
    }

    /// Takes in that the directory cannot be entered or read; whether that is to be said.
    pub fn missed(&mut self, now: Instant) -> bool {
        self.is_known &= *self.missing.get_or_insert(now) + GAP > now;
        !self.is_known || self.requested.is_some_and(|request| request.is_forced)
    }

    /// Whether something has changed since the last scan.
    pub fn is_behind(&self) -> bool {
        self.requested.is_some()
    }

    /// When the next scan is due though nothing happens.
    pub fn next_deadline(&self, now: Instant) -> Instant {
        match self.requested {
            Some(request) if request.is_forced => now,
            Some(_) => self.paused_until.min(self.routine),
            None => self.routine,
        }
    }

    fn request(&mut self, request: ScanRequest) {
        let requested = self.requested.get_or_insert(request);
        requested.is_forced |= request.is_forced;
        requested.is_thorough |= request.is_thorough;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_millis(1);

    #[test]
    fn the_first_scan_is_at_once_and_the_next_in_a_minute() {
        let now = Instant::now();
        let mut schedule = ScanSchedule::new(now);
        assert!(schedule.due(now).is_some());
        schedule.scanned(ScanOutcome::Watching, now, now);
        assert_eq!(schedule.due(now), None);
        assert_eq!(schedule.next_deadline(now), now + SAFETY_NET);
        assert_eq!(schedule.due(now + SAFETY_NET), Some(ScanRequest { is_forced: false, is_thorough: true }));
    }

    #[test]
    fn where_changes_are_not_reported_a_scan_comes_every_five_seconds() {
        let now = Instant::now();
        for outcome in [ScanOutcome::Blind, ScanOutcome::Failed] {
            let mut schedule = ScanSchedule::new(now);
            schedule.scanned(outcome, now, now);
            assert_eq!(schedule.next_deadline(now), now + Duration::from_secs(5));
        }
    }

    #[test]
    fn a_change_is_scanned_after_a_pause_since_the_last_scan() {
        let begun = Instant::now();
        let mut schedule = ScanSchedule::new(begun);
        let now = begun + 2 * MOMENT;
        schedule.scanned(ScanOutcome::Watching, begun, now);
        schedule.changed(DirectoryChange::Something);
        assert_eq!(schedule.due(now), None);
        assert_eq!(schedule.next_deadline(now), now + 8 * MOMENT);
        let request = ScanRequest { is_forced: false, is_thorough: false };
        assert_eq!(schedule.due(now + 8 * MOMENT), Some(request));
    }

    #[test]
    fn a_forced_scan_makes_no_pause() {
        let begun = Instant::now();
        let mut schedule = ScanSchedule::new(begun);
        let now = begun + 2 * MOMENT;
        schedule.scanned(ScanOutcome::Watching, begun, now);
        schedule.changed(DirectoryChange::Something);
        schedule.force();
        assert_eq!(schedule.due(now), Some(ScanRequest { is_forced: true, is_thorough: true }));
        assert_eq!(schedule.next_deadline(now), now);
    }

    #[test]
    fn a_directory_that_is_missing_for_a_moment_is_not_reported() {
        let mut now = Instant::now();
        let mut schedule = ScanSchedule::new(now);
        schedule.scanned(ScanOutcome::Watching, now, now);
        for _ in 0..9 {
            assert!(!schedule.missed(now));
            schedule.scanned(ScanOutcome::Failed, now, now);
            now += GAP / 9;
        }
        schedule.scanned(ScanOutcome::Watching, now, now);
        assert!(!schedule.missed(now));
        schedule.scanned(ScanOutcome::Failed, now, now);
        assert_eq!(schedule.next_deadline(now), now + GAP);
        assert!(schedule.missed(now + GAP));
        schedule.scanned(ScanOutcome::Failed, now + GAP, now + GAP);
        assert_eq!(schedule.next_deadline(now), now + GAP + BLIND);
        assert!(schedule.missed(now + GAP));
    }

    #[test]
    fn a_directory_that_was_never_there_is_reported_at_once() {
        let now = Instant::now();
        let mut schedule = ScanSchedule::new(now);
        assert!(schedule.missed(now));
        schedule.scanned(ScanOutcome::Failed, now, now);
        assert!(schedule.missed(now));
    }

    #[test]
    fn a_removed_directory_and_lost_changes_call_for_a_thorough_scan() {
        let now = Instant::now();
        for change in [DirectoryChange::DirectoryRemoved, DirectoryChange::Lost] {
            let mut schedule = ScanSchedule::new(now);
            schedule.scanned(ScanOutcome::Watching, now, now);
            schedule.changed(change);
            schedule.changed(DirectoryChange::Something);
            assert_eq!(schedule.due(now), Some(ScanRequest { is_forced: false, is_thorough: true }));
        }
    }
}
