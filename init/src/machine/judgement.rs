//! Machine: what is to be thought of an end: whether it was asked for, and whether it was in order.

use std::fmt::Write;
use std::time::Duration;

use sys::{ExitStatus, Signal};

/// How long after a signal that somebody has sent through sv a service ends because of it, whatever it
/// does on its way: sv itself waits for so long.
const ENDS_WITHIN: Duration = Duration::from_secs(7);

/// What happened to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// A runsv began, and wants it up or not: whatever an earlier one was told is over.
    Began {
        /// Whether it does.
        is_wanted_up: bool,
    },
    /// Somebody told its runsv something.
    Told(Told),
    /// `./run` was started.
    Started,
    /// `./run` has ended, like this if that can be read.
    Ended(Option<ExitStatus>),
    /// `./finish` has ended.
    Finished(Option<ExitStatus>),
    /// Its runsv has sent it a signal.
    Sent(Signal),
    /// Nothing of interest.
    Other,
}

/// What runsv can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// To keep it up.
    Up,
    /// To have it down, to run it only once, or to leave.
    NotUp,
    /// To send it a signal.
    Signal(Signal),
}

/// An end of `./run` that nobody has asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnaskedEnd {
    /// How that was, if it is known.
    pub ending: Option<ExitStatus>,
}

/// The first end of `./run` that nobody has asked for, from `first_new` on.
///
/// What was told before counts, too: who is not wanted up may end, and who was sent a signal may end of
/// it, or a little later. A signal that it has survived for long is no request.
pub fn unasked_end(deeds: &[(u128, Deed)], first_new: usize) -> Option<UnaskedEnd> {
    let (mut is_wanted_up, mut signals) = (true, Vec::new());
    for (number, (when, deed)) in deeds.iter().enumerate() {
        match deed {
            Deed::Began { is_wanted_up: wants } => {
                is_wanted_up = *wants;
                signals.clear();
            }
            Deed::Told(Told::Up) => is_wanted_up = true,
            Deed::Told(Told::NotUp) => {
                is_wanted_up = false;
                // Who is told to be up again before it has ended ends nevertheless.
                signals.push((*when, Signal::TERM));
            }
            Deed::Told(Told::Signal(signal)) => signals.push((*when, *signal)),
            Deed::Started => signals.clear(),
            Deed::Ended(ending) => {
                let is_of = |sent: Signal| matches!(ending, Some(ExitStatus::Killed { signal, .. }) if *signal == sent);
                let is_asked = signals.iter().any(|(sent, signal)| {
                    is_of(*signal) || when.saturating_sub(*sent) <= ENDS_WITHIN.as_nanos()
                });
                if number >= first_new && is_wanted_up && !is_asked {
                    return Some(UnaskedEnd { ending: *ending });
                }
                signals.clear();
            }
            Deed::Finished(_) | Deed::Sent(_) | Deed::Other => {}
        }
    }
    None
}

/// How a service has ended that was told to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// How `./run` did, if that is known.
    pub run: Option<ExitStatus>,
    /// How `./finish` did.
    pub finish: Option<ExitStatus>,
    /// The signals that its runsv has sent it.
    pub sent: Vec<Signal>,
}

impl Account {
    /// Whether its runsv has killed it: there is a limit to its patience, or somebody has asked for it.
    pub fn was_killed(&self) -> bool {
        self.sent.contains(&Signal::KILL)
    }

    /// What was not in order: `, ./run ended with exit 3`.
    pub fn remarks(&self) -> String {
        let mut text = String::new();
        for (script, ending) in [("./run", self.run), ("./finish", self.finish)] {
            if let Some(ending) = ending.filter(|ending| !self.is_in_order(*ending)) {
                // A string takes whatever is written to it.
                let _ = write!(text, ", {script} ended with {ending}");
            }
        }
        text
    }

    /// Who does as it was told, and ends of the signal that it was sent, is in order.
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
    const EXIT_3: Deed = Deed::Ended(Some(ExitStatus::Exited(3)));

    fn killed_by(signal: Signal) -> ExitStatus {
        ExitStatus::Killed { signal, core: false }
    }

    const UNASKED: Option<UnaskedEnd> = Some(UnaskedEnd { ending: Some(ExitStatus::Exited(3)) });

    fn judged(deeds: &[(u128, Deed)]) -> Option<UnaskedEnd> {
        let deeds: Vec<_> = deeds.iter().map(|(second, deed)| (second * SECOND, *deed)).collect();
        unasked_end(&deeds, 0)
    }

    #[test]
    fn an_end_of_its_own_is_told_with_its_code() {
        assert_eq!(judged(&[(1, Deed::Started), (2, EXIT_3)]), UNASKED);
        assert_eq!(judged(&[(1, Deed::Started), (2, Deed::Ended(None))]), Some(UnaskedEnd { ending: None }));
    }

    #[test]
    fn who_is_not_wanted_up_may_end() {
        let down = Deed::Told(Told::NotUp);
        assert_eq!(judged(&[(1, Deed::Started), (2, down), (900, EXIT_3)]), None);
        assert_eq!(judged(&[(1, down), (2, Deed::Started), (3, EXIT_3)]), None, "once");
        let up = Deed::Told(Told::Up);
        assert_eq!(judged(&[(1, Deed::Started), (2, down), (2, up), (3, EXIT_3)]), None);
        assert_eq!(judged(&[(1, Deed::Started), (2, down), (2, up), (100, EXIT_3)]), UNASKED);
        let again = [(1, Deed::Started), (2, down), (3, EXIT_3), (4, up), (5, Deed::Started), (6, EXIT_3)];
        assert_eq!(judged(&again), UNASKED);
    }

    #[test]
    fn what_an_earlier_runsv_was_told_is_over() {
        let before = [(1, Deed::Told(Told::NotUp)), (1, EXIT_3)];
        let after = |is_wanted_up| {
            let began = Deed::Began { is_wanted_up };
            judged(&[&before[..], &[(2, began), (2, Deed::Started), (3, EXIT_3)]].concat())
        };
        assert_eq!((after(true), after(false)), (UNASKED, None));
    }

    #[test]
    fn a_signal_asks_for_the_end_that_it_brings_soon_or_itself() {
        let term = Deed::Told(Told::Signal(Signal::TERM));
        assert_eq!(judged(&[(1, Deed::Started), (100, term), (107, EXIT_3)]), None);
        assert_eq!(judged(&[(1, Deed::Started), (100, term), (108, EXIT_3)]), UNASKED);
        let of_it = Deed::Ended(Some(killed_by(Signal::TERM)));
        assert_eq!(judged(&[(1, Deed::Started), (100, term), (108, of_it)]), None);
        let restarted = [(1, Deed::Started), (2, term), (2, of_it), (2, Deed::Started), (3, EXIT_3)];
        assert_eq!(judged(&restarted), UNASKED, "that was another life");
    }

    #[test]
    fn what_was_judged_before_is_not_judged_again() {
        let deeds = [(1, Deed::Started), (2, EXIT_3), (3, Deed::Started)];
        assert_eq!(unasked_end(&deeds, 2), None);
        assert_eq!(unasked_end(&deeds, 1), UNASKED);
    }

    #[test]
    fn only_what_was_not_in_order_is_worth_a_remark() {
        let account = |run, finish, sent: &[Signal]| Account { run, finish, sent: sent.to_vec() };
        assert_eq!(account(Some(killed_by(Signal::TERM)), Some(ExitStatus::Exited(0)), &[]).remarks(), "");
        assert_eq!(account(Some(killed_by(Signal::INT)), None, &[Signal::INT]).remarks(), "");
        assert_eq!(
            account(Some(killed_by(Signal::SEGV)), Some(ExitStatus::Exited(2)), &[Signal::TERM]).remarks(),
            ", ./run ended with SIGSEGV, ./finish ended with exit 2"
        );
        let killed = account(Some(killed_by(Signal::KILL)), None, &[Signal::TERM, Signal::KILL]);
        assert_eq!((killed.remarks().as_str(), killed.was_killed()), (", ./run ended with SIGKILL", true));
    }
}
