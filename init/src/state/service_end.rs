//! State: whether the end of a service was requested, and whether it was in order.

use std::fmt::Write;
use std::time::Duration;

use sys::{ExitStatus, Signal};

/// How long after a signal through sv an end counts as its effect: sv itself waits for so long.
const ENDS_WITHIN: Duration = Duration::from_secs(7);

/// An event in the history of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PastEvent {
    /// A runsv has started, and wants the service up or not. Earlier commands do not count any more.
    SupervisorStarted {
        /// Whether it does.
        is_wanted_up: bool,
    },
    /// runsv got a command.
    Commanded(CommandEffect),
    /// `./run` was started.
    Started,
    /// `./run` has ended, with this status if it can be read.
    Ended(Option<ExitStatus>),
    /// `./finish` has ended.
    Finished(Option<ExitStatus>),
    /// runsv has sent the service a signal.
    Sent(Signal),
    /// Any other event.
    Other,
}

/// The effect of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandEffect {
    /// The service is wanted up.
    Up,
    /// The service is wanted down, or once, or runsv is to exit.
    NotUp,
    /// The service is sent a signal.
    Signal(Signal),
}

/// An end of `./run` that no client has requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnrequestedEnd {
    /// Its exit status, if it is known.
    pub ending: Option<ExitStatus>,
}

/// The first unrequested end of `./run` from `first_new` on.
///
/// Earlier events count as well: a service that is not wanted up may end, and one that was sent a signal may
/// end of it or soon after it. A signal that the service has survived for long is no request.
pub fn unrequested_end(past_events: &[(u128, PastEvent)], first_new: usize) -> Option<UnrequestedEnd> {
    let (mut is_wanted_up, mut signals) = (true, Vec::new());
    for (number, (when, past_event)) in past_events.iter().enumerate() {
        match past_event {
            PastEvent::SupervisorStarted { is_wanted_up: wants } => {
                is_wanted_up = *wants;
                signals.clear();
            }
            PastEvent::Commanded(CommandEffect::Up) => is_wanted_up = true,
            PastEvent::Commanded(CommandEffect::NotUp) => {
                is_wanted_up = false;
                // A service that is wanted up again before it has ended ends nevertheless.
                signals.push((*when, Signal::TERM));
            }
            PastEvent::Commanded(CommandEffect::Signal(signal)) => signals.push((*when, *signal)),
            PastEvent::Started => signals.clear(),
            PastEvent::Ended(ending) => {
                let is_of = |sent: Signal| matches!(ending, Some(ExitStatus::Killed { signal, .. }) if *signal == sent);
                let is_requested = signals.iter().any(|(sent, signal)| {
                    is_of(*signal) || when.saturating_sub(*sent) <= ENDS_WITHIN.as_nanos()
                });
                if number >= first_new && is_wanted_up && !is_requested {
                    return Some(UnrequestedEnd { ending: *ending });
                }
                signals.clear();
            }
            PastEvent::Finished(_) | PastEvent::Sent(_) | PastEvent::Other => {}
        }
    }
    None
}

/// How a service that was stopped has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceEnd {
    /// The exit status of `./run`, if it is known.
    pub run: Option<ExitStatus>,
    /// The exit status of `./finish`.
    pub finish: Option<ExitStatus>,
    /// The signals that runsv has sent it.
    pub sent: Vec<Signal>,
}

impl ServiceEnd {
    /// Whether runsv has killed it, because of `timeout-kill` or a command.
    pub fn was_killed(&self) -> bool {
        self.sent.contains(&Signal::KILL)
    }

    /// What was not in order: `, ./run ended with exit 3`.
    pub fn remarks(&self) -> String {
        let mut text = String::new();
        for (script, ending) in [("./run", self.run), ("./finish", self.finish)] {
            if let Some(ending) = ending.filter(|ending| !self.is_in_order(*ending)) {
                // A write to a string cannot fail.
                let _ = write!(text, ", {script} ended with {ending}");
            }
        }
        text
    }

    /// An exit with 0, and a death by a signal that the service was sent, are in order.
    fn is_in_order(&self, ending: ExitStatus) -> bool {
        match ending {
            ExitStatus::Exited(code) => code == 0,
            ExitStatus::Killed { signal, core } => {
                !core && signal != Signal::KILL && (signal == Signal::TERM || self.sent.contains(&signal))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u128 = 1_000_000_000;
    const EXIT_3: PastEvent = PastEvent::Ended(Some(ExitStatus::Exited(3)));

    fn killed_by(signal: Signal) -> ExitStatus {
        ExitStatus::Killed { signal, core: false }
    }

    const UNREQUESTED: Option<UnrequestedEnd> = Some(UnrequestedEnd { ending: Some(ExitStatus::Exited(3)) });

    fn judged(past_events: &[(u128, PastEvent)]) -> Option<UnrequestedEnd> {
        let past_events: Vec<_> =
            past_events.iter().map(|(second, past_event)| (second * SECOND, *past_event)).collect();
        unrequested_end(&past_events, 0)
    }

    #[test]
    fn an_end_of_its_own_is_told_with_its_code() {
        assert_eq!(judged(&[(1, PastEvent::Started), (2, EXIT_3)]), UNREQUESTED);
        assert_eq!(
            judged(&[(1, PastEvent::Started), (2, PastEvent::Ended(None))]),
            Some(UnrequestedEnd { ending: None })
        );
    }

    #[test]
    fn who_is_not_wanted_up_may_end() {
        let down = PastEvent::Commanded(CommandEffect::NotUp);
        assert_eq!(judged(&[(1, PastEvent::Started), (2, down), (900, EXIT_3)]), None);
        assert_eq!(judged(&[(1, down), (2, PastEvent::Started), (3, EXIT_3)]), None, "once");
        let up = PastEvent::Commanded(CommandEffect::Up);
        assert_eq!(judged(&[(1, PastEvent::Started), (2, down), (2, up), (3, EXIT_3)]), None);
        assert_eq!(judged(&[(1, PastEvent::Started), (2, down), (2, up), (100, EXIT_3)]), UNREQUESTED);
        let again =
            [(1, PastEvent::Started), (2, down), (3, EXIT_3), (4, up), (5, PastEvent::Started), (6, EXIT_3)];
        assert_eq!(judged(&again), UNREQUESTED);
    }

    #[test]
    fn what_an_earlier_runsv_was_told_is_over() {
        let before = [(1, PastEvent::Commanded(CommandEffect::NotUp)), (1, EXIT_3)];
        let after = |is_wanted_up| {
            let began = PastEvent::SupervisorStarted { is_wanted_up };
            judged(&[&before[..], &[(2, began), (2, PastEvent::Started), (3, EXIT_3)]].concat())
        };
        assert_eq!((after(true), after(false)), (UNREQUESTED, None));
    }

    #[test]
    fn a_signal_asks_for_the_end_that_it_brings_soon_or_itself() {
        let term = PastEvent::Commanded(CommandEffect::Signal(Signal::TERM));
        assert_eq!(judged(&[(1, PastEvent::Started), (100, term), (107, EXIT_3)]), None);
        assert_eq!(judged(&[(1, PastEvent::Started), (100, term), (108, EXIT_3)]), UNREQUESTED);
        let of_it = PastEvent::Ended(Some(killed_by(Signal::TERM)));
        assert_eq!(judged(&[(1, PastEvent::Started), (100, term), (108, of_it)]), None);
        let restarted =
            [(1, PastEvent::Started), (2, term), (2, of_it), (2, PastEvent::Started), (3, EXIT_3)];
        assert_eq!(judged(&restarted), UNREQUESTED, "that was another life");
    }

    #[test]
    fn what_was_judged_before_is_not_judged_again() {
        let past_events = [(1, PastEvent::Started), (2, EXIT_3), (3, PastEvent::Started)];
        assert_eq!(unrequested_end(&past_events, 2), None);
        assert_eq!(unrequested_end(&past_events, 1), UNREQUESTED);
    }

    #[test]
    fn only_what_was_not_in_order_is_worth_a_remark() {
        let service_end = |run, finish, sent: &[Signal]| ServiceEnd { run, finish, sent: sent.to_vec() };
        assert_eq!(
            service_end(Some(killed_by(Signal::TERM)), Some(ExitStatus::Exited(0)), &[]).remarks(),
            ""
        );
        assert_eq!(service_end(Some(killed_by(Signal::INT)), None, &[Signal::INT]).remarks(), "");
        assert_eq!(
            service_end(Some(killed_by(Signal::SEGV)), Some(ExitStatus::Exited(2)), &[Signal::TERM])
                .remarks(),
            ", ./run ended with SIGSEGV, ./finish ended with exit 2"
        );
        let killed = service_end(Some(killed_by(Signal::KILL)), None, &[Signal::TERM, Signal::KILL]);
        assert_eq!((killed.remarks().as_str(), killed.was_killed()), (", ./run ended with SIGKILL", true));
    }
}
