//! The hands: they do what the machine asks for, and decide nothing.

mod census;
mod critical;
mod hooks;
mod kill;
mod lookout;
mod past;
mod start;
mod tree;

pub use hooks::find as find_hooks;
pub use start::prepare;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::SystemTime;

use servicedir::Tai64n;
use sys::{Errno, Error, FileId, Logger, Pid, ProcessGroup, Signal};

use crate::args::Options;
use crate::machine::container::is_request;
use crate::machine::{Action, Event, Job, Stage, Weight};
use kill::Leftovers;
use lookout::Lookout;

/// What the hands need to know, and what they hold.
pub struct Hands {
    directory: PathBuf,
    hooks: PathBuf,
    command: Vec<OsString>,
    loudness: Weight,
    caught: Vec<Signal>,
    logger: Logger,
    lookout: Lookout,
    leftovers: Leftovers,
    /// What is left of COMMAND's, while that is waited for.
    group: Option<ProcessGroup>,
    told_fifos: BTreeSet<FileId>,
    /// When the stop began, by the clock of those who write histories.
    stopping_since: Tai64n,
    /// The priority that children are to have, while init has a higher one.
    nice: Option<i32>,
}

impl Hands {
    /// Hands for what init was told; children get `caught` back as they were.
    pub fn new(options: Options, caught: Vec<Signal>, logger: Logger) -> Self {
        let Options { directory, hooks, command, loudness, .. } = options;
        Self {
            directory,
            hooks,
            command,
            loudness,
            caught,
            logger,
            lookout: Lookout::new(),
            leftovers: Leftovers::default(),
            group: None,
            told_fifos: BTreeSet::new(),
            stopping_since: Tai64n::of(SystemTime::now()),
            nice: None,
        }
    }

    /// Does one thing; what came of it is an event.
    pub fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Say(weight, line) => self.say(weight, &line),
            Action::FindHooks(stage) => return Some(self.look_for_hooks(stage)),
            Action::StartHook { path, reason, remaining } => {
                return Some(outcome(Job::Hook, self.start_hook(&path, reason, remaining)));
            }
            Action::StartCommand => return Some(outcome(Job::Command, self.start_command())),
            Action::StartScanner => return Some(outcome(Job::Scanner, self.start_scanner())),
            Action::WatchCritical => {
                return Some(self.lookout.watch_critical(&self.directory));
            }
            Action::JudgeCritical(name) => return self.lookout.judge(&name),
            Action::Recall(supervisor, name) => {
                let account =
                    self.lookout.account(supervisor, &self.directory.join(name), self.stopping_since);
                return Some(Event::Recalled(supervisor, account));
            }
            Action::TakeTerminal => start::take_terminal(),
            // Whoever is gone has nothing to be told any more.
            Action::Signal(to, signal) => drop(signal.send(to)),
            Action::SignalGroup(leader, signal) => {
                if is_request(signal) {
                    self.leftovers.group_is_told(leader);
                }
                let _ = signal.send_to_group(leader);
            }
            Action::LookAtGroup(leader) => {
                let group = self.group.get_or_insert(ProcessGroup::of(leader));
                return Some(Event::GroupSeen { leader, is_there: group.is_alive() });
            }
            Action::TakeCensus(scanner) => {
                let children = census::take(&self.directory, scanner);
                self.lookout.meet(children.iter().flatten());
                self.leftovers.leave_out(children.iter().flatten());
                return Some(Event::Census(children));
            }
            Action::EndOrphan(pid) => kill::end_orphan(pid),
            Action::EndAllByFifo => kill::end_all_by_fifo(&self.directory, &mut self.told_fifos),
            Action::WatchStatus(supervisors) => return Some(self.lookout.watch(&supervisors)),
            Action::ReadStatus(supervisors) => return Some(lookout::look(&supervisors)),
            Action::Unwatch => self.lookout.unwatch(),
            Action::Wake(told) => kill::wake(&told),
            Action::Press(late) => return Some(Event::Pressed(kill::press(late))),
            Action::Hurry => {
                self.stopping_since = Tai64n::of(SystemTime::now());
                self.nice = start::hurry();
            }
            Action::EndStrays(supervisors) => self.leftovers.end_strays(&supervisors),
            Action::EndAdopted(spare) => self.leftovers.end_adopted(&spare),
            Action::Sweep(signal) => return Some(Event::Swept(self.leftovers.sweep(signal))),
        }
        None
    }

    /// The descriptor that is ready when [`Hands::watched`] has something to say.
    pub fn lookout(&self) -> Option<BorrowedFd<'_>> {
        self.lookout.descriptor()
    }

    /// What the watched services did.
    pub fn watched(&mut self) -> Vec<Event> {
        self.lookout.read()
    }

    /// What is said, and what could not be said yet.
    pub fn logger(&mut self) -> &mut Logger {
        &mut self.logger
    }

    fn say(&mut self, weight: Weight, line: &str) {
        if weight > self.loudness {
            return;
        }
        if weight == Weight::Warning {
            self.logger.warn(&Error::plain(line));
        } else {
            self.logger.say(line);
        }
    }

    fn look_for_hooks(&mut self, stage: Stage) -> Event {
        let (hooks, unusable) = hooks::find(&self.hooks, stage);
        for failure in &unusable {
            self.logger.warn(failure);
        }
        Event::HooksFound(stage, hooks)
    }
}

fn outcome(job: Job, started: Result<Pid, Errno>) -> Event {
    match started {
        Ok(pid) => Event::Started(job, pid),
        Err(why) => Event::NotStarted(job, why),
    }
}
