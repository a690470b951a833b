//! Event loop: connects the states of crate `scan`, the effects, signals and time.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use sys::error::words;
use sys::poller::Wakeup;
use sys::process::spawn::failure_of;
use sys::signal::SignalSet;
use sys::{Error, FileId, Logger, Pid, Poller, Signal, reap_next};

use crate::rolling_log::RollingLog;
use crate::runsv_starter::{
    CAUGHT, RunsvStarter, StartOutcome, could_not_start, may_not_start, works_in_removed_directory,
};
use scan::effects::occupants::{Occupants, SharedSupervise};
use scan::effects::path_watcher::PathWatcher;
use scan::effects::scan::ServicesDirectory;
use scan::state::scan_schedule::{ScanOutcome, ScanRequest, ScanSchedule};
use scan::state::services::{ScanAction, Services, StartAttempt};

const CHANGES: usize = 0;
const LOG: usize = 1;
const OCCUPANTS: usize = 2;

/// So many actions are performed before signals are handled again (DEV-3).
const ACTIONS_PER_TURN: usize = 16;

/// How soon a message that could not be written is tried again.
const MESSAGE_RETRY: Duration = Duration::from_secs(1);

/// What the command line asks for.
pub struct RunsvdirOptions {
    /// The services directory.
    pub directory: PathBuf,
    /// A session for each runsv.
    pub has_sessions: bool,
    /// Which argument is the log.
    pub log: Option<usize>,
}

/// How the program is to end.
pub enum Exit {
    /// Everything that runs stays.
    Leave,
    /// Every runsv was asked to leave.
    Hangup,
}

/// All of the program.
pub struct EventLoop {
    poller: Poller,
    services: Services<Pid>,
    schedule: ScanSchedule,
    directory: ServicesDirectory,
    watch: PathWatcher,
    starter: RunsvStarter,
    occupants: Occupants,
    log: Option<RollingLog>,
    logger: Logger,
    has_unread_log: bool,
}

impl EventLoop {
    /// Prepares everything that can fail; nothing after this is fatal.
    pub fn new(options: RunsvdirOptions, mut logger: Logger) -> Result<Self, Error> {
        let now = Instant::now();
        let poller =
            Poller::without_unblocking(&CAUGHT).map_err(Error::of_io("unable to wait for signals"))?;
        // The other signals stay blocked if the parent process has blocked them.
        SignalSet::of(&[Signal::CHLD]).unblock();
        // What is fatal must be said before the log has the standard error.
        let directory = ServicesDirectory::new(options.directory)?;
        let starter = RunsvStarter::new(options.has_sessions);
        let log = options.log.and_then(|index| match RollingLog::start(index, &poller, LOG, now) {
            Ok(log) => {
                logger.keep();
                Some(log)
            }
            Err(warnings) => {
                for warning in &warnings {
                    logger.warn(warning);
                }
                None
            }
        });
        Ok(Self {
            poller,
            services: Services::default(),
            schedule: ScanSchedule::new(now),
            directory,
            watch: PathWatcher::default(),
            starter,
            occupants: Occupants::new(OCCUPANTS),
            log,
            logger,
            has_unread_log: false,
        })
    }

    /// Supervises until a signal says how to end.
    pub fn run(&mut self) -> Exit {
        loop {
            let wakeup = self.poller.wait(self.next_deadline());
            if let Some(end) = self.handle_signals(&wakeup.signals) {
                return end;
            }
            self.take_in_changes();
            self.take_in_vacated(&wakeup);
            self.reap();
            // What a scan found is acted upon at once, and not after a change made it outdated.
            if self.scan_if_due() || !self.schedule.is_behind() {
                self.services.settle(Instant::now());
            }
            self.act();
            self.directory.leave();
            self.logger.flush();
            self.roll_log();
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let now = Instant::now();
        if self.services.has_actions() || self.has_unread_log {
            return Some(now);
        }
        let dot = self.log.as_ref().map(RollingLog::next_deadline);
        let unsaid = self.logger.unsaid().map(|_| now + MESSAGE_RETRY);
        let deadlines = [Some(self.schedule.next_deadline(now)), self.services.next_deadline(), dot, unsaid];
        deadlines.into_iter().flatten().min()
    }

    fn handle_signals(&mut self, signals: &[Signal]) -> Option<Exit> {
        for signal in signals {
            match *signal {
                Signal::TERM => return Some(Exit::Leave),
                Signal::HUP => {
                    for runsv in self.services.running() {
                        // It may have died a moment ago.
                        let _ = Signal::TERM.send(runsv);
                    }
                    return Some(Exit::Hangup);
                }
                Signal::ALRM => self.schedule.force(),
                // Children are reaped after every wait.
                _ => {}
            }
        }
        None
    }

    /// Takes in what changed on disk.
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
            {
                self.watch_inside(id, &name);
            }
        }
    }

    fn take_in_vacated(&mut self, wakeup: &Wakeup) {
        for id in self.occupants.vacated(&wakeup.ready) {
            self.services.vacated(id);
        }
    }

    fn reap(&mut self) {
        while let Some((child, ending)) = reap_next() {
            if let Some(failure) = failure_of(child)
                && let Some(name) = self.services.name_of_supervisor(child)
            {
                self.logger.fatal_in_child(&could_not_start(name, failure.why));
            }
            self.services.exited(child, ending, Instant::now());
        }
    }

    /// Whether there was a scan.
    fn scan_if_due(&mut self) -> bool {
        let begun = Instant::now();
        // The actions of the last scan come first: nothing is to be half done.
        if self.services.has_actions() {
            return false;
        }
        let Some(request) = self.schedule.due(begun) else { return false };
        let outcome = self.scan(request);
        self.schedule.scanned(outcome, begun, Instant::now());
        self.take_in_changes();
        true
    }

    fn scan(&mut self, request: ScanRequest) -> ScanOutcome {
        let is_remade = |id| self.services.supervisor_of(id).is_some_and(works_in_removed_directory);
        match self.directory.scan(request, is_remade, &mut self.watch, &self.poller, CHANGES) {
            Ok(listing) => {
                let has_unwatched = listing.has_unwatched();
                self.services.scanned(listing, Instant::now());
                if request.is_forced
                    && let Err(failure) = ServicesDirectory::mark_forced(SystemTime::now())
                {
                    self.logger.warn(&failure);
                }
                if self.watch.end() && !has_unwatched { ScanOutcome::Watching } else { ScanOutcome::Blind }
            }
            Err(failure) => {
                self.miss(&failure);
                ScanOutcome::Failed
            }
        }
    }

    /// Says that the directory cannot be read, unless that may be over in a moment.
    fn miss(&mut self, failure: &Error) {
        if self.schedule.missed(Instant::now()) {
            self.logger.warn(failure);
        }
    }

    /// Performs the actions that are due, a part of them at a time.
    fn act(&mut self) {
        // Starts that follow each other are made together: for shared directories the owners are found once.
        let mut starts = Vec::new();
        for _ in 0..ACTIONS_PER_TURN {
            match self.services.next_action() {
                Some(ScanAction::Start(id, name)) => starts.push((id, name)),
                Some(action) => {
                    self.start(std::mem::take(&mut starts));
                    self.perform(action);
                }
                None => break,
            }
        }
        self.start(starts);
    }

    fn start(&mut self, services: Vec<(FileId, OsString)>) {
        let Some((first, _)) = services.first() else { return };
        if !self.enter() {
            self.services.attempted(*first, StartAttempt::NoProcess, Instant::now());
            return;
        }
        let outcomes = self.starter.start(services, &mut self.occupants, &self.poller);
        let mut occupied = Vec::new();
        for StartOutcome { id, attempt } in outcomes {
            let attempt = attempt.unwrap_or_else(|failure| {
                self.logger.warn(&failure);
                StartAttempt::NoProcess
            });
            if matches!(attempt, StartAttempt::Occupied { .. }) {
                occupied.push(id);
            }
            self.services.attempted(id, attempt, Instant::now());
        }
        for SharedSupervise { name, owner } in self.occupants.newly_shared(&self.services, &occupied) {
            let why = words([OsStr::new("it has the supervise directory of "), &owner]);
            self.logger.warn(&may_not_start(&name, &why));
        }
    }

    fn perform(&mut self, action: ScanAction<Pid>) {
        match action {
            ScanAction::Watch(id, name) => self.watch_inside(id, &name),
            ScanAction::Start(id, name) => self.start(vec![(id, name)]),
            ScanAction::Terminate(runsv) => {
                // It may have died a moment ago.
                let _ = Signal::TERM.send(runsv);
            }
            ScanAction::Forget(id) => {
                self.watch.forget(id);
                self.occupants.forget(id, &self.poller);
            }
            ScanAction::Warn(name, why) => {
                self.logger.warn(&Error::new(words([OsStr::new("unable to stat "), &name]), why));
            }
            ScanAction::Complain(name, runsv) => {
                let why = format!("its old runsv (pid {runsv}) was told to exit, but has not ended");
                self.logger.warn(&may_not_start(&name, OsStr::new(&why)));
            }
        }
    }

    fn watch_inside(&mut self, id: FileId, name: &OsStr) {
        if self.enter() {
            self.watch.inside(id, name);
        }
    }

    /// Goes into the services directory; says so if that fails.
    fn enter(&mut self) -> bool {
        self.directory.enter().map_err(|failure| self.miss(&failure)).is_ok()
    }

    fn roll_log(&mut self) {
        let Some(log) = &mut self.log else { return };
        log.add(&self.logger.take_kept());
        log.tick(Instant::now());
        self.has_unread_log = log.read();
    }
}
