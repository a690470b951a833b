//! State: when to scan for critical services, and when to check them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::time::{Duration, Instant};

/// How long after the status the history is complete.
const HISTORY_DELAY: Duration = Duration::from_millis(20);
/// The first delay before another scan for a `supervise/` that is missing; each further one is twice as
/// long.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// How often services without a watch are checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The longest delay.
const LAST_WAIT: Duration = Duration::from_secs(60);

/// The schedule for critical services.
#[derive(Debug)]
pub struct CriticalSchedule {
    look: Option<Instant>,
    wait: Duration,
    changed: BTreeMap<OsString, Instant>,
    /// Services without a watch.
    blind: BTreeSet<OsString>,
}

impl Default for CriticalSchedule {
    fn default() -> Self {
        Self { look: None, wait: FIRST_WAIT, changed: BTreeMap::new(), blind: BTreeSet::new() }
    }
}

impl CriticalSchedule {
    /// Scan the services directory now.
    pub fn scan_soon(&mut self, now: Instant) {
        self.wait = FIRST_WAIT;
        self.look = Some(self.look.map_or(now, |look| look.min(now)));
    }

    /// The `new` services have watches now, and `blind` ones cannot; if not `is_complete`, some do not exist
    /// yet.
    pub fn watched(&mut self, new: Vec<OsString>, blind: Vec<OsString>, is_complete: bool, now: Instant) {
        self.blind = blind.into_iter().collect();
        // They may have ended before there was a watch.
        for name in new.into_iter().chain(self.blind.clone()) {
            self.changed(name, now);
        }
        if !is_complete {
            self.look = Some(now + self.wait);
            self.wait = (self.wait * 2).min(LAST_WAIT);
        }
    }

    /// The status of a service has changed.
    pub fn changed(&mut self, name: OsString, now: Instant) {
        self.changed.entry(name).or_insert(now + HISTORY_DELAY);
    }

    /// Whether a scan is due.
    pub fn is_scan_due(&mut self, now: Instant) -> bool {
        self.look.take_if(|look| *look <= now).is_some()
    }

    /// The services to check now.
    pub fn due(&mut self, now: Instant) -> Vec<OsString> {
        let due: Vec<OsString> =
            self.changed.iter().filter(|(_, due)| **due <= now).map(|(name, _)| name.clone()).collect();
        for name in &due {
            self.changed.remove(name);
            if self.blind.contains(name) {
                self.changed.insert(name.clone(), now + CHECK_INTERVAL);
            }
        }
        due
    }

    /// When the next scan or check is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.changed.values().copied().chain(self.look).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_judged_when_its_history_is_written() {
        let now = Instant::now();
        let mut critical_schedule = CriticalSchedule::default();
        critical_schedule.changed("web".into(), now);
        critical_schedule.changed("web".into(), now + HISTORY_DELAY / 2);
        assert_eq!(critical_schedule.next_deadline(), Some(now + HISTORY_DELAY));
        assert!(critical_schedule.due(now).is_empty());
        assert_eq!(critical_schedule.due(now + HISTORY_DELAY), ["web"]);
        assert_eq!(critical_schedule.next_deadline(), None);
    }

    #[test]
    fn what_is_not_there_yet_is_looked_for_less_and_less_often() {
        let now = Instant::now();
        let mut critical_schedule = CriticalSchedule::default();
        critical_schedule.scan_soon(now);
        assert!(critical_schedule.is_scan_due(now) && !critical_schedule.is_scan_due(now));
        for wait in [1, 2, 4] {
            critical_schedule.watched(Vec::new(), Vec::new(), false, now);
            assert_eq!(critical_schedule.next_deadline(), Some(now + FIRST_WAIT * wait));
        }
        critical_schedule.watched(vec!["web".into()], Vec::new(), true, now + LAST_WAIT);
        assert_eq!(critical_schedule.due(now + LAST_WAIT + HISTORY_DELAY), ["web"]);
    }

    #[test]
    fn whose_changes_nobody_tells_is_looked_at_each_second() {
        let now = Instant::now();
        let mut critical_schedule = CriticalSchedule::default();
        critical_schedule.watched(Vec::new(), vec!["web".into()], true, now);
        for second in 0..3 {
            assert_eq!(critical_schedule.due(now + HISTORY_DELAY + CHECK_INTERVAL * second), ["web"]);
        }
        critical_schedule.watched(Vec::new(), Vec::new(), true, now + CHECK_INTERVAL * 3);
        critical_schedule.due(now + CHECK_INTERVAL * 4);
        assert_eq!(critical_schedule.next_deadline(), None, "it is critical no more");
    }
}
