//! A lifecycle in a simulated container, with simulated time.

mod hooks_and_command;
mod services;

use std::time::{Duration, Instant};

use sys::{Errno, ExitStatus, Pid, Signal};

use super::events::{
    AdoptedChild, ChildKind, Escalation, HookStage, LifecycleAction, LifecycleEvent, LogLevel, OwnProgram,
    ReportedState,
};
use super::{Lifecycle, LifecycleSetup, ServiceEnd};

const SECOND: Duration = Duration::from_secs(1);
const RUNSVDIR: Pid = Pid::from_raw(2);
const COMMAND: Pid = Pid::from_raw(3);

/// A lifecycle and the simulated container that answers its actions.
struct Simulation {
    lifecycle: Lifecycle,
    begin: Instant,
    /// The children of init.
    children: Vec<AdoptedChild>,
    hooks: Vec<(HookStage, Vec<&'static str>)>,
    /// Whether COMMAND's process group has members.
    is_group_there: bool,
    /// Whether COMMAND can be run.
    is_command_there: bool,
    /// What the history of each service tells.
    service_end: ServiceEnd,
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
            children: Vec::new(),
            hooks,
            is_group_there: false,
            is_command_there,
            service_end: ServiceEnd::default(),
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
                LifecycleAction::StartRunsvdir => {
                    Some(LifecycleEvent::Started(OwnProgram::Runsvdir, RUNSVDIR))
                }
                LifecycleAction::ReadServiceEnd(supervisor, _) => {
                    Some(LifecycleEvent::ServiceEndRead(*supervisor, self.service_end.clone()))
                }
                LifecycleAction::ProbeGroup(leader) => {
                    Some(LifecycleEvent::GroupProbed { leader: *leader, is_there: self.is_group_there })
                }
                LifecycleAction::StartCommand if !self.is_command_there => {
                    Some(LifecycleEvent::NotStarted(OwnProgram::Command, Errno::ENOENT))
                }
                LifecycleAction::StartCommand => Some(LifecycleEvent::Started(OwnProgram::Command, COMMAND)),
                LifecycleAction::StartHook { path, .. } => {
                    let number = path.to_str().and_then(|name| name.rsplit('/').next()?.parse().ok());
                    Some(LifecycleEvent::Started(OwnProgram::Hook, Pid::from_raw(number.unwrap_or(90))))
                }
                LifecycleAction::FindHooks(stage) => {
                    let found = self.hooks.iter().find(|(known, _)| known == stage);
                    let names = found.map(|(_, names)| names.clone()).unwrap_or_default();
                    Some(LifecycleEvent::HooksFound(*stage, names.into_iter().map(Into::into).collect()))
                }
                LifecycleAction::ListChildren(_) => {
                    Some(LifecycleEvent::ChildrenListed(Some(self.children.clone())))
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

    fn exits(&mut self, after: Duration, pid: i32, ending: ExitStatus) -> &mut Self {
        let pid = Pid::from_raw(pid);
        self.children.retain(|child| child.pid != pid);
        let is_childless = self.children.is_empty();
        self.feed(after, LifecycleEvent::Reaped { deaths: vec![(pid, ending)], is_childless })
    }

    fn runs(&mut self, pid: i32, name: &str, needs: &[&str]) -> &mut Self {
        let needs = needs.iter().map(ToString::to_string).collect();
        self.children.push(AdoptedChild {
            pid: Pid::from_raw(pid),
            kind: ChildKind::Supervisor { name: name.into(), needs },
        });
        self
    }

    fn is_done(&self, action: &LifecycleAction) -> bool {
        self.done.contains(action)
    }

    fn terminated(&self, pid: i32) -> bool {
        self.is_done(&LifecycleAction::Signal(Pid::from_raw(pid), Signal::TERM))
    }

    fn escalation_of(&self, pid: i32) -> Vec<Escalation> {
        let escalated = self.done.iter().filter_map(|action| match action {
            LifecycleAction::Escalate(late) => {
                Some(late.iter().filter(|late| late.pid == Pid::from_raw(pid)))
            }
            _ => None,
        });
        escalated.flatten().map(|late| late.escalation).collect()
    }
}

const KILLED: ExitStatus = ExitStatus::Killed { signal: Signal::KILL, core: false };

/// How often a process was sent TERM.
fn terms(simulation: &Simulation, pid: i32) -> usize {
    let term = LifecycleAction::Signal(Pid::from_raw(pid), Signal::TERM);
    simulation.done.iter().filter(|action| **action == term).count()
}
