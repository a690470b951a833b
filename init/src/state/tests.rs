//! A lifecycle in a simulated container, with simulated time.

mod hooks_and_command;
mod services;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use servicedir::HistoryEvent;
use sys::{Errno, ExitStatus, Pid, Signal};

use super::events::{
    CheckResult, Escalation, HookStage, LifecycleAction, LifecycleEvent, LogLevel, OwnProgram, ServiceReport,
    SupervisorId,
};
use super::{Lifecycle, LifecycleSetup};

const SECOND: Duration = Duration::from_secs(1);
const COMMAND: Pid = Pid::from_raw(3);
/// Throws of a dice with so many sides, from 0 on. xorshift: the same seed gives the same walk.
pub fn dice(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    move |sides| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state).unwrap_or(0) % sides
    }
}

/// Of a service with all that a stop needs time for.
const REPORT: ServiceReport = ServiceReport {
    is_wanted_up: false,
    running_since: None,
    is_ready: None,
    is_gone: false,
    has_stop_scripts: true,
    has_log: true,
};

const KILLED: ExitStatus = ExitStatus::Killed { signal: Signal::KILL, core: false };

/// A lifecycle and the simulated container that answers its actions.
struct Simulation {
    lifecycle: Lifecycle,
    begin: Instant,
    /// The processes that are left: those of services have the numbers of their supervisors.
    processes: BTreeSet<i32>,
    hooks: Vec<(HookStage, Vec<&'static str>)>,
    /// Whether COMMAND's process group has members.
    is_group_there: bool,
    /// Whether COMMAND can be run.
    is_command_there: bool,
    /// The file `critical` of every service.
    critical_limit: Option<u32>,
    said: Vec<String>,
    done: Vec<LifecycleAction>,
}

impl Simulation {
    fn new(grace: Duration, command: Option<&str>) -> Self {
        Self::with_hooks(grace, command, Vec::new())
    }

    fn with_hooks(
        grace: Duration,
        command: Option<&str>,
        hooks: Vec<(HookStage, Vec<&'static str>)>,
    ) -> Self {
        Self::made(grace, command, hooks, true, |_| {})
    }

    /// A simulation in which COMMAND cannot be run.
    fn without_command(hooks: Vec<(HookStage, Vec<&'static str>)>) -> Self {
        Self::made(SECOND * 10, Some("npm"), hooks, false, |_| {})
    }

    /// A simulation in which COMMAND is its whole group.
    fn with_a_group() -> Self {
        Self::adjusted(|setup| setup.is_group = true)
    }

    /// A simulation with COMMAND and another setup.
    fn adjusted(adjust: impl FnOnce(&mut LifecycleSetup)) -> Self {
        Self::made(SECOND * 10, Some("npm"), Vec::new(), true, adjust)
    }

    fn made(
        grace: Duration,
        command: Option<&str>,
        hooks: Vec<(HookStage, Vec<&'static str>)>,
        is_command_there: bool,
        adjust: impl FnOnce(&mut LifecycleSetup),
    ) -> Self {
        let of = |stage| -> Vec<_> {
            hooks.iter().filter(|(known, _)| *known == stage).flat_map(|(_, names)| names.clone()).collect()
        };
        let mut setup = LifecycleSetup {
            grace,
            drain: None,
            directory: Some("/srv".into()),
            command: command.map(ToOwned::to_owned),
            stop_signal: None,
            is_group: false,
            start_hooks: of(HookStage::Start).into_iter().map(Into::into).collect(),
            has_drain: !of(HookStage::Drain).is_empty(),
            has_finish: !of(HookStage::Finish).is_empty(),
        };
        adjust(&mut setup);
        let lifecycle = Lifecycle::new(setup);
        let begin = Instant::now();
        let mut simulation = Self {
            lifecycle,
            begin,
            processes: BTreeSet::new(),
            hooks,
            is_group_there: false,
            is_command_there,
            critical_limit: None,
            said: Vec::new(),
            done: Vec::new(),
        };
        simulation.feed(Duration::ZERO, LifecycleEvent::Tick);
        simulation
    }

    /// Feeds an event `after` the beginning, and the outcome of each action it leads to.
    fn feed(&mut self, after: Duration, event: LifecycleEvent) -> &mut Self {
        let now = self.begin + after;
        self.lifecycle.handle(event, now);
        while let Some(action) = self.lifecycle.next_action() {
            let outcome = match &action {
                LifecycleAction::Log(LogLevel::Detail, _) => None,
                LifecycleAction::Log(_, line) => {
                    self.said.push(line.clone());
                    None
                }
                LifecycleAction::ReadCritical(id, end) => {
                    Some(LifecycleEvent::CriticalRead(*id, *end, self.critical_limit))
                }
                LifecycleAction::Check(id) => Some(LifecycleEvent::Checked(*id, CheckResult::Up)),
                LifecycleAction::ProbeGroup(leader) => {
                    Some(LifecycleEvent::GroupProbed { leader: *leader, is_there: self.is_group_there })
                }
                LifecycleAction::StartCommand if !self.is_command_there => {
                    Some(LifecycleEvent::NotStarted(OwnProgram::Command, Errno::ENOENT))
                }
                LifecycleAction::StartCommand => Some(self.spawned(OwnProgram::Command, COMMAND)),
                LifecycleAction::StartHook { path, .. } => {
                    let number = path.to_str().and_then(|name| name.rsplit('/').next()?.parse().ok());
                    Some(self.spawned(OwnProgram::Hook, Pid::from_raw(number.unwrap_or(90))))
                }
                LifecycleAction::FindHooks(stage) => {
                    let found = self.hooks.iter().find(|(known, _)| known == stage);
                    let names = found.map(|(_, names)| names.clone()).unwrap_or_default();
                    Some(LifecycleEvent::HooksFound(*stage, names.into_iter().map(Into::into).collect()))
                }
                LifecycleAction::Escalate(late) => Some(LifecycleEvent::Escalated(
                    late.iter().map(|late| (*late, vec!["run (pid 9)".into()])).collect(),
                )),
                _ => None,
            };
            self.done.push(action);
            if let Some(outcome) = outcome {
                self.lifecycle.handle(outcome, now);
            }
        }
        self
    }

    /// Advances time from deadline to deadline until then.
    fn advance(&mut self, until: Duration) -> &mut Self {
        let mut ticks = 0;
        while let Some(next) = self.lifecycle.next_deadline().filter(|next| *next <= self.begin + until) {
            self.feed(next.duration_since(self.begin), LifecycleEvent::Tick);
            ticks += 1;
            assert!(ticks < 10_000, "time stands still: {:?}", self.lifecycle);
        }
        self.feed(until, LifecycleEvent::Tick)
    }

    fn spawned(&mut self, program: OwnProgram, pid: Pid) -> LifecycleEvent {
        self.processes.insert(pid.as_raw());
        LifecycleEvent::Started(program, pid)
    }

    /// There is a process that belongs to no service.
    fn adopts(&mut self, pid: i32) -> &mut Self {
        self.processes.insert(pid);
        self.feed(Duration::ZERO, LifecycleEvent::Childless(false))
    }

    /// A process that belongs to no service exits.
    fn exits(&mut self, after: Duration, pid: i32, ending: ExitStatus) -> &mut Self {
        self.processes.remove(&pid);
        self.feed(after, LifecycleEvent::Reaped(vec![(Pid::from_raw(pid), ending)]));
        self.feed(after, LifecycleEvent::Childless(self.processes.is_empty()))
    }

    /// A service is supervised, and wanted up.
    fn opens(&mut self, id: u64, name: &str, needs: &[&str]) -> &mut Self {
        let needs = needs.iter().map(ToString::to_string).collect();
        let id = SupervisorId(id);
        self.feed(Duration::ZERO, LifecycleEvent::ServiceOpened { id, name: name.to_owned(), needs });
        self.changes(Duration::ZERO, id.0, ServiceReport { is_wanted_up: true, ..REPORT })
    }

    /// A service runs since the beginning.
    fn runs(&mut self, id: u64, name: &str, needs: &[&str]) -> &mut Self {
        self.opens(id, name, needs).comes_up(Duration::ZERO, id).feed(Duration::ZERO, LifecycleEvent::Scanned)
    }

    fn comes_up(&mut self, after: Duration, id: u64) -> &mut Self {
        let running_since = Some(self.begin + after);
        self.adopts(pid_of(SupervisorId(id)));
        self.changes(after, id, ServiceReport { is_wanted_up: true, running_since, ..REPORT })
    }

    fn changes(&mut self, after: Duration, id: u64, report: ServiceReport) -> &mut Self {
        self.feed(after, LifecycleEvent::ServiceChanged(SupervisorId(id), report))
    }

    /// Something happens to a service.
    fn happens(&mut self, after: Duration, id: u64, event: HistoryEvent) -> &mut Self {
        self.feed(after, LifecycleEvent::ServiceHappened(SupervisorId(id), event))
    }

    /// A service is down for good, and its logger still reads.
    fn goes_down(&mut self, after: Duration, id: u64, ending: ExitStatus) -> &mut Self {
        self.happens(after, id, HistoryEvent::Ended(ending, after));
        self.changes(after, id, ServiceReport { is_gone: true, ..REPORT })
    }

    /// A service is down for good, and its supervisor leaves.
    fn stops(&mut self, after: Duration, id: u64) -> &mut Self {
        self.goes_down(after, id, ExitStatus::Exited(0)).closes(after, id)
    }

    fn closes(&mut self, after: Duration, id: u64) -> &mut Self {
        self.processes.remove(&pid_of(SupervisorId(id)));
        self.feed(after, LifecycleEvent::ServiceClosed(SupervisorId(id)));
        self.feed(after, LifecycleEvent::Childless(self.processes.is_empty()))
    }

    fn is_done(&self, action: &LifecycleAction) -> bool {
        self.done.contains(action)
    }

    /// Whether a service was told to stop.
    fn is_told(&self, id: u64) -> bool {
        let is_meant = |action: &LifecycleAction| matches!(action, LifecycleAction::StopServices(ids) if ids.contains(&SupervisorId(id)));
        self.done.iter().any(is_meant)
    }

    fn has_started_a_hook(&self) -> bool {
        self.done.iter().any(|action| matches!(action, LifecycleAction::StartHook { .. }))
    }

    fn escalation_of(&self, id: u64) -> Vec<Escalation> {
        let escalated = self.done.iter().filter_map(|action| match action {
            LifecycleAction::Escalate(late) => Some(late.iter().filter(|late| late.id == SupervisorId(id))),
            _ => None,
        });
        escalated.flatten().map(|late| late.escalation).collect()
    }

    fn last_line(&self) -> &str {
        self.said.last().map_or("", String::as_str)
    }
}

fn pid_of(id: SupervisorId) -> i32 {
    i32::try_from(id.0).unwrap_or_default()
}
