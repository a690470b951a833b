//! Effects: keeps a services directory supervised: connects the states, the watches and the host's supervisors.

use std::ffi::{OsStr, OsString};
use std::hash::Hash;
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use servicedir::ServiceDir;
use sys::error::words;
use sys::{Error, ExitStatus, FileId, Logger, Poller};

use crate::effects::occupants::{Occupants, SharedSupervise};
use crate::effects::path_watcher::PathWatcher;
use crate::effects::scan::ServicesDirectory;
use crate::state::scan_schedule::{ScanOutcome, ScanRequest, ScanSchedule};
use crate::state::services::{ScanAction, Services, StartAttempt};

#[cfg(test)]
mod tests;

/// So many actions are performed before the host does other work again (DEV-3).
const ACTIONS_PER_TURN: usize = 16;

const UNABLE_TO_START: &str = "unable to start runsv ";

/// What a host does with the supervisors of the services.
pub trait SupervisorHost {
    /// What the host calls a supervisor.
    type Handle: Copy + Eq + Hash;

    /// Starts a supervisor for the service of this name in the working directory, which may be another one
    /// afterwards. An error means that no process is to be had now.
    fn start(&mut self, name: &OsStr) -> Result<Self::Handle, Error>;

    /// Asks a supervisor to leave.
    fn terminate(&mut self, supervisor: Self::Handle);

    /// Whether the directory that a supervisor works in was removed. Its number may be another directory's by
    /// now.
    fn works_in_removed_directory(&self, supervisor: Self::Handle) -> bool;

    /// What a supervisor that was asked to leave, and has not, is called in a message.
    fn describe(&self, supervisor: Self::Handle) -> String;

    /// An entry is the directory of a service that is supervised under another name.
    fn found_twin(&mut self, _name: &OsStr, _first: &OsStr) {}

    /// Another process has the service of this name.
    fn found_occupied(&mut self, _name: &OsStr) {}
}

/// A services directory that is kept supervised. `S` is the host's handle of a supervisor.
pub struct Scanner<S> {
    services: Services<S>,
    schedule: ScanSchedule,
    directory: ServicesDirectory,
    watch: PathWatcher,
    occupants: Occupants,
    /// For the poller, of the changes in the directory.
    token: usize,
}

impl<S: Copy + Eq + Hash> Scanner<S> {
    /// For the directory at `path`, which need not exist. The poller's `token` is for its changes, and those
    /// from `first_occupant` on for other supervisors.
    pub fn new(path: PathBuf, token: usize, first_occupant: usize) -> Result<Self, Error> {
        Ok(Self {
            services: Services::default(),
            schedule: ScanSchedule::new(Instant::now()),
            directory: ServicesDirectory::new(path)?,
            watch: PathWatcher::default(),
            occupants: Occupants::new(first_occupant),
            token,
        })
    }

    /// Scans as soon as possible (RSD-14).
    pub fn force(&mut self) {
        self.schedule.force();
    }

    /// Every supervisor that was not asked to leave yet.
    pub fn running(&self) -> impl Iterator<Item = S> {
        self.services.running()
    }

    /// The name of the service that this supervisor is for.
    pub fn name_of_supervisor(&self, supervisor: S) -> Option<&OsStr> {
        self.services.name_of_supervisor(supervisor)
    }

    /// Takes in how a supervisor has ended; it need not be one of these.
    pub fn exited(&mut self, supervisor: S, status: ExitStatus) {
        self.services.exited(supervisor, status, Instant::now());
    }

    /// Whether all that the last scan has found is acted upon.
    pub fn is_settled(&self) -> bool {
        !self.services.has_actions() && !self.schedule.is_behind()
    }

    /// When [`Scanner::take_turn`] has something to do though nothing happens.
    pub fn next_deadline(&self) -> Option<Instant> {
        let now = Instant::now();
        if self.services.has_actions() {
            return Some(now);
        }
        [Some(self.schedule.next_deadline(now)), self.services.next_deadline()].into_iter().flatten().min()
    }

    /// Takes in what has changed on disk, and of other supervisors, with the tokens that are ready.
    pub fn take_in(&mut self, ready: &[usize]) {
        self.take_in_changes();
        for id in self.occupants.vacated(ready) {
            self.services.vacated(id);
        }
    }

    /// Scans if that is due, and does a part of what is to be done. Goes back to the working directory of
    /// before.
    pub fn take_turn(
        &mut self,
        host: &mut impl SupervisorHost<Handle = S>,
        poller: &Poller,
        logger: &mut Logger,
    ) {
        // What a scan found is acted upon at once, and not after a change made it outdated.
        if self.scan_if_due(host, poller, logger) || !self.schedule.is_behind() {
            self.services.settle(Instant::now());
        }
        self.act(host, poller, logger);
        self.directory.leave();
    }

    fn take_in_changes(&mut self) {
        let changes = self.watch.take_changes();
        for change in changes.directory {
            self.schedule.changed(change);
        }
        let now = Instant::now();
        self.services.changed_names(&changes.names, now);
        for id in changes.inside {
            if self.services.changed_inside(id, now)
                && let Some(name) = self.services.name_of(id).map(OsStr::to_owned)
                && self.directory.enter().is_ok()
            {
                self.watch.inside(id, &name);
            }
        }
    }

    /// Whether there was a scan.
    fn scan_if_due(
        &mut self,
        host: &impl SupervisorHost<Handle = S>,
        poller: &Poller,
        logger: &mut Logger,
    ) -> bool {
        let begun = Instant::now();
        // The actions of the last scan come first: nothing is to be half done.
        if self.services.has_actions() {
            return false;
        }
        let Some(request) = self.schedule.due(begun) else { return false };
        let outcome = self.scan(request, host, poller, logger);
        self.schedule.scanned(outcome, begun, Instant::now());
        self.take_in_changes();
        true
    }

    fn scan(
        &mut self,
        request: ScanRequest,
        host: &impl SupervisorHost<Handle = S>,
        poller: &Poller,
        logger: &mut Logger,
    ) -> ScanOutcome {
        let is_remade = |id| {
            let supervisor = self.services.supervisor_of(id);
            supervisor.is_some_and(|supervisor| host.works_in_removed_directory(supervisor))
        };
        match self.directory.scan(request, is_remade, &mut self.watch, poller, self.token) {
            Ok(listing) => {
                let has_unwatched = listing.has_unwatched();
                self.services.scanned(listing, Instant::now());
                if request.is_forced
                    && let Err(failure) = ServicesDirectory::mark_forced(SystemTime::now())
                {
                    logger.warn(&failure);
                }
                if self.watch.end() && !has_unwatched { ScanOutcome::Watching } else { ScanOutcome::Blind }
            }
            Err(failure) => {
                self.miss(&failure, logger);
                ScanOutcome::Failed
            }
        }
    }

    /// Says that the directory cannot be read, unless that may be over in a moment.
    fn miss(&mut self, failure: &Error, logger: &mut Logger) {
        if self.schedule.missed(Instant::now()) {
            logger.warn(failure);
        }
    }

    /// Performs the actions that are due, a part of them at a time.
    fn act(&mut self, host: &mut impl SupervisorHost<Handle = S>, poller: &Poller, logger: &mut Logger) {
        // For shared directories the owners are found once for starts that follow each other.
        let mut occupied = Vec::new();
        for _ in 0..ACTIONS_PER_TURN {
            let Some(action) = self.services.next_action() else { break };
            match action {
                ScanAction::Start(id, name) => {
                    let attempt = self.start(id, &name, host, poller, logger);
                    if matches!(attempt, StartAttempt::Occupied { .. }) {
                        occupied.push(id);
                    }
                    self.services.attempted(id, attempt, Instant::now());
                }
                ScanAction::Watch(id, name) => {
                    if self.enter(logger) {
                        self.watch.inside(id, &name);
                    }
                }
                ScanAction::Terminate(supervisor) => host.terminate(supervisor),
                ScanAction::Forget(id) => {
                    self.watch.forget(id);
                    self.occupants.forget(id, poller);
                }
                ScanAction::Warn(name, why) => {
                    logger.warn(&Error::new(words([OsStr::new("unable to stat "), &name]), why));
                }
                ScanAction::NameTwin(name, first) => host.found_twin(&name, &first),
                ScanAction::Complain(name, supervisor) => {
                    let old = host.describe(supervisor);
                    let why = format!("its old {old} was told to exit, but has not ended");
                    logger.warn(&may_not_start(&name, OsStr::new(&why)));
                }
            }
        }
        if occupied.is_empty() || !self.enter(logger) {
            return;
        }
        for SharedSupervise { name, owner } in self.occupants.newly_shared(&self.services, &occupied) {
            let why = words([OsStr::new("it has the supervise directory of "), &owner]);
            logger.warn(&may_not_start(&name, &why));
        }
        for id in occupied.into_iter().filter(|id| !self.occupants.is_shared(*id)) {
            if let Some(name) = self.services.name_of(id) {
                host.found_occupied(name);
            }
        }
    }

    fn start(
        &mut self,
        id: FileId,
        name: &OsString,
        host: &mut impl SupervisorHost<Handle = S>,
        poller: &Poller,
        logger: &mut Logger,
    ) -> StartAttempt<S> {
        if !self.enter(logger) {
            return StartAttempt::NoProcess;
        }
        if let Some(occupied) = self.occupants.probe(id, &ServiceDir::at(name), poller) {
            return occupied;
        }
        let started = host.start(name);
        self.directory.was_left();
        match started {
            Ok(supervisor) => StartAttempt::Started(supervisor),
            Err(failure) => {
                logger.warn(&failure);
                StartAttempt::NoProcess
            }
        }
    }

    /// Goes into the services directory; says so if that fails.
    fn enter(&mut self, logger: &mut Logger) -> bool {
        self.directory.enter().map_err(|failure| self.miss(&failure, logger)).is_ok()
    }
}

/// What to say of a child that could not become a supervisor (RSD-2).
pub fn could_not_start(name: &OsStr, why: sys::Errno) -> Error {
    Error::new(words([OsStr::new(UNABLE_TO_START), name]), why)
}

/// What to say of a service that is not started, for a reason that the kernel has no word for.
fn may_not_start(name: &OsStr, why: &OsStr) -> Error {
    Error::plain(words([OsStr::new(UNABLE_TO_START), name, OsStr::new(": "), why]))
}
