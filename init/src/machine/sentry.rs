//! Machine: when to look at critical services.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How long after its status a service's history is complete.
const WRITTEN: Duration = Duration::from_millis(20);
/// The first wait for a `supervise/` that is not there yet; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// The longest.
const LAST_WAIT: Duration = Duration::from_secs(60);

/// Looks after critical services.
#[derive(Debug)]
pub struct Sentry {
    look: Option<Instant>,
    wait: Duration,
    watched: BTreeSet<String>,
    changed: BTreeMap<String, Instant>,
}

impl Default for Sentry {
    fn default() -> Self {
        Self { look: None, wait: FIRST_WAIT, watched: BTreeSet::new(), changed: BTreeMap::new() }
    }
}

impl Sentry {
    /// The services directory is to be looked at, soon.
    pub fn look_soon(&mut self, now: Instant) {
        self.wait = FIRST_WAIT;
        self.look = Some(self.look.map_or(now, |look| look.min(now)));
    }

    /// These are watched; the others, if there are any, not yet.
    pub fn watched(&mut self, names: Vec<String>, is_complete: bool, now: Instant) {
        for name in names {
            if self.watched.insert(name.clone()) {
                // It may have ended before it was watched.
                self.changed(name, now);
            }
        }
        if !is_complete {
            self.look = Some(now + self.wait);
            self.wait = (self.wait * 2).min(LAST_WAIT);
        }
    }

    /// A service has done something.
    pub fn changed(&mut self, name: String, now: Instant) {
        self.changed.entry(name).or_insert(now + WRITTEN);
    }

    /// Whether to look at the services directory now.
    pub fn is_look_due(&mut self, now: Instant) -> bool {
        self.look.take_if(|look| *look <= now).is_some()
    }

    /// The services to be judged now.
    pub fn due(&mut self, now: Instant) -> Vec<String> {
        let due: Vec<String> =
            self.changed.iter().filter(|(_, due)| **due <= now).map(|(name, _)| name.clone()).collect();
        for name in &due {
            self.changed.remove(name);
        }
        due
    }

    /// When something will be due.
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
        let mut sentry = Sentry::default();
        sentry.changed("web".into(), now);
        sentry.changed("web".into(), now + WRITTEN / 2);
        assert_eq!(sentry.next_deadline(), Some(now + WRITTEN));
        assert_eq!(sentry.due(now), [""; 0]);
        assert_eq!(sentry.due(now + WRITTEN), ["web"]);
        assert_eq!(sentry.next_deadline(), None);
    }

    #[test]
    fn what_is_not_there_yet_is_looked_for_less_and_less_often() {
        let now = Instant::now();
        let mut sentry = Sentry::default();
        sentry.look_soon(now);
        assert!(sentry.is_look_due(now) && !sentry.is_look_due(now));
        for wait in [1, 2, 4] {
            sentry.watched(Vec::new(), false, now);
            assert_eq!(sentry.next_deadline(), Some(now + FIRST_WAIT * wait));
        }
        sentry.watched(vec!["web".into()], true, now + LAST_WAIT);
        assert_eq!(sentry.due(now + LAST_WAIT + WRITTEN), ["web"]);
    }
}
