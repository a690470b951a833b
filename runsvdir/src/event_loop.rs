//! The loop: connects the two machines, the hands, signals and time.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use sys::failure::words;
use sys::poller::Wakeup;
use sys::process::spawn::failure_of;
use sys::signal::SignalSet;
use sys::{Failure, Poller, Reporter, Signal, reap_next};

use crate::rolling_log::RollingLog;
use crate::runsv_starter::{CAUGHT, Outcome, Starter, could_not_start, may_not_start};
use scan::effects::path_watcher::Watch;
use scan::effects::scan::{Directory, supervise_of};
use scan::state::scan_schedule::{Look, Looked, Rescan};
use scan::state::services::{Action, Attempt, Identity, Roster};

const CHANGES: usize = 0;
const LOG: usize = 1;
const OCCUPANTS: usize = 2;

/// So many things are done before signals are looked at again (DEV-3).
const ACTIONS_PER_TURN: usize = 16;

/// How soon a message that could not be written is tried again.
const SAY_AGAIN: Duration = Duration::from_secs(1);

/// What the command line asks for.
pub struct Wishes {
    /// The services directory.
    pub directory: PathBuf,
    /// A session for each runsv.
    pub has_sessions: bool,
    /// Which argument is the log.
    pub log: Option<usize>,
}

/// How the program is to end.
pub enum End {
    /// Everything that runs stays.
    Leave,
    /// Every runsv was asked to leave.
    Hangup,
}

/// All of the program.
pub struct Supervision {
    poller: Poller,
    roster: Roster,
    rescan: Rescan,
    directory: Directory,
    watch: Watch,
    starter: Starter,
    log: Option<RollingLog>,
    reporter: Reporter,
    /// Services that were said to have another one's supervise directory, with that other one.
    sharing: HashMap<Identity, OsString>,
    has_unread_log: bool,
}

impl Supervision {
    /// Prepares everything that can fail; nothing after this is fatal.
    pub fn new(wishes: Wishes, mut reporter: Reporter) -> Result<Self, Failure> {
        let now = Instant::now();
        let poller =
            Poller::without_unblocking(&CAUGHT).map_err(Failure::of_io("unable to wait for signals"))?;
        // The others are as whoever started us wants them.
        SignalSet::of(&[Signal::CHLD]).unblock();
        // What is fatal must be said before the log has the standard error.
        let directory = Directory::new(wishes.directory)?;
        let starter = Starter::new(wishes.has_sessions, OCCUPANTS);
        let log = wishes.log.and_then(|index| match RollingLog::start(index, &poller, LOG, now) {
            Ok(log) => {
                reporter.keep();
                Some(log)
            }
            Err(warnings) => {
                for warning in &warnings {
                    reporter.warn(warning);
                }
                None
            }
        });
        Ok(Self {
            poller,
            roster: Roster::default(),
            rescan: Rescan::new(now),
            directory,
            watch: Watch::default(),
            starter,
            log,
            reporter,
            sharing: HashMap::new(),
            has_unread_log: false,
        })
    }

    /// Supervises until a signal says how to end.
    pub fn run(&mut self) -> End {
        loop {
            let wakeup = self.poller.wait(self.next_deadline());
            if let Some(end) = self.obey(&wakeup.signals) {
                return end;
            }
            self.hear();
            self.take_in_vacated(&wakeup);
            self.reap();
            // What is known of the directory is acted upon as soon as it is known, and not when it is old.
            if self.look_if_due() || !self.rescan.is_behind() {
                self.roster.settle(Instant::now());
            }
            self.act();
            self.directory.leave();
            self.reporter.flush();
            self.roll_log();
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let now = Instant::now();
        if self.roster.has_actions() || self.has_unread_log {
            return Some(now);
        }
        let dot = self.log.as_ref().map(RollingLog::next_deadline);
        let unsaid = self.reporter.unsaid().map(|_| now + SAY_AGAIN);
        let deadlines = [Some(self.rescan.next_deadline(now)), self.roster.next_deadline(), dot, unsaid];
        deadlines.into_iter().flatten().min()
    }

    fn obey(&mut self, signals: &[Signal]) -> Option<End> {
        for signal in signals {
            match *signal {
                Signal::TERM => return Some(End::Leave),
                Signal::HUP => {
                    for runsv in self.roster.running() {
                        // It may have died a moment ago.
                        let _ = Signal::TERM.send(runsv);
                    }
                    return Some(End::Hangup);
                }
                Signal::ALRM => self.rescan.force(),
                // Deaths are looked for after every wait.
                _ => {}
            }
        }
        None
    }

    /// Takes in what changed on disk.
    fn hear(&mut self) {
        let told = self.watch.take_told();
        for change in told.changes {
            self.rescan.changed(change);
        }
        let now = Instant::now();
        self.roster.changed_names(&told.names, now);
        for identity in told.inside {
            if self.roster.changed_inside(identity, now)
                && let Some(name) = self.roster.name_of(identity).map(OsStr::to_owned)
            {
                self.watch_inside(identity, &name);
            }
        }
    }

    fn take_in_vacated(&mut self, wakeup: &Wakeup) {
        for identity in self.starter.vacated(&wakeup.ready) {
            self.roster.vacated(identity);
        }
    }

    fn reap(&mut self) {
        while let Some((child, ending)) = reap_next() {
            if let Some(failure) = failure_of(child)
                && let Some(name) = self.roster.name_of_runsv(child)
            {
                self.reporter.fatal_in_child(&could_not_start(name, failure.why));
            }
            self.roster.exited(child, ending, Instant::now());
        }
    }

    /// Whether there was a look.
    fn look_if_due(&mut self) -> bool {
        let begun = Instant::now();
        // What the last look asked for comes first: the roster knows of nothing half done.
        if self.roster.has_actions() {
            return false;
        }
        let Some(look) = self.rescan.due(begun) else { return false };
        let how = self.look(look);
        self.rescan.looked(how, begun, Instant::now());
        self.hear();
        true
    }

    fn look(&mut self, look: Look) -> Looked {
        let (watch, poller) = (&mut self.watch, &self.poller);
        match self.directory.look(look, &self.roster, watch, poller, CHANGES) {
            Ok(listing) => {
                let has_untold = listing.has_untold();
                self.roster.sighted(listing, Instant::now());
                if look.is_forced
                    && let Err(failure) = Directory::mark_forced(SystemTime::now())
                {
                    self.reporter.warn(&failure);
                }
                if self.watch.end() && !has_untold { Looked::Watching } else { Looked::Blind }
            }
            Err(failure) => {
                self.miss(&failure);
                Looked::Failed
            }
        }
    }

    /// Says that the directory cannot be seen, unless that may be over in a moment.
    fn miss(&mut self, failure: &Failure) {
        if self.rescan.missed(Instant::now()) {
            self.reporter.warn(failure);
        }
    }

    /// Does what is asked for, a part of it at a time.
    fn act(&mut self) {
        // Starts that follow each other are made together: the owners of what is taken are looked up once.
        let mut starts = Vec::new();
        for _ in 0..ACTIONS_PER_TURN {
            match self.roster.next_action() {
                Some(Action::Start(identity, name)) => starts.push((identity, name)),
                Some(action) => {
                    self.start(std::mem::take(&mut starts));
                    self.perform(action);
                }
                None => break,
            }
        }
        self.start(starts);
    }

    fn start(&mut self, services: Vec<(Identity, OsString)>) {
        let Some((first, _)) = services.first() else { return };
        if !self.enter() {
            self.roster.attempted(*first, Attempt::NoProcess, Instant::now());
            return;
        }
        let outcomes = self.starter.start(services, &self.poller);
        let mut occupied = Vec::new();
        for Outcome { identity, attempt } in outcomes {
            let attempt = attempt.unwrap_or_else(|failure| {
                self.reporter.warn(&failure);
                Attempt::NoProcess
            });
            match attempt {
                Attempt::Occupied { .. } => occupied.push(identity),
                Attempt::Started(_) => drop(self.sharing.remove(&identity)),
                Attempt::NoProcess => {}
            }
            self.roster.attempted(identity, attempt, Instant::now());
        }
        if !occupied.is_empty() {
            self.tell_sharing(&occupied);
        }
    }

    /// Says once of each of these services, which somebody else's runsv has, if that is a runsv of
    /// ours, for another service: nobody would find out otherwise why this one never runs.
    fn tell_sharing(&mut self, services: &[Identity]) {
        let owners: HashMap<Identity, OsString> = self
            .roster
            .names_of_running()
            .filter_map(|name| Some((supervise_of(name)?, name.to_owned())))
            .collect();
        for identity in services {
            let Some(name) = self.roster.name_of(*identity) else { continue };
            let Some(owner) = supervise_of(name).and_then(|supervise| owners.get(&supervise)) else {
                continue;
            };
            if self.sharing.get(identity) != Some(owner) {
                let why = words([OsStr::new("it has the supervise directory of "), owner]);
                self.reporter.warn(&may_not_start(name, &why));
                self.sharing.insert(*identity, owner.clone());
            }
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Watch(identity, name) => self.watch_inside(identity, &name),
            Action::Start(identity, name) => self.start(vec![(identity, name)]),
            Action::Terminate(runsv) => {
                // It may have died a moment ago.
                let _ = Signal::TERM.send(runsv);
            }
            Action::Forget(identity) => {
                self.watch.forget(identity);
                self.starter.forget(identity, &self.poller);
            }
            Action::Warn(name, why) => {
                self.reporter.warn(&Failure::new(words([OsStr::new("unable to stat "), &name]), why));
            }
            Action::Complain(name, runsv) => {
                let why = format!("its old runsv (pid {runsv}) was told to exit, but has not ended");
                self.reporter.warn(&may_not_start(&name, OsStr::new(&why)));
            }
        }
    }

    fn watch_inside(&mut self, identity: Identity, name: &OsStr) {
        if self.enter() {
            self.watch.inside(identity, name);
        }
    }

    /// Goes into the services directory; says so if that fails.
    fn enter(&mut self) -> bool {
        self.directory.enter().map_err(|failure| self.miss(&failure)).is_ok()
    }

    fn roll_log(&mut self) {
        let Some(log) = &mut self.log else { return };
        log.add(&self.reporter.take_kept());
        log.tick(Instant::now());
        self.has_unread_log = log.read();
    }
}
