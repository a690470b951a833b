//! State: what is heard of the services, and the order of their starts.

use std::time::Instant;

use servicedir::HistoryEvent;

use super::{Lifecycle, LifecyclePhase, REPORT, Scanning};
use crate::state::critical_ends::UnaskedEnd;
use crate::state::events::{LifecycleAction, LogLevel, SupervisorId};
use crate::state::exit_code::StopReason;

impl Lifecycle {
    pub(super) fn service_opened(&mut self, id: SupervisorId, name: &str, needs: &[String]) {
        self.services.opened(id, name, needs);
        if self.scanning == Scanning::Over {
            // It had begun already when the stop did.
            self.request(LifecycleAction::StopServices(vec![id]));
        }
        self.log(LogLevel::Detail, format!("{name}: supervised"));
    }

    pub(super) fn service_happened(&mut self, id: SupervisorId, event: HistoryEvent, now: Instant) {
        self.stop_set.happened(id, event);
        if let Some(end) = self.services.happened(id, event, now)
            && self.stop.is_none()
        {
            self.request(LifecycleAction::ReadCritical(id, end));
        }
    }

    pub(super) fn critical_read(
        &mut self,
        id: SupervisorId,
        end: UnaskedEnd,
        limit: Option<u32>,
        now: Instant,
    ) {
        let Some(name) = self.services.name(id).map(ToOwned::to_owned) else { return };
        let Some(limit) = limit else { return };
        if end.in_a_row < limit {
            let (ending, count) = (end.ending, end.in_a_row);
            let line = format!("{name}: critical, ended with {ending}: {count} of {limit} times in a row");
            return self.log(LogLevel::Problem, line);
        }
        self.begin_stop(StopReason::Critical { name, ending: end.ending }, now);
    }

    pub(super) fn service_closed(&mut self, id: SupervisorId, now: Instant) {
        self.services.closed(id, now);
        let is_over = matches!(self.phase, LifecyclePhase::Over(_));
        if let Some((level, line)) = self.stop_set.closed(id, now).filter(|_| !is_over) {
            self.log(level, line);
        }
    }

    pub(super) fn found_occupied(&mut self, name: &str) {
        if self.services.found_occupied(name) {
            let line = format!("{name}: another process supervises it: init leaves it alone");
            self.log(LogLevel::Problem, line);
        }
    }

    /// Lets the services go that wait for nothing any more; says what is to be said about the others.
    pub(super) fn keep_order(&mut self, now: Instant) {
        if !self.is_serving() {
            return;
        }
        self.services.tick(now);
        self.actions.extend(self.services.take_actions());
        for warning in self.services.take_warnings() {
            self.log(LogLevel::Warning, warning);
        }
        let is_due = self.next_report.is_some_and(|due| due <= now);
        if is_due {
            // Where many wait, the first of them say what for.
            const MOST: usize = 12;
            let line = |(name, needs, number): (&str, Vec<&str>, usize)| {
                let more = number.saturating_sub(needs.len());
                let more = if more == 0 { String::new() } else { format!(" and {more} more") };
                format!("{name} waits for {}{more}", needs.join(", "))
            };
            let waiting: Vec<String> = self.services.waiting().take(MOST).map(line).collect();
            for line in waiting {
                self.log(LogLevel::Detail, line);
            }
        }
        let next = if is_due || self.next_report.is_none() { Some(now + REPORT) } else { self.next_report };
        self.next_report = next.filter(|_| self.services.is_any_waiting());
    }
}
