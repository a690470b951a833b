//! State: which services should run. It takes in what the directory holds and which processes exited, and asks
//! for runsvs to be started or stopped. No system call, no clock.
//!
//! A service is its directory's device and inode, whatever its entry is called (RSD-5).

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::time::{Duration, Instant};

use sys::{Errno, ExitStatus, FileId, Pid};

use super::arrival::{Arrival, QUIET_IN_PLACE, QUIET_WHOLE};
use super::listing::{EntryKind, Listing, ScanEntry};
use super::scanned_service::{RunsvState, ScannedService, THROTTLE};

#[cfg(test)]
mod tests;

/// How long a service is left alone after its runsv exited on command. A client may check for that end only
/// now and then: runit's own sv does so every 0.42 seconds.
const EXIT_PAUSE: Duration = Duration::from_secs(1);

/// What runsv exits with when it was commanded to exit (RSV-3).
const EXITED_ON_COMMAND: ExitStatus = ExitStatus::Exited(0);

/// What runsv exits with when it refuses a service, or cannot be executed (RSV-3, GEN-9).
const REFUSED: ExitStatus = ExitStatus::Exited(111);

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScanAction {
    /// Start a runsv; [`Services::attempted`] takes the answer.
    Start(FileId, OsString),
    /// Ask a runsv to leave.
    Terminate(Pid),
    /// Watch inside this directory; [`Services::changed_inside`] takes what happens there.
    Watch(FileId, OsString),
    /// Watch this directory, or the other runsv that has it, no longer.
    Forget(FileId),
    /// Say that an entry could not be read.
    Warn(OsString, Errno),
    /// Say that a service cannot be started, for this runsv, which was asked to leave, is still there.
    Complain(OsString, Pid),
}

/// How the attempt to start a runsv went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAttempt {
    /// It has this process id.
    Started(Pid),
    /// There was no process to be had.
    NoProcess,
    /// A runsv that is not ours has the service.
    Occupied {
        /// [`Services::vacated`] follows when it has gone.
        is_watched: bool,
    },
}

/// Every service, and every runsv of ours.
#[derive(Debug, Default)]
pub struct Services {
    known: BTreeMap<FileId, ScannedService>,
    runsvs: HashMap<Pid, FileId>,
    /// The services directory that was scanned last.
    home: Option<FileId>,
    hidden: HashMap<OsString, HiddenEntry>,
    actions: VecDeque<ScanAction>,
    no_process_before: Option<Instant>,
}

/// An entry that cannot be read.
#[derive(Debug)]
struct HiddenEntry {
    why: Errno,
    /// When to say so, unless it was said.
    warn_at: Option<Instant>,
}

impl Services {
    /// Takes in what a complete scan of the directory found.
    pub fn scanned(&mut self, listing: Listing, now: Instant) {
        // What was there before the directory was watched has arrived, unless that was just now.
        let is_watched = self.home.replace(listing.home) == Some(listing.home) || listing.is_home_fresh;
        let mut absent: HashSet<FileId> =
            self.known.iter().filter(|(_, service)| !service.is_present).map(|(it, _)| *it).collect();
        for service in self.known.values_mut() {
            service.is_present = false;
            service.is_hidden = false;
        }
        let mut hidden = HashMap::new();
        for ScanEntry { name, what } in listing.entries {
            match what {
                EntryKind::Directory { identity, is_fresh, is_remade, is_temporary } => {
                    let is_new = absent.remove(&identity) || !self.known.contains_key(&identity);
                    let service = self.service(identity, &name, listing.home, now);
                    let is_arriving = (is_new && is_watched) || is_remade;
                    let had_temporary_name = service.arrival.is_some_and(|arrival| arrival.is_temporary);
                    if is_arriving || (had_temporary_name && !is_temporary) {
                        let is_in_place = is_fresh || is_remade || listing.is_home_fresh;
                        let quiet = if is_in_place || is_temporary { QUIET_IN_PLACE } else { QUIET_WHOLE };
                        let is_temporary = is_temporary && !is_in_place;
                        service.arrival = Some(Arrival::new(quiet, is_temporary, now));
                    }
                    if let (RunsvState::Running { runsv, .. }, true) = (service.state, is_remade) {
                        service.state = RunsvState::asked_to_leave(runsv, now);
                        self.actions.push_back(ScanAction::Terminate(runsv));
                    }
                    if is_arriving {
                        self.actions.push_back(ScanAction::Watch(identity, name));
                    }
                }
                EntryKind::Hidden(why) => {
                    self.keep_hidden(&name, listing.home);
                    let known = self.hidden.remove(&name).filter(|known| known.why == why);
                    let warn_at = if listing.is_forced || (known.is_none() && !is_watched) {
                        Some(now)
                    } else {
                        known.map_or(Some(now + QUIET_WHOLE), |known| known.warn_at)
                    };
                    hidden.insert(name, HiddenEntry { why, warn_at });
                }
                EntryKind::Other => {}
            }
        }
        self.hidden = hidden;
        self.dismiss_absent(now);
        if listing.is_thorough {
            self.reconsider_occupied();
        }
        if listing.is_forced {
            self.end_pauses();
        }
    }

    /// Takes in that something has happened to these names in the services directory.
    pub fn changed_names(&mut self, names: &HashSet<OsString>, now: Instant) {
        if names.is_empty() {
            return;
        }
        for service in self.known.values_mut() {
            if let Some(arrival) = &mut service.arrival
                && names.contains(&service.name)
            {
                arrival.disturb(now);
            }
        }
        for (name, hidden) in &mut self.hidden {
            if hidden.warn_at.is_some() && names.contains(name) {
                hidden.warn_at = Some(now + QUIET_WHOLE);
            }
        }
    }

    /// Takes in that something has happened in a service directory; whether it is to be watched on.
    pub fn changed_inside(&mut self, identity: FileId, now: Instant) -> bool {
        let arrival = self.known.get_mut(&identity).and_then(|service| service.arrival.as_mut());
        arrival.map(|arrival| arrival.change(now)).is_some()
    }

    /// Takes the answer to [`ScanAction::Start`].
    pub fn attempted(&mut self, identity: FileId, outcome: StartAttempt, now: Instant) {
        let Some(service) = self.known.get_mut(&identity) else { return };
        service.state = match outcome {
            StartAttempt::Started(runsv) => {
                service.last_start = Some(now);
                self.runsvs.insert(runsv, identity);
                RunsvState::Running { runsv, since: now }
            }
            StartAttempt::NoProcess => {
                self.no_process_before = Some(now + THROTTLE);
                RunsvState::READY
            }
            StartAttempt::Occupied { is_watched } => {
                RunsvState::Occupied { retry_at: (!is_watched).then(|| now + THROTTLE) }
            }
        };
        if outcome == StartAttempt::NoProcess {
            self.take_back_starts();
        }
    }

    /// Takes in that the runsv which was not ours has gone.
    pub fn vacated(&mut self, identity: FileId) {
        if let Some(service) = self.known.get_mut(&identity)
            && matches!(service.state, RunsvState::Occupied { .. })
        {
            service.state = RunsvState::READY;
            self.actions.push_back(ScanAction::Forget(identity));
        }
    }

    /// Takes in the exit of a child, which may be any process.
    pub fn exited(&mut self, child: Pid, status: ExitStatus, now: Instant) {
        let Some(identity) = self.runsvs.remove(&child) else { return };
        let Some(service) = self.known.get_mut(&identity) else { return };
        service.state = match service.state {
            RunsvState::Leaving { .. } if !service.is_present => {
                self.known.remove(&identity);
                return;
            }
            RunsvState::Leaving { .. } => RunsvState::READY,
            RunsvState::Running { since, .. } => {
                let refused = status == REFUSED && now.saturating_duration_since(since) < THROTTLE;
                service.refusals = if refused { service.refusals.saturating_add(1) } else { 0 };
                RunsvState::Ready { not_before: (status == EXITED_ON_COMMAND).then(|| now + EXIT_PAUSE) }
            }
            other => other,
        };
    }

    /// Asks for whatever is due.
    pub fn settle(&mut self, now: Instant) {
        self.complain(now);
        self.warn(now);
        let taken = self.names_of_leaving();
        let mut due: Vec<(&OsStr, FileId)> = self
            .known
            .iter()
            .filter(|(_, service)| service.is_due(now, self.no_process_before, &taken))
            .map(|(identity, service)| (service.name.as_os_str(), *identity))
            .collect();
        due.sort_unstable();
        let due: Vec<FileId> = due.into_iter().map(|(_, identity)| identity).collect();
        for identity in due {
            let Some(service) = self.known.get_mut(&identity) else { continue };
            if service.arrival.take().is_some() || matches!(service.state, RunsvState::Occupied { .. }) {
                self.actions.push_back(ScanAction::Forget(identity));
            }
            service.state = RunsvState::Starting;
            self.actions.push_back(ScanAction::Start(identity, service.name.clone()));
        }
    }

    /// The next thing to do, if there is one.
    pub fn next_action(&mut self) -> Option<ScanAction> {
        self.actions.pop_front()
    }

    /// Whether there is something to do.
    pub fn has_actions(&self) -> bool {
        !self.actions.is_empty()
    }

    /// When [`Services::settle`] has something to do though nothing happens.
    pub fn next_deadline(&self) -> Option<Instant> {
        let taken = self.names_of_leaving();
        self.known
            .values()
            .filter(|service| !service.is_blocked(&taken))
            .filter_map(|service| service.due_at(self.no_process_before))
            .chain(self.complaints().into_iter().map(|(due, ..)| due))
            .chain(self.hidden.values().filter_map(|hidden| hidden.warn_at))
            .min()
    }

    /// The runsv of ours that works in this directory.
    pub fn runsv_of(&self, identity: FileId) -> Option<Pid> {
        match self.known.get(&identity)?.state {
            RunsvState::Running { runsv, .. } => Some(runsv),
            _ => None,
        }
    }

    /// The names of the services that a runsv of ours has.
    pub fn names_of_running(&self) -> impl Iterator<Item = &OsStr> {
        let is_running = |service: &&ScannedService| matches!(service.state, RunsvState::Running { .. });
        self.known.values().filter(is_running).map(|service| service.name.as_os_str())
    }

    /// The name of a service.
    pub fn name_of(&self, identity: FileId) -> Option<&OsStr> {
        self.known.get(&identity).map(|service| service.name.as_os_str())
    }

    /// The name of the service that this child, a runsv, is for.
    pub fn name_of_runsv(&self, child: Pid) -> Option<&OsStr> {
        self.name_of(*self.runsvs.get(&child)?)
    }

    /// Every runsv of ours that was not yet asked to leave.
    pub fn running(&self) -> impl Iterator<Item = Pid> {
        self.known.values().filter_map(|service| match service.state {
            RunsvState::Running { runsv, .. } => Some(runsv),
            _ => None,
        })
    }

    /// The service of this directory, which is there, under this name unless it was seen already.
    fn service(&mut self, identity: FileId, name: &OsStr, home: FileId, now: Instant) -> &mut ScannedService {
        let service = self.known.entry(identity).or_insert_with(|| ScannedService {
            name: name.to_owned(),
            home,
            is_present: false,
            is_hidden: false,
            first_seen: now,
            arrival: None,
            last_start: None,
            refusals: 0,
            state: RunsvState::READY,
        });
        if !service.is_present || service.is_hidden {
            service.is_present = true;
            service.is_hidden = false;
            name.clone_into(&mut service.name);
            service.home = home;
        }
        service
    }

    /// What cannot be read is not gone, but nothing can be started there either.
    fn keep_hidden(&mut self, name: &OsStr, home: FileId) {
        for service in self.known.values_mut() {
            if service.name == name && service.home == home && !service.is_leaving() && !service.is_present {
                service.is_present = true;
                service.is_hidden = true;
            }
        }
    }

    fn dismiss_absent(&mut self, now: Instant) {
        let actions = &mut self.actions;
        self.known.retain(|identity, service| {
            if service.is_present {
                return true;
            }
            if service.arrival.take().is_some() || matches!(service.state, RunsvState::Occupied { .. }) {
                actions.push_back(ScanAction::Forget(*identity));
            }
            match service.state {
                RunsvState::Running { runsv, .. } => {
                    service.state = RunsvState::asked_to_leave(runsv, now);
                    actions.push_back(ScanAction::Terminate(runsv));
                    true
                }
                RunsvState::Leaving { .. } => true,
                RunsvState::Occupied { .. } | RunsvState::Ready { .. } | RunsvState::Starting => false,
            }
        });
    }

    /// No other start would succeed now.
    fn take_back_starts(&mut self) {
        self.actions.retain(|action| !matches!(action, ScanAction::Start(..)));
        for service in self.known.values_mut() {
            if service.state == RunsvState::Starting {
                service.state = RunsvState::READY;
            }
        }
    }

    fn reconsider_occupied(&mut self) {
        let occupied: Vec<FileId> = self
            .known
            .iter()
            .filter(|(_, service)| matches!(service.state, RunsvState::Occupied { .. }))
            .map(|(identity, _)| *identity)
            .collect();
        for identity in occupied {
            self.vacated(identity);
        }
    }

    /// A forced scan starts what died, but never sooner than a second after its last start.
    fn end_pauses(&mut self) {
        self.no_process_before = None;
        for service in self.known.values_mut() {
            service.refusals = 0;
            if let RunsvState::Ready { not_before } = &mut service.state {
                *not_before = None;
            }
        }
    }

    /// Says which entries cannot be read.
    fn warn(&mut self, now: Instant) {
        for (name, hidden) in &mut self.hidden {
            if hidden.warn_at.take_if(|due| *due <= now).is_some() {
                self.actions.push_back(ScanAction::Warn(name.clone(), hidden.why));
            }
        }
    }

    /// Says which runsvs have kept another service waiting for too long.
    fn complain(&mut self, now: Instant) {
        for (due, identity, runsv) in self.complaints() {
            if due <= now
                && let Some(service) = self.known.get_mut(&identity)
            {
                service.state = RunsvState::Leaving { runsv, complain_at: None };
                self.actions.push_back(ScanAction::Complain(service.name.clone(), runsv));
            }
        }
    }

    /// The runsvs that were asked to leave while there is something to be started in their place, with
    /// when to say so: the same directory, if it has come back, or another one of its name.
    fn complaints(&self) -> Vec<(Instant, FileId, Pid)> {
        let is_waiting = |service: &&ScannedService| service.is_present && !service.is_leaving();
        let mut waiting: Option<HashSet<_>> = None;
        let mut complaints = Vec::new();
        for (identity, service) in &self.known {
            let RunsvState::Leaving { runsv, complain_at: Some(due) } = service.state else { continue };
            // Mostly no runsv leaves.
            let waiting = waiting.get_or_insert_with(|| {
                self.known.values().filter(is_waiting).map(ScannedService::place).collect()
            });
            if service.is_present || waiting.contains(&service.place()) {
                complaints.push((due, *identity, runsv));
            }
        }
        complaints
    }

    /// The names that are not free yet: their runsv was asked to leave and is still there.
    fn names_of_leaving(&self) -> HashSet<(FileId, &OsStr)> {
        self.known.values().filter(|service| service.is_leaving()).map(ScannedService::place).collect()
    }
}
