//! State: whether the end of a service was in order.

use std::fmt::Write;

use sys::{ExitStatus, Signal};

/// How a service that was stopped has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceEnd {
    /// The exit status of `./run`, if it is known.
    pub run: Option<ExitStatus>,
    /// The exit status of `./finish`.
    pub finish: Option<ExitStatus>,
    /// The signals that its supervisor has sent it.
    pub sent: Vec<Signal>,
}

impl ServiceEnd {
    /// Whether its supervisor has killed it, because of `timeout-kill` or a command.
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

    /// An exit with 0, a death by a signal that the service was sent, and the exit code that a shell has for
    /// such a death, are in order.
    fn is_in_order(&self, ending: ExitStatus) -> bool {
        let sent = self.sent.iter().copied().filter(|signal| *signal != Signal::KILL);
        ending.is_success() || sent.chain([Signal::TERM]).any(|signal| ending.is_answer_to(signal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn killed_by(signal: Signal) -> ExitStatus {
        ExitStatus::Killed { signal, core: false }
    }

    #[test]
    fn only_what_was_not_in_order_is_worth_a_remark() {
        let service_end = |run, finish, sent: &[Signal]| ServiceEnd { run, finish, sent: sent.to_vec() };
        assert_eq!(
            service_end(Some(killed_by(Signal::TERM)), Some(ExitStatus::Exited(0)), &[]).remarks(),
            ""
        );
        assert_eq!(service_end(Some(killed_by(Signal::INT)), None, &[Signal::INT]).remarks(), "");
        assert_eq!(service_end(Some(ExitStatus::Exited(143)), None, &[Signal::TERM]).remarks(), "");
        assert_eq!(
            service_end(Some(killed_by(Signal::SEGV)), Some(ExitStatus::Exited(2)), &[Signal::TERM])
                .remarks(),
            ", ./run ended with SIGSEGV, ./finish ended with exit 2"
        );
        let killed = service_end(Some(killed_by(Signal::KILL)), None, &[Signal::TERM, Signal::KILL]);
        assert_eq!((killed.remarks().as_str(), killed.was_killed()), (", ./run ended with SIGKILL", true));
    }
}
