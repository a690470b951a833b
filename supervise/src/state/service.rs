//! State: the life of one service, main or log.

mod commands;
mod readiness;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use servicedir::history::PERMANENT_FAILURE;
use servicedir::{HistoryEvent, Readiness, State, Status, Tai64n, Want};
use sys::{ExitStatus, Now, Pid, Signal};

use super::command_steps::{CommandStep, STOP};
use super::{
    ControlScript, LEFTOVER_DELAY, Script, ServiceAction, ServiceEvent, ServiceRole, Settings, SignalTarget,
    StartedScript,
};

use commands::{CommandPlan, ControlScriptState};

/// A service that lived for less than this is started again after this (RSV-44).
pub const RESTART_DELAY: Duration = Duration::from_secs(1);

/// How long to wait after a failed fork (RSV-47).
pub const FORK_RETRY_DELAY: Duration = Duration::from_secs(5);

/// How long a group may outlive its leader before it is killed, without `timeout-kill`.
pub const GROUP_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a group without a leader is probed: not each of its members is a child of this process.
const GROUP_PROBE_INTERVAL: Duration = Duration::from_millis(50);

/// One service.
#[derive(Debug)]
pub struct ServiceState {
    role: ServiceRole,
    phase: ServicePhase,
    want: Want,
    /// Whether to start once more, though it is not wanted up.
    is_start_due: bool,
    is_paused: bool,
    got_term: bool,
    since: Tai64n,
    /// When `./run` was last started, for the restart delay.
    run_started: Option<Instant>,
    /// No start before this.
    not_before: Option<Instant>,
    settings: Settings,
    /// When the stop that is under way is escalated to KILL.
    kill_at: Option<Instant>,
    /// What a `./run` that says itself when it is ready has said.
    readiness: Option<Readiness>,
    /// Killed after an exit command: no `./finish`, and no waiting beyond this.
    forced_at: Option<Instant>,
    /// When to log the leftovers.
    name_leftovers_at: Option<Instant>,
    plan: CommandPlan,
}

/// What a service does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ServicePhase {
    /// It has no process.
    Down,
    /// `control/u` was requested, or runs; `./run` follows.
    Preparing(Option<Pid>),
    /// `./run` was requested.
    Starting,
    /// `./run` runs.
    Run(SignalTarget),
    /// `./run` ended; other members of its group may live.
    Group { leader: Pid, exit_status: ExitStatus, has_finish: bool, probe_at: Instant },
    /// `./finish` was requested, or is due after a failed fork.
    FinishDue(ExitStatus),
    /// `./finish` runs.
    Finish { target: SignalTarget, kill_at: Option<Instant> },
}

impl ServiceState {
    /// A service that is down, and wanted up or down.
    pub fn new(role: ServiceRole, want: Want, now: Now) -> Self {
        Self {
            role,
            phase: ServicePhase::Down,
            want,
            is_start_due: false,
            is_paused: false,
            got_term: false,
            since: Tai64n::of(now.wall),
            run_started: None,
            not_before: None,
            settings: Settings::default(),
            kill_at: None,
            readiness: None,
            forced_at: None,
            name_leftovers_at: None,
            plan: CommandPlan::default(),
        }
    }

    /// Takes over the group of a `./run` that an earlier supervisor has left: it ends before `./run` is
    /// started.
    pub fn take_over(&mut self, leader: Pid, now: Now) {
        // Its leader is no child of this process: its exit status is unknown, and ./finish is not run.
        let exit_status = ExitStatus::Exited(0);
        self.phase = ServicePhase::Group { leader, exit_status, has_finish: false, probe_at: now.monotonic };
    }

    /// The status record.
    pub fn status(&self) -> Status {
        let (state, pid) = match self.phase {
            ServicePhase::Down | ServicePhase::Preparing(_) | ServicePhase::Starting => (State::Down, None),
            ServicePhase::Run(target) => (State::Run, Some(target.pid)),
            ServicePhase::Group { leader, .. } => (State::Run, Some(leader)),
            ServicePhase::FinishDue(_) => (State::Finish, None),
            ServicePhase::Finish { target, .. } => (State::Finish, Some(target.pid)),
        };
        Status {
            since: self.since,
            pid: pid.and_then(|pid| pid.as_raw().try_into().ok()).unwrap_or(0),
            is_paused: self.is_paused,
            want: self.want,
            got_term: self.got_term,
            state: Some(state),
        }
    }

    /// Whether the service is down and wanted to exit, and no command is under way.
    pub fn is_over(&self) -> bool {
        self.want == Want::Exit
            && self.phase == ServicePhase::Down
            && !self.is_start_due
            && self.plan.is_done()
    }

    /// Whether a command may be handled: not while a control script runs (DEV-2).
    pub fn takes_commands(&self) -> bool {
        self.plan.is_done() && !matches!(self.phase, ServicePhase::Preparing(_) | ServicePhase::Starting)
    }

    /// The process, or its group.
    pub fn target(&self) -> Option<SignalTarget> {
        match self.phase {
            ServicePhase::Run(target) | ServicePhase::Finish { target, .. } => Some(target),
            ServicePhase::Group { leader, .. } => Some(SignalTarget { pid: leader, is_group: true }),
            ServicePhase::Down
            | ServicePhase::Preparing(_)
            | ServicePhase::Starting
            | ServicePhase::FinishDue(_) => None,
        }
    }

    /// When the next tick is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        let phase = match self.phase {
            ServicePhase::Down if self.wants_start() => self.not_before,
            ServicePhase::FinishDue(_) => self.not_before,
            ServicePhase::Group { probe_at, .. } => Some(probe_at),
            ServicePhase::Finish { kill_at, .. } => kill_at,
            _ => None,
        };
        let kill = if self.is_running() { self.kill_at } else { None };
        [phase, kill, self.forced_at, self.name_leftovers_at].into_iter().flatten().min()
    }

    /// The settling rule: a service that is wanted up, is down, and may be started is started.
    pub fn settle(&mut self, now: Now, actions: &mut VecDeque<ServiceAction>) {
        let may_start = self.not_before.is_none_or(|moment| moment <= now.monotonic);
        match self.phase {
            ServicePhase::Down if self.wants_start() && may_start => self.prepare(actions),
            ServicePhase::FinishDue(exit_status) if self.not_before.is_some() && may_start => {
                self.not_before = None;
                actions.push_back(ServiceAction::Start(self.role, Script::Finish(exit_status)));
            }
            _ => {}
        }
    }

    /// Lets a log service read its input to the end; it is started once more if it is down.
    pub fn read_to_the_end(&mut self, has_unread: bool, actions: &mut VecDeque<ServiceAction>) {
        self.is_start_due = has_unread && self.want == Want::Up && self.phase == ServicePhase::Down;
        self.want = Want::Exit;
        if self.target().is_some() || self.is_start_due {
            self.publish(actions);
        }
    }

    /// A child of the process ended; it may belong to another service.
    pub fn exited(
        &mut self,
        pid: Pid,
        exit_status: ExitStatus,
        has_finish: bool,
        now: Now,
        actions: &mut VecDeque<ServiceAction>,
    ) {
        if self.plan.script == ControlScriptState::Runs(pid) {
            self.plan.script = ControlScriptState::None;
            // Only a real exit 0 suppresses the signal (DEV-4).
            self.plan.is_suppressed = exit_status.is_success();
            return self.follow_plan(now, actions);
        }
        match self.phase {
            ServicePhase::Preparing(Some(script)) if script == pid => self.start_run(actions),
            ServicePhase::Run(target) if target.pid == pid && target.is_group => {
                self.phase =
                    ServicePhase::Group { leader: pid, exit_status, has_finish, probe_at: now.monotonic };
                self.note_end(exit_status, now, actions);
                actions.push_back(ServiceAction::ProbeGroup(self.role, pid));
            }
            ServicePhase::Run(target) if target.pid == pid => {
                self.note_end(exit_status, now, actions);
                self.run_ended(exit_status, has_finish, now, actions);
            }
            // Many deaths at once lead to one probe.
            ServicePhase::Group { ref mut probe_at, .. } => *probe_at = now.monotonic,
            ServicePhase::Finish { target, .. } if target.pid == pid => {
                self.remember(HistoryEvent::Finished(exit_status), actions);
                self.stay_down_if_told(exit_status, actions);
                self.enter_down(now, actions);
            }
            // A leftover, or a process of another service.
            _ => {}
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Now, actions: &mut VecDeque<ServiceAction>) {
        let is_due = |moment: Option<Instant>| moment.is_some_and(|moment| moment <= now.monotonic);
        if is_due(self.forced_at)
            && let Some(target) = self.target()
        {
            // It cannot be killed, but the supervisor was told to leave (DEV-5).
            actions.push_back(ServiceAction::Abandon(target.pid));
            self.enter_down(now, actions);
        }
        if self.is_running() && is_due(self.kill_at) {
            self.kill_at = None;
            self.signal(Signal::KILL, actions);
            if let ControlScriptState::Runs(script) = self.plan.script {
                actions.push_back(ServiceAction::Signal(
                    SignalTarget { pid: script, is_group: false },
                    Signal::KILL,
                ));
            }
        }
        if is_due(self.name_leftovers_at) {
            self.name_leftovers_at = None;
            actions.push_back(ServiceAction::NameLeftovers);
        }
        match &mut self.phase {
            ServicePhase::Finish { target, kill_at } if is_due(*kill_at) => {
                *kill_at = None;
                actions.push_back(ServiceAction::Signal(*target, Signal::KILL));
                actions.push_back(ServiceAction::Remember(
                    self.role,
                    HistoryEvent::Sent(Signal::KILL, target.pid),
                ));
            }
            ServicePhase::Group { leader, probe_at, .. } if *probe_at <= now.monotonic => {
                *probe_at = now.monotonic + GROUP_PROBE_INTERVAL;
                actions.push_back(ServiceAction::ProbeGroup(self.role, *leader));
            }
            _ => {}
        }
    }

    /// The outcome of an action.
    pub fn outcome(&mut self, event: ServiceEvent, now: Now, actions: &mut VecDeque<ServiceAction>) {
        match (self.phase, event) {
            (
                ServicePhase::Preparing(None),
                ServiceEvent::ControlScriptStarted(ControlScript::BeforeStart, pid),
            ) => {
                self.phase = ServicePhase::Preparing(Some(pid));
                self.remember(HistoryEvent::Asks(ControlScript::BeforeStart.byte(), pid), actions);
            }
            (ServicePhase::Preparing(None), ServiceEvent::NoControlScript(ControlScript::BeforeStart)) => {
                self.start_run(actions);
            }
            (ServicePhase::Starting, ServiceEvent::Started(_, Script::Run, started)) => {
                self.run_started(started, now, actions);
            }
            (ServicePhase::Starting, ServiceEvent::NotStarted(_, Script::Run)) => {
                self.phase = ServicePhase::Down;
                self.is_start_due |= self.want != Want::Up;
                self.not_before = Some(now.monotonic + FORK_RETRY_DELAY);
            }
            (ServicePhase::FinishDue(_), ServiceEvent::Started(_, Script::Finish(_), started)) => {
                self.is_paused = false;
                self.phase = ServicePhase::Finish {
                    target: started.target(),
                    kill_at: started.limit.map(|limit| now.monotonic + limit),
                };
                self.publish(actions);
                self.remember(HistoryEvent::Finishing(started.pid), actions);
            }
            (ServicePhase::FinishDue(_), ServiceEvent::NotStarted(_, Script::Finish(_))) => {
                self.not_before = Some(now.monotonic + FORK_RETRY_DELAY);
            }
            (ServicePhase::Group { .. }, ServiceEvent::GroupProbed(_, is_alive)) => {
                self.group_probed(is_alive, now, actions);
            }
            (_, ServiceEvent::ControlScriptStarted(script @ ControlScript::ForCommand(_), pid)) => {
                self.plan.script = ControlScriptState::Runs(pid);
                self.remember(HistoryEvent::Asks(script.byte(), pid), actions);
            }
            (_, ServiceEvent::NoControlScript(ControlScript::ForCommand(_))) => {
                self.plan.script = ControlScriptState::None;
                self.plan.is_suppressed = false;
                self.follow_plan(now, actions);
            }
            (_, ServiceEvent::Settings(_, settings)) => {
                self.settings = settings;
                self.plan.is_waiting = false;
                if self.is_running() {
                    // The first stop counts: a second one does not extend the limit.
                    self.kill_at = self.kill_at.or(settings.kill_after.map(|limit| now.monotonic + limit));
                }
                self.follow_plan(now, actions);
            }
            // An outcome that a later event has made void.
            _ => {}
        }
    }

    fn wants_start(&self) -> bool {
        self.want == Want::Up || self.is_start_due
    }

    fn is_running(&self) -> bool {
        matches!(self.phase, ServicePhase::Run(_) | ServicePhase::Group { .. })
    }

    fn publish(&self, actions: &mut VecDeque<ServiceAction>) {
        actions.push_back(ServiceAction::Publish(self.role, self.status()));
    }

    fn remember(&self, note: HistoryEvent, actions: &mut VecDeque<ServiceAction>) {
        actions.push_back(ServiceAction::Remember(self.role, note));
    }

    fn signal(&self, signal: Signal, actions: &mut VecDeque<ServiceAction>) {
        if let Some(target) = self.target() {
            actions.push_back(ServiceAction::Signal(target, signal));
            self.remember(HistoryEvent::Sent(signal, target.pid), actions);
        }
    }

    fn prepare(&mut self, actions: &mut VecDeque<ServiceAction>) {
        self.not_before = None;
        self.name_leftovers_at = None;
        match self.role {
            ServiceRole::Main => {
                self.phase = ServicePhase::Preparing(None);
                actions.push_back(ServiceAction::RunControlScript(ControlScript::BeforeStart, None));
            }
            ServiceRole::Log => self.start_run(actions),
        }
    }

    fn start_run(&mut self, actions: &mut VecDeque<ServiceAction>) {
        self.phase = ServicePhase::Starting;
        actions.push_back(ServiceAction::Start(self.role, Script::Run));
    }

    fn run_started(&mut self, started: StartedScript, now: Now, actions: &mut VecDeque<ServiceAction>) {
        self.phase = ServicePhase::Run(started.target());
        self.is_start_due = false;
        self.is_paused = false;
        self.got_term = false;
        self.kill_at = None;
        self.run_started = Some(now.monotonic);
        self.since = Tai64n::of(now.wall);
        let pid = self.status().pid;
        self.readiness = started.notifies.then_some(Readiness { since: self.since, pid, ready: None });
        // Before its status, which clients judge by it.
        actions.extend(self.readiness.map(ServiceAction::PublishReadiness));
        self.publish(actions);
        self.remember(HistoryEvent::Started(started.pid), actions);
    }

    fn note_end(&mut self, exit_status: ExitStatus, now: Now, actions: &mut VecDeque<ServiceAction>) {
        self.set_ready(None, actions);
        let lived = self.run_started.map(|started| now.monotonic.saturating_duration_since(started));
        self.remember(HistoryEvent::Ended(exit_status, lived.unwrap_or_default()), actions);
    }

    /// RSV-42: `./finish` follows at once, if there is one.
    fn run_ended(
        &mut self,
        exit_status: ExitStatus,
        has_finish: bool,
        now: Now,
        actions: &mut VecDeque<ServiceAction>,
    ) {
        self.got_term = false;
        self.kill_at = None;
        if has_finish && self.forced_at.is_none() {
            self.phase = ServicePhase::FinishDue(exit_status);
            self.publish(actions);
            actions.push_back(ServiceAction::Start(self.role, Script::Finish(exit_status)));
        } else {
            self.enter_down(now, actions);
        }
    }

    /// ADD-20: a `./finish` can leave the service down, as `d` does.
    fn stay_down_if_told(&mut self, finish: ExitStatus, actions: &mut VecDeque<ServiceAction>) {
        if finish == ExitStatus::Exited(PERMANENT_FAILURE) && self.want == Want::Up {
            self.want = Want::Down;
            self.remember(HistoryEvent::StaysDown, actions);
        }
    }

    /// RSV-43, RSV-44: the service is down; one that lived less than a second waits before its next start.
    fn enter_down(&mut self, now: Now, actions: &mut VecDeque<ServiceAction>) {
        self.phase = ServicePhase::Down;
        self.set_ready(None, actions);
        self.got_term = false;
        self.kill_at = None;
        self.forced_at = None;
        self.since = Tai64n::of(now.wall);
        let was_short = self
            .run_started
            .is_some_and(|started| now.monotonic.saturating_duration_since(started) < RESTART_DELAY);
        self.not_before = was_short.then(|| now.monotonic + RESTART_DELAY);
        if !self.wants_start() {
            self.schedule_leftover_report(now);
        }
        self.publish(actions);
        if was_short && self.wants_start() {
            self.remember(HistoryEvent::Rests(RESTART_DELAY), actions);
        }
    }

    /// Leftovers have a moment to end before they are logged.
    fn schedule_leftover_report(&mut self, now: Now) {
        if self.role == ServiceRole::Main {
            self.name_leftovers_at = Some(now.monotonic + LEFTOVER_DELAY);
        }
    }

    /// The leader is gone: stops the other members, and goes on when the last one has ended.
    fn group_probed(&mut self, is_alive: bool, now: Now, actions: &mut VecDeque<ServiceAction>) {
        let ServicePhase::Group { leader, exit_status, has_finish, ref mut probe_at } = self.phase else {
            return;
        };
        if !is_alive {
            if self.role == ServiceRole::Main {
                actions.push_back(ServiceAction::EndLeftovers);
            }
            return self.run_ended(exit_status, has_finish, now, actions);
        }
        if *probe_at <= now.monotonic {
            *probe_at = now.monotonic + GROUP_PROBE_INTERVAL;
        }
        if self.got_term {
            self.kill_at = self.kill_at.or(Some(now.monotonic + GROUP_TIMEOUT));
        } else if self.plan.is_done() {
            self.remember(HistoryEvent::GroupLives(leader), actions);
            // The other members have not been sent a signal yet.
            self.plan = CommandPlan {
                steps: [CommandStep::ReadSettings].into_iter().chain(STOP).collect(),
                meant_for: Some(leader),
                ..CommandPlan::default()
            };
            self.follow_plan(now, actions);
        }
    }
}

impl StartedScript {
    fn target(self) -> SignalTarget {
        SignalTarget { pid: self.pid, is_group: self.is_group }
    }
}
