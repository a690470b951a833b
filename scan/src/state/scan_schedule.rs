//! Machine: when to look at the services directory. No system call, no clock.

use std::time::{Duration, Instant};

/// How often to look though nothing was said to have changed.
const SAFETY_NET: Duration = Duration::from_secs(60);

/// How often to look where changes are not told, and after a look that failed.
const BLIND: Duration = Duration::from_secs(5);

/// For so long a directory that could be seen before may be missing: a program that
/// exchanges it by two renames is between them.
const GAP: Duration = Duration::from_secs(1);

/// After a look, so many times its length pass until the next one: a directory that never rests
/// does not take all of the processor.
const REST_PER_LOOK: u32 = 4;

/// A change that was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectoryChange {
    /// Something is new, or gone, or elsewhere.
    Something,
    /// A directory was removed; what is there now may only look like it.
    DirectoryRemoved,
    /// There were more changes than could be told.
    Lost,
}

/// How a look went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScanOutcome {
    /// Everything was seen, and every change will be told.
    Watching,
    /// Everything was seen, but changes will not be told.
    Blind,
    /// Nothing could be seen.
    Failed,
}

/// A look that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanRequest {
    /// Somebody asked for it (RSD-14).
    pub is_forced: bool,
    /// Even what seems to be the same is to be examined.
    pub is_thorough: bool,
}

/// When to look.
#[derive(Debug)]
pub struct ScanSchedule {
    asked: Option<ScanRequest>,
    rested: Instant,
    routine: Instant,
    /// Since when the directory cannot be seen that could be seen before.
    missing: Option<Instant>,
    /// The directory could be seen at the last look, or not longer than [`GAP`] before it.
    is_known: bool,
}

impl ScanSchedule {
    /// Looks at once.
    pub fn new(now: Instant) -> Self {
        Self { asked: None, rested: now, routine: now, missing: None, is_known: false }
    }

    /// Takes in a change.
    pub fn changed(&mut self, change: DirectoryChange) {
        self.ask(ScanRequest { is_forced: false, is_thorough: change != DirectoryChange::Something });
    }

    /// Takes in that somebody wants a look now.
    pub fn force(&mut self) {
        self.ask(ScanRequest { is_forced: true, is_thorough: true });
    }

    /// The look to take now, if one is due.
    pub fn due(&self, now: Instant) -> Option<ScanRequest> {
        match self.asked {
            Some(look) if look.is_forced || self.rested <= now => Some(look),
            _ if self.routine <= now => Some(ScanRequest {
                is_forced: self.asked.is_some_and(|look| look.is_forced),
                is_thorough: true,
            }),
            _ => None,
        }
    }

    /// Takes in how a look went that began at `begun`.
    pub fn looked(&mut self, how: ScanOutcome, begun: Instant, now: Instant) {
        self.asked = None;
        self.rested = now + now.saturating_duration_since(begun) * REST_PER_LOOK;
        self.routine = match how {
            ScanOutcome::Watching => now + SAFETY_NET,
            ScanOutcome::Failed if self.is_known => self.missing.map_or(now, |since| since + GAP),
            ScanOutcome::Blind | ScanOutcome::Failed => now + BLIND,
        };
        if how != ScanOutcome::Failed {
            (self.is_known, self.missing) = (true, None);
        }
    }

    /// Takes in that the directory cannot be entered or seen; whether that is to be said.
    pub fn missed(&mut self, now: Instant) -> bool {
        self.is_known &= *self.missing.get_or_insert(now) + GAP > now;
        !self.is_known || self.asked.is_some_and(|look| look.is_forced)
    }

    /// Whether something has changed that was not looked at yet.
    pub fn is_behind(&self) -> bool {
        self.asked.is_some()
    }

    /// When the next look is due though nothing happens.
    pub fn next_deadline(&self, now: Instant) -> Instant {
        match self.asked {
            Some(look) if look.is_forced => now,
            Some(_) => self.rested.min(self.routine),
            None => self.routine,
        }
    }

    fn ask(&mut self, look: ScanRequest) {
        let asked = self.asked.get_or_insert(look);
        asked.is_forced |= look.is_forced;
        asked.is_thorough |= look.is_thorough;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_millis(1);

    #[test]
    fn the_first_look_is_at_once_and_the_next_in_a_minute() {
        let now = Instant::now();
        let mut schedule = ScanSchedule::new(now);
        assert!(schedule.due(now).is_some());
        schedule.looked(ScanOutcome::Watching, now, now);
        assert_eq!(schedule.due(now), None);
        assert_eq!(schedule.next_deadline(now), now + SAFETY_NET);
        assert_eq!(schedule.due(now + SAFETY_NET), Some(ScanRequest { is_forced: false, is_thorough: true }));
    }

    #[test]
    fn where_changes_are_not_told_a_look_comes_every_five_seconds() {
        let now = Instant::now();
        for how in [ScanOutcome::Blind, ScanOutcome::Failed] {
            let mut schedule = ScanSchedule::new(now);
            schedule.looked(how, now, now);
            assert_eq!(schedule.next_deadline(now), now + Duration::from_secs(5));
        }
    }

    #[test]
    fn a_change_is_looked_at_as_soon_as_the_last_look_was_rested_from() {
        let begun = Instant::now();
        let mut schedule = ScanSchedule::new(begun);
        let now = begun + 2 * MOMENT;
        schedule.looked(ScanOutcome::Watching, begun, now);
        schedule.changed(DirectoryChange::Something);
        assert_eq!(schedule.due(now), None);
        assert_eq!(schedule.next_deadline(now), now + 8 * MOMENT);
        let look = ScanRequest { is_forced: false, is_thorough: false };
        assert_eq!(schedule.due(now + 8 * MOMENT), Some(look));
    }

    #[test]
    fn a_forced_look_does_not_rest() {
        let begun = Instant::now();
        let mut schedule = ScanSchedule::new(begun);
        let now = begun + 2 * MOMENT;
        schedule.looked(ScanOutcome::Watching, begun, now);
        schedule.changed(DirectoryChange::Something);
        schedule.force();
        assert_eq!(schedule.due(now), Some(ScanRequest { is_forced: true, is_thorough: true }));
        assert_eq!(schedule.next_deadline(now), now);
    }

    #[test]
    fn a_directory_that_is_missing_for_a_moment_is_not_spoken_of() {
        let mut now = Instant::now();
        let mut schedule = ScanSchedule::new(now);
        schedule.looked(ScanOutcome::Watching, now, now);
        for _ in 0..9 {
            assert!(!schedule.missed(now));
            schedule.looked(ScanOutcome::Failed, now, now);
            now += GAP / 9;
        }
        schedule.looked(ScanOutcome::Watching, now, now);
        assert!(!schedule.missed(now));
        schedule.looked(ScanOutcome::Failed, now, now);
        assert_eq!(schedule.next_deadline(now), now + GAP);
        assert!(schedule.missed(now + GAP));
        schedule.looked(ScanOutcome::Failed, now + GAP, now + GAP);
        assert_eq!(schedule.next_deadline(now), now + GAP + BLIND);
        assert!(schedule.missed(now + GAP));
    }

    #[test]
    fn a_directory_that_was_never_seen_is_spoken_of_at_once() {
        let now = Instant::now();
        let mut schedule = ScanSchedule::new(now);
        assert!(schedule.missed(now));
        schedule.looked(ScanOutcome::Failed, now, now);
        assert!(schedule.missed(now));
    }

    #[test]
    fn a_removed_directory_and_lost_changes_call_for_a_thorough_look() {
        let now = Instant::now();
        for change in [DirectoryChange::DirectoryRemoved, DirectoryChange::Lost] {
            let mut schedule = ScanSchedule::new(now);
            schedule.looked(ScanOutcome::Watching, now, now);
            schedule.changed(change);
            schedule.changed(DirectoryChange::Something);
            assert_eq!(schedule.due(now), Some(ScanRequest { is_forced: false, is_thorough: true }));
        }
    }
}
