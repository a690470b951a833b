//! State: which services should run. It takes in what the directory holds and which processes exited, and asks
//! for supervisors to be started or stopped. No system call, no clock.
//!
//! `S` is the host's handle of a supervisor: the process id of a runsv, or what names a supervisor in the
//! process itself.
//!
//! A service is its directory's device and inode, whatever its entry is called (RSD-5).

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::hash::Hash;
use std::time::{Duration, Instant};

use sys::{Errno, ExitStatus, FileId};

use super::arrival::{Arrival, QUIET_IN_PLACE, QUIET_WHOLE};
use super::listing::{EntryKind, Listing, ScanEntry};
use super::scanned_service::{ScannedService, SupervisorState, THROTTLE};

#[cfg(test)]
mod tests;

/// How long a service is left alone after its supervisor exited on command. A client may check for that end
/// only now and then: runit's own sv does so every 0.42 seconds.
const EXIT_PAUSE: Duration = Duration::from_secs(1);

/// How a supervisor ends that was commanded to exit (RSV-3).
const EXITED_ON_COMMAND: ExitStatus = ExitStatus::Exited(0);

/// How a supervisor ends that refuses a service, or cannot be executed (RSV-3, GEN-9).
const REFUSED: ExitStatus = ExitStatus::Exited(111);

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScanAction<S> {
    /// Start a supervisor; [`Services::attempted`] takes the answer.
    Start(FileId, OsString),
    /// Ask a supervisor to leave.
    Terminate(S),
    /// Watch inside this directory; [`Services::changed_inside`] takes what happens there.
    Watch(FileId, OsString),
    /// Watch this directory, or the other supervisor that has it, no longer.
    Forget(FileId),
    /// Say that an entry could not be read.
    Warn(OsString, Errno),
    /// Say that this entry is the directory of a service that is supervised under another name.
    NameTwin(OsString, OsString),
    /// Say that a service cannot be started, for this supervisor, which was asked to leave, is still there.
    Complain(OsString, S),
}

/// How the attempt to start a supervisor went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAttempt<S> {
    /// The host names it so.
    Started(S),
    /// There was no process to be had.
    NoProcess,
    /// A supervisor that is not ours has the service.
    Occupied {
        /// [`Services::vacated`] follows when it has gone.
        is_watched: bool,
    },
}

/// Every service, and every supervisor of ours.
#[derive(Debug)]
pub struct Services<S> {
    known: BTreeMap<FileId, ScannedService<S>>,
    supervisors: HashMap<S, FileId>,
    /// The services directory that was scanned last.
    home: Option<FileId>,
    hidden: HashMap<OsString, HiddenEntry>,
    /// Entries that are a second name of a service, with its first.
    twins: BTreeMap<OsString, OsString>,
    actions: VecDeque<ScanAction<S>>,
    no_process_before: Option<Instant>,
}

/// An entry that cannot be read.
#[derive(Debug)]
struct HiddenEntry {
    why: Errno,
    /// When to say so, unless it was said.
    warn_at: Option<Instant>,
}

impl<S> Default for Services<S> {
    fn default() -> Self {
        Self {
            known: BTreeMap::new(),
            supervisors: HashMap::new(),
            home: None,
            hidden: HashMap::new(),
            twins: BTreeMap::new(),
            actions: VecDeque::new(),
            no_process_before: None,
        }
    }
}

impl<S: Copy + Eq + Hash> Services<S> {
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
        let mut twins = BTreeMap::new();
        for ScanEntry { name, what } in listing.entries {
            match what {
                EntryKind::Directory { identity, is_fresh, is_remade, is_temporary } => {
                    let is_new = absent.remove(&identity) || !self.known.contains_key(&identity);
                    let service = self.service(identity, &name, listing.home, now);
                    if service.name != name && !is_temporary {
                        twins.insert(name.clone(), service.name.clone());
                    }
                    let is_arriving = (is_new && is_watched) || is_remade;
                    let had_temporary_name = service.arrival.is_some_and(|arrival| arrival.is_temporary);
                    if is_arriving || (had_temporary_name && !is_temporary) {
                        let is_in_place = is_fresh || is_remade || listing.is_home_fresh;
                        let quiet = if is_in_place || is_temporary { QUIET_IN_PLACE } else { QUIET_WHOLE };
                        let is_temporary = is_temporary && !is_in_place;
                        service.arrival = Some(Arrival::new(quiet, is_temporary, now));
                    }
                    if let (SupervisorState::Running { supervisor, .. }, true) = (service.state, is_remade) {
                        service.state = SupervisorState::asked_to_leave(supervisor, now);
                        self.actions.push_back(ScanAction::Terminate(supervisor));
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
        let known = std::mem::replace(&mut self.twins, twins);
        for (name, first) in self.twins.iter().filter(|(name, first)| known.get(*name) != Some(*first)) {
            self.actions.push_back(ScanAction::NameTwin(name.clone(), first.clone()));
        }
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
    pub fn attempted(&mut self, identity: FileId, outcome: StartAttempt<S>, now: Instant) {
        let Some(service) = self.known.get_mut(&identity) else { return };
        service.state = match outcome {
            StartAttempt::Started(supervisor) => {
                service.last_start = Some(now);
                self.supervisors.insert(supervisor, identity);
                SupervisorState::Running { supervisor, since: now }
            }
            StartAttempt::NoProcess => {
                self.no_process_before = Some(now + THROTTLE);
                SupervisorState::READY
            }
            StartAttempt::Occupied { is_watched } => {
                SupervisorState::Occupied { retry_at: (!is_watched).then(|| now + THROTTLE) }
            }
        };
        if outcome == StartAttempt::NoProcess {
            self.take_back_starts();
        }
    }

    /// Takes in that the supervisor which was not ours has gone.
    pub fn vacated(&mut self, identity: FileId) {
        if let Some(service) = self.known.get_mut(&identity)
            && matches!(service.state, SupervisorState::Occupied { .. })
        {
            service.state = SupervisorState::READY;
            self.actions.push_back(ScanAction::Forget(identity));
        }
    }

    /// Takes in how a supervisor has ended; it need not be one of ours.
    pub fn exited(&mut self, supervisor: S, status: ExitStatus, now: Instant) {
        let Some(identity) = self.supervisors.remove(&supervisor) else { return };
        let Some(service) = self.known.get_mut(&identity) else { return };
        service.state = match service.state {
            SupervisorState::Leaving { .. } if !service.is_present => {
                self.known.remove(&identity);
                return;
            }
            SupervisorState::Leaving { .. } => SupervisorState::READY,
            SupervisorState::Running { since, .. } => {
                let refused = status == REFUSED && now.saturating_duration_since(since) < THROTTLE;
                service.refusals = if refused { service.refusals.saturating_add(1) } else { 0 };
                SupervisorState::Ready { not_before: (status == EXITED_ON_COMMAND).then(|| now + EXIT_PAUSE) }
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
            if service.arrival.take().is_some() || matches!(service.state, SupervisorState::Occupied { .. }) {
                self.actions.push_back(ScanAction::Forget(identity));
            }
            service.state = SupervisorState::Starting;
            self.actions.push_back(ScanAction::Start(identity, service.name.clone()));
        }
    }

    /// The next thing to do, if there is one.
    pub fn next_action(&mut self) -> Option<ScanAction<S>> {
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

    /// The supervisor of ours that works in this directory.
    pub fn supervisor_of(&self, identity: FileId) -> Option<S> {
        match self.known.get(&identity)?.state {
            SupervisorState::Running { supervisor, .. } => Some(supervisor),
            _ => None,
        }
    }

    /// The names of the services that a supervisor of ours has.
    pub fn names_of_running(&self) -> impl Iterator<Item = &OsStr> {
        let is_running =
            |service: &&ScannedService<S>| matches!(service.state, SupervisorState::Running { .. });
        self.known.values().filter(is_running).map(|service| service.name.as_os_str())
    }

    /// The name of a service.
    pub fn name_of(&self, identity: FileId) -> Option<&OsStr> {
        self.known.get(&identity).map(|service| service.name.as_os_str())
    }

    /// The name of the service that this supervisor is for.
    pub fn name_of_supervisor(&self, supervisor: S) -> Option<&OsStr> {
        self.name_of(*self.supervisors.get(&supervisor)?)
    }

    /// Every supervisor of ours that was not yet asked to leave.
    pub fn running(&self) -> impl Iterator<Item = S> {
        self.known.values().filter_map(|service| match service.state {
            SupervisorState::Running { supervisor, .. } => Some(supervisor),
            _ => None,
        })
    }

    /// The service of this directory, which is there, under this name unless it was seen already.
    fn service(
        &mut self,
        identity: FileId,
        name: &OsStr,
        home: FileId,
        now: Instant,
    ) -> &mut ScannedService<S> {
        let service = self.known.entry(identity).or_insert_with(|| ScannedService {
            name: name.to_owned(),
            home,
            is_present: false,
            is_hidden: false,
            first_seen: now,
            arrival: None,
            last_start: None,
            refusals: 0,
            state: SupervisorState::READY,
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
            if service.arrival.take().is_some() || matches!(service.state, SupervisorState::Occupied { .. }) {
                actions.push_back(ScanAction::Forget(*identity));
            }
            match service.state {
                SupervisorState::Running { supervisor, .. } => {
                    service.state = SupervisorState::asked_to_leave(supervisor, now);
                    actions.push_back(ScanAction::Terminate(supervisor));
                    true
                }
                SupervisorState::Leaving { .. } => true,
                SupervisorState::Occupied { .. }
                | SupervisorState::Ready { .. }
                | SupervisorState::Starting => false,
            }
        });
    }

    /// No other start would succeed now.
    fn take_back_starts(&mut self) {
        self.actions.retain(|action| !matches!(action, ScanAction::Start(..)));
        for service in self.known.values_mut() {
            if service.state == SupervisorState::Starting {
                service.state = SupervisorState::READY;
            }
        }
    }

    fn reconsider_occupied(&mut self) {
        let occupied: Vec<FileId> = self
            .known
            .iter()
            .filter(|(_, service)| matches!(service.state, SupervisorState::Occupied { .. }))
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
            if let SupervisorState::Ready { not_before } = &mut service.state {
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

    /// Says which supervisors have kept another service waiting for too long.
    fn complain(&mut self, now: Instant) {
        for (due, identity, supervisor) in self.complaints() {
            if due <= now
                && let Some(service) = self.known.get_mut(&identity)
            {
                service.state = SupervisorState::Leaving { supervisor, complain_at: None };
                self.actions.push_back(ScanAction::Complain(service.name.clone(), supervisor));
            }
        }
    }

    /// The supervisors that were asked to leave while there is something to be started in their place, with
    /// when to say so: the same directory, if it has come back, or another one of its name.
    fn complaints(&self) -> Vec<(Instant, FileId, S)> {
        let is_waiting = |service: &&ScannedService<S>| service.is_present && !service.is_leaving();
        let mut waiting: Option<HashSet<_>> = None;
        let mut complaints = Vec::new();
        for (identity, service) in &self.known {
            let SupervisorState::Leaving { supervisor, complain_at: Some(due) } = service.state else {
                continue;
            };
            // Mostly no supervisor leaves.
            let waiting = waiting.get_or_insert_with(|| {
                self.known.values().filter(is_waiting).map(ScannedService::place).collect()
            });
            if service.is_present || waiting.contains(&service.place()) {
                complaints.push((due, *identity, supervisor));
            }
        }
        complaints
    }

    /// The names that are not free yet: their supervisor was asked to leave and is still there.
    fn names_of_leaving(&self) -> HashSet<(FileId, &OsStr)> {
        self.known.values().filter(|service| service.is_leaving()).map(ScannedService::place).collect()
    }
}
