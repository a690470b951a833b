//! State: services go down, and loggers read to the end of their input.

use std::time::Instant;

use sys::Signal;

use super::{Lifecycle, LifecyclePhase, MainCommand, Scanning, StopStep};
use crate::state::events::{LifecycleAction, LogLevel};
use crate::state::stop_budget::{StopBudget, StopNeeds};
use crate::state::stop_set::StopSet;
use crate::state::text::{counted, seconds};

impl Lifecycle {
    /// From now on no service is started. What is there is stopped.
    pub(super) fn begin_service_stop(&mut self, now: Instant) -> LifecyclePhase {
        self.scanning = Scanning::Over;
        self.request(LifecycleAction::StopScanning);
        let services = self.services.stop_needs(self.is_command_up());
        if let Some(stop) = &mut self.stop {
            let has_finish = stop.finish_hooks.as_ref().is_none_or(|hooks| !hooks.is_empty());
            stop.budget =
                StopBudget::of(StopNeeds { services, ..self.setup.needs(stop.has_drain, has_finish) });
        }
        // What some of them need may have changed.
        self.services.settle(now);
        for warning in self.services.take_warnings() {
            self.log(LogLevel::Warning, warning);
        }
        let (graph, services) = self.services.take_for_stop();
        self.stop_set = StopSet::new(graph, &services);
        if let Some(stop) = self.stop.as_ref().filter(|_| !self.stop_set.is_empty()) {
            let elapsed = seconds(now.saturating_duration_since(stop.began));
            let services = counted(self.stop_set.len(), "service");
            self.log(LogLevel::Info, format!("stopping {services} after {elapsed}"));
        }
        LifecyclePhase::Stop(StopStep::Services)
    }

    pub(super) fn stop_services(&mut self, now: Instant) {
        self.kill_late_command(now);
        let Some(stop) = &self.stop else { return };
        let free = self.stop_set.take_free(stop.began, &stop.budget, now);
        if !free.is_empty() {
            self.request(LifecycleAction::StopServices(free));
        }
        let (late, clearable) = self.stop_set.take_due(now);
        if !clearable.is_empty() {
            self.request(LifecycleAction::EndLeftovers(clearable));
        }
        if !late.is_empty() {
            self.request(LifecycleAction::Escalate(late));
        }
    }

    pub(super) fn kill_late_command(&mut self, now: Instant) {
        let Some(stop) = &self.stop else { return };
        let is_late = stop.at(stop.budget.run) <= now;
        if let MainCommand::Up { pid, is_killed, .. } = &mut self.command
            && !*is_killed
            && is_late
        {
            *is_killed = true;
            let pid = *pid;
            self.actions.push_back(LifecycleAction::SignalGroup(pid, Signal::KILL));
            self.has_killed = true;
            self.log(LogLevel::Problem, "COMMAND: does not stop: killed".to_owned());
        }
    }

    /// Sends SIGCONT to stopped processes that were signalled, and to their descendants: a stopped process
    /// does not act on a signal, and its service may wait for it.
    pub(super) fn continue_signalled(&mut self) {
        let command = match self.command {
            MainCommand::Up { pid, .. } if !matches!(self.phase, LifecyclePhase::Drain(_)) => Some(pid),
            _ => None,
        };
        let services = self.stop_set.told();
        if command.is_some() || !services.is_empty() {
            self.request(LifecycleAction::ContinueStopped(command, services));
        }
    }

    /// Whether the time of the services is over.
    pub(super) fn is_grace_spent(&self, now: Instant) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.at(stop.budget.sweep) <= now)
    }

    pub(super) fn begin_flush(&mut self) -> LifecyclePhase {
        if !self.is_childless && !self.stop_set.is_empty() {
            // Processes that services have left behind may hold the pipes that the loggers read.
            self.request(LifecycleAction::EndAdopted);
        }
        LifecyclePhase::Flush
    }
}
