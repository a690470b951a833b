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
pub fn unrequested_ends(entries: &[HistoryEntry]) -> Vec<UnrequestedEnd> {
    let (mut judge, mut ends) = (EndJudge::default(), Vec::new());
    for (number, entry) in entries.iter().enumerate() {
        let when = entry.when;
        if let Ok(event) = &entry.event {
            judge.happened(event, when);
        }
        if let Some(ending) = entry.end_of_run()
            && judge.is_unrequested(ending, |sent| when.since(sent))
        {
            ends.push(UnrequestedEnd { number, when, ending });
        }
    }
    ends
}

/// Tells whether an end of `./run` was requested, from what has happened to the service before. `T` is a time.
///
/// A service that is not wanted up may end, and one that was sent a signal through sv may end of it or soon
/// after it. A signal that the service has survived for long is no request.
#[derive(Debug)]
pub struct EndJudge<T> {
    is_wanted_up: bool,
    /// What the service was sent through sv.
    signals: Vec<(T, Signal)>,
}

impl<T> Default for EndJudge<T> {
    fn default() -> Self {
        Self { is_wanted_up: true, signals: Vec::new() }
    }
}

impl<T: Copy> EndJudge<T> {
    /// Takes in what has happened.
    pub fn happened(&mut self, event: &HistoryEvent, when: T) {
        match event {
            // Commands to an earlier runsv do not count any more.
            HistoryEvent::Began(want) => {
                self.is_wanted_up = *want == Want::Up;
                self.signals.clear();
            }
            HistoryEvent::Told(Command::Up) => self.is_wanted_up = true,
            HistoryEvent::Told(Command::Down | Command::Exit | Command::Once) | HistoryEvent::ToldToLeave => {
                self.is_wanted_up = false;
                // A service that is wanted up again before it has ended ends nevertheless.
                self.sent(Signal::TERM, when);
            }
            // These end no service.
            HistoryEvent::Told(Command::Pause | Command::Cont) => {}
            HistoryEvent::Told(command) => {
                if let Some(signal) = command.signal() {
                    self.sent(signal, when);
                }
            }
            HistoryEvent::Started(_) => self.signals.clear(),
            _ => {}
        }
    }

    /// Whether no client has requested this end, if its exit status is known. `since` tells how long ago
    /// something was.
    pub fn is_unrequested(&mut self, ending: Option<ExitStatus>, since: impl Fn(T) -> Duration) -> bool {
        let is_of =
            |sent: Signal| matches!(ending, Some(ExitStatus::Killed { signal, .. }) if signal == sent);
        let is_requested =
            self.signals.drain(..).any(|(sent, signal)| is_of(signal) || since(sent) <= ENDS_WITHIN);
        self.is_wanted_up && !is_requested
    }

    /// Only the last of the same signals counts: a client may send them without end.
    fn sent(&mut self, signal: Signal, when: T) {
        self.signals.retain(|(_, known)| *known != signal);
        self.signals.push((when, signal));
    }
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
