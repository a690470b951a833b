//! State: the messages about the life of a container.

use std::time::Instant;

use sys::Signal;

use super::{ChildList, Lifecycle, LifecyclePhase, REPORT, StopStep, SweepState};
use crate::state::events::{LifecycleAction, LogLevel};
use crate::state::exit_code::StopReason;
use crate::state::text::{listed, seconds};

impl Lifecycle {
    pub(super) fn announcement(&self) -> String {
        let budget = self.setup.budget(self.setup.has_drain, self.setup.has_finish);
        let what = match (&self.setup.directory, &self.setup.command) {
            (Some(directory), Some(command)) => {
                format!("{command} beside the services of {}", directory.display())
            }
            (Some(directory), None) => format!("services of {}", directory.display()),
            (None, command) => format!("{} without services", command.as_deref().unwrap_or("nothing")),
        };
        let mut parts = vec![format!("grace {}", seconds(self.setup.grace))];
        if self.setup.has_drain {
            parts.push(format!("drain until {}", seconds(budget.drain)));
        }
        if self.setup.directory.is_some() {
            parts.push(format!("services killed at {}", seconds(budget.run)));
            parts.push(format!("finish scripts at {}", seconds(budget.finish)));
            parts.push(format!("loggers at {}", seconds(budget.supervisors)));
            parts.push(format!("all else at {}", seconds(budget.sweep)));
        } else {
            parts.push(format!("all killed at {}", seconds(budget.sweep)));
        }
        parts.push(format!("exit by {}", seconds(budget.end)));
        format!("{what}; {}", parts.join(", "))
    }

    pub(super) fn stop_message(&self, reason: &StopReason) -> String {
        match reason {
            StopReason::Signal(_) => format!("{reason}: stopping within {}", seconds(self.setup.grace)),
            StopReason::Command(ending) => format!("COMMAND: ended with {ending}: stopping"),
            StopReason::NoCommand(_) => "stopping: COMMAND could not be started".to_owned(),
            StopReason::Critical { name, ending: Some(ending) } => {
                format!("{name}: critical, ended with {ending}: stopping")
            }
            StopReason::Critical { name, ending: None } => format!("{name}: critical, has ended: stopping"),
            StopReason::StartHook { name, code } => format!("{name}: failed: stopping with exit {code}"),
        }
    }

    /// Each second, logs what is still up, and sends SIGCONT again to what was signalled.
    pub(super) fn report(&mut self, now: Instant) {
        let Some(stop) = &mut self.stop else { return };
        if stop.next_report > now || matches!(self.phase, LifecyclePhase::Over(_)) {
            return;
        }
        while stop.next_report <= now {
            stop.next_report += REPORT;
        }
        if stop.child_list == ChildList::Fresh
            && matches!(self.phase, LifecyclePhase::Stop(StopStep::Services) | LifecyclePhase::Flush)
        {
            stop.child_list = ChildList::Stale { list_at: Some(now) };
        }
        let began = stop.began;
        if let LifecyclePhase::Sweep(SweepState { kill_at: None, .. }) = self.phase {
            // A process that was young may have missed the signal.
            self.request(LifecycleAction::Sweep(Signal::TERM));
        }
        self.continue_signalled();
        let elapsed = seconds(now.saturating_duration_since(began));
        let mut names: Vec<String> = Vec::new();
        if let LifecyclePhase::Drain(run) | LifecyclePhase::Finish(run) = &self.phase {
            names.extend(run.running().map(|hook| hook.name(run.stage())));
        }
        if self.is_command_up() && !matches!(self.phase, LifecyclePhase::Drain(_)) {
            names.push("COMMAND".to_owned());
        }
        if self.group.is_some() && matches!(self.phase, LifecyclePhase::Stop(StopStep::Command)) {
            names.push("the rest of COMMAND's group".to_owned());
        }
        names.extend(self.stop_set.names());
        if names.is_empty() {
            names.push("what services left behind".to_owned());
        }
        self.log(LogLevel::Info, format!("after {elapsed} waiting for {}", listed(&names)));
    }
}
