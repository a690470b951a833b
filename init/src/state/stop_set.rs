//! Machine: the services that are being stopped, each at its own point of the way.

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

/// Every service that is not down yet, by the process whose end says that it is.
#[derive(Debug, Default)]
pub struct StopSet {
    members: BTreeMap<Pid, StopMember>,
    stop_order: StopOrder,
    /// What was said to be wrong with it.
    warnings: BTreeSet<String>,
    summary: Summary,
    /// Those whose runsv has seen them to the end, and may have something to tell of it.
    service_end_read: BTreeMap<Pid, EndedMember>,
    /// Those who have lost their runsv: one service each, whatever is left of it.
    orphaned: BTreeSet<String>,
    /// Whose runsv has seen them to the end: what is left of these is no service any more.
    settled: BTreeSet<String>,
}

/// What became of the services.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Summary {
    /// How many have gone.
    pub gone: usize,
    /// The names of those that had to be killed.
    pub killed: Vec<String>,
}

/// A service that is down, and whose runsv is gone.
#[derive(Debug)]
struct EndedMember {
    name: String,
    took: String,
}

/// What follows from the end of a process that stood for a service.
#[derive(Debug, PartialEq, Eq)]
pub enum ExitReport {
    /// It is known how that was.
    Line(LogLevel, String),
    /// That is to be read: [`LifecycleAction::ReadServiceEnd`].
    ReadEnd(String),
}

#[derive(Debug)]
struct StopMember {
    name: String,
    role: MemberRole,
    way: MemberState,
    is_down: bool,
    /// When whatever it has left behind is told to end, once it is down.
    clear_at: Option<Instant>,
    was_killed: bool,
    /// Whether its record has said that it is not wanted up, since it was asked.
    has_obeyed: bool,
    /// When it must have obeyed, although its record says that it has not.
    confirmed_by: Option<Instant>,
    /// Whether it was asked again for that: who cannot write its record is not asked for ever.
    was_unconfirmed: bool,
}

/// How long a service is down before what it has left behind is told to end: it may hold the pipe
/// that the logger reads.
const CLEAR_AFTER: Duration = Duration::from_millis(50);

/// How long after it was asked a supervisor's record still may say that its service is wanted up.
const OBEYS_WITHIN: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MemberRole {
    Supervisor,
    Orphan,
    OrphanedLogger,
}

#[derive(Debug, Clone, Copy)]
enum MemberState {
    /// Somebody who needs it is still up.
    Waiting,
    /// CommandEffect to end; when it is late, it is escalated, and then harder.
    Signalled { at: Instant, next: Option<(Escalation, Instant)>, pace: EscalationPace },
}

/// What lies between one degree of escalation and the next.
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
    /// Takes in whom it does not know yet; returns what is wrong with the stop_order they ask for, and was
    /// not said before.
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
                way: MemberState::Waiting,
                is_down: role == MemberRole::OrphanedLogger,
                clear_at: None,
                was_killed: false,
                has_obeyed: false,
                confirmed_by: None,
                was_unconfirmed: false,
            });
        }
        // Who is met later, because its runsv was only just born or was somebody else's child,
        // relates to nobody any more.
        if self.stop_order == StopOrder::default() && all_needs.values().any(|needs| !needs.is_empty()) {
            let (stop_order, mut warnings) =
                StopOrder::of(all_needs.iter().map(|(name, needs)| (name.as_str(), needs.as_slice())));
            self.stop_order = stop_order;
            warnings.retain(|warning| self.warnings.insert(warning.clone()));
            return warnings;
        }
        Vec::new()
    }

    /// Tells all to end for whom nobody has to wait any more.
    pub fn signal_free(&mut self, began: Instant, budget: &StopBudget, now: Instant) -> Vec<LifecycleAction> {
        let up: BTreeSet<&str> = self
            .members
            .values()
            .filter(|member| !member.is_down)
            .map(|member| member.name.as_str())
            .collect();
        let free: Vec<Pid> = self
            .members
            .iter()
            .filter(|(_, member)| matches!(member.way, MemberState::Waiting))
            .filter(|(_, member)| !self.stop_order.dependents(&member.name).any(|other| up.contains(other)))
            .map(|(pid, _)| *pid)
            .collect();
        let mut actions = Vec::new();
        for pid in free {
            let Some(member) = self.members.get_mut(&pid) else { continue };
            // Whoever has others waiting behind it gets its share of what is left, not all of it.
            let line = self.stop_order.depth(&member.name).saturating_add(1);
            let patience = (began + budget.run).saturating_duration_since(now) / line;
            let next = if member.role == MemberRole::OrphanedLogger {
                (Escalation::Logger, began + budget.loggers)
            } else {
                (Escalation::Run, now + patience)
            };
            member.way =
                MemberState::Signalled { at: now, next: Some(next), pace: EscalationPace::of(budget, line) };
            match member.role {
                // The CONT is for a runsv that somebody has stopped.
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

    /// Whoever is late, and how late.
    pub fn late(&mut self, now: Instant) -> Vec<LateService> {
        let mut late = Vec::new();
        for (pid, member) in &mut self.members {
            if let MemberState::Signalled { next, pace, .. } = &mut member.way
                && let Some((escalation, due)) = *next
                && due <= now
            {
                *next = escalation.next().map(|harder| (harder, now + pace.until(harder)));
                late.push(LateService { pid: *pid, escalation });
            }
        }
        late
    }

    /// What the escalation on a service hit.
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

    /// Everything is killed now.
    pub fn mark_killed(&mut self) {
        for member in self.members.values_mut() {
            member.was_killed = true;
        }
    }

    /// A supervisor's status was read; whether it has to be asked again, because somebody has told
    /// it to go on after it had obeyed.
    pub fn note_status(&mut self, supervisor: Pid, seen: ReportedState, now: Instant) -> bool {
        let Some(member) = self.members.get_mut(&supervisor) else { return false };
        // Who is wanted up may have been started since that was written.
        let is_down = seen.is_down && !seen.is_wanted_up;
        if is_down != member.is_down {
            member.clear_at = is_down.then(|| now + CLEAR_AFTER);
        }
        member.is_down = is_down;
        let is_contradicted = member.has_obeyed && seen.is_wanted_up;
        let is_asked = matches!(member.way, MemberState::Signalled { .. });
        member.has_obeyed = !seen.is_wanted_up && is_asked;
        // It may not have come to it yet; or it has, and was told otherwise before we looked.
        let is_doubtful = seen.is_wanted_up && is_asked && !is_contradicted && !member.was_unconfirmed;
        member.confirmed_by = is_doubtful.then(|| member.confirmed_by.unwrap_or(now + OBEYS_WITHIN));
        if is_contradicted || member.has_obeyed {
            member.was_unconfirmed = false;
        }
        is_contradicted
    }

    /// The supervisors that should have obeyed for long, and are to be asked again.
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

    /// The supervisors whose services are down for a while, and who are still there themselves.
    pub fn take_clearable(&mut self, now: Instant) -> Vec<Pid> {
        self.members
            .iter_mut()
            .filter(|(_, member)| member.is_down && matches!(member.way, MemberState::Signalled { .. }))
            .filter_map(|(pid, member)| member.clear_at.take_if(|due| *due <= now).map(|_| *pid))
            .collect()
    }

    /// A process has died; if it stood for a service, what follows from that.
    pub fn ended(&mut self, pid: Pid, ending: ExitStatus, now: Instant) -> Option<ExitReport> {
        let member = self.members.remove(&pid)?;
        let name = member.name;
        let took = match member.way {
            MemberState::Signalled { at, .. } => seconds(now.saturating_duration_since(at)),
            MemberState::Waiting => seconds(Duration::ZERO),
        };
        if member.was_killed || ending == ExitStatus::Exited(0) {
            self.settled.insert(name.clone());
        }
        // Who has lost its runsv is one service, whatever of it is still seen to end.
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
                self.service_end_read.insert(pid, EndedMember { name: name.clone(), took });
                ExitReport::ReadEnd(name)
            }
            (MemberRole::Supervisor, ExitStatus::Killed { signal, .. }) if is_lost => {
                // What it ran may live on, and is looked for.
                ExitReport::Line(
                    LogLevel::Problem,
                    format!("{name}: has lost its runsv by {signal} after {took}"),
                )
            }
            (MemberRole::Supervisor, ExitStatus::Exited(_)) => {
                ExitReport::Line(LogLevel::Problem, format!("{name}: runsv ended with {ending} after {took}"))
            }
            // TERM kills a runsv only before it has started anything.
            (MemberRole::Supervisor, ExitStatus::Killed { .. }) | (MemberRole::Orphan, _) => {
                ExitReport::Line(LogLevel::Info, format!("{name}: stopped after {took}"))
            }
            (MemberRole::OrphanedLogger, _) => {
                ExitReport::Line(LogLevel::Info, format!("{name}: logger has left after {took}"))
            }
        })
    }

    /// The history of a service that is down: the line that says how it went.
    pub fn service_end_read(
        &mut self,
        supervisor: Pid,
        service_end: &ServiceEnd,
    ) -> Option<(LogLevel, String)> {
        let EndedMember { name, took } = self.service_end_read.remove(&supervisor)?;
        let remarks = service_end.remarks();
        Some(if service_end.was_killed() {
            let line = format!("{name}: killed by its runsv after {took}{remarks}");
            self.summary.killed.push(name);
            (LogLevel::Problem, line)
        } else {
            (LogLevel::Info, format!("{name}: stopped after {took}{remarks}"))
        })
    }

    /// Whether the history of somebody is being read.
    pub fn is_reading_ends(&self) -> bool {
        !self.service_end_read.is_empty()
    }

    /// Whether nobody is left.
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

    /// Whether somebody waits for others to go down first.
    pub fn is_any_waiting(&self) -> bool {
        self.members.values().any(|member| matches!(member.way, MemberState::Waiting))
    }

    /// The supervisors that are left.
    pub fn supervisors(&self) -> Vec<Pid> {
        self.members
            .iter()
            .filter(|(_, member)| member.role == MemberRole::Supervisor)
            .map(|(pid, _)| *pid)
            .collect()
    }

    /// Those that were asked to end.
    pub fn asked(&self) -> impl Iterator<Item = Pid> {
        let is_asked = |member: &StopMember| matches!(member.way, MemberState::Signalled { .. });
        self.members.iter().filter(move |(_, member)| is_asked(member)).map(|(pid, _)| *pid)
    }

    /// All that are left.
    pub fn processes(&self) -> Vec<Pid> {
        self.members.keys().copied().collect()
    }

    /// The names of those that are left, and what they are waited for.
    pub fn names(&self) -> Vec<String> {
        self.members
            .values()
            .map(|member| match (member.way, member.is_down) {
                (_, true) => format!("{} (down, its runsv is leaving)", member.name),
                (MemberState::Waiting, false) => format!("{} (waits for its dependents)", member.name),
                (MemberState::Signalled { .. }, false) => member.name.clone(),
            })
            .collect()
    }

    /// When somebody will be late.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.members
            .values()
            .filter_map(|member| match member.way {
                MemberState::Signalled { next, .. } => {
                    let due = next.map(|(_, due)| due);
                    [due, member.clear_at, member.confirmed_by].into_iter().flatten().min()
                }
                MemberState::Waiting => None,
            })
            .min()
    }

    /// What became of those that have gone, or were killed without being seen to go.
    pub fn summary(&self) -> Summary {
        let Summary { gone, mut killed } = self.summary.clone();
        let dying = self.members.values().filter(|member| member.was_killed);
        killed.extend(dying.map(|member| member.name.clone()));
        Summary { gone: gone + self.orphaned.len(), killed }
    }
}
