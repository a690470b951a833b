//! Machine: the life of a container, from its first hook to its exit code.

use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use unix::phrase::phrase;
use unix::{Ending, Errno, Pid, Signal};

use super::hook_run::{HookRun, Running};
use super::plan::Plan;
use super::roster::Roster;
use super::scanner::Scanner;
use super::sentry::Sentry;
use super::verdict::{CANNOT_RUN, NOT_FOUND, Reason, exit_code};
use super::vocabulary::{Action, Child, Event, Job, Kind, Seen, Stage, Weight};
use super::words::{counted, listed, seconds};

/// How long no service has ended before it is worth reading what each of them does.
const QUIET: Duration = Duration::from_millis(50);
/// How long until that is read again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// The same for who is watched.
const LOOK_ANYWAY: Duration = Duration::from_millis(100);
/// How much more time than a look takes lies between it and the next: where there are thousands to
/// look at, most of the time is left for them.
const LEISURE: u32 = 10;
/// When to look again for a runsv that is just being born.
const BIRTH: Duration = Duration::from_millis(2);
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
    /// Whatever is left goes; `kill_at` is when it is killed.
    Sweep { kill_at: Instant, is_killing: bool },
    /// Finish hooks run.
    Finish(HookRun),
    /// Nothing is left to do.
    Over(u8),
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
    Ended(Ending),
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
                for (pid, ending) in deaths {
                    self.ended(pid, ending, now);
                }
            }
            Event::CriticalEnded { name, ending } => self.begin_stop(Reason::Critical { name, ending }, now),
            Event::CriticalChanged(name) => self.sentry.changed(name, now),
            Event::DirectoryChanged => self.sentry.look_soon(now),
            Event::CriticalWatched { names, is_complete } => self.sentry.watched(names, is_complete, now),
            Event::Statuses(statuses) => self.seen(statuses, now),
            Event::HooksFound(stage, hooks) => self.hooks_found(stage, hooks),
            Event::Started(job, pid) => self.started(job, pid),
            Event::NotStarted(job, why) => self.not_started(job, why, now),
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
            Phase::Stop(Step::Command) => Some(stop.at(self.command_share(stop))),
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
            Phase::Sweep { kill_at, .. } => Some(*kill_at),
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
                let stop = self.stop.as_ref()?;
                let is_over = !self.is_command_up() || stop.at(self.command_share(stop)) <= now;
                is_over.then(|| self.end_scanner())
            }
            Phase::Stop(Step::Services) | Phase::Flush if self.is_grace_spent(now) => {
                Some(Phase::Sweep { kill_at: now, is_killing: false })
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
            Phase::Sweep { .. } => self.sweep(now),
            Phase::Finish(_) => {
                let is_over = self.cut_hooks_at(|plan| plan.end, now) || self.run_hooks(now);
                is_over.then(|| self.clear_or_leave(now))
            }
            Phase::Over(_) => None,
        }
    }

    /// Whether runsvdir is kept running.
    fn is_serving(&self) -> bool {
        matches!(self.phase, Phase::Serve | Phase::Drain(_) | Phase::Stop(Step::Command))
    }

    /// Not before it is known whether there is a COMMAND, and not for the first time in a stop.
    fn may_start_scanner(&self) -> bool {
        self.setup.directory.is_some()
            && self.command != Command::Starting
            && (self.stop.is_none() || self.scanner.was_started())
    }

    fn serve(&mut self, now: Instant) {
        if self.command == Command::Due {
            // Before the services: a COMMAND that cannot be run is better noticed first.
            self.command = Command::Starting;
            self.ask(Action::StartCommand);
        } else if self.may_start_scanner() && self.scanner.start(now) {
            self.ask(Action::StartScanner);
            self.sentry.look_soon(now);
        }
        if self.sentry.is_look_due(now) {
            self.ask(Action::WatchCritical);
        }
        for name in self.sentry.due(now) {
            self.ask(Action::JudgeCritical(name));
        }
    }

    fn requested(&mut self, signal: Signal, now: Instant) {
        self.requests = self.requests.saturating_add(1);
        if self.stop.is_none() {
            self.begin_stop(Reason::Signal(signal), now);
        } else if self.requests >= 3 && !matches!(self.phase, Phase::Over(_)) {
            if !matches!(self.phase, Phase::Sweep { is_killing: true, .. }) {
                self.say(Weight::Problem, "asked three times to stop: everything is killed".to_owned());
            }
            self.phase = Phase::Sweep { kill_at: now, is_killing: true };
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
        if matches!(self.phase, Phase::Boot(_)) {
            // No service was started: the hook that runs is all there is to end.
            self.phase = self.begin_sweep().unwrap_or(Phase::Over(0));
        } else {
            self.ask(Action::FindHooks(Stage::Drain));
            self.phase = Phase::Drain(HookRun::unknown(Stage::Drain));
        }
    }

    fn end_command(&mut self) {
        let stopper = self.stopper();
        if let Command::Up { pid, is_asked, .. } = &mut self.command
            && !*is_asked
        {
            *is_asked = true;
            let pid = *pid;
            self.signal_command(pid, stopper);
            self.signal_command(pid, Signal::CONT);
        }
    }

    /// So that nothing new is started. Whatever it was about to start is its child already: the
    /// kernel makes no child for a process with a KILL pending.
    fn end_scanner(&mut self) -> Phase {
        // It has nothing to save, and may be stopped or deaf: KILL is as good as TERM, and sure. The
        // kernel may take a while to close what it had open; nothing has to wait for that.
        if let Some(pid) = self.scanner.pid() {
            self.ask(Action::Signal(pid, Signal::KILL));
        }
        Phase::Stop(Step::Services)
    }

    fn stop_services(&mut self, now: Instant) {
        let Some(stop) = &mut self.stop else { return };
        let is_due = match stop.census {
            Census::Unknown => true,
            Census::Old { look } => look.is_some_and(|due| due <= now),
            Census::Asked(_) | Census::Fresh | Census::Impossible => false,
        };
        if is_due {
            stop.census = Census::Asked(now);
            self.actions.push_back(Action::TakeCensus(self.scanner.pid()));
        }
        let asked = self.roster.ask(stop.began, &stop.plan, now);
        if !asked.is_empty() {
            // Somebody waits for others to be down: that is to be noticed at once.
            stop.look_due = Some(if self.roster.is_any_waiting() { now } else { now + QUIET });
        }
        self.actions.extend(asked);
        let clearable = self.roster.take_clearable(now);
        if !clearable.is_empty() {
            self.actions.push_back(Action::EndStrays(clearable));
        }
        for supervisor in self.roster.take_doubted(now) {
            self.actions.push_back(Action::Signal(supervisor, Signal::TERM));
        }
        let late = self.roster.late(now);
        if !late.is_empty() {
            self.actions.push_back(Action::Press(late));
        }
        let is_watch_needed = self.roster.is_any_waiting();
        if stop.is_watching && !is_watch_needed {
            stop.is_watching = false;
            stop.look_due = Some(now + LOOK_AGAIN);
            self.actions.push_back(Action::Unwatch);
        }
        if stop.look_due.is_some_and(|due| due <= now) {
            stop.look_due = None;
            stop.has_looked = true;
            let supervisors = self.roster.supervisors();
            if is_watch_needed && !stop.is_watching {
                stop.is_watching = true;
                // Not every directory can be watched always.
                stop.look_due = Some(now + LOOK_ANYWAY);
                self.actions.push_back(Action::WatchStatus(supervisors));
            } else {
                stop.look_asked = Some(now);
                self.actions.push_back(Action::ReadStatus(supervisors));
            }
        }
        let kill_command = stop.at(stop.plan.run) <= now;
        if let Command::Up { pid, is_killed, .. } = &mut self.command
            && !*is_killed
            && kill_command
        {
            *is_killed = true;
            let pid = *pid;
            self.actions.push_back(Action::SignalGroup(pid, Signal::KILL));
            self.has_killed = true;
            self.say(Weight::Problem, "COMMAND: does not stop: killed".to_owned());
        }
    }

    /// Whether the time of the services is over, whatever they still do.
    fn is_grace_spent(&self, now: Instant) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.at(stop.plan.sweep) <= now)
    }

    fn begin_flush(&mut self) -> Phase {
        if !self.is_childless && !self.roster.is_empty() {
            // What services have left to init may hold the pipes the loggers read, too.
            let spare = self.roster.processes();
            self.ask(Action::EndAdopted(spare));
        }
        Phase::Flush
    }

    fn is_flushed(&mut self, now: Instant) -> bool {
        if self.is_childless {
            return true;
        }
        let Some(stop) = &mut self.stop else { return true };
        match stop.census {
            _ if !self.roster.is_empty() || self.scanner.pid().is_some() => false,
            Census::Impossible => stop.at(stop.plan.run) <= now,
            Census::Fresh => true,
            Census::Asked(_) | Census::Old { look: Some(_) } => false,
            Census::Unknown | Census::Old { look: None } => {
                // The last one that is known has gone; are there others?
                stop.census = Census::Asked(now);
                self.actions.push_back(Action::TakeCensus(self.scanner.pid()));
                false
            }
        }
    }

    fn begin_sweep(&mut self) -> Option<Phase> {
        let stop = self.stop.as_ref()?;
        let kill_at = stop.at(stop.plan.sweep);
        if !self.is_childless {
            self.ask(Action::Sweep(Signal::TERM));
        }
        Some(Phase::Sweep { kill_at, is_killing: false })
    }

    fn sweep(&mut self, now: Instant) -> Option<Phase> {
        let stop = self.stop.as_ref()?;
        if self.is_childless {
            let hooks = if self.requests >= 3 { Vec::new() } else { stop.finish_hooks.clone()? };
            return Some(Phase::Finish(HookRun::of(Stage::Finish, hooks)));
        }
        let (give_up, next_kill) = (stop.give_up(), stop.next_kill(now));
        let Phase::Sweep { kill_at, is_killing } = &mut self.phase else { return None };
        if *kill_at <= now {
            if *is_killing && give_up <= now {
                return Some(self.leave(now));
            }
            *is_killing = true;
            *kill_at = next_kill;
            self.has_killed = true;
            self.roster.mark_killed();
            self.actions.push_back(Action::Sweep(Signal::KILL));
        }
        None
    }

    /// When the last hook is over. A hook that was killed, and what the others have left, is seen to
    /// die as long as there is time: then the kernel has nothing more to take apart than init.
    fn clear_or_leave(&mut self, now: Instant) -> Phase {
        match &mut self.stop {
            Some(stop) if !self.is_childless => {
                stop.finish_hooks = Some(Vec::new());
                Phase::Sweep { kill_at: stop.next_kill(now), is_killing: true }
            }
            _ => self.leave(now),
        }
    }

    fn leave(&mut self, now: Instant) -> Phase {
        let Some(stop) = &self.stop else { return Phase::Over(0) };
        let took = now.saturating_duration_since(stop.began);
        let tally = self.roster.tally();
        let has_killed = self.has_killed || !tally.killed.is_empty() || !self.is_childless;
        let command = match self.command {
            Command::Ended(ending) => Some(ending),
            Command::Up { .. } => Some(Ending::Killed { signal: Signal::KILL, core: false }),
            Command::None | Command::Due | Command::Starting => None,
        };
        let code = exit_code(&stop.reason, command, self.stopper(), has_killed);
        let killed = match tally.killed.as_slice() {
            [] => "none killed".to_owned(),
            names => format!("{} killed: {}", names.len(), listed(names)),
        };
        let gone = counted(tally.gone, "service");
        let line = format!("{gone} stopped in {}, {killed}; exit {code}", seconds(took));
        let weight = if has_killed { Weight::Problem } else { Weight::Info };
        if !self.is_childless {
            self.ask(Action::Sweep(Signal::KILL));
        }
        self.say(weight, line);
        Phase::Over(code)
    }

    // Hooks.

    /// Starts the next hook of this phase if it is time; says whether all have run.
    fn run_hooks(&mut self, now: Instant) -> bool {
        let limit = match (&self.phase, &self.stop) {
            (Phase::Drain(_), Some(stop)) => Some(stop.at(stop.plan.drain)),
            (Phase::Finish(_), Some(stop)) => Some(stop.at(stop.plan.end)),
            _ => None,
        };
        let reason = self.stop.as_ref().map(|stop| stop.reason.to_string());
        let Some(run) = self.hooks() else { return true };
        if let Some(path) = run.start(now) {
            let remaining = limit.map(|limit| limit.saturating_duration_since(now));
            self.ask(Action::StartHook { path, reason, remaining });
            return false;
        }
        run.is_over()
    }

    /// When this moment of the plan has come, ends the hook that runs, and skips the others.
    fn cut_hooks_at(&mut self, moment: impl Fn(&Plan) -> Duration, now: Instant) -> bool {
        let is_early = self.stop.as_ref().is_none_or(|stop| stop.at(moment(&stop.plan)) > now);
        if is_early || self.hooks().is_none_or(|run| !run.is_known() || run.is_over()) {
            return false;
        }
        if let Some((hook, stage)) = self.cut_hooks() {
            self.has_killed = true;
            self.say(
                Weight::Problem,
                format!("{}: its share of the grace is over: killed", hook.name(stage)),
            );
        }
        true
    }

    fn cut_hooks(&mut self) -> Option<(Running, Stage)> {
        let run = self.hooks()?;
        let stage = run.stage();
        let running = run.cut()?;
        if let Some(pid) = running.pid {
            self.ask(Action::SignalGroup(pid, Signal::KILL));
        }
        Some((running, stage))
    }

    fn hooks(&mut self) -> Option<&mut HookRun> {
        match &mut self.phase {
            Phase::Boot(run) | Phase::Drain(run) | Phase::Finish(run) => Some(run),
            _ => None,
        }
    }

    fn hooks_found(&mut self, stage: Stage, hooks: Vec<PathBuf>) {
        let Some(stop) = &mut self.stop else { return };
        match (stage, &mut self.phase) {
            (Stage::Finish, _) => {
                stop.plan = Plan::of(self.setup.grace, false, !hooks.is_empty());
                stop.finish_hooks = Some(hooks);
            }
            (Stage::Drain, Phase::Drain(run)) => {
                let has_finish = stop.finish_hooks.as_ref().is_some_and(|hooks| !hooks.is_empty());
                stop.plan = Plan::of(self.setup.grace, !hooks.is_empty(), has_finish);
                run.found(hooks);
            }
            (Stage::Start | Stage::Drain, _) => {}
        }
    }

    fn hook_ended(&mut self, hook: &Running, stage: Stage, ending: Ending, why: Option<Errno>, now: Instant) {
        let name = hook.name(stage);
        let took = seconds(now.saturating_duration_since(hook.since));
        let code = why.map_or(ending.shell_code(), code_of);
        if code == 0 {
            self.say(Weight::Detail, format!("{name}: done after {took}"));
            return;
        }
        let how = match why {
            Some(why) => format!("unable to run: {}", phrase(why)),
            None => format!("failed with {ending} after {took}"),
        };
        if stage == Stage::Start {
            self.say(Weight::Problem, format!("{name}: {how}"));
            self.begin_stop(Reason::StartHook { name, code }, now);
        } else {
            self.say(Weight::Problem, format!("{name}: {how}; going on"));
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
                    self.hook_ended(&hook, stage, Ending::Exited(NOT_FOUND), Some(why), now);
                }
            }
        }
    }

    fn no_command(&mut self, why: Errno, now: Instant) {
        self.command = Command::None;
        let name = self.setup.command.clone().unwrap_or_default();
        self.say(Weight::Problem, format!("fatal: unable to run {name}: {}", phrase(why)));
        self.begin_stop(Reason::NoCommand(code_of(why)), now);
    }

    fn ended(&mut self, pid: Pid, ending: Ending, now: Instant) {
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
        } else if let Some((weight, line)) = self.roster.ended(pid, ending, now) {
            self.say(weight, line);
            self.look_again(now);
        } else {
            self.look_again(now);
        }
    }

    fn ended_hook(&mut self, pid: Pid) -> Option<(Running, Stage)> {
        let run = self.hooks()?;
        let stage = run.stage();
        run.ended(pid).map(|hook| (hook, stage))
    }

    fn command_ended(&mut self, pid: Pid, ending: Ending, now: Instant) {
        self.ask(Action::TakeTerminal);
        let is_asked = matches!(self.command, Command::Up { is_asked: true, .. });
        self.command = Command::Ended(ending);
        if self.setup.is_group && !is_asked {
            // The rest of its group is asked to end, and waited for like all that is left.
            self.ask(Action::SignalGroup(pid, self.stopper()));
            self.ask(Action::SignalGroup(pid, Signal::CONT));
        }
        if self.stop.is_none() {
            self.begin_stop(Reason::Command(ending), now);
        } else {
            self.say(Weight::Info, format!("COMMAND: ended with {ending}"));
        }
    }

    /// A service has gone; those that it may have left to init are looked for soon.
    fn look_again(&mut self, now: Instant) {
        let Some(stop) = &mut self.stop else { return };
        let soon = now + stop.census_pause;
        stop.census = match stop.census {
            // At once, when it is time to go on.
            Census::Fresh | Census::Old { .. } if self.roster.is_empty() => Census::Old { look: None },
            Census::Fresh => Census::Old { look: Some(soon) },
            Census::Old { look } => Census::Old { look: Some(look.map_or(soon, |look| look.min(soon))) },
            other => other,
        };
        if let Some(due) = &mut stop.look_due
            && !stop.has_looked
        {
            *due = (*due).max(now + QUIET);
        }
    }

    fn counted(&mut self, children: Option<Vec<Child>>, now: Instant) {
        let Some(children) = children else {
            if let Some(stop) = &mut self.stop {
                stop.census = Census::Impossible;
            }
            self.say(
                Weight::Warning,
                "unable to see processes in /proc: services are told by their FIFOs".into(),
            );
            return self.ask(Action::EndAllByFifo);
        };
        let own = self.own_processes();
        let children: Vec<Child> = children.into_iter().filter(|child| !own.contains(&child.pid)).collect();
        let is_birth_near = children.iter().any(|child| child.kind == Kind::Embryo);
        for child in children.iter().filter(|child| child.kind == Kind::Embryo) {
            if self.embryos.insert(child.pid) {
                self.ask(Action::Signal(child.pid, Signal::TERM));
            }
        }
        let before = self.roster.len();
        let complaints = self.roster.meet(children);
        let Some(stop) = &mut self.stop else { return };
        let mut took = Duration::ZERO;
        if let Census::Asked(since) = stop.census {
            took = now.saturating_duration_since(since);
            stop.census_pause = QUIET.max(took * LEISURE);
        }
        // Who is being born needs the processor more than we do.
        let birth = BIRTH.max(took * 2);
        stop.census = if is_birth_near { Census::Old { look: Some(now + birth) } } else { Census::Fresh };
        let (found, elapsed) = (self.roster.len() - before, now.saturating_duration_since(stop.began));
        if found > 0 {
            self.say(
                Weight::Info,
                format!("stopping {} after {}", counted(found, "service"), seconds(elapsed)),
            );
        }
        for complaint in complaints {
            self.say(Weight::Warning, complaint);
        }
    }

    /// What supervisors say of their services.
    fn seen(&mut self, statuses: Vec<(Pid, Seen)>, now: Instant) {
        if let Some(stop) = &mut self.stop
            && let Some(asked) = stop.look_asked.take()
        {
            let pause = if stop.is_watching { LOOK_ANYWAY } else { LOOK_AGAIN };
            stop.look_due = Some(now + pause.max(now.saturating_duration_since(asked) * LEISURE));
        }
        for (supervisor, seen) in statuses {
            if self.roster.note_status(supervisor, seen, now) {
                // Somebody has told it otherwise in the meantime; the stop prevails.
                self.ask(Action::Signal(supervisor, Signal::TERM));
            }
        }
    }

    fn own_processes(&self) -> Vec<Pid> {
        let command = match self.command {
            Command::Up { pid, .. } => Some(pid),
            _ => None,
        };
        self.scanner.pid().into_iter().chain(command).collect()
    }

    fn swept(&mut self, names: &[String]) {
        if !names.is_empty() {
            self.say(Weight::Problem, format!("left behind, killed: {}", listed(names)));
        }
    }

    // Signals for COMMAND.

    fn pass_on(&mut self, signal: Signal, now: Instant) {
        if signal == Signal::HUP {
            self.sentry.look_soon(now);
        }
        match (self.command, self.scanner.pid()) {
            (Command::Up { pid, .. }, _) => self.signal_command(pid, signal),
            // Without a COMMAND, a HUP means: look at the services directory now.
            (_, Some(pid)) if signal == Signal::HUP => self.ask(Action::Signal(pid, Signal::ALRM)),
            _ => {}
        }
    }

    fn signal_command(&mut self, pid: Pid, signal: Signal) {
        self.ask(if self.setup.is_group {
            Action::SignalGroup(pid, signal)
        } else {
            Action::Signal(pid, signal)
        });
    }

    fn is_command_up(&self) -> bool {
        matches!(self.command, Command::Up { .. })
    }

    /// What COMMAND is sent at the stop: what init was sent, if that is usual.
    fn stopper(&self) -> Signal {
        match &self.stop {
            Some(Stop { reason: Reason::Signal(Signal::INT), .. }) => Signal::INT,
            _ => Signal::TERM,
        }
    }

    /// How long the services wait for COMMAND; with none to wait, it has all the time.
    fn command_share(&self, stop: &Stop) -> Duration {
        let plan = &stop.plan;
        if self.setup.directory.is_some() { (plan.drain + plan.run) / 2 } else { plan.run }
    }

    // Words.

    fn ask(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    fn say(&mut self, weight: Weight, line: String) {
        self.ask(Action::Say(weight, line));
    }

    fn announcement(&self) -> String {
        let plan = Plan::of(self.setup.grace, self.setup.has_drain, self.setup.has_finish);
        let what = match (&self.setup.directory, &self.setup.command) {
            (Some(directory), Some(command)) => {
                format!("{command} beside the services of {}", directory.display())
            }
            (Some(directory), None) => format!("services of {}", directory.display()),
            (None, command) => format!("{} without services", command.as_deref().unwrap_or("nothing")),
        };
        let mut parts = vec![format!("grace {}", seconds(self.setup.grace))];
        if self.setup.has_drain {
            parts.push(format!("drain until {}", seconds(plan.drain)));
        }
        parts.push(format!("services killed at {}", seconds(plan.run)));
        parts.push(format!("finish scripts at {}", seconds(plan.finish)));
        parts.push(format!("loggers at {}", seconds(plan.supervisors)));
        parts.push(format!("all else at {}", seconds(plan.sweep)));
        parts.push(format!("exit by {}", seconds(plan.end)));
        format!("{what}; {}", parts.join(", "))
    }

    fn why(&self, reason: &Reason) -> String {
        match reason {
            Reason::Signal(_) => format!("{reason}: stopping within {}", seconds(self.setup.grace)),
            Reason::Command(ending) => format!("COMMAND: ended with {ending}: stopping"),
            Reason::NoCommand(_) => "stopping, for want of COMMAND".to_owned(),
            Reason::Critical { name, ending: Some(ending) } => {
                format!("{name}: critical, ended with {ending}: stopping")
            }
            Reason::Critical { name, ending: None } => format!("{name}: critical, has ended: stopping"),
            Reason::StartHook { name, code } => format!("{name}: failed: stopping with exit {code}"),
        }
    }

    /// Each second, who is still up.
    fn report(&mut self, now: Instant) {
        let Some(stop) = &mut self.stop else { return };
        if stop.next_report > now || matches!(self.phase, Phase::Over(_)) {
            return;
        }
        while stop.next_report <= now {
            stop.next_report += REPORT;
        }
        if stop.census == Census::Fresh && matches!(self.phase, Phase::Stop(Step::Services) | Phase::Flush) {
            stop.census = Census::Old { look: Some(now) };
        }
        let elapsed = seconds(now.saturating_duration_since(stop.began));
        let mut names: Vec<String> = Vec::new();
        if let Phase::Drain(run) | Phase::Finish(run) = &self.phase {
            names.extend(run.running().map(|hook| hook.name(run.stage())));
        }
        if self.is_command_up() && !matches!(self.phase, Phase::Drain(_)) {
            names.push("COMMAND".to_owned());
        }
        names.extend(self.roster.names());
        if names.is_empty() {
            names.push("what services left behind".to_owned());
        }
        self.say(Weight::Info, format!("after {elapsed} waiting for {}", listed(&names)));
    }
}

/// Whether a signal asks init to stop.
pub fn is_request(signal: Signal) -> bool {
    [Signal::TERM, Signal::INT, Signal::PWR, Signal::real_time(3)].contains(&signal)
}

/// The exit code for a program that cannot be run.
fn code_of(why: Errno) -> u8 {
    if why == Errno::ENOENT { NOT_FOUND } else { CANNOT_RUN }
}
