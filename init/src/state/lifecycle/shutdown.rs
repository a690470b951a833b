//! State: services go down, and loggers read to the end of their input.

use std::time::{Duration, Instant};

use sys::{Pid, Signal};

use super::{ChildList, Lifecycle, LifecyclePhase, MainCommand, STATUS_DELAY, StopStep};
use crate::state::events::{AdoptedChild, ChildKind, LifecycleAction, LogLevel, ReportedState};
use crate::state::text::{counted, seconds};

/// How often the status of the services is read.
const READ_INTERVAL: Duration = Duration::from_millis(20);
/// The same for services that are watched.
const WATCHED_INTERVAL: Duration = Duration::from_millis(100);
/// The pause after a list or a read, as a multiple of the time it took: with thousands of processes most of
/// the processor time is left to them.
const PAUSE_FACTOR: u32 = 10;
/// How soon to look again for a child that has not executed runsv yet.
const START_DELAY: Duration = Duration::from_millis(2);

impl Lifecycle {
    /// Kills runsvdir, so that no new service is started. A process that it has forked is a child already:
    /// the kernel forks none for a process with a pending SIGKILL.
    pub(super) fn kill_runsvdir(&mut self) -> LifecyclePhase {
        // runsvdir has nothing to save, and may be stopped: KILL is as good as TERM, and certain. Closing
        // its files may take the kernel a while; nothing waits for that.
        if let Some(pid) = self.runsvdir.pid() {
            self.request(LifecycleAction::Signal(pid, Signal::KILL));
        }
        LifecyclePhase::Stop(StopStep::Services)
    }

    pub(super) fn stop_services(&mut self, now: Instant) {
        self.list_children_if_due(now);
        self.signal_and_escalate(now);
        self.read_status_if_due(now);
        self.kill_late_command(now);
    }

    fn list_children_if_due(&mut self, now: Instant) {
        let Some(stop) = &mut self.stop else { return };
        let is_due = match stop.child_list {
            ChildList::Unknown => true,
            ChildList::Stale { list_at } => list_at.is_some_and(|due| due <= now),
            ChildList::Asked(_) | ChildList::Fresh | ChildList::Impossible => false,
        };
        if is_due {
            stop.child_list = ChildList::Asked(now);
            self.actions.push_back(LifecycleAction::ListChildren(self.runsvdir.pid()));
        }
    }

    fn signal_and_escalate(&mut self, now: Instant) {
        let Some(stop) = &mut self.stop else { return };
        let signals = self.stop_set.signal_free(stop.began, &stop.budget, now);
        if !signals.is_empty() {
            // A service waits for others to be down: notice that at once.
            stop.read_due = Some(if self.stop_set.is_any_waiting() { now } else { now + STATUS_DELAY });
        }
        self.actions.extend(signals);
        let clearable = self.stop_set.take_clearable(now);
        if !clearable.is_empty() {
            self.actions.push_back(LifecycleAction::EndLeftovers(clearable));
        }
        for supervisor in self.stop_set.take_unconfirmed(now) {
            self.actions.push_back(LifecycleAction::Signal(supervisor, Signal::TERM));
        }
        let late = self.stop_set.late(now);
        if !late.is_empty() {
            self.actions.push_back(LifecycleAction::Escalate(late));
        }
    }

    /// Watches the status of services while one waits for others; otherwise reads it at intervals.
    fn read_status_if_due(&mut self, now: Instant) {
        let Some(stop) = &mut self.stop else { return };
        let is_watch_needed = self.stop_set.is_any_waiting();
        if stop.is_watching && !is_watch_needed {
            stop.is_watching = false;
            stop.read_due = Some(now + READ_INTERVAL);
            self.actions.push_back(LifecycleAction::Unwatch);
        }
        if stop.read_due.is_none_or(|due| due > now) {
            return;
        }
        stop.read_due = None;
        stop.has_read = true;
        let supervisors = self.stop_set.supervisors();
        if is_watch_needed && !stop.is_watching {
            stop.is_watching = true;
            // Not every directory can be watched.
            stop.read_due = Some(now + WATCHED_INTERVAL);
            self.actions.push_back(LifecycleAction::WatchStatus(supervisors));
        } else {
            stop.read_asked = Some(now);
            self.actions.push_back(LifecycleAction::ReadStatus(supervisors));
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
        let mut signalled: Vec<Pid> = self.stop_set.signalled().collect();
        if let MainCommand::Up { pid, .. } = self.command
            && !matches!(self.phase, LifecyclePhase::Drain(_))
        {
            signalled.push(pid);
        }
        if !signalled.is_empty() {
            self.request(LifecycleAction::ContinueStopped(signalled));
        }
    }

    /// Whether the time of the services is over.
    pub(super) fn is_grace_spent(&self, now: Instant) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.at(stop.budget.sweep) <= now)
    }

    pub(super) fn begin_flush(&mut self) -> LifecyclePhase {
        if !self.is_childless && !self.stop_set.is_empty() {
            // Processes that services have left behind may hold the pipes that the loggers read.
            let spare = self.stop_set.processes();
            self.request(LifecycleAction::EndAdopted(spare));
        }
        LifecyclePhase::Flush
    }

    pub(super) fn is_flushed(&mut self, now: Instant) -> bool {
        if self.is_childless {
            return true;
        }
        let Some(stop) = &mut self.stop else { return true };
        match stop.child_list {
            _ if !self.stop_set.is_empty() || self.runsvdir.pid().is_some() => false,
            ChildList::Impossible => stop.at(stop.budget.run) <= now,
            ChildList::Fresh => true,
            ChildList::Asked(_) | ChildList::Stale { list_at: Some(_) } => false,
            ChildList::Unknown | ChildList::Stale { list_at: None } => {
                // The last child that is known has gone; list the children again.
                stop.child_list = ChildList::Asked(now);
                self.actions.push_back(LifecycleAction::ListChildren(self.runsvdir.pid()));
                false
            }
        }
    }

    /// A service has gone: list soon the processes that it may have left to init.
    pub(super) fn list_again_soon(&mut self, now: Instant) {
        let Some(stop) = &mut self.stop else { return };
        let soon = now + stop.list_pause;
        stop.child_list = match stop.child_list {
            // At once, when the next phase depends on it.
            ChildList::Fresh | ChildList::Stale { .. } if self.stop_set.is_empty() => {
                ChildList::Stale { list_at: None }
            }
            ChildList::Fresh => ChildList::Stale { list_at: Some(soon) },
            ChildList::Stale { list_at } => {
                ChildList::Stale { list_at: Some(list_at.map_or(soon, |at| at.min(soon))) }
            }
            other => other,
        };
        if let Some(due) = &mut stop.read_due
            && !stop.has_read
        {
            *due = (*due).max(now + STATUS_DELAY);
        }
    }

    pub(super) fn children_listed(&mut self, children: Option<Vec<AdoptedChild>>, now: Instant) {
        let Some(children) = children else {
            if let Some(stop) = &mut self.stop {
                stop.child_list = ChildList::Impossible;
            }
            self.log(
                LogLevel::Warning,
                "unable to see processes in /proc: services are told by their FIFOs".into(),
            );
            return self.request(LifecycleAction::ExitAllByFifo);
        };
        let own = self.own_processes();
        let children: Vec<AdoptedChild> =
            children.into_iter().filter(|child| !own.contains(&child.pid)).collect();
        let is_any_starting = children.iter().any(|child| child.kind == ChildKind::Starting);
        let before = self.stop_set.len();
        let warnings = self.stop_set.add_children(children);
        let Some(stop) = &mut self.stop else { return };
        let mut took = Duration::ZERO;
        if let ChildList::Asked(since) = stop.child_list {
            took = now.saturating_duration_since(since);
            stop.list_pause = STATUS_DELAY.max(took * PAUSE_FACTOR);
        }
        // Back off: services that are still starting need the processor more than another scan does.
        let soon = START_DELAY.max(took * 2);
        stop.child_list =
            if is_any_starting { ChildList::Stale { list_at: Some(now + soon) } } else { ChildList::Fresh };
        let (found, elapsed) = (self.stop_set.len() - before, now.saturating_duration_since(stop.began));
        if found > 0 {
            self.log(
                LogLevel::Info,
                format!("stopping {} after {}", counted(found, "service"), seconds(elapsed)),
            );
        }
        for warning in warnings {
            self.log(LogLevel::Warning, warning);
        }
    }

    /// The status files of supervisors were read.
    pub(super) fn statuses_read(&mut self, statuses: Vec<(Pid, ReportedState)>, now: Instant) {
        if let Some(stop) = &mut self.stop
            && let Some(asked) = stop.read_asked.take()
        {
            let pause = if stop.is_watching { WATCHED_INTERVAL } else { READ_INTERVAL };
            stop.read_due = Some(now + pause.max(now.saturating_duration_since(asked) * PAUSE_FACTOR));
        }
        for (supervisor, reported) in statuses {
            if self.stop_set.note_status(supervisor, reported, now) {
                // A client has commanded it otherwise since; the stop prevails.
                self.request(LifecycleAction::Signal(supervisor, Signal::TERM));
            }
        }
    }

    pub(super) fn own_processes(&self) -> Vec<Pid> {
        let command = match self.command {
            MainCommand::Up { pid, .. } => Some(pid),
            _ => None,
        };
        self.runsvdir.pid().into_iter().chain(command).collect()
    }
}
