//! State: the services that are being stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use sys::{ExitStatus, Pid, Signal};

use super::events::{
    AdoptedChild, ChildKind, Escalation, LateService, LifecycleAction, LogLevel, ReportedState,
};
use super::service_end::ServiceEnd;
use super::stop_budget::StopBudget;
use super::stop_order::StopOrder;
use super::text::seconds;

/// Each service that is not down yet, by the process that stands for it.
#[derive(Debug, Default)]
pub struct StopSet {
    members: BTreeMap<Pid, StopMember>,
    stop_order: StopOrder,
    /// The warnings about the order that were given.
    warnings: BTreeSet<String>,
    summary: Summary,
    /// The services that are down, by their runsv, while the history is being read.
    reading_ends: BTreeMap<Pid, EndedMember>,
    /// The services that have lost their runsv: each counts once, however many processes are left of it.
    orphaned: BTreeSet<String>,
    /// The services with a runsv that has exited in order: a process that is left is no service any more.
    settled: BTreeSet<String>,
}

/// The summary of a stop.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Summary {
    /// How many services are down.
    pub gone: usize,
    /// The names of those that had to be killed.
    pub killed: Vec<String>,
}

/// A service that is down, and without its runsv.
#[derive(Debug)]
struct EndedMember {
    name: String,
    took: String,
}

/// What to report about the exit of a process that stood for a service.
#[derive(Debug, PartialEq, Eq)]
pub enum ExitReport {
    /// This line.
    Line(LogLevel, String),
    /// What its history tells: [`LifecycleAction::ReadServiceEnd`].
    ReadEnd(String),
}

#[derive(Debug)]
struct StopMember {
    name: String,
    role: MemberRole,
    state: MemberState,
    is_down: bool,
    /// When its leftover processes are sent SIGTERM, once it is down.
    clear_at: Option<Instant>,
    was_killed: bool,
    /// Whether its status has shown since the signal that it is not wanted up.
    has_confirmed: bool,
    /// By when its status has to show that.
    confirmed_by: Option<Instant>,
    /// Whether it was signalled again because it did not: a service without a writable status is not
    /// signalled for ever.
    was_unconfirmed: bool,
}

/// How long a service is down before its leftover processes are sent SIGTERM: they may hold the pipe that
/// the logger reads.
const CLEAR_AFTER: Duration = Duration::from_millis(50);

/// How long after the signal the status of a supervisor still may say that its service is wanted up.
const CONFIRMS_WITHIN: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MemberRole {
    Supervisor,
    Orphan,
    OrphanedLogger,
}

#[derive(Debug, Clone, Copy)]
enum MemberState {
    /// A service that needs it is still up.
    Waiting,
    /// Sent SIGTERM; if it is late, the steps of the escalation follow.
    Signalled { at: Instant, next: Option<(Escalation, Instant)>, pace: EscalationPace },
}

/// The times between the steps of the escalation.
#[derive(Debug, Clone, Copy)]
struct EscalationPace {
    finish: Duration,
    logger: Duration,
    supervisor: Duration,
}

impl EscalationPace {
    fn of(budget: &StopBudget, divided_by: u32) -> Self {
        let divided_by = divided_by.max(1);
        let step = |from: Duration, to: Duration| to.saturating_sub(from) / divided_by;
        Self {
            finish: step(budget.run, budget.finish),
            logger: step(budget.finish, budget.loggers),
            supervisor: step(budget.loggers, budget.supervisors),
        }
    }

    fn until(self, escalation: Escalation) -> Duration {
        match escalation {
            Escalation::Run => Duration::ZERO,
            Escalation::Finish => self.finish,
            Escalation::Logger => self.logger,
            Escalation::Supervisor => self.supervisor,
        }
    }
}

impl StopSet {
    /// Adds the children that are not known yet; returns new warnings about their order.
    pub fn add_children(&mut self, children: Vec<AdoptedChild>) -> Vec<String> {
        let mut all_needs: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for child in children {
            let (name, role) = match child.kind {
                ChildKind::Supervisor { name, needs } => {
                    all_needs.insert(name.clone(), needs);
                    (name, MemberRole::Supervisor)
                }
                ChildKind::Orphan { name } if self.settled.contains(&name) => continue,
                ChildKind::Orphan { name } => (name, MemberRole::Orphan),
                ChildKind::OrphanedLogger { name } => (name, MemberRole::OrphanedLogger),
                ChildKind::Starting | ChildKind::Leftover => continue,
            };
            self.members.entry(child.pid).or_insert(StopMember {
                name,
                role,
                state: MemberState::Waiting,
                is_down: role == MemberRole::OrphanedLogger,
                clear_at: None,
                was_killed: false,
                has_confirmed: false,
                confirmed_by: None,
                was_unconfirmed: false,
            });
        }
        // The order is made once: a service that is found later, because its runsv was just starting or was
        // the child of another process, has no dependencies.
        if self.stop_order.is_empty() && all_needs.values().any(|needs| !needs.is_empty()) {
            let (stop_order, mut warnings) =
                StopOrder::of(all_needs.iter().map(|(name, needs)| (name.as_str(), needs.as_slice())));
            self.stop_order = stop_order;
            warnings.retain(|warning| self.warnings.insert(warning.clone()));
            return warnings;
        }
        Vec::new()
    }

    /// Signals all services that no other one needs any more.
    pub fn signal_free(&mut self, began: Instant, budget: &StopBudget, now: Instant) -> Vec<LifecycleAction> {
        let up = self.members.values().filter(|member| !member.is_down);
        let up = self.stop_order.members(up.map(|member| member.name.as_str()));
        let free: Vec<Pid> = self
            .members
            .iter()
            .filter(|(_, member)| matches!(member.state, MemberState::Waiting))
            .filter(|(_, member)| !self.stop_order.is_needed(&member.name, &up))
            .map(|(pid, _)| *pid)
            .collect();
        let mut actions = Vec::new();
        for pid in free {
            let Some(member) = self.members.get_mut(&pid) else { continue };
            // A service with others behind it gets its share of the time that is left.
            let chain = self.stop_order.depth(&member.name).saturating_add(1);
            let allowance = (began + budget.run).saturating_duration_since(now) / chain;
            let next = if member.role == MemberRole::OrphanedLogger {
                (Escalation::Logger, began + budget.loggers)
            } else {
                (Escalation::Run, now + allowance)
            };
            member.state =
                MemberState::Signalled { at: now, next: Some(next), pace: EscalationPace::of(budget, chain) };
            match member.role {
                // SIGCONT is for a runsv that was stopped.
                MemberRole::Supervisor => {
                    actions.extend([
                        LifecycleAction::Signal(pid, Signal::TERM),
                        LifecycleAction::Signal(pid, Signal::CONT),
                    ]);
                }
                MemberRole::Orphan => actions.push(LifecycleAction::StopOrphan(pid)),
                MemberRole::OrphanedLogger => {}
            }
        }
        actions
    }

    /// The services that are late, with the step that is due.
    pub fn late(&mut self, now: Instant) -> Vec<LateService> {
        let mut late = Vec::new();
        for (pid, member) in &mut self.members {
            if let MemberState::Signalled { next, pace, .. } = &mut member.state
                && let Some((escalation, due)) = *next
                && due <= now
            {
                *next = escalation.next().map(|harder| (harder, now + pace.until(harder)));
                late.push(LateService { pid: *pid, escalation });
            }
        }
        late
    }

    /// The processes that a step of the escalation has signalled; returns the line to log.
    pub fn escalated(&mut self, late: LateService, victims: &[String]) -> Option<String> {
        let member = self.members.get_mut(&late.pid)?;
        if victims.is_empty() {
            return None;
        }
        let victims = victims.join(", ");
        Some(if late.escalation == Escalation::Logger {
            format!("{}: logger does not leave at the end of its input: TERM to {victims}", member.name)
        } else {
            member.was_killed = true;
            format!("{}: does not stop: killed {victims}", member.name)
        })
    }

    /// All that is left is killed now.
    pub fn mark_killed(&mut self) {
        for member in self.members.values_mut() {
            member.was_killed = true;
        }
    }

    /// Takes a supervisor's status; returns whether to signal it again, because a client has commanded it up
    /// since.
    pub fn note_status(&mut self, supervisor: Pid, reported: ReportedState, now: Instant) -> bool {
        let Some(member) = self.members.get_mut(&supervisor) else { return false };
        // A service that is wanted up may have been started since that was written.
        let is_down = reported.is_down && !reported.is_wanted_up;
        if is_down != member.is_down {
            member.clear_at = is_down.then(|| now + CLEAR_AFTER);
        }
        member.is_down = is_down;
        let is_contradicted = member.has_confirmed && reported.is_wanted_up;
        let is_signalled = matches!(member.state, MemberState::Signalled { .. });
        member.has_confirmed = !reported.is_wanted_up && is_signalled;
        // The supervisor may not have read the signal yet, or was commanded up between two reads.
        let is_doubtful =
            reported.is_wanted_up && is_signalled && !is_contradicted && !member.was_unconfirmed;
        member.confirmed_by = is_doubtful.then(|| member.confirmed_by.unwrap_or(now + CONFIRMS_WITHIN));
        if is_contradicted || member.has_confirmed {
            member.was_unconfirmed = false;
        }
        is_contradicted
    }

    /// The supervisors to signal again, because their status does not show the signal.
    pub fn take_unconfirmed(&mut self, now: Instant) -> Vec<Pid> {
        self.members
            .iter_mut()
            .filter_map(|(pid, member)| {
                member.confirmed_by.take_if(|until| *until <= now)?;
                member.was_unconfirmed = true;
                Some(*pid)
            })
            .collect()
    }

    /// The supervisors of services that have been down for a while.
    pub fn take_clearable(&mut self, now: Instant) -> Vec<Pid> {
        self.members
            .iter_mut()
            .filter(|(_, member)| member.is_down && matches!(member.state, MemberState::Signalled { .. }))
            .filter_map(|(pid, member)| member.clear_at.take_if(|due| *due <= now).map(|_| *pid))
            .collect()
    }

    /// A process has exited; if it stood for a service, what to report.
    pub fn ended(&mut self, pid: Pid, ending: ExitStatus, now: Instant) -> Option<ExitReport> {
        let member = self.members.remove(&pid)?;
        let name = member.name;
        let took = match member.state {
            MemberState::Signalled { at, .. } => seconds(now.saturating_duration_since(at)),
            MemberState::Waiting => seconds(Duration::ZERO),
        };
        if member.was_killed || ending == ExitStatus::Exited(0) {
            self.settled.insert(name.clone());
        }
        // A service that has lost its runsv counts once, however many processes are left of it.
        let is_lost = matches!(ending, ExitStatus::Killed { signal, .. } if signal != Signal::TERM);
        if member.role == MemberRole::Supervisor && !is_lost {
            self.summary.gone += 1;
        } else {
            self.orphaned.insert(name.clone());
        }
        if member.was_killed {
            self.summary.killed.push(name.clone());
            return Some(ExitReport::Line(LogLevel::Problem, format!("{name}: killed after {took}")));
        }
        Some(match (member.role, ending) {
            (MemberRole::Supervisor, ExitStatus::Exited(0)) => {
                self.reading_ends.insert(pid, EndedMember { name: name.clone(), took });
                ExitReport::ReadEnd(name)
            }
            (MemberRole::Supervisor, ExitStatus::Killed { signal, .. }) if is_lost => {
                // Its processes may live on; they are found among the children.
                ExitReport::Line(LogLevel::Problem, format!("{name}: runsv killed by {signal} after {took}"))
            }
            (MemberRole::Supervisor, ExitStatus::Exited(_)) => {
                ExitReport::Line(LogLevel::Problem, format!("{name}: runsv ended with {ending} after {took}"))
            }
            // SIGTERM kills a runsv only before it has started anything.
            (MemberRole::Supervisor, ExitStatus::Killed { .. }) | (MemberRole::Orphan, _) => {
                ExitReport::Line(LogLevel::Info, format!("{name}: stopped after {took}"))
            }
            (MemberRole::OrphanedLogger, _) => {
                ExitReport::Line(LogLevel::Info, format!("{name}: logger has left after {took}"))
            }
        })
    }

    /// The history of a service that is down was read; returns the line to log.
    pub fn service_end_read(
        &mut self,
        supervisor: Pid,
        service_end: &ServiceEnd,
    ) -> Option<(LogLevel, String)> {
        let EndedMember { name, took } = self.reading_ends.remove(&supervisor)?;
        let remarks = service_end.remarks();
        Some(if service_end.was_killed() {
            let line = format!("{name}: killed by its runsv after {took}{remarks}");
            self.summary.killed.push(name);
            (LogLevel::Problem, line)
        } else {
            (LogLevel::Info, format!("{name}: stopped after {took}{remarks}"))
        })
    }

    /// Whether a history is being read.
    pub fn is_reading_ends(&self) -> bool {
        !self.reading_ends.is_empty()
    }

    /// Whether no service is left.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// How many are left.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether a service is still up, as far as is known; its logger does not count.
    pub fn is_any_up(&self) -> bool {
        self.members.values().any(|member| !member.is_down)
    }

    /// Whether a service waits for others to go down first.
    pub fn is_any_waiting(&self) -> bool {
        self.members.values().any(|member| matches!(member.state, MemberState::Waiting))
    }

    /// The supervisors that are left.
    pub fn supervisors(&self) -> Vec<Pid> {
        self.members
            .iter()
            .filter(|(_, member)| member.role == MemberRole::Supervisor)
            .map(|(pid, _)| *pid)
            .collect()
    }

    /// The processes that were signalled.
    pub fn signalled(&self) -> impl Iterator<Item = Pid> {
        let is_signalled = |member: &StopMember| matches!(member.state, MemberState::Signalled { .. });
        self.members.iter().filter(move |(_, member)| is_signalled(member)).map(|(pid, _)| *pid)
    }

    /// All processes that are left.
    pub fn processes(&self) -> Vec<Pid> {
        self.members.keys().copied().collect()
    }

    /// The names of the services that are left, and what they wait for.
    pub fn names(&self) -> Vec<String> {
        self.members
            .values()
            .map(|member| match (member.state, member.is_down) {
                (_, true) => format!("{} (down, its runsv is leaving)", member.name),
                (MemberState::Waiting, false) => format!("{} (waits for its dependents)", member.name),
                (MemberState::Signalled { .. }, false) => member.name.clone(),
            })
            .collect()
    }

    /// When the next step is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.members
            .values()
            .filter_map(|member| match member.state {
                MemberState::Signalled { next, .. } => {
                    let due = next.map(|(_, due)| due);
                    [due, member.clear_at, member.confirmed_by].into_iter().flatten().min()
                }
                MemberState::Waiting => None,
            })
            .min()
    }

    /// The summary, with the services that were killed but have not exited.
    pub fn summary(&self) -> Summary {
        let Summary { gone, mut killed } = self.summary.clone();
        let dying = self.members.values().filter(|member| member.was_killed);
        killed.extend(dying.map(|member| member.name.clone()));
        Summary { gone: gone + self.orphaned.len(), killed }
    }
}
