//! Machine: the services that are being stopped, each at its own point of the way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use sys::{ExitStatus, Pid, Signal};

use super::judgement::Account;
use super::order::StopOrder;
use super::plan::Plan;
use super::vocabulary::{Action, Child, Kind, Late, Pressure, Seen, Weight};
use super::words::seconds;

/// Every service that is not down yet, by the process whose end says that it is.
#[derive(Debug, Default)]
pub struct Roster {
    members: BTreeMap<Pid, Member>,
    order: StopOrder,
    /// What was said to be wrong with it.
    complaints: BTreeSet<String>,
    tally: Tally,
    /// Those whose runsv has seen them to the end, and may have something to tell of it.
    recalled: BTreeMap<Pid, Gone>,
    /// Those who have lost their runsv: one service each, whatever is left of it.
    orphaned: BTreeSet<String>,
    /// Whose runsv has seen them to the end: what is left of these is no service any more.
    settled: BTreeSet<String>,
}

/// What became of the services.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tally {
    /// How many have gone.
    pub gone: usize,
    /// The names of those that had to be killed.
    pub killed: Vec<String>,
}

/// A service that is down, and whose runsv is gone.
#[derive(Debug)]
struct Gone {
    name: String,
    took: String,
}

/// What follows from the end of a process that stood for a service.
#[derive(Debug, PartialEq, Eq)]
pub enum Farewell {
    /// It is known how that was.
    Line(Weight, String),
    /// That is to be read: [`Action::Recall`].
    Recall(String),
}

#[derive(Debug)]
struct Member {
    name: String,
    role: Role,
    way: Way,
    is_down: bool,
    /// When whatever it has left behind is told to end, once it is down.
    clear_at: Option<Instant>,
    was_killed: bool,
    /// Whether its record has said that it is not wanted up, since it was asked.
    has_obeyed: bool,
    /// When it must have obeyed, although its record says that it has not.
    doubted_until: Option<Instant>,
    /// Whether it was asked again for that: who cannot write its record is not asked for ever.
    was_doubted: bool,
}

/// How long a service is down before what it has left behind is told to end: it may hold the pipe
/// that the logger reads.
const CLEAR_AFTER: Duration = Duration::from_millis(50);

/// How long after it was asked a supervisor's record still may say that its service is wanted up.
const OBEYS_WITHIN: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Supervisor,
    Orphan,
    OrphanedLogger,
}

#[derive(Debug, Clone, Copy)]
enum Way {
    /// Somebody who needs it is still up.
    Waiting,
    /// Told to end; when it is late, it is pressed, and then harder.
    Asked { at: Instant, next: Option<(Pressure, Instant)>, pace: Pace },
}

/// What lies between one degree of pressure and the next.
#[derive(Debug, Clone, Copy)]
struct Pace {
    finish: Duration,
    logger: Duration,
    supervisor: Duration,
}

impl Pace {
    fn of(plan: &Plan, divided_by: u32) -> Self {
        let divided_by = divided_by.max(1);
        let step = |from: Duration, to: Duration| to.saturating_sub(from) / divided_by;
        Self {
            finish: step(plan.run, plan.finish),
            logger: step(plan.finish, plan.loggers),
            supervisor: step(plan.loggers, plan.supervisors),
        }
    }

    fn until(self, pressure: Pressure) -> Duration {
        match pressure {
            Pressure::Run => Duration::ZERO,
            Pressure::Finish => self.finish,
            Pressure::Logger => self.logger,
            Pressure::Supervisor => self.supervisor,
        }
    }
}

impl Roster {
    /// Takes in whom it does not know yet; returns what is wrong with the order they ask for, and was
    /// not said before.
    pub fn meet(&mut self, children: Vec<Child>) -> Vec<String> {
        let mut all_needs: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for child in children {
            let (name, role) = match child.kind {
                Kind::Supervisor { name, needs } => {
                    all_needs.insert(name.clone(), needs);
                    (name, Role::Supervisor)
                }
                Kind::Orphan { name } if self.settled.contains(&name) => continue,
                Kind::Orphan { name } => (name, Role::Orphan),
                Kind::OrphanedLogger { name } => (name, Role::OrphanedLogger),
                Kind::Embryo | Kind::Stray => continue,
            };
            self.members.entry(child.pid).or_insert(Member {
                name,
                role,
                way: Way::Waiting,
                is_down: role == Role::OrphanedLogger,
                clear_at: None,
                was_killed: false,
                has_obeyed: false,
                doubted_until: None,
                was_doubted: false,
            });
        }
        // Who is met later, because its runsv was only just born or was somebody else's child,
        // relates to nobody any more.
        if self.order.is_empty() && all_needs.values().any(|needs| !needs.is_empty()) {
            let (order, mut complaints) =
                StopOrder::of(all_needs.iter().map(|(name, needs)| (name.as_str(), needs.as_slice())));
            self.order = order;
            complaints.retain(|complaint| self.complaints.insert(complaint.clone()));
            return complaints;
        }
        Vec::new()
    }

    /// Tells everybody to end for whom nobody has to wait any more.
    pub fn ask(&mut self, began: Instant, plan: &Plan, now: Instant) -> Vec<Action> {
        let up = self.members.values().filter(|member| !member.is_down);
        let up = self.order.members(up.map(|member| member.name.as_str()));
        let free: Vec<Pid> = self
            .members
            .iter()
            .filter(|(_, member)| matches!(member.way, Way::Waiting))
            .filter(|(_, member)| !self.order.is_needed(&member.name, &up))
            .map(|(pid, _)| *pid)
            .collect();
        let mut actions = Vec::new();
        for pid in free {
            let Some(member) = self.members.get_mut(&pid) else { continue };
            // Whoever has others waiting behind it gets its share of what is left, not all of it.
            let line = self.order.depth(&member.name).saturating_add(1);
            let patience = (began + plan.run).saturating_duration_since(now) / line;
            let next = if member.role == Role::OrphanedLogger {
                (Pressure::Logger, began + plan.loggers)
            } else {
                (Pressure::Run, now + patience)
            };
            member.way = Way::Asked { at: now, next: Some(next), pace: Pace::of(plan, line) };
            match member.role {
                // The CONT is for a runsv that somebody has stopped.
                Role::Supervisor => {
                    actions.extend([Action::Signal(pid, Signal::TERM), Action::Signal(pid, Signal::CONT)]);
                }
                Role::Orphan => actions.push(Action::EndOrphan(pid)),
                Role::OrphanedLogger => {}
            }
        }
        actions
    }

    /// Whoever is late, and how late.
    pub fn late(&mut self, now: Instant) -> Vec<Late> {
        let mut late = Vec::new();
        for (pid, member) in &mut self.members {
            if let Way::Asked { next, pace, .. } = &mut member.way
                && let Some((pressure, due)) = *next
                && due <= now
            {
                *next = pressure.next().map(|harder| (harder, now + pace.until(harder)));
                late.push(Late { pid: *pid, pressure });
            }
        }
        late
    }

    /// What the pressure on a service hit.
    pub fn pressed(&mut self, late: Late, victims: &[String]) -> Option<String> {
        let member = self.members.get_mut(&late.pid)?;
        if victims.is_empty() {
            return None;
        }
        let victims = victims.join(", ");
        Some(if late.pressure == Pressure::Logger {
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
    pub fn note_status(&mut self, supervisor: Pid, seen: Seen, now: Instant) -> bool {
        let Some(member) = self.members.get_mut(&supervisor) else { return false };
        // Who is wanted up may have been started since that was written.
        let is_down = seen.is_down && !seen.is_wanted_up;
        if is_down != member.is_down {
            member.clear_at = is_down.then(|| now + CLEAR_AFTER);
        }
        member.is_down = is_down;
        let is_contradicted = member.has_obeyed && seen.is_wanted_up;
        let is_asked = matches!(member.way, Way::Asked { .. });
        member.has_obeyed = !seen.is_wanted_up && is_asked;
        // It may not have come to it yet; or it has, and was told otherwise before we looked.
        let is_doubtful = seen.is_wanted_up && is_asked && !is_contradicted && !member.was_doubted;
        member.doubted_until = is_doubtful.then(|| member.doubted_until.unwrap_or(now + OBEYS_WITHIN));
        if is_contradicted || member.has_obeyed {
            member.was_doubted = false;
        }
        is_contradicted
    }

    /// The supervisors that should have obeyed for long, and are to be asked again.
    pub fn take_doubted(&mut self, now: Instant) -> Vec<Pid> {
        self.members
            .iter_mut()
            .filter_map(|(pid, member)| {
                member.doubted_until.take_if(|until| *until <= now)?;
                member.was_doubted = true;
                Some(*pid)
            })
            .collect()
    }

    /// The supervisors whose services are down for a while, and who are still there themselves.
    pub fn take_clearable(&mut self, now: Instant) -> Vec<Pid> {
        self.members
            .iter_mut()
            .filter(|(_, member)| member.is_down && matches!(member.way, Way::Asked { .. }))
            .filter_map(|(pid, member)| member.clear_at.take_if(|due| *due <= now).map(|_| *pid))
            .collect()
    }

    /// A process has died; if it stood for a service, what follows from that.
    pub fn ended(&mut self, pid: Pid, ending: ExitStatus, now: Instant) -> Option<Farewell> {
        let member = self.members.remove(&pid)?;
        let name = member.name;
        let took = match member.way {
            Way::Asked { at, .. } => seconds(now.saturating_duration_since(at)),
            Way::Waiting => seconds(Duration::ZERO),
        };
        if member.was_killed || ending == ExitStatus::Exited(0) {
            self.settled.insert(name.clone());
        }
        // Who has lost its runsv is one service, whatever of it is still seen to end.
        let is_lost = matches!(ending, ExitStatus::Killed { signal, .. } if signal != Signal::TERM);
        if member.role == Role::Supervisor && !is_lost {
            self.tally.gone += 1;
        } else {
            self.orphaned.insert(name.clone());
        }
        if member.was_killed {
            self.tally.killed.push(name.clone());
            return Some(Farewell::Line(Weight::Problem, format!("{name}: killed after {took}")));
        }
        Some(match (member.role, ending) {
            (Role::Supervisor, ExitStatus::Exited(0)) => {
                self.recalled.insert(pid, Gone { name: name.clone(), took });
                Farewell::Recall(name)
            }
            (Role::Supervisor, ExitStatus::Killed { signal, .. }) if is_lost => {
                // What it ran may live on, and is looked for.
                Farewell::Line(
                    Weight::Problem,
                    format!("{name}: has lost its runsv by {signal} after {took}"),
                )
            }
            (Role::Supervisor, ExitStatus::Exited(_)) => {
                Farewell::Line(Weight::Problem, format!("{name}: runsv ended with {ending} after {took}"))
            }
            // TERM kills a runsv only before it has started anything.
            (Role::Supervisor, ExitStatus::Killed { .. }) | (Role::Orphan, _) => {
                Farewell::Line(Weight::Info, format!("{name}: stopped after {took}"))
            }
            (Role::OrphanedLogger, _) => {
                Farewell::Line(Weight::Info, format!("{name}: logger has left after {took}"))
            }
        })
    }

    /// The history of a service that is down: the line that says how it went.
    pub fn recalled(&mut self, supervisor: Pid, account: &Account) -> Option<(Weight, String)> {
        let Gone { name, took } = self.recalled.remove(&supervisor)?;
        let remarks = account.remarks();
        Some(if account.was_killed() {
            let line = format!("{name}: killed by its runsv after {took}{remarks}");
            self.tally.killed.push(name);
            (Weight::Problem, line)
        } else {
            (Weight::Info, format!("{name}: stopped after {took}{remarks}"))
        })
    }

    /// Whether the history of somebody is being read.
    pub fn is_recalling(&self) -> bool {
        !self.recalled.is_empty()
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
        self.members.values().any(|member| matches!(member.way, Way::Waiting))
    }

    /// The supervisors that are left.
    pub fn supervisors(&self) -> Vec<Pid> {
        self.members
            .iter()
            .filter(|(_, member)| member.role == Role::Supervisor)
            .map(|(pid, _)| *pid)
            .collect()
    }

    /// Those that were asked to end.
    pub fn asked(&self) -> impl Iterator<Item = Pid> {
        let is_asked = |member: &Member| matches!(member.way, Way::Asked { .. });
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
                (Way::Waiting, false) => format!("{} (waits for its dependents)", member.name),
                (Way::Asked { .. }, false) => member.name.clone(),
            })
            .collect()
    }

    /// When somebody will be late.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.members
            .values()
            .filter_map(|member| match member.way {
                Way::Asked { next, .. } => {
                    let due = next.map(|(_, due)| due);
                    [due, member.clear_at, member.doubted_until].into_iter().flatten().min()
                }
                Way::Waiting => None,
            })
            .min()
    }

    /// What became of those that have gone, or were killed without being seen to go.
    pub fn tally(&self) -> Tally {
        let Tally { gone, mut killed } = self.tally.clone();
        let dying = self.members.values().filter(|member| member.was_killed);
        killed.extend(dying.map(|member| member.name.clone()));
        Tally { gone: gone + self.orphaned.len(), killed }
    }
}
