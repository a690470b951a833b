//! Effects: perform what the state asks for, and decide nothing.

mod checks;
mod escalate;
mod hooks;
mod leftovers;
mod process_tree;
mod service_files;
mod spawn;
mod stop_files;
mod supervisors;
mod terminal;
pub mod watchdog;

pub use hooks::find as find_hooks;
pub use spawn::prepare;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use scan::effects::scanner::Scanner;
use sys::error::words;
use sys::process::limits;
use sys::process::spawn::failure_of;
use sys::{
    Errno, Error, Logger, Pid, Poller, ProcessGroup, Signal, has_children, procfs, reap_next, stop_of,
};

use crate::cli::InitOptions;
use crate::state::{HookStage, LifecycleAction, LifecycleEvent, LogLevel, OwnProgram, SupervisorId};
use checks::Checks;
use leftovers::LeftoverSweep;
use supervisors::{ScannedSupervisors, Supervisors, drop_elsewhere};
use watchdog::Watchdog;

/// The poller's token for the services directory, and the first for the supervisors of other processes.
const DIRECTORY: usize = 3;
const OCCUPANTS: usize = usize::MAX / 2;

/// How soon a message about the services directory that could not be written is tried again.
const MESSAGE_RETRY: Duration = Duration::from_secs(1);

/// The settings and resources that effects need.
pub struct InitEffects {
    directory: PathBuf,
    hooks: PathBuf,
    command: Vec<OsString>,
    verbosity: LogLevel,
    /// The working directory of COMMAND and hooks.
    outside: PathBuf,
    /// COMMAND, while it is there.
    command_pid: Option<Pid>,
    /// The hook that was started last.
    hook_pid: Option<Pid>,
    logger: Logger,
    scanner: Option<Scanner<SupervisorId>>,
    /// For the messages about the services directory, which are runsvdir's.
    scan_logger: Logger,
    /// When the scanner is to get a turn though nothing happens; `None` for now.
    scan_due: Option<Instant>,
    supervisors: Supervisors,
    checks: Checks,
    /// Whether the services that were found have all begun, and the state was told so.
    is_settled: bool,
    is_childless: bool,
    leftovers: LeftoverSweep,
    /// The rest of COMMAND's process group, while init waits for it.
    group: Option<ProcessGroup>,
    watchdog: Option<Watchdog>,
}

impl InitEffects {
    /// Effects for these options; `outside` is the working directory that init was started in.
    pub fn new(options: InitOptions, outside: PathBuf, logger: Logger, watchdog: Option<Watchdog>) -> Self {
        let InitOptions { directory, hooks, command, verbosity, .. } = options;
        let scan_logger = Logger::new(words(["runsvdir ".as_ref(), directory.as_os_str()]));
        Self {
            directory: outside.join(directory),
            hooks: outside.join(hooks),
            command,
            verbosity,
            outside,
            command_pid: None,
            hook_pid: None,
            logger,
            scanner: None,
            scan_logger,
            scan_due: None,
            supervisors: Supervisors::default(),
            checks: Checks::default(),
            is_settled: true,
            is_childless: true,
            leftovers: LeftoverSweep::default(),
            group: None,
            watchdog,
        }
    }

    /// Performs an action; its outcome is an event.
    pub fn perform(&mut self, action: LifecycleAction, poller: &Poller) -> Option<LifecycleEvent> {
        match action {
            LifecycleAction::Log(level, line) => self.log(level, &line),
            LifecycleAction::FindHooks(stage) => return Some(self.find_hooks(stage)),
            LifecycleAction::StartHook { path, reason, remaining } => {
                let started = self.spawn_hook(&path, reason, remaining);
                self.hook_pid = started.ok();
                return Some(outcome(OwnProgram::Hook, started));
            }
            LifecycleAction::StartCommand => {
                let started = self.spawn_command();
                self.command_pid = started.ok();
                return Some(outcome(OwnProgram::Command, started));
            }
            LifecycleAction::StartScanning => self.start_scanning(),
            LifecycleAction::Scan => {
                if let Some(scanner) = &mut self.scanner {
                    scanner.force();
                    self.scan_due = None;
                    self.supervisors.read_needs_of_held();
                }
            }
            LifecycleAction::StopScanning => self.stop_scanning(),
            LifecycleAction::Hold(id) => self.supervisors.hold(id, true),
            LifecycleAction::Release(id) => self.supervisors.hold(id, false),
            LifecycleAction::Check(id) => {
                return self.checks.start(id, &mut self.supervisors, &mut self.logger);
            }
            LifecycleAction::ReadCritical(id, end) => {
                let limit = self.supervisors.critical_limit(id, &mut self.logger);
                return Some(LifecycleEvent::CriticalRead(id, end, limit));
            }
            LifecycleAction::StopServices(ids) => self.supervisors.stop(&ids, poller),
            LifecycleAction::TakeTerminal => {
                self.command_pid = None;
                terminal::take();
            }
            LifecycleAction::Suspend(command, signal) => terminal::suspend(command, signal),
            LifecycleAction::Resume(command) => terminal::resume(command, true),
            // A process that is gone needs no signal.
            LifecycleAction::Signal(to, signal) => drop(signal.send(to)),
            LifecycleAction::SignalGroup(leader, signal) => {
                if [Signal::TERM, Signal::INT].contains(&signal) {
                    self.leftovers.group_is_signalled(leader);
                } else if signal == Signal::KILL {
                    self.leftovers.is_named(leader);
                }
                let _ = signal.send_to_group(leader);
            }
            LifecycleAction::HangUp(command) => {
                if terminal::is_there() && procfs::ignores(command, Signal::TERM) {
                    let _ = Signal::HUP.send(command);
                }
            }
            LifecycleAction::ProbeGroup(leader) => {
                let group = self.group.get_or_insert(ProcessGroup::of(leader));
                return Some(LifecycleEvent::GroupProbed { leader, is_there: group.is_alive() });
            }
            LifecycleAction::ContinueStopped(command, services) => {
                escalate::continue_stopped(command, &services, &self.supervisors);
            }
            LifecycleAction::Escalate(late) => {
                return Some(LifecycleEvent::Escalated(escalate::escalate(
                    late,
                    &mut self.supervisors,
                    poller,
                )));
            }
            LifecycleAction::KeepGrace(deadline) => {
                if let Some(watchdog) = &self.watchdog {
                    watchdog.end_by(deadline);
                }
                limits::raise_priority();
                return Some(LifecycleEvent::NeedsChanged(self.supervisors.take_changed_needs()));
            }
            LifecycleAction::EndLeftovers(services) => {
                self.leftovers.end_leftovers(&services, &self.supervisors);
            }
            LifecycleAction::EndAdopted => {
                let own: Vec<Pid> = self.command_pid.into_iter().chain(self.hook_pid).collect();
                self.leftovers.end_adopted(&own, &self.supervisors);
            }
            LifecycleAction::Sweep(signal) => {
                return Some(LifecycleEvent::Swept(self.leftovers.sweep(signal)));
            }
        }
        None
    }

    /// Takes in what is ready, and lets the scanner and the supervisors that have something to do go on;
    /// returns what has happened. With `may_reap`, children are reaped.
    pub fn take_turn(&mut self, poller: &Poller, ready: &[usize], may_reap: bool) -> Vec<LifecycleEvent> {
        if let Some(watchdog) = &self.watchdog {
            watchdog.is_alive();
        }
        let mut reaped = Reaped::default();
        self.supervisors.take_in(ready);
        let checks = &mut self.checks;
        if may_reap {
            reaped.reap(&mut self.supervisors, checks, poller);
        }
        self.supervisors.take_turns(poller, |supervisors| {
            if may_reap {
                reaped.reap(supervisors, checks, poller);
            }
        });
        self.checks.kill_late(Instant::now());
        self.scan(poller, ready);
        self.is_settled &= !self.supervisors.has_new_needs();
        let mut events = self.supervisors.take_events();
        if !self.is_settled && self.scanner.as_ref().is_none_or(Scanner::is_settled) {
            self.is_settled = true;
            events.push(LifecycleEvent::Scanned);
        }
        events.append(&mut self.checks.take_events());
        events.extend(reaped.into_events());
        let is_childless = !has_children();
        if std::mem::replace(&mut self.is_childless, is_childless) != is_childless || is_childless {
            events.push(LifecycleEvent::Childless(is_childless));
        }
        events
    }

    /// When the next turn is due though nothing happens.
    pub fn next_deadline(&self) -> Option<Instant> {
        let scan = self.scanner.as_ref().map(|_| self.scan_due.unwrap_or_else(Instant::now));
        let unsaid = self.scan_logger.unsaid().map(|_| Instant::now() + MESSAGE_RETRY);
        let deadlines = [scan, unsaid, self.supervisors.next_deadline(), self.checks.next_deadline()];
        deadlines.into_iter().flatten().min()
    }

    fn start_scanning(&mut self) {
        match Scanner::new(self.directory.clone(), DIRECTORY, OCCUPANTS) {
            Ok(scanner) => self.scanner = Some(scanner),
            Err(failure) => self.scan_logger.warn(&failure),
        }
        self.is_settled = false;
    }

    fn stop_scanning(&mut self) {
        self.supervisors.begin_stop();
        self.checks.kill_all();
        if let Some(scanner) = self.scanner.take() {
            drop_elsewhere(scanner);
        }
    }

    fn scan(&mut self, poller: &Poller, ready: &[usize]) {
        let Some(scanner) = &mut self.scanner else { return };
        let ended = self.supervisors.take_ended();
        let is_meant = |token: &usize| *token == DIRECTORY || *token >= OCCUPANTS;
        let is_due = self.scan_due.is_none_or(|due| due <= Instant::now());
        if !is_due && ended.is_empty() && !ready.iter().any(is_meant) {
            return;
        }
        for (id, status) in ended {
            scanner.exited(id, status);
        }
        scanner.take_in(ready);
        let mut host = ScannedSupervisors { supervisors: &mut self.supervisors, poller };
        scanner.take_turn(&mut host, poller, &mut self.scan_logger);
        self.scan_logger.flush();
        // A start that was refused has ended already.
        for (id, status) in self.supervisors.take_ended() {
            scanner.exited(id, status);
        }
        self.scan_due = scanner.next_deadline();
    }

    /// Whether COMMAND was stopped since the last call.
    pub fn command_stop(&self) -> Option<LifecycleEvent> {
        let pid = self.command_pid?;
        stop_of(pid).map(|signal| LifecycleEvent::CommandStopped(pid, signal))
    }

    /// The logger, with the lines that could not be written yet.
    pub fn logger(&mut self) -> &mut Logger {
        &mut self.logger
    }

    fn log(&mut self, level: LogLevel, line: &str) {
        if level > self.verbosity {
            return;
        }
        if level == LogLevel::Warning {
            self.logger.warn(&Error::plain(line));
        } else {
            self.logger.say(line);
        }
    }

    fn find_hooks(&mut self, stage: HookStage) -> LifecycleEvent {
        let (hooks, unusable) = hooks::find(&self.hooks, stage);
        for failure in &unusable {
            self.logger.warn(failure);
        }
        LifecycleEvent::HooksFound(stage, hooks)
    }
}

fn outcome(program: OwnProgram, started: Result<Pid, Errno>) -> LifecycleEvent {
    match started {
        Ok(pid) => LifecycleEvent::Started(program, pid),
        Err(why) => LifecycleEvent::NotStarted(program, why),
    }
}

/// The children that were reaped and belong to no supervisor.
#[derive(Default)]
struct Reaped {
    deaths: Vec<(Pid, sys::ExitStatus)>,
    failures: Vec<LifecycleEvent>,
}

impl Reaped {
    /// Reaps all zombies.
    fn reap(&mut self, supervisors: &mut Supervisors, checks: &mut Checks, poller: &Poller) {
        while let Some((pid, exit_status)) = reap_next() {
            if supervisors.child_exited(pid, exit_status, poller) || checks.child_exited(pid, exit_status) {
                continue;
            }
            match failure_of(pid) {
                Some(failure) => self.failures.push(LifecycleEvent::NotExecuted(pid, failure.why)),
                None => self.deaths.push((pid, exit_status)),
            }
        }
    }

    fn into_events(self) -> impl Iterator<Item = LifecycleEvent> {
        let deaths = Some(self.deaths).filter(|deaths| !deaths.is_empty());
        deaths.map(LifecycleEvent::Reaped).into_iter().chain(self.failures)
    }
}
