//! What a host of many supervisors asks of each, and learns from it.

use std::time::Instant;

use servicedir::{HistoryEvent, Status, Want};
use sys::{Now, Pid, Signal};

use crate::effects::ChildPart;
use crate::state::{ServiceEvent, ServiceRole};
use crate::supervisor::Supervisor;

impl Supervisor {
    /// The children that were started since the last call: their deaths are for this supervisor.
    pub fn take_started(&mut self) -> Vec<Pid> {
        self.effects.take_started()
    }

    /// What has happened to the services since the last call.
    pub fn take_events(&mut self) -> Vec<(ServiceRole, HistoryEvent)> {
        self.effects.take_events()
    }

    /// The status record; `None` without a log service.
    pub fn status(&self, role: ServiceRole) -> Option<Status> {
        self.state.status(role)
    }

    /// Whether the service is wanted up.
    pub fn is_wanted_up(&self) -> bool {
        self.state.status(ServiceRole::Main).is_some_and(|status| status.want == Want::Up)
    }

    /// Since when `./run`, or what is left of its group, runs.
    pub fn running_since(&self) -> Option<Instant> {
        self.state.running_since()
    }

    /// Whether `finish` or a control script takes part in a stop, as far as was known at the last start.
    pub fn has_stop_scripts(&self) -> bool {
        self.effects.has_stop_scripts()
    }

    /// Whether there is a log service.
    pub fn has_log(&self) -> bool {
        self.state.status(ServiceRole::Log).is_some()
    }

    /// Whether the service would be started now if it were not [held](Self::hold).
    pub fn is_waiting(&self) -> bool {
        self.state.is_waiting()
    }

    /// Whether the service is down for good; its log service may still read.
    pub fn is_leaving(&self) -> bool {
        self.state.is_leaving()
    }

    /// Whether the members of a process group without a leader are awaited: the death of any process may be
    /// the one of the last.
    pub fn awaits_group(&self) -> bool {
        self.state.awaits_group()
    }

    /// The children.
    pub fn children(&self) -> impl Iterator<Item = (Pid, ChildPart)> {
        self.effects.children()
    }

    /// Sends a signal, and CONT, to the children of these parts; which they are.
    pub fn signal_children(&self, signal: Signal, is_meant: impl Fn(ChildPart) -> bool) -> Vec<Pid> {
        self.effects.signal_children(signal, is_meant)
    }

    /// Kills `./run`, with `process-group` the whole group.
    pub fn kill_run(&mut self, now: Now) {
        self.state.kill(ServiceRole::Main);
        self.handle(ServiceEvent::Tick, now);
    }

    /// The files that say how the service is stopped may have changed.
    pub fn forget_how_to_stop(&mut self) {
        self.effects.forget_how_to_stop();
    }

    /// Whether the directory was removed. Its number may be another directory's by now.
    pub fn is_removed(&self) -> bool {
        self.directory.is_removed()
    }

    /// Makes the service's directory the working directory, for a file of it. False if it cannot be entered.
    pub fn enter_directory(&self) -> bool {
        self.directory.enter().is_ok()
    }
}
