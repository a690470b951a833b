//! Effects: what a host of many supervisors learns of each: its children, and what happens to its service.

use servicedir::HistoryEvent;
use sys::{Pid, Signal};

use super::{ChildPart, Effects};
use crate::state::ServiceRole;

/// What the host has not taken yet.
#[derive(Debug, Default)]
pub struct HostNotes {
    /// Whether there is such a host.
    is_shared: bool,
    started: Vec<Pid>,
    events: Vec<(ServiceRole, HistoryEvent)>,
}

impl HostNotes {
    pub(super) fn new(is_shared: bool) -> Self {
        Self { is_shared, ..Self::default() }
    }

    pub(super) fn started(&mut self, pid: Pid) {
        if self.is_shared {
            self.started.push(pid);
        }
    }

    pub(super) fn happened(&mut self, role: ServiceRole, event: HistoryEvent) {
        if self.is_shared {
            self.events.push((role, event));
        }
    }
}

impl Effects {
    /// The children that were started since the last call.
    pub fn take_started(&mut self) -> Vec<Pid> {
        std::mem::take(&mut self.notes.started)
    }

    /// What has happened since the last call.
    pub fn take_events(&mut self) -> Vec<(ServiceRole, HistoryEvent)> {
        std::mem::take(&mut self.notes.events)
    }

    /// The children.
    pub fn children(&self) -> impl Iterator<Item = (Pid, ChildPart)> {
        self.children.iter().copied()
    }

    /// Sends a signal, and CONT, to the children of these parts; which they are.
    pub fn signal_children(&self, signal: Signal, is_meant: impl Fn(ChildPart) -> bool) -> Vec<Pid> {
        let meant: Vec<Pid> =
            self.children().filter(|(_, part)| is_meant(*part)).map(|(pid, _)| pid).collect();
        for pid in &meant {
            // A child that is gone needs no signal; its death is about to be reaped.
            let _ = signal.send(*pid);
            if signal != Signal::KILL {
                let _ = Signal::CONT.send(*pid);
            }
        }
        meant
    }
}
