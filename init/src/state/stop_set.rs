//! State: the services that are being stopped.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use servicedir::HistoryEvent;

use super::events::{Escalation, LateService, LogLevel, ServiceReport, SupervisorId};
use super::service_end::ServiceEnd;
use super::service_graph::{Node, ServiceGraph};
use super::stop_budget::StopBudget;
use super::text::seconds;

/// Each service, until its supervisor has left.
#[derive(Debug, Default)]
pub struct StopSet {
    members: BTreeMap<SupervisorId, StopMember>,
    graph: ServiceGraph,
    /// For each service, how many services that need it are up.
    dependents_up: HashMap<Node, usize>,
    /// A renamed directory keeps its supervisor, and another one may have its name by now.
    by_node: HashMap<Node, Vec<SupervisorId>>,
    /// The services to be stopped now.
    free: Vec<SupervisorId>,
    /// When something is due for each.
    deadlines: BTreeSet<(Instant, SupervisorId)>,
    up: usize,
    summary: Summary,
}

/// The summary of a stop.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Summary {
    /// How many services are down.
    pub gone: usize,
    /// The names of those that had to be killed.
    pub killed: Vec<String>,
}

#[derive(Debug)]
struct StopMember {
    node: Node,
    state: MemberState,
    is_down: bool,
    /// When its leftover processes are sent SIGTERM, once it is down.
    clear_at: Option<Instant>,
    was_killed: bool,
    end: ServiceEnd,
}

/// How long a service is down before its leftover processes are sent SIGTERM: they may hold the pipe that
/// the logger reads.
const CLEAR_AFTER: Duration = Duration::from_millis(50);

/// A service has at least so long before it is killed, or half of what is left: with many others behind it its
/// share is less than a hiccup of the machine.
const LEAST_ALLOWANCE: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Copy)]
enum MemberState {
    /// A service that needs it is still up.
    Waiting,
    /// Told to stop; if it is late, the steps of the escalation follow.
    Told { at: Instant, next: Option<(Escalation, Instant)>, pace: EscalationPace },
}

/// The times between the steps of the escalation.
#[derive(Debug, Clone, Copy)]
struct EscalationPace {
    finish: Duration,
    logger: Duration,
    all: Duration,
}

impl EscalationPace {
    fn of(budget: &StopBudget, divided_by: u32) -> Self {
        let divided_by = divided_by.max(1);
        let step = |from: Duration, to: Duration| to.saturating_sub(from) / divided_by;
        Self {
            finish: step(budget.run, budget.finish),
            logger: step(budget.finish, budget.loggers),
            all: step(budget.loggers, budget.supervisors),
        }
    }

    fn until(self, escalation: Escalation) -> Duration {
        match escalation {
            Escalation::Run => Duration::ZERO,
            Escalation::Finish => self.finish,
            Escalation::Logger => self.logger,
            Escalation::All => self.all,
        }
    }
}

impl StopMember {
    fn next_deadline(&self) -> Option<Instant> {
        match self.state {
            MemberState::Told { next, .. } => next.map(|(_, due)| due).into_iter().chain(self.clear_at).min(),
            MemberState::Waiting => None,
        }
    }
}

impl StopSet {
    /// For these services.
    pub fn new(graph: ServiceGraph, services: &[(SupervisorId, Node, ServiceReport)]) -> Self {
        let mut stop_set = Self { graph, up: services.len(), ..Self::default() };
        for (id, node, _) in services {
            stop_set.by_node.entry(*node).or_default().push(*id);
            for need in stop_set.graph.needs(*node) {
                *stop_set.dependents_up.entry(*need).or_default() += 1;
            }
            let member = StopMember {
                node: *node,
                state: MemberState::Waiting,
                is_down: false,
                clear_at: None,
                was_killed: false,
                end: ServiceEnd::default(),
            };
            stop_set.members.insert(*id, member);
        }
        for (id, node, _) in services {
            if !stop_set.dependents_up.contains_key(node) {
                stop_set.free.push(*id);
            }
        }
        for (id, _, report) in services.iter().filter(|(_, _, report)| report.is_gone) {
            stop_set.reported(*id, *report, None);
        }
        stop_set
    }

    /// The services that no other one needs any more: they are to be stopped now.
    pub fn take_free(&mut self, began: Instant, budget: &StopBudget, now: Instant) -> Vec<SupervisorId> {
        let mut free = std::mem::take(&mut self.free);
        free.retain(|id| {
            let Some(member) = self.members.get_mut(id) else { return false };
            // A service with others behind it gets its share of the time that is left.
            let chain = self.graph.depth(member.node).saturating_add(1);
            let rest = (began + budget.run).saturating_duration_since(now);
            let allowance = (rest / chain).max(LEAST_ALLOWANCE.min(rest / 2));
            let next = Some((Escalation::Run, now + allowance));
            member.state = MemberState::Told { at: now, next, pace: EscalationPace::of(budget, chain) };
            self.deadlines.insert((now + allowance, *id));
            true
        });
        free
    }

    /// The services that are late, with the step that is due, and those to be cleared of what they have left.
    pub fn take_due(&mut self, now: Instant) -> (Vec<LateService>, Vec<SupervisorId>) {
        let (mut late, mut clearable) = (Vec::new(), Vec::new());
        while let Some((due, id)) = self.deadlines.first().copied().filter(|(due, _)| *due <= now) {
            self.deadlines.remove(&(due, id));
            let Some(member) = self.members.get_mut(&id) else { continue };
            if let MemberState::Told { next, pace, .. } = &mut member.state
                && let Some((escalation, due)) = *next
                && due <= now
            {
                *next = escalation.next().map(|harder| (harder, now + pace.until(harder)));
                late.push(LateService { id, escalation });
            }
            if member.clear_at.take_if(|due| *due <= now).is_some() {
                clearable.push(id);
            }
            self.deadlines.extend(member.next_deadline().map(|due| (due.max(now), id)));
            if member.next_deadline().is_some_and(|due| due <= now) {
                // The next step comes with the next event.
                break;
            }
        }
        (late, clearable)
    }

    /// The processes that a step of the escalation has signalled; returns the line to log.
    pub fn escalated(&mut self, late: LateService, victims: &[String]) -> Option<String> {
        let member = self.members.get_mut(&late.id)?;
        if victims.is_empty() {
            return None;
        }
        let (name, victims) = (self.graph.name(member.node), victims.join(", "));
        Some(if late.escalation == Escalation::Logger {
            format!("{name}: logger does not leave at the end of its input: TERM to {victims}")
        } else {
            member.was_killed = true;
            format!("{name}: does not stop: killed {victims}")
        })
    }

    /// All that is left is killed now.
    pub fn mark_killed(&mut self) {
        for member in self.members.values_mut() {
            member.was_killed = true;
        }
    }

    /// Takes in what a supervisor says. A service that is down for good lets go those that it needs.
    pub fn reported(&mut self, id: SupervisorId, report: ServiceReport, now: Option<Instant>) {
        let Some(member) = self.members.get_mut(&id) else { return };
        if !report.is_gone || std::mem::replace(&mut member.is_down, true) {
            return;
        }
        member.clear_at = now.map(|now| now + CLEAR_AFTER);
        self.deadlines.extend(member.clear_at.map(|due| (due, id)));
        let node = member.node;
        self.let_go(node);
    }

    /// Takes in what has happened to a service.
    pub fn happened(&mut self, id: SupervisorId, event: HistoryEvent) {
        let Some(member) = self.members.get_mut(&id) else { return };
        match event {
            HistoryEvent::Started(_) => member.end = ServiceEnd::default(),
            HistoryEvent::Ended(ending, _) => member.end.run = Some(ending),
            HistoryEvent::Finished(ending) => member.end.finish = Some(ending),
            HistoryEvent::Sent(signal, _) => member.end.sent.push(signal),
            _ => {}
        }
    }

    /// A supervisor has left; returns what to log.
    pub fn closed(&mut self, id: SupervisorId, now: Instant) -> Option<(LogLevel, String)> {
        let member = self.members.remove(&id)?;
        if !member.is_down {
            self.let_go(member.node);
        }
        let name = self.graph.name(member.node).to_owned();
        let took = match member.state {
            MemberState::Told { at, .. } => seconds(now.saturating_duration_since(at)),
            MemberState::Waiting => seconds(Duration::ZERO),
        };
        self.summary.gone += 1;
        let remarks = member.end.remarks();
        if member.was_killed {
            self.summary.killed.push(name.clone());
            return Some((LogLevel::Problem, format!("{name}: killed after {took}")));
        }
        if member.end.was_killed() {
            self.summary.killed.push(name.clone());
            return Some((
                LogLevel::Problem,
                format!("{name}: killed by its supervisor after {took}{remarks}"),
            ));
        }
        Some((LogLevel::Info, format!("{name}: stopped after {took}{remarks}")))
    }

    /// Whether no service is left.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// How many are left.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether a service is still up; its logger does not count.
    pub fn is_any_up(&self) -> bool {
        self.up > 0
    }

    /// The services that were told to stop.
    pub fn told(&self) -> Vec<SupervisorId> {
        let is_told = |member: &StopMember| matches!(member.state, MemberState::Told { .. });
        self.members.iter().filter(|(_, member)| is_told(member)).map(|(id, _)| *id).collect()
    }

    /// The names of the services that are left, and what they wait for.
    pub fn names(&self) -> Vec<String> {
        let named = |member: &StopMember| {
            let name = self.graph.name(member.node);
            match (member.state, member.is_down) {
                (_, true) => format!("{name} (down, its logger is leaving)"),
                (MemberState::Waiting, false) => format!("{name} (waits for its dependents)"),
                (MemberState::Told { .. }, false) => name.to_owned(),
            }
        };
        self.members.values().map(named).collect()
    }

    /// When the next step is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(due, _)| *due)
    }

    /// The summary, with the services that were killed but have not left.
    pub fn summary(&self) -> Summary {
        let Summary { gone, mut killed } = self.summary.clone();
        let dying = self.members.values().filter(|member| member.was_killed);
        killed.extend(dying.map(|member| self.graph.name(member.node).to_owned()));
        Summary { gone, killed }
    }

    /// A service is down: what it needs may go.
    fn let_go(&mut self, node: Node) {
        self.up = self.up.saturating_sub(1);
        for need in self.graph.needs(node) {
            let Some(count) = self.dependents_up.get_mut(need) else { continue };
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.free.extend(self.by_node.get(need).into_iter().flatten());
            }
        }
    }
}

#[cfg(test)]
mod tests;
