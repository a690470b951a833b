//! State: what is done about a signal that init was sent, and about a COMMAND that was stopped.

use std::time::Instant;

use sys::{Pid, Signal};

use super::{Lifecycle, MainCommand, Scanning};
use crate::state::events::{LifecycleAction, LogLevel};
use crate::state::signals::{SignalMeaning, meaning};

impl Lifecycle {
    pub(super) fn signalled(&mut self, signal: Signal, is_kernels: bool, now: Instant) {
        match (meaning(signal, is_kernels, self.is_command_up()), self.command) {
            (SignalMeaning::Stop, _) => self.stop_requested(signal, now),
            (SignalMeaning::PassOn, MainCommand::Up { pid, .. }) => self.signal_command(pid, signal),
            (SignalMeaning::Scan, _) if self.scanning == Scanning::Runs => {
                self.request(LifecycleAction::Scan);
            }
            (SignalMeaning::Suspend, _) if self.stop.is_none() => {
                self.request(LifecycleAction::Suspend(None, signal));
            }
            (SignalMeaning::Unknown, _) if !self.ignored.contains(signal) => {
                self.ignored = self.ignored.with(&[signal]);
                let line = format!(
                    "{signal}: ignored: there is no COMMAND to pass it on to; \
                     an image whose \"docker stop\" sends it needs STOPSIGNAL SIGTERM"
                );
                self.log(LogLevel::Warning, line);
            }
            // COMMAND is up if a signal is its own; and what is known to be ignored is not said again.
            (
                SignalMeaning::PassOn
                | SignalMeaning::Scan
                | SignalMeaning::Suspend
                | SignalMeaning::Nothing
                | SignalMeaning::Unknown,
                _,
            ) => {}
        }
    }

    /// A shell that has started init gets its terminal back, as from a COMMAND without init. In a stop,
    /// nothing may wait for a shell.
    pub(super) fn command_stopped(&mut self, stopped: Pid, signal: Signal) {
        match self.command {
            MainCommand::Up { pid, .. } if pid == stopped && signal.is_stop() => {}
            _ => return,
        }
        if self.stop.is_some() {
            self.request(LifecycleAction::Resume(stopped));
        } else if signal != Signal::STOP {
            self.request(LifecycleAction::Suspend(Some(stopped), signal));
        }
    }
}
