//! State: the steps of each command to a running service (RSV-30, RSV-31).

use std::collections::VecDeque;

use servicedir::{Command, Want};
use sys::Signal;

/// One step of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandStep {
    /// Find out how the service wants to be stopped.
    ReadSettings,
    /// Run `control/BYTE`, if it is there; its success suppresses the next signal, CONT excepted.
    ControlScript(u8),
    /// Send the signal that stops the service, unless the script has suppressed it.
    StopUnlessSuppressed,
    /// Send this signal, unless the script has suppressed it.
    SignalUnlessSuppressed(Signal),
    /// Send CONT: a paused process cannot react to the signal that stops it. It comes after that signal,
    /// unless it would discard it.
    Continue {
        /// Whether this step is the one before the signal.
        is_before: bool,
    },
    /// Note that the service is paused, or no longer.
    SetPaused(bool),
    /// Wait no longer for the service: it was killed after an exit command (QRK-4).
    Force,
}

/// Stops the service, also if it is paused.
pub const STOP: [CommandStep; 3] = [
    CommandStep::Continue { is_before: true },
    CommandStep::StopUnlessSuppressed,
    CommandStep::Continue { is_before: false },
];

/// The steps of a command to a running service. `want` is the want after the command.
pub fn steps_for(command: Command, want: Want) -> VecDeque<CommandStep> {
    let byte = command.byte();
    let mut steps = VecDeque::new();
    match command {
        Command::Up | Command::Once => {}
        Command::Down | Command::Exit | Command::Term => {
            steps.extend([CommandStep::ReadSettings, CommandStep::ControlScript(b't')]);
            // A service that is not to be restarted is stopped for good, also by `t`.
            match want {
                Want::Down => {
                    steps.extend(STOP);
                    steps.push_back(CommandStep::ControlScript(Command::Down.byte()));
                }
                Want::Exit => {
                    steps.extend(STOP);
                    steps.push_back(CommandStep::ControlScript(Command::Exit.byte()));
                }
                Want::Up | Want::Unknown => steps.push_back(CommandStep::StopUnlessSuppressed),
            }
        }
        Command::Pause => {
            steps.extend([
                CommandStep::ControlScript(byte),
                CommandStep::SignalUnlessSuppressed(Signal::STOP),
                CommandStep::SetPaused(true),
            ]);
        }
        Command::Cont => {
            steps.extend([
                CommandStep::ControlScript(byte),
                CommandStep::SignalUnlessSuppressed(Signal::CONT),
                CommandStep::SetPaused(false),
            ]);
        }
        Command::Kill => {
            steps.extend([
                CommandStep::ControlScript(byte),
                CommandStep::SignalUnlessSuppressed(Signal::KILL),
            ]);
            if want == Want::Exit {
                steps.push_back(CommandStep::Force);
            }
        }
        Command::Hup
        | Command::Alarm
        | Command::Interrupt
        | Command::Quit
        | Command::Usr1
        | Command::Usr2 => {
            steps.push_back(CommandStep::ControlScript(byte));
            steps.extend(command.signal().map(CommandStep::SignalUnlessSuppressed));
        }
    }
    steps
}
