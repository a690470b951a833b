//! Effects: the supervisors that init hosts, one for each service, and the children of all of them.
//!
//! Supervisors get turns in the order of their deadlines: one that has rested for long, and is woken by a
//! client, comes before those that are busy all the time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Duration, Instant};

use scan::effects::scanner::SupervisorHost;
use servicedir::HistoryEvent;
use supervise::{
    ChildPart, EventPort, Hosting, LOCK_RETRY_INTERVAL, Opening, ServiceRole, Startup, Supervisor,
};
use sys::error::words;
use sys::{Error, ExitStatus, Logger, Now, Pid, Poller};

use super::service_files;
use super::stop_files::StopFiles;
use crate::state::signals::CAUGHT;
use crate::state::{LifecycleEvent, ServiceReport, SupervisorId};

/// How long a turn lasts at most before other events are looked at.
const TURN_LIMIT: Duration = Duration::from_millis(5);

/// When it is written at the latest that a service was told to stop.
const STOP_RECORD_DELAY: Duration = Duration::from_millis(10);

/// How a supervisor has ended, in the words of runsv's exit codes (RSV-3).
const LEFT: ExitStatus = ExitStatus::Exited(0);
const REFUSED: ExitStatus = ExitStatus::Exited(111);

const HOSTING: Hosting = Hosting { caught: &CAUGHT, is_shared: true };

/// The tokens of the poller from here on are for supervisors.
pub const FIRST_TOKEN: usize = 16;

/// The descriptors of a supervisor; the place of each is part of its token.
const PORTS: [EventPort; 3] = [EventPort::Main, EventPort::Log, EventPort::Notification];

/// The supervisors.
#[derive(Default)]
pub struct Supervisors {
    all: BTreeMap<SupervisorId, Hosted>,
    children: HashMap<Pid, SupervisorId>,
    /// When each is to get a turn.
    deadlines: BTreeSet<(Instant, SupervisorId)>,
    /// Those that wait for the end of a process group.
    group_watchers: BTreeSet<SupervisorId>,
    next_id: u64,
    /// Until the stop.
    stop_files: Option<StopFiles>,
    events: Vec<LifecycleEvent>,
    /// The supervisors that the scanner was not told of yet.
    ended: Vec<(SupervisorId, ExitStatus)>,
    /// Whether what a service needs was read since the last question.
    has_new_needs: bool,
    /// The processes that services have begun since the stop, or just before: each leads a session.
    sessions: Option<HashMap<Pid, SupervisorId>>,
}

struct Hosted {
    name: String,
    supervisor: HostedState,
    deadline: Option<Instant>,
    /// A digest of what the service needs.
    needs: u64,
    report: ServiceReport,
}

enum HostedState {
    /// Another process holds the lock of the logger.
    Opening(Option<Box<Opening>>),
    Open(Box<Supervisor>),
}

impl Supervisors {
    /// What the tokens that are ready mean to supervisors.
    pub fn take_in(&mut self, ready: &[usize]) {
        for token in ready.iter().filter_map(|token| token.checked_sub(FIRST_TOKEN)) {
            let Ok(id) = u64::try_from(token / PORTS.len()) else { continue };
            let Some(port) = PORTS.get(token % PORTS.len()) else { continue };
            let id = SupervisorId(id);
            if let Some(supervisor) = self.supervisor(id) {
                supervisor.readable(*port);
                self.schedule(id);
            }
        }
    }

    /// Gives turns to those that are due, for a while. `reap` reaps: before each step, so that a death between
    /// two commands is handled between them (RSV-25).
    pub fn take_turns(&mut self, poller: &Poller, mut reap: impl FnMut(&mut Self)) {
        let begun = Instant::now();
        loop {
            let now = Instant::now();
            let next = self.deadlines.first().copied().filter(|(due, _)| *due <= now);
            let Some((_, id)) = next else { break };
            self.take_turn(id, poller, &mut reap);
            if now.saturating_duration_since(begun) >= TURN_LIMIT {
                break;
            }
        }
    }

    fn take_turn(&mut self, id: SupervisorId, poller: &Poller, reap: &mut impl FnMut(&mut Self)) {
        if let Some(HostedState::Opening(opening)) =
            self.all.get_mut(&id).map(|hosted| &mut hosted.supervisor)
        {
            if let Some(opening) = opening.take() {
                let startup = opening.retry();
                self.open(id, startup, poller);
            }
            return;
        }
        if let Some(supervisor) = self.supervisor(id) {
            supervisor.begin_turn();
        }
        while self.supervisor(id).is_some_and(Supervisor::has_step) {
            reap(self);
            if let Some(supervisor) = self.supervisor(id) {
                supervisor.step(Now::read());
            }
            // Its death may be the next that is reaped.
            self.note_started(id);
        }
        if let Some(supervisor) = self.supervisor(id) {
            supervisor.end_turn(Now::read());
        }
        self.attend(id, poller);
    }

    /// When a supervisor is to get a turn; at once, if something has happened that was not passed on yet.
    pub fn next_deadline(&self) -> Option<Instant> {
        if !self.events.is_empty() || !self.ended.is_empty() {
            return Some(Instant::now());
        }
        self.deadlines.first().map(|(due, _)| *due)
    }

    /// A child was reaped; whether it was a supervisor's.
    pub fn child_exited(&mut self, pid: Pid, exit_status: ExitStatus, poller: &Poller) -> bool {
        let now = Now::read();
        let owner = self.children.remove(&pid);
        if let Some(supervisor) = owner.and_then(|id| self.supervisor(id)) {
            supervisor.child_exited(pid, exit_status, now);
        }
        if let Some(id) = owner {
            self.attend(id, poller);
        }
        // The last process of a group may be a child of init by now.
        for id in self.group_watchers.clone() {
            if owner != Some(id)
                && let Some(supervisor) = self.supervisor(id)
            {
                supervisor.child_exited(pid, exit_status, now);
                self.schedule(id);
            }
        }
        owner.is_some()
    }

    /// What has happened since the last call.
    pub fn take_events(&mut self) -> Vec<LifecycleEvent> {
        std::mem::take(&mut self.events)
    }

    /// The supervisors that have ended since the last call.
    pub fn take_ended(&mut self) -> Vec<(SupervisorId, ExitStatus)> {
        std::mem::take(&mut self.ended)
    }

    /// Reads again what the services need that are held: what they wait for may not count any more.
    pub fn read_needs_of_held(&mut self) {
        let is_held = |id: &SupervisorId| self.opened(*id).is_some_and(Supervisor::is_waiting);
        for id in self.all.keys().copied().filter(is_held).collect::<Vec<_>>() {
            self.read_needs(id);
        }
    }

    /// Before its next start it has to be known what a service waits for.
    fn read_needs(&mut self, id: SupervisorId) {
        let Some(hosted) = self.all.get_mut(&id).filter(|_| self.sessions.is_none()) else { return };
        let HostedState::Open(supervisor) = &mut hosted.supervisor else { return };
        if !supervisor.enter_directory() {
            return;
        }
        let needs = service_files::needs();
        if std::mem::replace(&mut hosted.needs, digest(&needs)) != digest(&needs) {
            supervisor.hold(true);
            self.has_new_needs = true;
            self.events.push(LifecycleEvent::ServiceNeeds(id, needs));
        }
    }

    /// Whether what a service needs was read since the last call.
    pub fn has_new_needs(&mut self) -> bool {
        std::mem::take(&mut self.has_new_needs)
    }

    /// How many ends in a row of a critical service are too many; `None` if it is not critical.
    pub fn critical_limit(&mut self, id: SupervisorId, logger: &mut Logger) -> Option<u32> {
        let name = &self.all.get(&id)?.name;
        self.opened(id)?.enter_directory().then(|| service_files::critical_limit(name, logger))?
    }

    /// Holds a service before its next start, or lets it go.
    pub fn hold(&mut self, id: SupervisorId, is_held: bool) {
        if let Some(supervisor) = self.supervisor(id) {
            supervisor.hold(is_held);
            self.schedule(id);
        }
    }

    /// A stop is about to begin: what those services need that have changed files since they were started. They
    /// are stopped as their files say by now.
    pub fn take_changed_needs(&mut self) -> Vec<(SupervisorId, Vec<String>)> {
        let Some(stop_files) = self.stop_files.take() else { return Vec::new() };
        let changed = stop_files.changed();
        drop_elsewhere(stop_files);
        let mut needs = Vec::new();
        for id in changed {
            if let Some(supervisor) = self.supervisor(id) {
                supervisor.forget_how_to_stop();
                if supervisor.enter_directory() {
                    needs.push((id, service_files::needs()));
                }
            }
        }
        needs
    }

    /// No service is begun from now on, and those that only wait for a lock are left alone.
    pub fn begin_stop(&mut self) {
        self.sessions = Some(self.children.clone());
        let is_opening = |hosted: &Hosted| matches!(hosted.supervisor, HostedState::Opening(_));
        let opening: Vec<SupervisorId> =
            self.all.iter().filter(|(_, hosted)| is_opening(hosted)).map(|(id, _)| *id).collect();
        for id in opening {
            self.remove(id);
        }
    }

    /// Stops services for good: at first all of those that can be stopped without a look into their
    /// directories, which may hang.
    pub fn stop(&mut self, ids: &[SupervisorId], poller: &Poller) {
        let now = Now::read();
        let mut others = Vec::new();
        for id in ids {
            let Some(supervisor) = self.supervisor(*id) else { continue };
            if supervisor.stop_at_once(now) {
                // A service that ends by then has one status less to be written.
                self.set_deadline(*id, Some(now.monotonic + STOP_RECORD_DELAY));
            } else {
                others.push(*id);
            }
        }
        for id in others {
            if let Some(supervisor) = self.supervisor(id) {
                supervisor.told_to_leave_for_good();
                self.take_turn(id, poller, &mut |_| {});
            }
        }
    }

    /// A supervisor, and a turn for it after what is done with it.
    pub fn with(&mut self, id: SupervisorId, poller: &Poller, act: impl FnOnce(&mut Supervisor)) {
        if let Some(supervisor) = self.supervisor(id) {
            act(supervisor);
            self.attend(id, poller);
        }
    }

    /// The supervisor with this number.
    pub fn supervisor(&mut self, id: SupervisorId) -> Option<&mut Supervisor> {
        match &mut self.all.get_mut(&id)?.supervisor {
            HostedState::Open(supervisor) => Some(supervisor),
            HostedState::Opening(_) => None,
        }
    }

    fn opened(&self, id: SupervisorId) -> Option<&Supervisor> {
        match &self.all.get(&id)?.supervisor {
            HostedState::Open(supervisor) => Some(supervisor),
            HostedState::Opening(_) => None,
        }
    }

    /// The children of a supervisor.
    pub fn children_of(&self, id: SupervisorId) -> Vec<(Pid, ChildPart)> {
        self.opened(id).map(|supervisor| supervisor.children().collect()).unwrap_or_default()
    }

    /// Whether this process is a child of a supervisor.
    pub fn has_child(&self, pid: Pid) -> bool {
        self.children.contains_key(&pid)
    }

    /// The supervisor of the service that has begun this session, if that was after the stop began, or it
    /// lived then.
    pub fn owner_of_session(&self, session: Pid) -> Option<SupervisorId> {
        self.sessions.as_ref()?.get(&session).copied()
    }

    fn open(&mut self, id: SupervisorId, startup: Result<Startup, Error>, poller: &Poller) {
        let Some(hosted) = self.all.get_mut(&id) else { return };
        match startup {
            Ok(Startup::LogIsLocked(opening)) => {
                hosted.supervisor = HostedState::Opening(Some(opening));
                self.set_deadline(id, Some(Instant::now() + LOCK_RETRY_INTERVAL));
            }
            Ok(Startup::Ready(mut supervisor)) => {
                let needs = service_files::needs();
                let name = hosted.name.clone();
                self.stop_files.get_or_insert_default().watch(id);
                self.has_new_needs |= !needs.is_empty();
                // Whether the others are up is found out when all have begun.
                supervisor.hold(!needs.is_empty());
                hosted.needs = digest(&needs);
                self.events.push(LifecycleEvent::ServiceOpened { id, name, needs });
                supervisor.start(Now::read());
                hosted.supervisor = HostedState::Open(supervisor);
                self.attend(id, poller);
            }
            Err(failure) => {
                Logger::new(format!("runsv {}", hosted.name)).fatal_in_child(&failure);
                self.remove(id);
                self.ended.push((id, REFUSED));
            }
        }
    }

    /// Takes in what a supervisor has done.
    fn attend(&mut self, id: SupervisorId, poller: &Poller) {
        self.note_started(id);
        let Some(hosted) = self.all.get_mut(&id) else { return };
        let HostedState::Open(supervisor) = &mut hosted.supervisor else { return };
        for (port, descriptor) in supervisor.new_descriptors() {
            // Without the watch the next turn reads it.
            let _ = poller.watch(descriptor, token(id, port));
        }
        let mut may_start = false;
        for (role, event) in supervisor.take_events() {
            if role == ServiceRole::Main {
                may_start |= matches!(event, HistoryEvent::Ended(..) | HistoryEvent::Told(_));
                self.events.push(LifecycleEvent::ServiceHappened(id, event));
            }
        }
        let report = ServiceReport {
            is_wanted_up: supervisor.is_wanted_up(),
            running_since: supervisor.running_since(),
            is_ready: supervisor.is_ready(),
            is_gone: supervisor.is_leaving(),
            has_stop_scripts: supervisor.has_stop_scripts(),
            has_log: supervisor.has_log(),
        };
        if std::mem::replace(&mut hosted.report, report) != report {
            self.events.push(LifecycleEvent::ServiceChanged(id, report));
        }
        if supervisor.is_finished() {
            self.remove(id);
            self.ended.push((id, LEFT));
            self.events.push(LifecycleEvent::ServiceClosed(id));
            return;
        }
        if may_start && !supervisor.is_leaving() {
            self.read_needs(id);
        }
        let Some(supervisor) = self.supervisor(id) else { return };
        if supervisor.awaits_group() {
            self.group_watchers.insert(id);
        } else {
            self.group_watchers.remove(&id);
        }
        self.schedule(id);
    }

    fn note_started(&mut self, id: SupervisorId) {
        for pid in self.supervisor(id).map(Supervisor::take_started).unwrap_or_default() {
            self.children.insert(pid, id);
            if let Some(sessions) = &mut self.sessions {
                sessions.insert(pid, id);
            }
        }
    }

    fn schedule(&mut self, id: SupervisorId) {
        let deadline = self.supervisor(id).and_then(|supervisor| supervisor.next_deadline());
        self.set_deadline(id, deadline);
    }

    fn set_deadline(&mut self, id: SupervisorId, deadline: Option<Instant>) {
        let Some(hosted) = self.all.get_mut(&id) else { return };
        if let Some(before) = std::mem::replace(&mut hosted.deadline, deadline) {
            self.deadlines.remove(&(before, id));
        }
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, id));
        }
    }

    fn remove(&mut self, id: SupervisorId) {
        self.set_deadline(id, None);
        self.group_watchers.remove(&id);
        if let Some(stop_files) = &mut self.stop_files {
            stop_files.forget(id);
        }
        if let Some(hosted) = self.all.remove(&id)
            && let HostedState::Open(supervisor) = hosted.supervisor
        {
            for (pid, _) in supervisor.children() {
                self.children.remove(&pid);
            }
        }
    }
}

/// The supervisors as the scanner sees them.
pub struct ScannedSupervisors<'a> {
    pub supervisors: &'a mut Supervisors,
    pub poller: &'a Poller,
}

impl SupervisorHost for ScannedSupervisors<'_> {
    type Handle = SupervisorId;

    fn start(&mut self, name: &OsStr) -> Result<SupervisorId, Error> {
        let id = SupervisorId(self.supervisors.next_id);
        self.supervisors.next_id += 1;
        let logger = Logger::new(words([OsStr::new("runsv "), name]));
        let startup = Supervisor::open(name, logger, HOSTING);
        let hosted = Hosted {
            name: name.to_string_lossy().into_owned(),
            supervisor: HostedState::Opening(None),
            deadline: None,
            needs: 0,
            report: ServiceReport::default(),
        };
        self.supervisors.all.insert(id, hosted);
        self.supervisors.open(id, startup, self.poller);
        Ok(id)
    }

    fn terminate(&mut self, id: SupervisorId) {
        if let Some(supervisor) = self.supervisors.supervisor(id) {
            supervisor.told_to_leave();
            self.supervisors.schedule(id);
        } else {
            self.supervisors.remove(id);
            self.supervisors.ended.push((id, LEFT));
        }
    }

    fn works_in_removed_directory(&self, id: SupervisorId) -> bool {
        self.supervisors.opened(id).is_some_and(Supervisor::is_removed)
    }

    fn describe(&self, _: SupervisorId) -> String {
        "supervisor".to_owned()
    }

    fn found_twin(&mut self, name: &OsStr, first: &OsStr) {
        let [name, first] = [name, first].map(|name| name.to_string_lossy().into_owned());
        self.supervisors.events.push(LifecycleEvent::FoundTwin { name, first });
    }

    fn found_occupied(&mut self, name: &OsStr) {
        let name = name.to_string_lossy().into_owned();
        self.supervisors.events.push(LifecycleEvent::FoundOccupied(name));
    }
}

fn digest(needs: &[String]) -> u64 {
    let mut hasher = DefaultHasher::new();
    needs.hash(&mut hasher);
    hasher.finish()
}

/// To close what watches directories takes the kernel many milliseconds: another thread does it.
pub fn drop_elsewhere(watching: impl Send + 'static) {
    let _ = sys::thread::spawn(move || drop(watching));
}

fn token(id: SupervisorId, port: EventPort) -> usize {
    let place = PORTS.iter().position(|known| *known == port).unwrap_or_default();
    let id = usize::try_from(id.0).unwrap_or_default();
    FIRST_TOKEN + id * PORTS.len() + place
}
