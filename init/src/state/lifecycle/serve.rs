//! State: services and COMMAND while they run, and how COMMAND is stopped.

use std::time::{Duration, Instant};

use sys::errno_text::phrase;
use sys::{Errno, ExitStatus, Pid, Signal};

use super::{
    CommandGroup, Lifecycle, LifecyclePhase, MainCommand, Scanning, StopInProgress, StopStep, code_of,
};
use crate::state::events::{LifecycleAction, LogLevel};
use crate::state::exit_code::StopReason;

/// How often the rest of COMMAND's process group is checked.
const PROBE_INTERVAL: Duration = Duration::from_millis(100);

impl Lifecycle {
    /// Whether services that end are started again.
    pub(super) fn is_serving(&self) -> bool {
        matches!(
            self.phase,
            LifecyclePhase::Serve | LifecyclePhase::Drain(_) | LifecyclePhase::Stop(StopStep::Command)
        )
    }

    pub(super) fn serve(&mut self) {
        if self.command == MainCommand::Due {
            // Before the services: it is better to know first that COMMAND cannot be run.
            self.command = MainCommand::Starting;
            self.request(LifecycleAction::StartCommand);
        } else if self.setup.directory.is_some()
            && self.scanning == Scanning::NotYet
            && self.command != MainCommand::Starting
            && self.stop.is_none()
        {
            self.scanning = Scanning::Runs;
            self.request(LifecycleAction::StartScanning);
        }
    }

    pub(super) fn end_command(&mut self) {
        let stop_signal = self.stop_signal();
        if let MainCommand::Up { pid, is_signalled, .. } = &mut self.command
            && !*is_signalled
        {
            *is_signalled = true;
            let pid = *pid;
            for signal in stop_signal.and_cont() {
                self.signal_command(pid, signal);
            }
            if stop_signal == Signal::TERM {
                self.request(LifecycleAction::HangUp(pid));
            }
        }
    }

    /// The exit of a process that is no child of init is no event: the group is checked at intervals.
    pub(super) fn probe_group(&mut self, now: Instant) {
        if let Some(group) = &mut self.group
            && group.probe_due <= now
        {
            group.probe_due = now + PROBE_INTERVAL;
            let leader = group.leader;
            self.request(LifecycleAction::ProbeGroup(leader));
        }
    }

    pub(super) fn command_ended(&mut self, pid: Pid, ending: ExitStatus, now: Instant) {
        self.request(LifecycleAction::TakeTerminal);
        let is_signalled = matches!(self.command, MainCommand::Up { is_signalled: true, .. });
        self.command = MainCommand::Ended(ending);
        if self.setup.is_group {
            // The rest of its group belongs to COMMAND: it is sent the stop signal, and the services wait
            // for it.
            self.group = Some(CommandGroup { leader: pid, probe_due: now });
            if !is_signalled {
                for signal in self.stop_signal().and_cont() {
                    self.request(LifecycleAction::SignalGroup(pid, signal));
                }
            }
        }
        if self.stop.is_none() {
            self.begin_stop(StopReason::Command(ending), now);
        } else {
            self.log(LogLevel::Info, format!("COMMAND: ended with {ending}"));
        }
    }

    pub(super) fn no_command(&mut self, why: Errno, now: Instant) {
        // The child may have taken the terminal.
        self.request(LifecycleAction::TakeTerminal);
        self.command = MainCommand::None;
        let name = self.setup.command.clone().unwrap_or_default();
        self.log(LogLevel::Problem, format!("fatal: unable to run {name}: {}", phrase(why)));
        self.begin_stop(StopReason::NoCommand(code_of(why)), now);
    }

    pub(super) fn signal_command(&mut self, pid: Pid, signal: Signal) {
        self.request(if self.setup.is_group {
            LifecycleAction::SignalGroup(pid, signal)
        } else {
            LifecycleAction::Signal(pid, signal)
        });
    }

    pub(super) fn is_command_up(&self) -> bool {
        matches!(self.command, MainCommand::Up { .. })
    }

    /// The signal that stops COMMAND: if no other was set, the one that init got, if that is SIGINT or
    /// SIGTERM.
    pub(super) fn stop_signal(&self) -> Signal {
        match (self.setup.stop_signal, &self.stop) {
            (Some(signal), _) => signal,
            (None, Some(StopInProgress { reason: StopReason::Signal(Signal::INT), .. })) => Signal::INT,
            _ => Signal::TERM,
        }
    }

    /// How long the services wait for COMMAND; without services it has all the time.
    pub(super) fn command_share(&self, stop: &StopInProgress) -> Duration {
        let budget = &stop.budget;
        if self.setup.directory.is_some() { (budget.drain + budget.run) / 2 } else { budget.run }
    }
}
