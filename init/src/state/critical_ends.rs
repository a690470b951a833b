//! State: how often a service has ended unasked in a row, for those with a file `critical`.

use std::time::{Duration, Instant};

use servicedir::HistoryEvent;
use servicedir::history::EndJudge;
use sys::ExitStatus;

/// A life of this length starts the count anew.
const LONG_LIFE: Duration = Duration::from_secs(60);

/// The ends of one service.
#[derive(Debug, Default)]
pub struct CriticalEnds {
    judge: EndJudge<Instant>,
    in_a_row: u32,
}

/// An end that no client has requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnaskedEnd {
    /// Its exit status.
    pub ending: ExitStatus,
    /// How many there were in a row, with this one.
    pub in_a_row: u32,
}

impl CriticalEnds {
    /// Takes in what has happened; if that is an end that no client has requested, which.
    pub fn happened(&mut self, event: HistoryEvent, now: Instant) -> Option<UnaskedEnd> {
        self.judge.happened(&event, now);
        let HistoryEvent::Ended(ending, lived) = event else { return None };
        if lived >= LONG_LIFE {
            self.in_a_row = 0;
        }
        if !self.judge.is_unrequested(Some(ending), |sent| now.saturating_duration_since(sent)) {
            self.in_a_row = 0;
            return None;
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        Some(UnaskedEnd { ending, in_a_row: self.in_a_row })
    }
}

#[cfg(test)]
mod tests {
    use servicedir::Command;

    use super::*;

    const EXIT_3: ExitStatus = ExitStatus::Exited(3);

    fn in_a_row(ends: &mut CriticalEnds, lived: u64, now: Instant) -> Option<u32> {
        ends.happened(HistoryEvent::Ended(EXIT_3, Duration::from_secs(lived)), now).map(|end| end.in_a_row)
    }

    #[test]
    fn a_long_life_and_a_requested_end_start_the_count_anew() {
        let (mut ends, now) = (CriticalEnds::default(), Instant::now());
        assert_eq!([1, 1, 61, 1].map(|lived| in_a_row(&mut ends, lived, now)), [1, 2, 1, 2].map(Some));
        ends.happened(HistoryEvent::Told(Command::Term), now);
        assert_eq!([1, 1].map(|lived| in_a_row(&mut ends, lived, now)), [None, Some(1)]);
        ends.happened(HistoryEvent::Told(Command::Down), now);
        assert_eq!(in_a_row(&mut ends, 1, now), None);
    }
}
