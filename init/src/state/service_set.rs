//! State: the services that init supervises, and which of them wait for others before they are started.
//!
//! A service waits for what it needs and is wanted up, but is not up yet. It waits neither for what is down on
//! purpose, nor for what is not there, nor for what needs it in turn.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use servicedir::HistoryEvent;
use servicedir::readiness::MIN_UPTIME;

use super::critical_ends::{CriticalEnds, UnaskedEnd};
use super::events::{CheckResult, LifecycleAction, ServiceReport, SupervisorId};
use super::service_graph::{Node, ServiceGraph};
use super::stop_budget::ServiceNeeds;

/// How soon a `check` that has failed is run again; each further time twice as late.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause between two checks.
const LAST_PAUSE: Duration = MIN_UPTIME;

/// So many entries of one service are named at most that do not count.
const MOST_WARNINGS: usize = 12;

/// The services, and the order of their starts.
#[derive(Debug, Default)]
pub struct ServiceSet {
    graph: ServiceGraph,
    services: BTreeMap<SupervisorId, ServiceEntry>,
    /// The supervisors of each name, of which the last one counts: a renamed directory keeps its supervisor, and
    /// another one may have its name by now.
    by_node: HashMap<Node, Vec<SupervisorId>>,
    /// The names of services that another process supervises.
    occupied: BTreeSet<String>,
    /// The services that need what is not up.
    held: BTreeSet<SupervisorId>,
    /// Those that have needs which are new since all was settled.
    unsettled: BTreeSet<SupervisorId>,
    /// When to look again at a service that others wait for.
    deadlines: BTreeSet<(Instant, SupervisorId)>,
    actions: Vec<LifecycleAction>,
    warnings: Vec<String>,
}

/// A service.
#[derive(Debug)]
struct ServiceEntry {
    node: Node,
    report: ServiceReport,
    check: CheckState,
    /// Whether other services that need it have to wait.
    blocks: bool,
    /// How many services it waits for.
    blocked_by: usize,
    is_held: bool,
    /// Its place in the deadlines.
    deadline: Option<Instant>,
    ends: CriticalEnds,
}

/// What is known from the `check` of a service that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum CheckState {
    #[default]
    Unknown,
    /// It was requested.
    Runs {
        pause: Duration,
    },
    Missing,
    Passed,
    /// To be run again then.
    Failed {
        again: Instant,
        pause: Duration,
    },
}

impl ServiceEntry {
    /// Whether it is up, as far as is known, by the rule of sv(8).
    fn is_up(&self, now: Instant) -> bool {
        let Some(since) = self.report.running_since else { return false };
        match self.check {
            CheckState::Passed => true,
            CheckState::Missing => {
                self.report.is_ready.unwrap_or(now.saturating_duration_since(since) >= MIN_UPTIME)
            }
            CheckState::Unknown | CheckState::Runs { .. } | CheckState::Failed { .. } => false,
        }
    }

    /// Whether it would be started now if other services were up.
    fn is_waiting(&self) -> bool {
        self.blocked_by > 0 && self.report.is_wanted_up && self.report.running_since.is_none()
    }

    /// When time alone may change something.
    fn next_deadline(&self) -> Option<Instant> {
        match (self.report.running_since?, self.check) {
            (_, CheckState::Failed { again, .. }) => Some(again),
            (since, CheckState::Missing) if self.report.is_ready.is_none() => Some(since + MIN_UPTIME),
            _ => None,
        }
    }
}

impl ServiceSet {
    /// A supervisor has begun. A service that needs others is held.
    pub fn opened(&mut self, id: SupervisorId, name: &str, needs: &[String]) {
        self.occupied.remove(name);
        let node = self.graph.appeared(name);
        let did_block = self.blocks(node);
        self.by_node.entry(node).or_default().push(id);
        let (report, check) = (ServiceReport::default(), CheckState::default());
        let is_held = !needs.is_empty();
        self.services.insert(
            id,
            ServiceEntry {
                node,
                report,
                check,
                blocks: false,
                blocked_by: 0,
                is_held,
                deadline: None,
                ends: CriticalEnds::default(),
            },
        );
        self.graph.set_needs(node, needs);
        if is_held {
            self.unsettled.insert(id);
        }
        self.set_blocks(node, did_block, false);
    }

    /// What a service needs by now. It is held, until it is known what for.
    pub fn set_needs(&mut self, id: SupervisorId, needs: &[String]) {
        if let Some(service) = self.services.get_mut(&id) {
            service.is_held = true;
            self.graph.set_needs(service.node, needs);
            self.unsettled.insert(id);
        }
    }

    /// What a supervisor says has changed.
    pub fn reported(&mut self, id: SupervisorId, report: ServiceReport, now: Instant) {
        let Some(service) = self.services.get_mut(&id) else { return };
        if report.running_since != service.report.running_since {
            service.check = CheckState::Unknown;
        }
        service.report = report;
        self.update(id, now);
    }

    /// What has happened to a service; if that is an end that no client has requested, which.
    pub fn happened(&mut self, id: SupervisorId, event: HistoryEvent, now: Instant) -> Option<UnaskedEnd> {
        self.services.get_mut(&id)?.ends.happened(event, now)
    }

    /// The name of a service.
    pub fn name(&self, id: SupervisorId) -> Option<&str> {
        self.services.get(&id).map(|service| self.graph.name(service.node))
    }

    /// What the `check` of a service says.
    pub fn checked(&mut self, id: SupervisorId, result: CheckResult, now: Instant) {
        let Some(service) = self.services.get_mut(&id) else { return };
        let CheckState::Runs { pause } = service.check else { return };
        service.check = match result {
            CheckResult::Missing => CheckState::Missing,
            CheckResult::Up => CheckState::Passed,
            CheckResult::NotUp => {
                CheckState::Failed { again: now + pause, pause: (pause * 2).min(LAST_PAUSE) }
            }
        };
        self.update(id, now);
    }

    /// Another process has the service of this name.
    pub fn found_occupied(&mut self, name: &str) -> bool {
        self.occupied.insert(name.to_owned())
    }

    /// The names of the services that other processes have.
    pub fn occupied(&self) -> impl Iterator<Item = &str> {
        self.occupied.iter().map(String::as_str)
    }

    /// A supervisor is gone.
    pub fn closed(&mut self, id: SupervisorId, now: Instant) {
        self.set_deadline(id, None);
        let Some(service) = self.services.remove(&id) else { return };
        self.held.remove(&id);
        self.unsettled.remove(&id);
        let Some(ids) = self.by_node.get_mut(&service.node) else { return };
        let did_count = ids.last() == Some(&id);
        ids.retain(|other| *other != id);
        if ids.is_empty() {
            self.by_node.remove(&service.node);
        }
        if did_count {
            self.set_blocks(service.node, service.blocks, self.blocks(service.node));
        }
        match self.current(service.node) {
            Some(older) => self.update_awaited(older, now),
            None => self.graph.disappeared(service.node),
        }
    }

    /// All services that a scan has found were begun, and what was to be said has been said: now it is known
    /// what holds which service.
    pub fn settle(&mut self, now: Instant) {
        let warnings = self.graph.settle();
        if self.unsettled.is_empty() && warnings.is_none() {
            return;
        }
        for id in &std::mem::take(&mut self.unsettled) | &self.held {
            self.warn_of_absent(id);
        }
        self.warnings.extend(warnings.into_iter().flatten());
        let ids: Vec<SupervisorId> = self.services.keys().copied().collect();
        for id in &ids {
            self.count_blocking(*id);
            self.let_go_or_hold(*id);
        }
        for id in ids {
            self.update_awaited(id, now);
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) {
        while let Some((_, id)) = self.deadlines.first().copied().filter(|(due, _)| *due <= now) {
            self.set_deadline(id, None);
            self.update(id, now);
        }
    }

    /// When the next tick is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(due, _)| *due)
    }

    /// What is to be done.
    pub fn take_actions(&mut self) -> Vec<LifecycleAction> {
        std::mem::take(&mut self.actions)
    }

    /// What is to be said, each once.
    pub fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    /// What the stop of the services needs time for; with `is_command_up`, COMMAND ends with them.
    pub fn stop_needs(&self, is_command_up: bool) -> ServiceNeeds {
        let reports = || self.services.values().map(|service| service.report);
        let has_finish = reports().any(|report| report.has_stop_scripts);
        let has_loggers = reports().any(|report| report.has_log);
        if self.services.len() + usize::from(is_command_up) <= 1 && !has_finish && !has_loggers {
            ServiceNeeds::Alone
        } else {
            ServiceNeeds::Several { has_finish, has_loggers }
        }
    }

    /// Which services wait, each with some of the others that it waits for, and with their number.
    pub fn waiting(&self) -> impl Iterator<Item = (&str, Vec<&str>, usize)> {
        const MAX_NAMES: usize = 12;
        self.held.iter().filter_map(|id| {
            let service = self.services.get(id).filter(|service| service.is_waiting())?;
            let blocking = self.graph.needs(service.node).iter().filter(|need| self.blocks(**need));
            let names = blocking.take(MAX_NAMES).map(|need| self.graph.name(*need)).collect();
            Some((self.graph.name(service.node), names, service.blocked_by))
        })
    }

    /// Whether a service waits for others.
    pub fn is_any_waiting(&self) -> bool {
        self.held.iter().filter_map(|id| self.services.get(id)).any(ServiceEntry::is_waiting)
    }

    /// The graph, and every service that is there, for the stop.
    pub fn take_for_stop(&mut self) -> (ServiceGraph, Vec<(SupervisorId, Node, ServiceReport)>) {
        self.graph.settle();
        let services = std::mem::take(&mut self.services);
        (self.held, self.unsettled, self.deadlines) = Default::default();
        self.actions.clear();
        let members = services.into_iter().map(|(id, service)| (id, service.node, service.report)).collect();
        (std::mem::take(&mut self.graph), members)
    }

    fn current(&self, node: Node) -> Option<SupervisorId> {
        self.by_node.get(&node)?.last().copied()
    }

    fn blocks(&self, node: Node) -> bool {
        self.current(node).and_then(|id| self.services.get(&id)).is_some_and(|service| service.blocks)
    }

    fn count_blocking(&mut self, id: SupervisorId) {
        let Some(node) = self.services.get(&id).map(|service| service.node) else { return };
        let count = self.graph.needs(node).iter().filter(|need| self.blocks(**need)).count();
        if let Some(service) = self.services.get_mut(&id) {
            service.blocked_by = count;
        }
    }

    /// A service has changed: those that need it are told.
    fn update(&mut self, id: SupervisorId, now: Instant) {
        let Some(service) = self.services.get_mut(&id) else { return };
        let before = service.blocks;
        service.blocks = service.report.is_wanted_up && !service.is_up(now);
        let (node, blocks) = (service.node, service.blocks);
        if self.current(node) == Some(id) {
            self.set_blocks(node, before, blocks);
        }
        self.update_awaited(id, now);
    }

    /// While another service waits for it, its `check` is run.
    fn update_awaited(&mut self, id: SupervisorId, now: Instant) {
        let Some(service) = self.services.get(&id) else { return };
        let is_open = service.blocks && service.report.running_since.is_some();
        let dependents = self.graph.dependents(service.node).iter();
        let is_awaited = is_open
            && dependents
                .filter_map(|node| self.by_node.get(node))
                .flatten()
                .any(|id| self.held.contains(id));
        if !is_awaited {
            return self.set_deadline(id, None);
        }
        let Some(service) = self.services.get_mut(&id) else { return };
        let pause = match service.check {
            CheckState::Unknown => Some(FIRST_PAUSE),
            CheckState::Failed { again, pause } if again <= now => Some(pause),
            _ => None,
        };
        if let Some(pause) = pause {
            service.check = CheckState::Runs { pause };
            self.actions.push(LifecycleAction::Check(id));
        }
        let deadline = service.next_deadline();
        self.set_deadline(id, deadline);
    }

    fn set_deadline(&mut self, id: SupervisorId, deadline: Option<Instant>) {
        let Some(service) = self.services.get_mut(&id) else { return };
        if let Some(before) = std::mem::replace(&mut service.deadline, deadline) {
            self.deadlines.remove(&(before, id));
        }
        self.deadlines.extend(deadline.map(|due| (due, id)));
    }

    fn set_blocks(&mut self, node: Node, before: bool, now: bool) {
        if before == now {
            return;
        }
        let dependents = self.graph.dependents(node).iter().filter_map(|node| self.by_node.get(node));
        for id in dependents.flatten().copied().collect::<Vec<_>>() {
            let Some(service) = self.services.get_mut(&id) else { continue };
            service.blocked_by =
                if now { service.blocked_by + 1 } else { service.blocked_by.saturating_sub(1) };
            self.let_go_or_hold(id);
        }
    }

    /// A service that waits for nothing is released; one that needs what is not up is held at its next start.
    fn let_go_or_hold(&mut self, id: SupervisorId) {
        let Some(service) = self.services.get_mut(&id) else { return };
        let is_held = service.blocked_by > 0;
        if is_held {
            self.held.insert(id);
        } else {
            self.held.remove(&id);
        }
        if service.is_held != is_held {
            service.is_held = is_held;
            self.actions.push(if is_held { LifecycleAction::Hold(id) } else { LifecycleAction::Release(id) });
        }
    }

    fn warn_of_absent(&mut self, id: SupervisorId) {
        let Some(service) = self.services.get(&id) else { return };
        let node = service.node;
        let mut warnings = Vec::new();
        for need in self.graph.needs(node) {
            let (name, needed) = (self.graph.name(node), self.graph.name(*need));
            let why = match self.current(*need).and_then(|id| self.services.get(&id)) {
                None if self.occupied.contains(needed) => "has another supervisor",
                None => "is not running",
                Some(other) if !other.report.is_wanted_up && other.report.running_since.is_none() => {
                    "is down on purpose"
                }
                Some(_) => continue,
            };
            warnings.push(format!("{name} depends on {needed}, which {why}; ignored"));
        }
        let more = warnings.len().saturating_sub(MOST_WARNINGS);
        if more > 0 {
            warnings.truncate(MOST_WARNINGS);
            warnings
                .push(format!("{} depends on {more} more that do not count; ignored", self.graph.name(node)));
        }
        warnings.retain(|warning| self.graph.is_news(warning));
        self.warnings.append(&mut warnings);
    }
}

#[cfg(test)]
mod tests;
