//! State: the reason of the stop, and the exit code that follows from it.

use std::fmt;

use sys::{ExitStatus, Signal};

/// The command line cannot be understood.
pub const USAGE: u8 = 100;
/// The system refuses something at the start.
pub const SYSTEM: u8 = 111;
/// Something had to be killed.
pub const KILLED: u8 = 99;
/// COMMAND or a start hook is there, but cannot be run.
pub const CANNOT_RUN: u8 = 126;
/// COMMAND or a start hook is not there.
pub const NOT_FOUND: u8 = 127;

/// The reason of the stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// A signal requested it.
    Signal(Signal),
    /// COMMAND has ended.
    Command(ExitStatus),
    /// COMMAND could not be run.
    NoCommand(u8),
    /// A critical service has ended, and no client had requested that.
    Critical {
        /// Its name.
        name: String,
        /// Its exit status, if the history tells.
        ending: Option<ExitStatus>,
    },
    /// A start hook has failed.
    StartHook {
        /// Its name.
        name: String,
        /// The exit code.
        code: u8,
    },
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(signal) => write!(f, "{}", signal.to_string().trim_start_matches("SIG")),
            Self::Command(_) | Self::NoCommand(_) => f.write_str("COMMAND"),
            Self::Critical { name, .. } | Self::StartHook { name, .. } => f.write_str(name),
        }
    }
}

/// The exit code of init.
///
/// `command` is how COMMAND ended, if there is one; `stop_signal` the signal it was sent at the stop.
pub fn exit_code(
    reason: &StopReason,
    command: Option<ExitStatus>,
    stop_signal: Signal,
    has_killed: bool,
) -> u8 {
    let by_itself = if has_killed { KILLED } else { 0 };
    match (reason, command) {
        (StopReason::StartHook { code, .. } | StopReason::NoCommand(code), _) => *code,
        (StopReason::Critical { ending: Some(ending), .. } | StopReason::Command(ending), _) => {
            ending.shell_code()
        }
        (StopReason::Critical { ending: None, .. }, _) => 1,
        // A process that ends of the signal it was sent to stop has stopped in order. Some, as
        // the JVM, handle it and exit with what a shell would say of such an end.
        (StopReason::Signal(_), Some(ending)) if ending.is_answer_to(stop_signal) => by_itself,
        (StopReason::Signal(_), Some(ending)) => ending.shell_code(),
        (StopReason::Signal(_), None) => by_itself,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERM: StopReason = StopReason::Signal(Signal::TERM);

    fn death(signal: Signal) -> ExitStatus {
        ExitStatus::Killed { signal, core: false }
    }

    #[test]
    fn an_orderly_stop_is_a_success() {
        assert_eq!(exit_code(&TERM, None, Signal::TERM, false), 0);
        assert_eq!(exit_code(&TERM, Some(death(Signal::TERM)), Signal::TERM, false), 0);
        assert_eq!(exit_code(&TERM, Some(ExitStatus::Exited(143)), Signal::TERM, false), 0);
        assert_eq!(exit_code(&TERM, Some(ExitStatus::Exited(0)), Signal::TERM, true), 0);
    }

    #[test]
    fn what_had_to_be_killed_is_none() {
        assert_eq!(exit_code(&TERM, None, Signal::TERM, true), KILLED);
        assert_eq!(exit_code(&TERM, Some(death(Signal::KILL)), Signal::TERM, true), 137);
    }

    #[test]
    fn the_commands_code_is_inits() {
        assert_eq!(exit_code(&StopReason::Command(ExitStatus::Exited(3)), None, Signal::TERM, true), 3);
        assert_eq!(exit_code(&StopReason::Command(death(Signal::TERM)), None, Signal::TERM, false), 143);
        assert_eq!(exit_code(&TERM, Some(ExitStatus::Exited(143)), Signal::INT, false), 143);
        assert_eq!(exit_code(&TERM, Some(ExitStatus::Exited(1)), Signal::TERM, false), 1);
        assert_eq!(exit_code(&StopReason::NoCommand(NOT_FOUND), None, Signal::TERM, false), 127);
    }

    #[test]
    fn a_critical_service_decides() {
        let reason = |ending| StopReason::Critical { name: "web".into(), ending };
        assert_eq!(exit_code(&reason(Some(ExitStatus::Exited(7))), None, Signal::TERM, false), 7);
        assert_eq!(exit_code(&reason(Some(death(Signal::SEGV))), None, Signal::TERM, false), 139);
        assert_eq!(exit_code(&reason(None), None, Signal::TERM, false), 1);
    }
}
