//! Machine: who should run. Told what the directory holds and who died, it says whom to start and
//! whom to stop. No system call, no clock.
//!
//! A service is its directory's device and inode, whatever its entry is called (RSD-5).

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::time::{Duration, Instant};

use sys::{Errno, ExitStatus, Pid};

/// A runsv is not started sooner than this after its service's previous start.
const THROTTLE: Duration = Duration::from_secs(1);

/// The longest pause between two attempts of a runsv that keeps refusing.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long nothing must have happened in a service directory that is made, or changed, in its place:
/// its parts come one after the other.
const QUIET_IN_PLACE: Duration = Duration::from_secs(1);

/// How long nothing must have happened to the name of a service directory that has arrived whole:
/// `ln -sfn` makes a link under a temporary name first.
const QUIET_WHOLE: Duration = Duration::from_millis(20);

/// A service whose directory is changed again and again is started after this, nevertheless.
const LONGEST_ARRIVAL: Duration = Duration::from_secs(60);

/// How long a service whose runsv was told to exit is left alone. Whoever has told it may look for its
/// end only now and then: runit's own sv does so every 0.42 seconds.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long a service waits in silence for the runsv that has its name: so often the original looks.
const PATIENCE: Duration = Duration::from_secs(5);

/// What runsv exits with when it was told to (RSV-3).
const TOLD_TO: ExitStatus = ExitStatus::Exited(0);

/// What runsv exits with when it refuses a service, or cannot be executed (RSV-3, GEN-9).
const REFUSED: ExitStatus = ExitStatus::Exited(111);

/// Which directory it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// The device of its file system.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
}

/// What one complete look at the services directory found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Which directory was looked at.
    pub home: Identity,
    /// Its entries, in the order in which services are to start.
    pub entries: Vec<ScanEntry>,
    /// Somebody asked for the look, so nothing is put off that need not be.
    pub is_forced: bool,
    /// Nothing that was learnt earlier is to be believed, such as which other runsv runs where.
    pub is_thorough: bool,
    /// The directory, or one on the way to it, was made in its place a moment ago.
    pub is_home_fresh: bool,
}

impl Listing {
    /// Whether something could not be seen for a reason whose end nobody will tell: only what was
    /// missing is watched for.
    pub fn has_untold(&self) -> bool {
        self.entries.iter().any(|entry| match entry.what {
            EntryKind::Hidden(why) => why != Errno::ENOENT,
            EntryKind::Directory { .. } | EntryKind::Other => false,
        })
    }
}

/// One name in the services directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanEntry {
    /// The name.
    pub name: OsString,
    /// What it stands for.
    pub what: EntryKind,
}

/// What a name in the services directory stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory: a service.
    Directory {
        /// Which one.
        identity: Identity,
        /// It was made in its place a moment ago, or that cannot be told.
        is_fresh: bool,
        /// It is not the one its runsv works in, which was removed, although it has its number.
        is_remade: bool,
        /// Its name looks like one that is there for a moment only.
        is_temporary: bool,
    },
    /// Something else, which is none of our business.
    Other,
    /// The name is there, but what it stands for could not be seen this time.
    Hidden(Errno),
}

/// What the services asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScanAction {
    /// Start a runsv; [`Services::attempted`] takes the answer.
    Start(Identity, OsString),
    /// Ask a runsv to leave.
    Terminate(Pid),
    /// Watch inside this directory; [`Services::changed_inside`] takes what happens there.
    Watch(Identity, OsString),
    /// Watch this directory, or the other runsv that has it, no longer.
    Forget(Identity),
    /// Say that an entry could not be seen.
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
        /// [`Services::vacated`] will be told when it has gone.
        is_watched: bool,
    },
}

/// Every service, and every runsv of ours.
#[derive(Debug, Default)]
pub struct Services {
    known: BTreeMap<Identity, Service>,
    runsvs: HashMap<Pid, Identity>,
    /// The services directory that was scanned last.
    home: Option<Identity>,
    hidden: HashMap<OsString, Hidden>,
    actions: VecDeque<ScanAction>,
    no_process_before: Option<Instant>,
}

/// An entry that cannot be seen.
#[derive(Debug)]
struct Hidden {
    why: Errno,
    /// When to say so, unless it was said.
    warn_at: Option<Instant>,
}

/// A service directory that has come, or come back, while it was watched, and may not be complete.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    since: Instant,
    quiet: Duration,
    /// When it counts as complete if nothing happens until then.
    due: Instant,
    /// Nothing but its name is against it.
    is_temporary: bool,
}

impl Arrival {
    fn new(quiet: Duration, now: Instant) -> Self {
        Self { since: now, quiet, due: now + quiet, is_temporary: false }
    }

    /// Something has happened to it.
    fn disturb(&mut self, now: Instant) {
        self.due = (now + self.quiet).min(self.since + LONGEST_ARRIVAL);
    }

    /// Something has happened in it.
    fn change(&mut self, now: Instant) {
        self.quiet = QUIET_IN_PLACE;
        self.is_temporary = false;
        self.disturb(now);
    }
}

#[derive(Debug)]
struct Service {
    name: OsString,
    home: Identity,
    /// Its entry has not gone.
    is_present: bool,
    /// Its entry cannot be seen at present.
    is_hidden: bool,
    first_seen: Instant,
    /// Until its directory counts as complete.
    arrival: Option<Arrival>,
    last_start: Option<Instant>,
    refusals: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// To be started as soon as it may.
    Ready { not_before: Option<Instant> },
    /// The start has been asked for.
    Starting,
    /// Its runsv is ours and runs.
    Running { runsv: Pid, since: Instant },
    /// Its runsv is ours, and was asked to leave; when to say that somebody waits for that, unless it
    /// was said.
    Leaving { runsv: Pid, complain_at: Option<Instant> },
    /// A runsv that is not ours has it.
    Occupied { ask_again: Option<Instant> },
}

impl State {
    const READY: Self = Self::Ready { not_before: None };

    fn asked_to_leave(runsv: Pid, now: Instant) -> Self {
        Self::Leaving { runsv, complain_at: Some(now + PATIENCE) }
    }
}

impl Services {
    /// Takes in what a complete look at the directory found.
    pub fn sighted(&mut self, listing: Listing, now: Instant) {
        // What was there before the directory was watched has arrived, unless that was just now.
        let is_watched = self.home.replace(listing.home) == Some(listing.home) || listing.is_home_fresh;
        let mut absent: HashSet<Identity> =
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
                        service.arrival = Some(Arrival { is_temporary, ..Arrival::new(quiet, now) });
                    }
                    if let (State::Running { runsv, .. }, true) = (service.state, is_remade) {
                        service.state = State::asked_to_leave(runsv, now);
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
                    hidden.insert(name, Hidden { why, warn_at });
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
            self.hurry();
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
    pub fn changed_inside(&mut self, identity: Identity, now: Instant) -> bool {
        let arrival = self.known.get_mut(&identity).and_then(|service| service.arrival.as_mut());
        arrival.map(|arrival| arrival.change(now)).is_some()
    }

    /// Takes the answer to [`ScanAction::Start`].
    pub fn attempted(&mut self, identity: Identity, how: StartAttempt, now: Instant) {
        let Some(service) = self.known.get_mut(&identity) else { return };
        service.state = match how {
            StartAttempt::Started(runsv) => {
                service.last_start = Some(now);
                self.runsvs.insert(runsv, identity);
                State::Running { runsv, since: now }
            }
            StartAttempt::NoProcess => {
                self.no_process_before = Some(now + THROTTLE);
                State::READY
            }
            StartAttempt::Occupied { is_watched } => {
                State::Occupied { ask_again: (!is_watched).then(|| now + THROTTLE) }
            }
        };
        if how == StartAttempt::NoProcess {
            self.take_back_starts();
        }
    }

    /// Takes in that the runsv which was not ours has gone.
    pub fn vacated(&mut self, identity: Identity) {
        if let Some(service) = self.known.get_mut(&identity)
            && matches!(service.state, State::Occupied { .. })
        {
            service.state = State::READY;
            self.actions.push_back(ScanAction::Forget(identity));
        }
    }

    /// Takes in the death of a child, whoever it was.
    pub fn exited(&mut self, child: Pid, ending: ExitStatus, now: Instant) {
        let Some(identity) = self.runsvs.remove(&child) else { return };
        let Some(service) = self.known.get_mut(&identity) else { return };
        service.state = match service.state {
            State::Leaving { .. } if !service.is_present => {
                self.known.remove(&identity);
                return;
            }
            State::Leaving { .. } => State::READY,
            State::Running { since, .. } => {
                let refused = ending == REFUSED && now.saturating_duration_since(since) < THROTTLE;
                service.refusals = if refused { service.refusals.saturating_add(1) } else { 0 };
                State::Ready { not_before: (ending == TOLD_TO).then(|| now + FAREWELL) }
            }
            other => other,
        };
    }

    /// Asks for whatever is due.
    pub fn settle(&mut self, now: Instant) {
        self.complain(now);
        self.warn(now);
        let taken = self.names_of_leaving();
        let mut due: Vec<(&OsStr, Identity)> = self
            .known
            .iter()
            .filter(|(_, service)| service.is_due(now, self.no_process_before, &taken))
            .map(|(identity, service)| (service.name.as_os_str(), *identity))
            .collect();
        due.sort_unstable();
        let due: Vec<Identity> = due.into_iter().map(|(_, identity)| identity).collect();
        for identity in due {
            let Some(service) = self.known.get_mut(&identity) else { continue };
            if service.arrival.take().is_some() || matches!(service.state, State::Occupied { .. }) {
                self.actions.push_back(ScanAction::Forget(identity));
            }
            service.state = State::Starting;
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
    pub fn runsv_of(&self, identity: Identity) -> Option<Pid> {
        match self.known.get(&identity)?.state {
            State::Running { runsv, .. } => Some(runsv),
            _ => None,
        }
    }

    /// The names of the services that a runsv of ours has.
    pub fn names_of_running(&self) -> impl Iterator<Item = &OsStr> {
        let is_running = |service: &&Service| matches!(service.state, State::Running { .. });
        self.known.values().filter(is_running).map(|service| service.name.as_os_str())
    }

    /// The name of a service.
    pub fn name_of(&self, identity: Identity) -> Option<&OsStr> {
        self.known.get(&identity).map(|service| service.name.as_os_str())
    }

    /// The name of the service that this child, a runsv, is for.
    pub fn name_of_runsv(&self, child: Pid) -> Option<&OsStr> {
        self.name_of(*self.runsvs.get(&child)?)
    }

    /// Every runsv of ours that was not yet asked to leave.
    pub fn running(&self) -> impl Iterator<Item = Pid> {
        self.known.values().filter_map(|service| match service.state {
            State::Running { runsv, .. } => Some(runsv),
            _ => None,
        })
    }

    /// The service of this directory, which is there, under this name unless it was seen already.
    fn service(&mut self, identity: Identity, name: &OsStr, home: Identity, now: Instant) -> &mut Service {
        let service = self.known.entry(identity).or_insert_with(|| Service {
            name: name.to_owned(),
            home,
            is_present: false,
            is_hidden: false,
            first_seen: now,
            arrival: None,
            last_start: None,
            refusals: 0,
            state: State::READY,
        });
        if !service.is_present || service.is_hidden {
            service.is_present = true;
            service.is_hidden = false;
            name.clone_into(&mut service.name);
            service.home = home;
        }
        service
    }

    /// What cannot be seen is not gone, but nothing can be started there either.
    fn keep_hidden(&mut self, name: &OsStr, home: Identity) {
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
            if service.arrival.take().is_some() || matches!(service.state, State::Occupied { .. }) {
                actions.push_back(ScanAction::Forget(*identity));
            }
            match service.state {
                State::Running { runsv, .. } => {
                    service.state = State::asked_to_leave(runsv, now);
                    actions.push_back(ScanAction::Terminate(runsv));
                    true
                }
                State::Leaving { .. } => true,
                State::Occupied { .. } | State::Ready { .. } | State::Starting => false,
            }
        });
    }

    /// Nobody else would fare better now.
    fn take_back_starts(&mut self) {
        self.actions.retain(|action| !matches!(action, ScanAction::Start(..)));
        for service in self.known.values_mut() {
            if service.state == State::Starting {
                service.state = State::READY;
            }
        }
    }

    fn reconsider_occupied(&mut self) {
        let occupied: Vec<Identity> = self
            .known
            .iter()
            .filter(|(_, service)| matches!(service.state, State::Occupied { .. }))
            .map(|(identity, _)| *identity)
            .collect();
        for identity in occupied {
            self.vacated(identity);
        }
    }

    /// A forced look starts what died, but never sooner than a second after its last start.
    fn hurry(&mut self) {
        self.no_process_before = None;
        for service in self.known.values_mut() {
            service.refusals = 0;
            if let State::Ready { not_before } = &mut service.state {
                *not_before = None;
            }
        }
    }

    /// Says which entries cannot be seen.
    fn warn(&mut self, now: Instant) {
        for (name, hidden) in &mut self.hidden {
            if hidden.warn_at.take_if(|due| *due <= now).is_some() {
                self.actions.push_back(ScanAction::Warn(name.clone(), hidden.why));
            }
        }
    }

    /// Says of whom somebody has waited for too long.
    fn complain(&mut self, now: Instant) {
        for (due, identity, runsv) in self.complaints() {
            if due <= now
                && let Some(service) = self.known.get_mut(&identity)
            {
                service.state = State::Leaving { runsv, complain_at: None };
                self.actions.push_back(ScanAction::Complain(service.name.clone(), runsv));
            }
        }
    }

    /// The runsvs that were asked to leave while there is something to be started in their place, with
    /// when to say so: the same directory, if it has come back, or another one of its name.
    fn complaints(&self) -> Vec<(Instant, Identity, Pid)> {
        let is_waiting = |service: &&Service| service.is_present && !service.is_leaving();
        let mut waiting: Option<HashSet<_>> = None;
        let mut complaints = Vec::new();
        for (identity, service) in &self.known {
            let State::Leaving { runsv, complain_at: Some(due) } = service.state else { continue };
            // Mostly nobody leaves.
            let waiting = waiting
                .get_or_insert_with(|| self.known.values().filter(is_waiting).map(Service::place).collect());
            if service.is_present || waiting.contains(&service.place()) {
                complaints.push((due, *identity, runsv));
            }
        }
        complaints
    }

    /// The names that are not free yet: their runsv was asked to leave and is still there.
    fn names_of_leaving(&self) -> HashSet<(Identity, &OsStr)> {
        self.known.values().filter(|service| service.is_leaving()).map(Service::place).collect()
    }
}

impl Service {
    fn is_due(&self, now: Instant, patience: Option<Instant>, taken: &HashSet<(Identity, &OsStr)>) -> bool {
        self.due_at(patience).is_some_and(|moment| moment <= now) && !self.is_blocked(taken)
    }

    /// What only one runsv may have at a time: a name in a services directory.
    fn place(&self) -> (Identity, &OsStr) {
        (self.home, self.name.as_os_str())
    }

    fn is_leaving(&self) -> bool {
        matches!(self.state, State::Leaving { .. })
    }

    /// Two directories that follow each other under one name never run at the same time (B34).
    fn is_blocked(&self, taken: &HashSet<(Identity, &OsStr)>) -> bool {
        self.is_hidden || taken.contains(&self.place())
    }

    /// When the next step is due; `None` if something else has to happen first. `patience` is when
    /// there may be processes again.
    fn due_at(&self, patience: Option<Instant>) -> Option<Instant> {
        let step = match self.state {
            State::Ready { not_before } => not_before.unwrap_or(self.first_seen),
            State::Occupied { ask_again } => ask_again?,
            State::Starting | State::Running { .. } | State::Leaving { .. } => return None,
        };
        let rested = self.last_start.map(|start| start + pause_after(self.refusals));
        Some(step).max(rested).max(patience).max(self.arrival.map(|arrival| arrival.due))
    }
}

/// How long after its start the next one comes, with so many refusals in a row.
fn pause_after(refusals: u32) -> Duration {
    let doublings = refusals.saturating_sub(1).min(8);
    (THROTTLE * 2_u32.saturating_pow(doublings)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: Identity = Identity { device: 1, inode: 1 };
    const WEB: Identity = Identity { device: 1, inode: 10 };
    const NEWER_WEB: Identity = Identity { device: 1, inode: 11 };
    const MOMENT: Duration = Duration::from_millis(1);

    /// A services with a clock of its own.
    struct Scene {
        services: Services,
        now: Instant,
    }

    fn directory(name: &str, identity: Identity) -> ScanEntry {
        let what = EntryKind::Directory { identity, is_fresh: false, is_remade: false, is_temporary: false };
        ScanEntry { name: name.into(), what }
    }

    fn fresh(name: &str, identity: Identity) -> ScanEntry {
        let what = EntryKind::Directory { identity, is_fresh: true, is_remade: false, is_temporary: false };
        ScanEntry { name: name.into(), what }
    }

    fn temporary(name: &str, identity: Identity) -> ScanEntry {
        let what = EntryKind::Directory { identity, is_fresh: false, is_remade: false, is_temporary: true };
        ScanEntry { name: name.into(), what }
    }

    fn remade(name: &str, identity: Identity) -> ScanEntry {
        let what = EntryKind::Directory { identity, is_fresh: false, is_remade: true, is_temporary: false };
        ScanEntry { name: name.into(), what }
    }

    fn hidden(name: &str) -> ScanEntry {
        ScanEntry { name: name.into(), what: EntryKind::Hidden(Errno::ENOENT) }
    }

    fn start(name: &str, identity: Identity) -> ScanAction {
        ScanAction::Start(identity, name.into())
    }

    impl Scene {
        fn new() -> Self {
            Self { services: Services::default(), now: Instant::now() }
        }

        /// A services with a directory that holds nothing.
        fn watching() -> Self {
            let mut scene = Self::new();
            scene.sees([]);
            scene
        }

        /// A services with one runsv, that has run for a minute.
        fn with_web() -> Self {
            let mut scene = Self::new();
            scene.sees([directory("web", WEB)]);
            assert_eq!(scene.asks(), [start("web", WEB)]);
            scene.started(WEB, 7);
            scene.passes(Duration::from_secs(60));
            scene
        }

        fn sees(&mut self, entries: impl IntoIterator<Item = ScanEntry>) {
            self.sees_in(HOME, entries);
        }

        fn sees_in(&mut self, home: Identity, entries: impl IntoIterator<Item = ScanEntry>) {
            let entries = entries.into_iter().collect();
            self.look(Listing { home, entries, is_forced: false, is_thorough: false, is_home_fresh: false });
        }

        fn look(&mut self, listing: Listing) {
            self.services.sighted(listing, self.now);
        }

        fn passes(&mut self, time: Duration) {
            self.now += time;
        }

        fn started(&mut self, identity: Identity, pid: i32) {
            self.attempted(identity, StartAttempt::Started(Pid::from_raw(pid)));
        }

        fn attempted(&mut self, identity: Identity, how: StartAttempt) {
            self.services.attempted(identity, how, self.now);
        }

        fn is_killed(&mut self, pid: i32) {
            let ending = ExitStatus::Killed { signal: sys::Signal::KILL, core: false };
            self.services.exited(Pid::from_raw(pid), ending, self.now);
        }

        fn dies(&mut self, pid: i32, code: u8) {
            self.services.exited(Pid::from_raw(pid), ExitStatus::Exited(code), self.now);
        }

        /// What is asked for now, apart from watches.
        fn asks(&mut self) -> Vec<ScanAction> {
            self.services.settle(self.now);
            let is_of_watch =
                |action: &ScanAction| matches!(action, ScanAction::Watch(..) | ScanAction::Forget(_));
            std::iter::from_fn(|| self.services.next_action()).filter(|action| !is_of_watch(action)).collect()
        }

        fn changes_name(&mut self, name: &str) {
            self.services.changed_names(&HashSet::from([name.into()]), self.now);
        }

        fn is_quiet_for(&mut self, time: Duration) {
            let end = self.now + time;
            if let Some(deadline) = self.services.next_deadline() {
                assert!(deadline >= end, "something is due {:?} too early", end - deadline);
            }
            self.now += time.saturating_sub(MOMENT);
            assert_eq!(self.asks(), []);
            self.now = end;
        }
    }

    #[test]
    fn directories_that_are_there_are_started_at_once_in_the_order_of_their_names() {
        let mut scene = Scene::new();
        let inodes = |inode| Identity { device: 1, inode };
        scene.sees([directory("a", inodes(9)), directory("b", inodes(3)), directory("c", inodes(5))]);
        let started = [start("a", inodes(9)), start("b", inodes(3)), start("c", inodes(5))];
        assert_eq!(scene.asks(), started);
        assert_eq!(scene.services.next_deadline(), None);
    }

    #[test]
    fn two_names_of_one_directory_have_one_runsv() {
        let mut scene = Scene::new();
        scene.sees([directory("a", WEB), directory("b", WEB)]);
        assert_eq!(scene.asks(), [start("a", WEB)]);
        scene.started(WEB, 7);
        scene.sees([directory("b", WEB)]);
        assert_eq!(scene.asks(), []);
    }

    #[test]
    fn a_directory_that_is_made_in_its_place_is_started_when_nothing_in_it_has_changed_for_a_second() {
        let mut scene = Scene::watching();
        scene.sees([fresh("web", WEB)]);
        for _ in 0..10 {
            scene.is_quiet_for(QUIET_IN_PLACE.saturating_sub(MOMENT));
            assert!(scene.services.changed_inside(WEB, scene.now));
        }
        scene.is_quiet_for(QUIET_IN_PLACE);
        assert_eq!(scene.asks(), [start("web", WEB)]);
        assert!(!scene.services.changed_inside(WEB, scene.now));
    }

    #[test]
    fn a_directory_that_is_changed_again_and_again_is_started_late() {
        let mut scene = Scene::watching();
        scene.sees([fresh("web", WEB)]);
        for _ in 0..LONGEST_ARRIVAL.as_secs() * 2 {
            assert_eq!(scene.asks(), []);
            assert!(scene.services.changed_inside(WEB, scene.now));
            scene.passes(QUIET_IN_PLACE / 2);
        }
        assert_eq!(scene.asks(), [start("web", WEB)]);
    }

    #[test]
    fn a_directory_that_arrives_whole_is_started_when_its_name_has_not_changed_for_a_moment() {
        let mut scene = Scene::watching();
        scene.sees([directory("temporary", WEB)]);
        scene.is_quiet_for(QUIET_WHOLE.saturating_sub(MOMENT));
        scene.sees([directory("web", WEB)]);
        scene.changes_name("web");
        scene.is_quiet_for(QUIET_WHOLE);
        assert_eq!(scene.asks(), [start("web", WEB)]);
    }

    #[test]
    fn a_name_that_looks_temporary_has_a_second_to_be_changed() {
        let mut scene = Scene::watching();
        scene.sees([temporary("CuqX3zYb", WEB)]);
        scene.is_quiet_for(QUIET_IN_PLACE.saturating_sub(MOMENT));
        scene.sees([directory("web", WEB)]);
        scene.is_quiet_for(QUIET_WHOLE);
        assert_eq!(scene.asks(), [start("web", WEB)]);
    }

    #[test]
    fn a_directory_that_arrives_whole_and_is_changed_waits_for_more_changes() {
        let mut scene = Scene::watching();
        scene.sees([directory("web", WEB)]);
        scene.passes(MOMENT);
        assert!(scene.services.changed_inside(WEB, scene.now));
        scene.is_quiet_for(QUIET_IN_PLACE);
        assert_eq!(scene.asks(), [start("web", WEB)]);
    }

    #[test]
    fn in_a_services_directory_that_is_made_in_its_place_everything_is() {
        let mut scene = Scene::new();
        let entries = vec![directory("web", WEB)];
        let of_a_moment_ago =
            Listing { home: HOME, entries, is_forced: false, is_thorough: false, is_home_fresh: true };
        scene.look(of_a_moment_ago);
        scene.is_quiet_for(QUIET_IN_PLACE);
        assert_eq!(scene.asks(), [start("web", WEB)]);
    }

    #[test]
    fn nothing_is_said_of_a_name_that_is_there_for_a_moment_only() {
        let mut scene = Scene::watching();
        scene.sees([hidden("temporary")]);
        scene.is_quiet_for(QUIET_WHOLE.saturating_sub(MOMENT));
        scene.sees([hidden("web")]);
        scene.is_quiet_for(QUIET_WHOLE);
        assert_eq!(scene.asks(), [ScanAction::Warn("web".into(), Errno::ENOENT)]);
        scene.sees([hidden("web")]);
        scene.changes_name("web");
        assert_eq!(scene.services.next_deadline(), None);
    }

    #[test]
    fn a_dead_runsv_is_replaced_at_once_but_not_within_a_second_of_its_start() {
        let mut scene = Scene::with_web();
        scene.is_killed(7);
        assert_eq!(scene.asks(), [start("web", WEB)]);
        scene.started(WEB, 8);
        scene.passes(MOMENT * 300);
        scene.is_killed(8);
        scene.is_quiet_for(MOMENT * 700);
        assert_eq!(scene.asks(), [start("web", WEB)]);
    }

    #[test]
    fn a_runsv_that_was_told_to_exit_is_replaced_a_second_later() {
        let mut scene = Scene::with_web();
        scene.dies(7, 0);
        scene.is_quiet_for(Duration::from_secs(1));
        assert_eq!(scene.asks(), [start("web", WEB)]);
        scene.started(WEB, 8);
        scene.passes(Duration::from_secs(60));
        scene.dies(8, 0);
        assert_eq!(scene.asks(), []);
        let entries = vec![directory("web", WEB)];
        scene.look(Listing { home: HOME, entries, is_forced: true, is_thorough: true, is_home_fresh: false });
        assert_eq!(scene.asks(), [start("web", WEB)]);
    }

    #[test]
    fn a_runsv_that_keeps_refusing_is_tried_more_and_more_rarely() {
        let mut scene = Scene::with_web();
        scene.dies(7, 111);
        for (pid, pause) in [(8, 1), (9, 2), (10, 4), (11, 5), (12, 5)] {
            assert_eq!(scene.asks(), [start("web", WEB)]);
            scene.started(WEB, pid);
            scene.dies(pid, 111);
            scene.is_quiet_for(Duration::from_secs(pause));
        }
    }

    #[test]
    fn a_forced_look_ends_a_long_pause_but_not_the_second_after_a_start() {
        let mut scene = Scene::with_web();
        scene.dies(7, 111);
        for pid in 8..12 {
            scene.asks();
            scene.started(WEB, pid);
            scene.dies(pid, 111);
            scene.passes(Duration::from_secs(if pid == 11 { 0 } else { 5 }));
        }
        let entries = vec![directory("web", WEB)];
        scene.look(Listing { home: HOME, entries, is_forced: true, is_thorough: true, is_home_fresh: false });
        scene.is_quiet_for(Duration::from_secs(1));
        assert_eq!(scene.asks(), [start("web", WEB)]);
    }

    #[test]
    fn an_entry_that_is_gone_means_one_term() {
        let mut scene = Scene::with_web();
        scene.sees([]);
        assert_eq!(scene.asks(), [ScanAction::Terminate(Pid::from_raw(7))]);
        scene.sees([]);
        assert_eq!(scene.asks(), []);
        scene.dies(7, 0);
        assert_eq!(scene.asks(), []);
        assert_eq!(scene.services.name_of(WEB), None);
    }

    #[test]
    fn several_entries_that_are_gone_are_stopped_in_one_look() {
        let mut scene = Scene::new();
        let identity = |inode| Identity { device: 1, inode };
        scene.sees((10..15).map(|inode| directory(&format!("s{inode}"), identity(inode))));
        scene.asks();
        for (inode, pid) in (10..15).zip(100..) {
            scene.started(identity(inode), pid);
        }
        scene.sees([]);
        assert_eq!(scene.asks().len(), 5);
    }

    #[test]
    fn an_entry_that_cannot_be_seen_keeps_its_runsv_and_is_spoken_of_once() {
        let mut scene = Scene::with_web();
        scene.sees([hidden("web")]);
        scene.is_quiet_for(QUIET_WHOLE);
        assert_eq!(scene.asks(), [ScanAction::Warn("web".into(), Errno::ENOENT)]);
        scene.sees([hidden("web")]);
        assert_eq!(scene.asks(), []);
    }

    #[test]
    fn a_runsv_that_dies_while_its_entry_cannot_be_seen_is_replaced_when_it_can() {
        let mut scene = Scene::with_web();
        scene.sees([hidden("web")]);
        scene.passes(QUIET_WHOLE);
        scene.asks();
        scene.is_killed(7);
        assert_eq!(scene.asks(), []);
        assert_eq!(scene.services.next_deadline(), None);
        scene.sees([directory("web", WEB)]);
        assert_eq!(scene.asks(), [start("web", WEB)]);
    }

    #[test]
    fn a_replacement_that_cannot_be_seen_does_not_bring_the_old_one_back() {
        let mut scene = Scene::with_web();
        scene.sees([directory("web", NEWER_WEB)]);
        scene.asks();
        scene.sees([hidden("web")]);
        scene.dies(7, 0);
        scene.asks();
        assert_eq!(scene.services.name_of(WEB), None);
        assert_eq!(scene.services.name_of(NEWER_WEB), Some(OsStr::new("web")));
    }

    #[test]
    fn a_renamed_entry_keeps_its_runsv_and_the_next_one_has_the_new_name() {
        let mut scene = Scene::with_web();
        scene.sees([directory("www", WEB)]);
        assert_eq!(scene.asks(), []);
        scene.is_killed(7);
        assert_eq!(scene.asks(), [start("www", WEB)]);
    }

    #[test]
    fn a_replaced_directory_is_started_when_the_old_runsv_has_gone() {
        let mut scene = Scene::with_web();
        scene.sees([directory("web", NEWER_WEB)]);
        assert_eq!(scene.asks(), [ScanAction::Terminate(Pid::from_raw(7))]);
        scene.is_quiet_for(PATIENCE);
        assert_eq!(scene.asks(), [ScanAction::Complain("web".into(), Pid::from_raw(7))]);
        scene.passes(Duration::from_secs(30));
        assert_eq!(scene.asks(), []);
        assert_eq!(scene.services.next_deadline(), None);
        scene.dies(7, 0);
        assert_eq!(scene.asks(), [start("web", NEWER_WEB)]);
    }

    #[test]
    fn nothing_is_said_of_a_runsv_that_takes_its_time_to_leave_while_nobody_waits() {
        let mut scene = Scene::with_web();
        scene.sees([]);
        assert_eq!(scene.asks(), [ScanAction::Terminate(Pid::from_raw(7))]);
        assert_eq!(scene.services.next_deadline(), None);
        scene.passes(PATIENCE * 2);
        assert_eq!(scene.asks(), []);
        scene.sees([directory("web", WEB)]);
        assert_eq!(scene.asks(), [ScanAction::Complain("web".into(), Pid::from_raw(7))]);
        scene.sees([directory("web", WEB)]);
        assert_eq!(scene.asks(), []);
    }

    #[test]
    fn when_the_whole_directory_is_switched_nobody_waits_for_anybody() {
        let mut scene = Scene::with_web();
        let elsewhere = Identity { device: 1, inode: 2 };
        scene.sees_in(elsewhere, [directory("web", NEWER_WEB)]);
        let terminate = ScanAction::Terminate(Pid::from_raw(7));
        assert_eq!(scene.asks(), [terminate, start("web", NEWER_WEB)]);
    }

    #[test]
    fn an_entry_that_comes_back_is_started_when_its_old_runsv_has_gone() {
        let mut scene = Scene::with_web();
        scene.sees([]);
        scene.asks();
        scene.sees([directory("web", WEB)]);
        assert_eq!(scene.asks(), []);
        scene.dies(7, 0);
        scene.is_quiet_for(QUIET_WHOLE);
        assert_eq!(scene.asks(), [start("web", WEB)]);
    }

    #[test]
    fn a_directory_made_anew_with_the_number_of_the_old_one_is_noticed() {
        let mut scene = Scene::with_web();
        scene.sees([remade("web", WEB)]);
        assert_eq!(scene.asks(), [ScanAction::Terminate(Pid::from_raw(7))]);
        scene.dies(7, 0);
        scene.is_quiet_for(QUIET_IN_PLACE);
        assert_eq!(scene.asks(), [start("web", WEB)]);
    }

    #[test]
    fn a_runsv_that_is_not_ours_is_left_alone_and_followed_at_once() {
        let mut scene = Scene::new();
        scene.sees([directory("web", WEB)]);
        scene.asks();
        scene.attempted(WEB, StartAttempt::Occupied { is_watched: true });
        assert_eq!(scene.services.next_deadline(), None);
        scene.services.vacated(WEB);
        assert_eq!(scene.asks(), [start("web", WEB)]);
        scene.attempted(WEB, StartAttempt::Occupied { is_watched: false });
        scene.is_quiet_for(Duration::from_secs(1));
        assert_eq!(scene.asks(), [start("web", WEB)]);
        scene.attempted(WEB, StartAttempt::Occupied { is_watched: true });
        scene.sees([]);
        assert_eq!(scene.asks(), []);
    }

    #[test]
    fn without_processes_everybody_waits_a_second() {
        let mut scene = Scene::new();
        scene.sees([directory("a", WEB), directory("b", NEWER_WEB)]);
        scene.services.settle(scene.now);
        assert_eq!(scene.services.next_action(), Some(start("a", WEB)));
        scene.attempted(WEB, StartAttempt::NoProcess);
        assert!(!scene.services.has_actions());
        scene.is_quiet_for(Duration::from_secs(1));
        assert_eq!(scene.asks(), [start("a", WEB), start("b", NEWER_WEB)]);
    }
}
