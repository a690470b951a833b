//! Effects: perform what the state asks for, and decide nothing.

mod adopted;
mod critical;
mod escalate;
mod history;
mod hooks;
mod leftovers;
mod process_tree;
mod service_watch;
mod spawn;
mod terminal;

pub use hooks::find as find_hooks;
pub use spawn::prepare;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::SystemTime;

use servicedir::Tai64n;
use sys::{Errno, Error, FileId, Logger, Pid, ProcessGroup, Signal, stop_of};

use crate::cli::InitOptions;
use crate::state::{HookStage, LifecycleAction, LifecycleEvent, LogLevel, OwnProgram};
use leftovers::LeftoverSweep;
use service_watch::ServiceWatch;

/// The settings and resources that effects need.
pub struct InitEffects {
    directory: PathBuf,
    hooks: PathBuf,
    command: Vec<OsString>,
    verbosity: LogLevel,
    /// COMMAND, while it is there.
    command_pid: Option<Pid>,
    logger: Logger,
    service_watch: ServiceWatch,
    leftovers: LeftoverSweep,
    /// The rest of COMMAND's process group, while init waits for it.
    group: Option<ProcessGroup>,
    written_fifos: BTreeSet<FileId>,
    /// When the stop began, by the wall clock, as in histories.
    stopping_since: Tai64n,
    /// The priority for children, while init has a higher one.
    nice: Option<i32>,
}

impl InitEffects {
    /// Effects for these options.
    pub fn new(options: InitOptions, logger: Logger) -> Self {
        let InitOptions { directory, hooks, command, verbosity, .. } = options;
        Self {
            directory,
            hooks,
            command,
            verbosity,
            command_pid: None,
            logger,
            service_watch: ServiceWatch::new(),
            leftovers: LeftoverSweep::default(),
            group: None,
            written_fifos: BTreeSet::new(),
            stopping_since: Tai64n::of(SystemTime::now()),
            nice: None,
        }
    }

    /// Performs an action; its outcome is an event.
    pub fn perform(&mut self, action: LifecycleAction) -> Option<LifecycleEvent> {
        match action {
            LifecycleAction::Log(level, line) => self.log(level, &line),
            LifecycleAction::FindHooks(stage) => return Some(self.find_hooks(stage)),
            LifecycleAction::StartHook { path, reason, remaining } => {
                return Some(outcome(OwnProgram::Hook, self.spawn_hook(&path, reason, remaining)));
            }
            LifecycleAction::StartCommand => {
                let started = self.spawn_command();
                self.command_pid = started.ok();
                return Some(outcome(OwnProgram::Command, started));
            }
            LifecycleAction::StartRunsvdir => {
                return Some(outcome(OwnProgram::Runsvdir, self.spawn_runsvdir()));
            }
            LifecycleAction::WatchCritical => {
                return Some(self.service_watch.watch_critical(&self.directory));
            }
            LifecycleAction::CheckCritical(name) => return self.service_watch.check_critical(&name),
            LifecycleAction::ReadServiceEnd(supervisor, name) => {
                let service_end = self.service_watch.service_end(
                    supervisor,
                    &self.directory.join(name),
                    self.stopping_since,
                );
                return Some(LifecycleEvent::ServiceEndRead(supervisor, service_end));
            }
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
            LifecycleAction::ProbeGroup(leader) => {
                let group = self.group.get_or_insert(ProcessGroup::of(leader));
                return Some(LifecycleEvent::GroupProbed { leader, is_there: group.is_alive() });
            }
            LifecycleAction::ListChildren(runsvdir) => {
                let children = adopted::children(&self.directory, runsvdir);
                self.service_watch.remember_directories(children.iter().flatten());
                self.leftovers.leave_out(children.iter().flatten());
                return Some(LifecycleEvent::ChildrenListed(children));
            }
            LifecycleAction::StopOrphan(pid) => escalate::stop_orphan(pid),
            LifecycleAction::ExitAllByFifo => {
                escalate::exit_all_by_fifo(&self.directory, &mut self.written_fifos);
            }
            LifecycleAction::WatchStatus(supervisors) => return Some(self.service_watch.watch(&supervisors)),
            LifecycleAction::ReadStatus(supervisors) => {
                return Some(service_watch::read_status(&supervisors));
            }
            LifecycleAction::Unwatch => self.service_watch.unwatch(),
            LifecycleAction::ContinueStopped(roots) => escalate::continue_stopped(&roots),
            LifecycleAction::Escalate(late) => {
                return Some(LifecycleEvent::Escalated(escalate::escalate(late)));
            }
            LifecycleAction::RaisePriority => {
                self.stopping_since = Tai64n::of(SystemTime::now());
                self.nice = spawn::raise_priority();
            }
            LifecycleAction::EndLeftovers(supervisors) => self.leftovers.end_leftovers(&supervisors),
            LifecycleAction::EndAdopted(spare) => self.leftovers.end_adopted(&spare),
            LifecycleAction::Sweep(signal) => {
                return Some(LifecycleEvent::Swept(self.leftovers.sweep(signal)));
            }
        }
        None
    }

    /// The descriptor that is ready when [`InitEffects::read_watch`] has events.
    pub fn watch_descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.service_watch.descriptor()
    }

    /// What has changed in the watched directories.
    pub fn read_watch(&mut self) -> Vec<LifecycleEvent> {
        self.service_watch.read()
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
