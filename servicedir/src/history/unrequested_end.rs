//! State: which ends of a service were requested, as its history tells.

use std::time::Duration;

use sys::{ExitStatus, Signal};

use super::{HistoryEntry, HistoryEvent};
use crate::command::Command;
use crate::status::Want;
use crate::tai64n::Tai64n;

/// How long after a signal through sv an end counts as its effect: sv itself waits for so long.
const ENDS_WITHIN: Duration = Duration::from_secs(7);

/// An end of `./run` that no client has requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnrequestedEnd {
    /// Its place among the entries.
    pub number: usize,
    /// Its time.
    pub when: Tai64n,
    /// Its exit status, if it is known.
    pub ending: Option<ExitStatus>,
}

/// The unrequested ends of `./run`, oldest first.
///
/// A service that is not wanted up may end, and one that was sent a signal through sv may end of it or soon
/// after it. A signal that the service has survived for long is no request.
pub fn unrequested_ends(entries: &[HistoryEntry]) -> Vec<UnrequestedEnd> {
    let (mut is_wanted_up, mut signals, mut ends) = (true, Vec::new(), Vec::new());
    for (number, entry) in entries.iter().enumerate() {
        let HistoryEntry { when, event } = entry;
        match event {
            // Commands to an earlier runsv do not count any more.
            Ok(HistoryEvent::Began(want)) => {
                is_wanted_up = *want == Want::Up;
                signals.clear();
            }
            Ok(HistoryEvent::Told(Command::Up)) => is_wanted_up = true,
            Ok(
                HistoryEvent::Told(Command::Down | Command::Exit | Command::Once) | HistoryEvent::ToldToLeave,
            ) => {
                is_wanted_up = false;
                // A service that is wanted up again before it has ended ends nevertheless.
                signals.push((*when, Signal::TERM));
            }
            // These end no service.
            Ok(HistoryEvent::Told(Command::Pause | Command::Cont)) => {}
            Ok(HistoryEvent::Told(command)) => signals.extend(command.signal().map(|signal| (*when, signal))),
            Ok(HistoryEvent::Started(_)) => signals.clear(),
            _ => {
                let Some(ending) = entry.end_of_run() else { continue };
                let is_of = |sent: Signal| matches!(ending, Some(ExitStatus::Killed { signal, .. }) if signal == sent);
                let is_effect =
                    |(sent, signal): (Tai64n, Signal)| is_of(signal) || when.since(sent) <= ENDS_WITHIN;
                let is_requested = signals.drain(..).any(is_effect);
                if is_wanted_up && !is_requested {
                    ends.push(UnrequestedEnd { number, when: *when, ending });
                }
            }
        }
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXIT_3: &str = "./run ended: exit 3, after 1.000 s";
    const STARTED: &str = "started ./run, pid 7";
    const KILLED_BY_TERM: &str = "./run ended: SIGTERM, after 1.000 s";
    const UNREQUESTED: Verdict = Verdict::Unrequested(Some(ExitStatus::Exited(3)));

    #[derive(Debug, PartialEq, Eq)]
    enum Verdict {
        Requested,
        Unrequested(Option<ExitStatus>),
    }

    /// About the last of these events.
    fn judged(events: &[(u64, &str)]) -> Verdict {
        let label = |seconds: u64| Tai64n { seconds: (1 << 62) + seconds, nanoseconds: 0 };
        let entries: Vec<_> =
            events.iter().map(|(second, text)| HistoryEntry::new(label(*second), text)).collect();
        let last = unrequested_ends(&entries).pop();
        let last = last.filter(|end| end.number + 1 == entries.len());
        last.map_or(Verdict::Requested, |end| Verdict::Unrequested(end.ending))
    }

    #[test]
    fn an_end_of_its_own_is_told_with_its_code() {
        assert_eq!(judged(&[(1, STARTED), (2, EXIT_3)]), UNREQUESTED);
        assert_eq!(judged(&[(1, STARTED), (2, "./run ended: exi")]), Verdict::Unrequested(None));
        assert_eq!(judged(&[(1, STARTED), (2, "told cont"), (3, EXIT_3)]), UNREQUESTED);
    }

    #[test]
    fn a_service_that_is_not_wanted_up_may_end() {
        assert_eq!(judged(&[(1, STARTED), (2, "told down"), (900, EXIT_3)]), Verdict::Requested);
        assert_eq!(judged(&[(1, "told once"), (2, STARTED), (3, EXIT_3)]), Verdict::Requested);
        assert_eq!(
            judged(&[(1, STARTED), (2, "told exit by TERM to runsv"), (9, EXIT_3)]),
            Verdict::Requested
        );
        let back = |second| judged(&[(1, STARTED), (2, "told down"), (2, "told up"), (second, EXIT_3)]);
        assert_eq!((back(3), back(100)), (Verdict::Requested, UNREQUESTED));
        let again = [(1, STARTED), (2, "told down"), (3, EXIT_3), (4, "told up"), (5, STARTED), (6, EXIT_3)];
        assert_eq!(judged(&again), UNREQUESTED);
    }

    #[test]
    fn what_an_earlier_runsv_was_told_is_over() {
        let after = |began| judged(&[(1, "told down"), (1, EXIT_3), (2, began), (2, STARTED), (3, EXIT_3)]);
        assert_eq!(after("runsv started, wants up"), UNREQUESTED);
        assert_eq!(after("runsv started, wants down"), Verdict::Requested);
    }

    #[test]
    fn a_signal_asks_for_the_end_that_it_brings_soon_or_itself() {
        let told = |second, end| judged(&[(1, STARTED), (100, "told term"), (second, end)]);
        assert_eq!((told(107, EXIT_3), told(108, EXIT_3)), (Verdict::Requested, UNREQUESTED));
        assert_eq!(told(108, KILLED_BY_TERM), Verdict::Requested);
        let restarted = [(1, STARTED), (2, "told term"), (2, KILLED_BY_TERM), (2, STARTED), (3, EXIT_3)];
        assert_eq!(judged(&restarted), UNREQUESTED, "that was another life");
    }
}
