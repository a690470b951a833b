//! Machine: the life of a container, from its first hook to its exit code.

mod ending;
mod hooks;
mod serve;
mod stopping;
mod words;

use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sys::errno_text::phrase;
use sys::process::pid_1::stop_requests;
use sys::{Errno, ExitStatus, Pid, Signal};

use super::hook_run::HookRun;
use super::plan::Plan;
use super::roster::{Farewell, Roster};
use super::scanner::Scanner;
use super::sentry::Sentry;
use super::verdict::{CANNOT_RUN, NOT_FOUND, Reason};
use super::vocabulary::{Action, Event, Job, Stage, Weight};

/// How long no service has ended before it is worth reading what each of them does.
const QUIET: Duration = Duration::from_millis(50);
/// How often what is left is killed again, while something is.
const KILL_AGAIN: Duration = Duration::from_millis(20);
/// How often the names of the late are said.
const REPORT: Duration = Duration::from_secs(1);

/// What init was told to do.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The time from the request to stop to init's own end.
    pub grace: Duration,
    /// The services directory, if there is one.
    pub directory: Option<PathBuf>,
    /// What COMMAND is called, if there is one.
    pub command: Option<String>,
    /// Whether COMMAND's signals go to its whole group.
    pub is_group: bool,
    /// The hooks of each stage, as they are at the start.
    pub start_hooks: Vec<PathBuf>,
    /// Whether there are drain hooks.
    pub has_drain: bool,
    /// Whether there are finish hooks.
    pub has_finish: bool,
}

/// The container's life.
#[derive(Debug)]
pub struct Container {
    setup: Setup,
    phase: Phase,
    scanner: Scanner,
    sentry: Sentry,
    command: Command,
    /// What COMMAND has left of its group, if that counts.
    group: Option<Group>,
    roster: Roster,
    stop: Option<Stop>,
    /// Who was on its way to become a runsv when it was told to end.
    embryos: BTreeSet<Pid>,
    /// How often somebody has asked for the stop.
    requests: u32,
    /// Whether anything had to be killed that is no service.
    has_killed: bool,
    is_childless: bool,
    actions: VecDeque<Action>,
}

/// The stations of the life.
#[derive(Debug)]
enum Phase {
    /// Start hooks run.
    Boot(HookRun),
    /// Services run.
    Serve,
    /// Drain hooks run, and services still do.
    Drain(HookRun),
    /// Services go down.
    Stop(Step),
    /// Loggers read to the end.
    Flush,
    /// Whatever is left goes.
    Sweep(Sweep),
    /// Finish hooks run.
    Finish(HookRun),
    /// Nothing is left to do.
    Over(u8),
}

/// What is known of [`Phase::Sweep`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sweep {
    /// Whether the finish hooks are over, too.
    is_last: bool,
    /// When what is left is killed, the first time or again; `None` while the plan says when.
    kill_at: Option<Instant>,
}

/// The steps of [`Phase::Stop`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// COMMAND ends first: it may need the services.
    Command,
    /// The services end.
    Services,
}

/// COMMAND, as init sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command {
    None,
    Due,
    /// It was asked for.
    Starting,
    Up {
        pid: Pid,
        is_asked: bool,
        is_killed: bool,
    },
    Ended(ExitStatus),
}

/// A process group whose leader has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Group {
    leader: Pid,
    /// When to see whether anybody is left of it.
    look_due: Instant,
}

/// The stop, once it has begun.
#[derive(Debug)]
struct Stop {
    began: Instant,
    reason: Reason,
    plan: Plan,
    /// `None` until they were looked up.
    finish_hooks: Option<Vec<PathBuf>>,
    next_report: Instant,
    census: Census,
    /// How long a census may become old before the next.
    census_pause: Duration,
    /// When to read what each service does, or to begin to watch it.
    look_due: Option<Instant>,
    /// Since when that is being read.
    look_asked: Option<Instant>,
    /// Whether that was read before.
    has_looked: bool,
    /// Whether changes are told. Only while somebody waits for them: to end a watch takes the kernel
    /// up to 15 ms, which the end of init would have to wait for.
    is_watching: bool,
}

/// What is known about the children of init.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Census {
    /// Nothing yet.
    Unknown,
    /// It is being looked at, since then.
    Asked(Instant),
    /// All.
    Fresh,
    /// What was; there may be more, and then it is worth another look.
    Old { look: Option<Instant> },
    /// Nobody can tell: there is no /proc.
    Impossible,
}

impl Stop {
    fn at(&self, offset: Duration) -> Instant {
        self.began + offset
    }

    /// When init leaves, whoever lives: the other half of the reserve is for its own end.
    fn give_up(&self) -> Instant {
        self.at(self.plan.end + self.plan.reserve / 2)
    }

    /// When whatever is left is killed.
    fn kill_at(&self, sweep: Sweep) -> Instant {
        let planned = if sweep.is_last { self.plan.end } else { self.plan.sweep };
        sweep.kill_at.unwrap_or(self.at(planned))
    }

    /// When those are killed again who were killed now.
    fn next_kill(&self, now: Instant) -> Instant {
        (now + KILL_AGAIN).min(self.give_up().max(now))
    }
}

impl Container {
    /// A container that is about to begin.
    pub fn new(setup: Setup) -> Self {
        let mut container = Self {
            phase: Phase::Boot(HookRun::of(Stage::Start, setup.start_hooks.clone())),
            scanner: Scanner::default(),
            sentry: Sentry::default(),
            command: if setup.command.is_some() { Command::Due } else { Command::None },
            group: None,
            roster: Roster::default(),
            stop: None,
            embryos: BTreeSet::new(),
            requests: 0,
            has_killed: false,
            is_childless: true,
            actions: VecDeque::new(),
            setup,
        };
        container.say(Weight::Info, container.announcement());
        container
    }

    /// Takes in what happened.
    pub fn handle(&mut self, event: Event, now: Instant) {
        match event {
            Event::Signal(signal) if is_request(signal) => self.requested(signal, now),
            Event::Signal(signal) => self.pass_on(signal, now),
            Event::Reaped { deaths, is_childless } => {
                self.is_childless = is_childless;
                if let Some(group) = &mut self.group {
                    group.look_due = now;
                }
                for (pid, ending) in deaths {
                    self.ended(pid, ending, now);
                }
            }
            Event::CriticalEnded { name, ending } => self.begin_stop(Reason::Critical { name, ending }, now),
            Event::CriticalUnknown(name) => self.say(
                Weight::Warning,
                format!("{name}: critical has no effect: its runsv keeps no history, as the one that comes with init does"),
            ),
            Event::CriticalChanged(name) => self.sentry.changed(name, now),
            Event::DirectoryChanged => self.sentry.look_soon(now),
            Event::CriticalWatched { new, blind, is_complete } => {
                self.sentry.watched(new, blind, is_complete, now);
            }
            Event::Recalled(supervisor, account) => {
                if let Some((weight, line)) = self.roster.recalled(supervisor, &account) {
                    self.say(weight, line);
                }
            }
            Event::Statuses(statuses) => self.seen(statuses, now),
            Event::GroupSeen { leader, is_there } => {
                self.group = self.group.filter(|group| is_there || group.leader != leader);
            }
            Event::HooksFound(stage, hooks) => self.hooks_found(stage, hooks),
            Event::Started(job, pid) => self.started(job, pid),
            Event::NotStarted(job, why) => self.not_started(job, why, now),
            Event::NotExecuted(pid, why) => {
                if let Some(job) = self.job_of(pid) {
                    self.not_started(job, why, now);
                }
            }
            Event::Census(children) => self.counted(children, now),
            Event::Pressed(hits) => {
                for (late, victims) in hits {
                    if let Some(line) = self.roster.pressed(late, &victims) {
                        self.say(Weight::Problem, line);
                    }
                }
            }
            Event::Swept(names) => self.swept(&names),
            Event::Tick => {}
        }
        self.settle(now);
    }

    /// What is to be done next.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Init's exit code, once everything is over.
    pub fn exit_code(&self) -> Option<u8> {
        match self.phase {
            Phase::Over(code) => Some(code),
            _ => None,
        }
    }

    /// Whether the death of an unknown process may wait a moment to be looked at.
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Serve)
    }

    /// When time passing is an event.
    pub fn next_deadline(&self) -> Option<Instant> {
        let scanner = [self.scanner.restart_due(), self.sentry.next_deadline()].into_iter().flatten().min();
        let scanner = scanner.filter(|_| self.is_serving());
        let Some(stop) = &self.stop else { return scanner };
        if matches!(self.phase, Phase::Over(_)) {
            return None;
        }
        let plan = &stop.plan;
        let in_phase = match &self.phase {
            Phase::Boot(_) | Phase::Serve | Phase::Over(_) => None,
            Phase::Drain(_) => Some(stop.at(plan.drain)),
            Phase::Stop(Step::Command) => {
                let look = self.group.map(|group| group.look_due);
                look.into_iter().chain([stop.at(self.command_share(stop))]).min()
            }
            Phase::Stop(Step::Services) | Phase::Flush => {
                let look = match stop.census {
                    Census::Old { look } => look,
                    Census::Impossible => Some(stop.at(plan.run)),
                    Census::Unknown | Census::Asked(_) | Census::Fresh => None,
                };
                let command =
                    matches!(self.command, Command::Up { is_killed: false, .. }).then(|| stop.at(plan.run));
                let spent = Some(stop.at(plan.sweep));
                [self.roster.next_deadline(), look, stop.look_due, command, spent].into_iter().flatten().min()
            }
            Phase::Sweep(sweep) => Some(stop.kill_at(*sweep)),
            Phase::Finish(_) => Some(stop.at(plan.end)),
        };
        [scanner, in_phase, Some(stop.next_report)].into_iter().flatten().min()
    }

    // The transitions.

    /// Goes on as far as it is possible now.
    fn settle(&mut self, now: Instant) {
        while let Some(next) = self.work(now) {
            self.phase = next;
        }
        self.report(now);
    }

    /// Does what is due in this phase; returns the next one when this one is over.
    fn work(&mut self, now: Instant) -> Option<Phase> {
        if self.roster.is_recalling() {
            // There is something to be said yet, and to be counted.
            return None;
        }
        match &self.phase {
            Phase::Boot(_) => self.run_hooks(now).then_some(Phase::Serve),
            Phase::Serve => {
                self.serve(now);
                None
            }
            Phase::Drain(_) => {
                self.serve(now);
                let is_over = self.cut_hooks_at(|plan| plan.drain, now) || self.run_hooks(now);
                is_over.then_some(Phase::Stop(Step::Command))
            }
            Phase::Stop(Step::Command) => {
                self.serve(now);
                self.end_command();
                self.look_at_group(now);
                let stop = self.stop.as_ref()?;
                let is_over =
                    !self.is_command_up() && self.group.is_none() || stop.at(self.command_share(stop)) <= now;
                is_over.then(|| self.end_scanner())
            }
            Phase::Stop(Step::Services) | Phase::Flush if self.is_grace_spent(now) => {
                Some(Phase::Sweep(Sweep { is_last: false, kill_at: None }))
            }
            Phase::Stop(Step::Services) => {
                self.stop_services(now);
                let stop = self.stop.as_ref()?;
                let is_known = !matches!(stop.census, Census::Unknown | Census::Asked(_));
                let is_over = is_known
                    && self.scanner.pid().is_none()
                    && !self.roster.is_any_up()
                    && !self.is_command_up();
                is_over.then(|| self.begin_flush())
            }
            Phase::Flush => {
                self.stop_services(now);
                self.is_flushed(now).then(|| self.begin_sweep()).flatten()
            }
            Phase::Sweep(_) => self.sweep(now),
            Phase::Finish(_) => {
                let is_over = self.cut_hooks_at(|plan| plan.end, now) || self.run_hooks(now);
                is_over.then(|| self.clear_or_leave(now))
            }
            Phase::Over(_) => None,
        }
    }

    fn requested(&mut self, signal: Signal, now: Instant) {
        self.requests = self.requests.saturating_add(1);
        if self.stop.is_none() {
            self.begin_stop(Reason::Signal(signal), now);
        } else if self.requests >= 3 && !matches!(self.phase, Phase::Over(_)) {
            if !matches!(self.phase, Phase::Sweep(Sweep { kill_at: Some(_), .. })) {
                self.say(Weight::Problem, "asked three times to stop: everything is killed".to_owned());
            }
            self.phase = Phase::Sweep(Sweep { is_last: false, kill_at: Some(now) });
        } else if self.requests == 2 && matches!(self.phase, Phase::Drain(_)) {
            self.say(Weight::Info, "asked again to stop: the rest of the drain is skipped".to_owned());
            if let Some((hook, stage)) = self.cut_hooks() {
                self.say(Weight::Info, format!("{}: ended", hook.name(stage)));
            }
        }
    }

    fn begin_stop(&mut self, reason: Reason, now: Instant) {
        if self.stop.is_some() {
            return;
        }
        self.ask(Action::Hurry);
        self.say(Weight::Info, self.why(&reason));
        self.stop = Some(Stop {
            began: now,
            reason,
            plan: Plan::of(self.setup.grace, false, false),
            finish_hooks: None,
            next_report: now + REPORT,
            census: Census::Unknown,
            census_pause: QUIET,
            look_due: None,
            look_asked: None,
            has_looked: false,
            is_watching: false,
        });
        self.ask(Action::Unwatch);
        self.ask(Action::FindHooks(Stage::Finish));
        let has_command_begun = matches!(self.command, Command::Up { .. } | Command::Ended(_));
        if !self.scanner.was_started() && !has_command_begun {
            // Nothing was started: there is nothing to drain, and to end at most a hook that runs.
            self.phase = self.begin_sweep().unwrap_or(Phase::Over(0));
        } else {
            self.ask(Action::FindHooks(Stage::Drain));
            self.phase = Phase::Drain(HookRun::unknown(Stage::Drain));
        }
    }

    // Processes.

    fn started(&mut self, job: Job, pid: Pid) {
        self.is_childless = false;
        match job {
            Job::Scanner => self.scanner.started(pid),
            Job::Command => self.command = Command::Up { pid, is_asked: false, is_killed: false },
            Job::Hook => {
                if let Some(run) = self.hooks() {
                    run.started(pid);
                }
            }
        }
    }

    fn not_started(&mut self, job: Job, why: Errno, now: Instant) {
        match job {
            Job::Scanner => {
                self.scanner.ended();
                self.say(Weight::Warning, format!("unable to start runsvdir: {}", phrase(why)));
            }
            Job::Command => self.no_command(why, now),
            Job::Hook => {
                let stage = self.hooks().map(|run| run.stage());
                if let (Some(hook), Some(stage)) = (self.hooks().and_then(HookRun::failed), stage) {
                    self.hook_ended(&hook, stage, ExitStatus::Exited(NOT_FOUND), Some(why), now);
                }
            }
        }
    }

    /// What init started this process for.
    fn job_of(&mut self, pid: Pid) -> Option<Job> {
        if self.own_processes().contains(&pid) {
            return Some(if self.scanner.pid() == Some(pid) { Job::Scanner } else { Job::Command });
        }
        let hook = self.hooks()?.running()?;
        (hook.pid == Some(pid)).then_some(Job::Hook)
    }

    fn ended(&mut self, pid: Pid, ending: ExitStatus, now: Instant) {
        if let Command::Up { pid: own, .. } = self.command
            && own == pid
        {
            self.command_ended(pid, ending, now);
        } else if self.scanner.pid() == Some(pid) {
            self.scanner.ended();
            if self.stop.as_ref().is_some_and(|stop| stop.census == Census::Impossible) {
                // Whoever was just being born has a FIFO by now, or soon.
                self.ask(Action::EndAllByFifo);
            } else if let Some(stop) = self.stop.as_mut().filter(|stop| stop.census != Census::Unknown) {
                // Only now its children are init's, most of which are known.
                let is_any_known = !self.roster.is_empty();
                stop.census = Census::Old { look: is_any_known.then(|| now + stop.census_pause) };
            }
            if self.is_serving() {
                self.say(Weight::Warning, format!("runsvdir has ended: {ending}; starting it again"));
            }
        } else if let Some((hook, stage)) = self.ended_hook(pid) {
            self.hook_ended(&hook, stage, ending, None, now);
        } else {
            match self.roster.ended(pid, ending, now) {
                Some(Farewell::Line(weight, line)) => self.say(weight, line),
                Some(Farewell::Recall(name)) => self.ask(Action::Recall(pid, name)),
                None => {}
            }
            self.look_again(now);
        }
    }

    fn ask(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    fn say(&mut self, weight: Weight, line: String) {
        self.ask(Action::Say(weight, line));
    }
}

/// Whether a signal asks init to stop.
pub fn is_request(signal: Signal) -> bool {
    stop_requests().contains(&signal)
}

/// The exit code for a program that cannot be run.
fn code_of(why: Errno) -> u8 {
    if why == Errno::ENOENT { NOT_FOUND } else { CANNOT_RUN }
}
