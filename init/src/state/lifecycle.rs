//! State: the phases of a container, from its first hook to its exit code.

mod hooks;
mod messages;
mod processes;
mod serve;
mod services;
mod shutdown;
mod signals;
mod sweep;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sys::signal::SignalSet;
use sys::{Errno, ExitStatus, Pid, Signal};

use super::events::{HookStage, LifecycleAction, LifecycleEvent, LogLevel};
use super::exit_code::{CANNOT_RUN, NOT_FOUND, StopReason};
use super::hook_run::HookRun;
use super::service_set::ServiceSet;
use super::stop_budget::{ServiceNeeds, StopBudget, StopNeeds};
use super::stop_set::StopSet;

/// How often leftover processes are killed again.
const KILL_AGAIN: Duration = Duration::from_millis(20);
/// How often the names of services that others wait for are logged.
const REPORT: Duration = Duration::from_secs(1);

/// The settings of a container.
#[derive(Debug, Clone)]
pub struct LifecycleSetup {
    /// The time from the stop request to the exit of init.
    pub grace: Duration,
    /// The latest end of the drain; half of the time if there is none.
    pub drain: Option<Duration>,
    /// The services directory, if there is one.
    pub directory: Option<PathBuf>,
    /// The name of COMMAND, if there is one.
    pub command: Option<String>,
    /// What COMMAND is sent at a stop, if not what init was.
    pub stop_signal: Option<Signal>,
    /// Whether signals for COMMAND go to its whole process group.
    pub is_group: bool,
    /// The start hooks.
    pub start_hooks: Vec<PathBuf>,
    /// Whether there are drain hooks.
    pub has_drain: bool,
    /// Whether there are finish hooks.
    pub has_finish: bool,
}

impl LifecycleSetup {
    /// The budget of a stop with these hooks.
    pub fn budget(&self, has_drain: bool, has_finish: bool) -> StopBudget {
        StopBudget::of(self.needs(has_drain, has_finish))
    }

    fn needs(&self, has_drain: bool, has_finish: bool) -> StopNeeds {
        let (grace, drain_limit) = (self.grace, self.drain);
        let services = if self.directory.is_some() { ServiceNeeds::ALL } else { ServiceNeeds::Alone };
        StopNeeds { grace, drain_limit, services, has_drain, has_finish }
    }
}

/// The life of a container.
#[derive(Debug)]
pub struct Lifecycle {
    setup: LifecycleSetup,
    phase: LifecyclePhase,
    scanning: Scanning,
    services: ServiceSet,
    /// When the services that wait for others are logged again.
    next_report: Option<Instant>,
    command: MainCommand,
    /// The rest of COMMAND's process group, if init waits for it.
    group: Option<CommandGroup>,
    stop_set: StopSet,
    stop: Option<StopInProgress>,
    /// How many stop requests have come.
    requests: u32,
    /// The signals of no use that were reported.
    ignored: SignalSet,
    /// Whether a process had to be killed that is no service.
    has_killed: bool,
    is_childless: bool,
    actions: VecDeque<LifecycleAction>,
}

/// The phases.
#[derive(Debug)]
enum LifecyclePhase {
    /// Start hooks run.
    Boot(HookRun),
    /// Services run.
    Serve,
    /// Drain hooks run, and services still do.
    Drain(HookRun),
    /// Services go down.
    Stop(StopStep),
    /// Loggers read to the end of their input.
    Flush,
    /// Leftover processes are ended.
    Sweep(SweepState),
    /// Finish hooks run.
    Finish(HookRun),
    /// Init exits.
    Over(u8),
}

/// The data of [`LifecyclePhase::Sweep`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SweepState {
    /// Whether the finish hooks are over as well.
    is_last: bool,
    /// When leftover processes are killed, first or again; `None` while the budget says when.
    kill_at: Option<Instant>,
}

/// Whether the services directory is supervised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scanning {
    NotYet,
    Runs,
    /// What is supervised is being stopped.
    Over,
}

/// The steps of [`LifecyclePhase::Stop`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StopStep {
    /// COMMAND ends first: it may need the services.
    Command,
    /// The services end.
    Services,
}

/// The state of COMMAND.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MainCommand {
    None,
    Due,
    /// Its start was requested.
    Starting,
    Up {
        pid: Pid,
        is_signalled: bool,
        is_killed: bool,
    },
    Ended(ExitStatus),
}

/// A process group that has lost its leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CommandGroup {
    leader: Pid,
    /// When to check whether it has members.
    probe_due: Instant,
}

/// A stop that has begun.
#[derive(Debug)]
struct StopInProgress {
    began: Instant,
    reason: StopReason,
    budget: StopBudget,
    has_drain: bool,
    /// `None` until they were found.
    finish_hooks: Option<Vec<PathBuf>>,
    next_report: Instant,
}

impl StopInProgress {
    fn at(&self, offset: Duration) -> Instant {
        self.began + offset
    }

    /// When init exits even if processes live: the other half of the reserve is for its own exit.
    fn give_up(&self) -> Instant {
        self.at(self.budget.end + self.budget.reserve / 2)
    }

    /// When leftover processes are killed.
    fn kill_at(&self, sweep: SweepState) -> Instant {
        let planned = if sweep.is_last { self.budget.end } else { self.budget.sweep };
        sweep.kill_at.unwrap_or(self.at(planned))
    }

    /// When they are killed the next time.
    fn next_kill(&self, now: Instant) -> Instant {
        (now + KILL_AGAIN).min(self.give_up().max(now))
    }
}

impl Lifecycle {
    /// A container before its first phase.
    pub fn new(setup: LifecycleSetup) -> Self {
        let mut lifecycle = Self {
            phase: LifecyclePhase::Boot(HookRun::of(HookStage::Start, setup.start_hooks.clone())),
            scanning: Scanning::NotYet,
            services: ServiceSet::default(),
            next_report: None,
            command: if setup.command.is_some() { MainCommand::Due } else { MainCommand::None },
            group: None,
            stop_set: StopSet::default(),
            stop: None,
            requests: 0,
            ignored: SignalSet::of(&[]),
            has_killed: false,
            is_childless: true,
            actions: VecDeque::new(),
            setup,
        };
        lifecycle.log(LogLevel::Info, lifecycle.announcement());
        lifecycle
    }

    /// Handles an event.
    pub fn handle(&mut self, event: LifecycleEvent, now: Instant) {
        match event {
            LifecycleEvent::Signal(signal) => self.signalled(signal, false, now),
            LifecycleEvent::KernelSignal(signal) => self.signalled(signal, true, now),
            LifecycleEvent::CommandStopped(pid, signal) => self.command_stopped(pid, signal),
            LifecycleEvent::Reaped(deaths) => {
                for (pid, ending) in deaths {
                    self.ended(pid, ending, now);
                }
            }
            LifecycleEvent::Childless(is_childless) => {
                self.is_childless = is_childless;
                if let Some(group) = &mut self.group {
                    group.probe_due = now;
                }
            }
            LifecycleEvent::ServiceOpened { id, name, needs } => self.service_opened(id, &name, &needs),
            LifecycleEvent::ServiceNeeds(id, needs) => self.services.set_needs(id, &needs),
            LifecycleEvent::NeedsChanged(all) => {
                for (id, needs) in all {
                    self.services.set_needs(id, &needs);
                }
            }
            LifecycleEvent::ServiceChanged(id, report) => {
                self.services.reported(id, report, now);
                self.stop_set.reported(id, report, Some(now));
            }
            LifecycleEvent::ServiceHappened(id, event) => self.service_happened(id, event, now),
            LifecycleEvent::ServiceClosed(id) => self.service_closed(id, now),
            LifecycleEvent::CriticalRead(id, end, limit) => self.critical_read(id, end, limit, now),
            LifecycleEvent::Scanned => self.services.settle(now),
            LifecycleEvent::FoundOccupied(name) => self.found_occupied(&name),
            LifecycleEvent::FoundTwin { name, first } => {
                self.log(LogLevel::Problem, format!("{name}: the same directory as {first}: one service"));
            }
            LifecycleEvent::Checked(id, result) => self.services.checked(id, result, now),
            LifecycleEvent::GroupProbed { leader, is_there } => {
                self.group = self.group.filter(|group| is_there || group.leader != leader);
            }
            LifecycleEvent::HooksFound(stage, hooks) => self.hooks_found(stage, hooks),
            LifecycleEvent::Started(program, pid) => self.started(program, pid),
            LifecycleEvent::NotStarted(program, why) => self.not_started(program, why, now),
            LifecycleEvent::NotExecuted(pid, why) => {
                if let Some(program) = self.own_program(pid) {
                    self.not_started(program, why, now);
                }
            }
            LifecycleEvent::Escalated(hits) => {
                for (late, victims) in hits {
                    if let Some(line) = self.stop_set.escalated(late, &victims) {
                        self.log(LogLevel::Problem, line);
                    }
                }
            }
            LifecycleEvent::Swept(names) => self.swept(&names, now),
            LifecycleEvent::Tick => {}
        }
        self.settle(now);
    }

    /// The next action for the effects.
    pub fn next_action(&mut self) -> Option<LifecycleAction> {
        self.actions.pop_front()
    }

    /// The exit code, once all is over.
    pub fn exit_code(&self) -> Option<u8> {
        match self.phase {
            LifecyclePhase::Over(code) => Some(code),
            _ => None,
        }
    }

    /// Whether a death may be reaped a moment later.
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, LifecyclePhase::Serve)
    }

    /// When the next tick is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        let serving = self.services.next_deadline().into_iter().chain(self.next_report).min();
        let serving = serving.filter(|_| self.is_serving());
        let Some(stop) = &self.stop else { return serving };
        if matches!(self.phase, LifecyclePhase::Over(_)) {
            return None;
        }
        let budget = &stop.budget;
        let in_phase = match &self.phase {
            LifecyclePhase::Boot(_) | LifecyclePhase::Serve | LifecyclePhase::Over(_) => None,
            LifecyclePhase::Drain(_) => Some(stop.at(budget.drain)),
            LifecyclePhase::Stop(StopStep::Command) => {
                let look = self.group.map(|group| group.probe_due);
                look.into_iter().chain([stop.at(self.command_share(stop))]).min()
            }
            LifecyclePhase::Stop(StopStep::Services) | LifecyclePhase::Flush => {
                let command = matches!(self.command, MainCommand::Up { is_killed: false, .. })
                    .then(|| stop.at(budget.run));
                let spent = Some(stop.at(budget.sweep));
                [self.stop_set.next_deadline(), command, spent].into_iter().flatten().min()
            }
            LifecyclePhase::Sweep(sweep) => Some(stop.kill_at(*sweep)),
            LifecyclePhase::Finish(_) => Some(stop.at(budget.end)),
        };
        [serving, in_phase, Some(stop.next_report)].into_iter().flatten().min()
    }

    /// Advances as far as possible now.
    fn settle(&mut self, now: Instant) {
        while let Some(next) = self.advance(now) {
            self.phase = next;
        }
        self.keep_order(now);
        self.report(now);
    }

    /// Does what is due in this phase; returns the next phase when this one is over.
    fn advance(&mut self, now: Instant) -> Option<LifecyclePhase> {
        match &self.phase {
            LifecyclePhase::Boot(_) => self.run_hooks(now).then_some(LifecyclePhase::Serve),
            LifecyclePhase::Serve => {
                self.serve();
                None
            }
            LifecyclePhase::Drain(_) => {
                self.serve();
                let is_over = self.cut_hooks_at(|budget| budget.drain, now) || self.run_hooks(now);
                is_over.then_some(LifecyclePhase::Stop(StopStep::Command))
            }
            LifecyclePhase::Stop(StopStep::Command) => {
                self.serve();
                self.end_command();
                self.probe_group(now);
                self.kill_late_command(now);
                let stop = self.stop.as_ref()?;
                let is_over =
                    !self.is_command_up() && self.group.is_none() || stop.at(self.command_share(stop)) <= now;
                is_over.then(|| self.begin_service_stop(now))
            }
            LifecyclePhase::Stop(StopStep::Services) | LifecyclePhase::Flush if self.is_grace_spent(now) => {
                Some(LifecyclePhase::Sweep(SweepState { is_last: false, kill_at: None }))
            }
            LifecyclePhase::Stop(StopStep::Services) => {
                self.stop_services(now);
                let is_over = !self.stop_set.is_any_up() && !self.is_command_up();
                is_over.then(|| self.begin_flush())
            }
            LifecyclePhase::Flush => {
                self.stop_services(now);
                self.stop_set.is_empty().then(|| self.begin_sweep()).flatten()
            }
            LifecyclePhase::Sweep(_) => self.sweep(now),
            LifecyclePhase::Finish(_) => {
                let is_over = self.cut_hooks_at(|budget| budget.end, now) || self.run_hooks(now);
                is_over.then(|| self.sweep_again_or_exit(now))
            }
            LifecyclePhase::Over(_) => None,
        }
    }

    fn stop_requested(&mut self, signal: Signal, now: Instant) {
        self.requests = self.requests.saturating_add(1);
        if self.stop.is_none() {
            self.begin_stop(StopReason::Signal(signal), now);
        } else if self.requests >= 3 && !matches!(self.phase, LifecyclePhase::Over(_)) {
            if !matches!(self.phase, LifecyclePhase::Sweep(SweepState { kill_at: Some(_), .. })) {
                self.log(LogLevel::Problem, "asked three times to stop: everything is killed".to_owned());
            }
            self.phase = LifecyclePhase::Sweep(SweepState { is_last: false, kill_at: Some(now) });
        } else if self.requests == 2 && matches!(self.phase, LifecyclePhase::Drain(_)) {
            self.log(LogLevel::Info, "asked again to stop: the rest of the drain is skipped".to_owned());
            if let Some((hook, stage)) = self.cut_hooks() {
                self.log(LogLevel::Info, format!("{}: ended", hook.name(stage)));
            }
        }
    }

    fn begin_stop(&mut self, reason: StopReason, now: Instant) {
        if self.stop.is_some() {
            return;
        }
        self.log(LogLevel::Info, self.stop_message(&reason));
        let budget = self.setup.budget(false, false);
        self.request(LifecycleAction::KeepGrace(now + budget.end + budget.reserve * 3 / 4));
        self.stop = Some(StopInProgress {
            began: now,
            reason,
            budget,
            has_drain: false,
            finish_hooks: None,
            next_report: now + REPORT,
        });
        self.request(LifecycleAction::FindHooks(HookStage::Finish));
        let has_command_begun = matches!(self.command, MainCommand::Up { .. } | MainCommand::Ended(_));
        if self.scanning == Scanning::NotYet && !has_command_begun {
            // Nothing was started: no drain is needed, and at most a hook has to be ended.
            self.phase = self.begin_sweep().unwrap_or(LifecyclePhase::Over(0));
        } else {
            self.request(LifecycleAction::FindHooks(HookStage::Drain));
            self.phase = LifecyclePhase::Drain(HookRun::unknown(HookStage::Drain));
        }
    }

    fn request(&mut self, action: LifecycleAction) {
        self.actions.push_back(action);
    }

    fn log(&mut self, level: LogLevel, line: String) {
        self.request(LifecycleAction::Log(level, line));
    }
}

/// The exit code for a program that cannot be run.
fn code_of(why: Errno) -> u8 {
    if why == Errno::ENOENT { NOT_FOUND } else { CANNOT_RUN }
}
