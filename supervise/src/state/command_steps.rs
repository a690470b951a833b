//! What a command means for a running service, step by step (RSV-30, RSV-31).

use std::collections::VecDeque;

use servicedir::{Command, Want};
use sys::Signal;

/// One step of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Find out how the service wants to be stopped.
    ReadSettings,
    /// Run `control/BYTE`, if it is there; success suppresses the next unless-hooked signal.
    ControlScript(u8),
    /// The signal that stops the service, unless the hook did.
    StopUnlessHooked,
    /// This signal, unless the hook did.
    SignalUnlessHooked(Signal),
    /// CONT, always: what is paused cannot react to the signal that stops it.
    Continue,
    /// Note that the service is paused, or no longer.
    SetPaused(bool),
    /// The service was killed on its way out: nothing is waited for any more (QRK-4).
    Force,
}

/// The plan for a command to a service that runs, and is wanted like this, the command obeyed.
pub fn plan(command: Command, want: Want) -> VecDeque<Step> {
    let stop = [Step::ReadSettings, Step::ControlScript(b't'), Step::StopUnlessHooked];
    let byte = command.byte();
    let mut steps = VecDeque::new();
    match command {
        Command::Up | Command::Once => {}
        Command::Down | Command::Exit | Command::Term => {
            steps.extend(stop);
            // A service that is not to be restarted is stopped for good, also by `t`.
            match want {
                Want::Down => steps.extend([Step::Continue, Step::ControlScript(Command::Down.byte())]),
                Want::Exit => steps.extend([Step::Continue, Step::ControlScript(Command::Exit.byte())]),
                Want::Up | Want::Unknown => {}
            }
        }
        Command::Pause => {
            steps.extend([
                Step::ControlScript(byte),
                Step::SignalUnlessHooked(Signal::STOP),
                Step::SetPaused(true),
            ]);
        }
        Command::Cont => {
            steps.extend([
                Step::ControlScript(byte),
                Step::SignalUnlessHooked(Signal::CONT),
                Step::SetPaused(false),
            ]);
        }
        Command::Kill => {
            steps.extend([Step::ControlScript(byte), Step::SignalUnlessHooked(Signal::KILL)]);
            if want == Want::Exit {
                steps.push_back(Step::Force);
            }
        }
        Command::Hup
        | Command::Alarm
        | Command::Interrupt
        | Command::Quit
        | Command::Usr1
        | Command::Usr2 => {
            steps.push_back(Step::ControlScript(byte));
            steps.extend(command.signal().map(Step::SignalUnlessHooked));
        }
    }
    steps
}
