//! Effects: watches the status files of services, and the services directory.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use servicedir::{ServiceDir, State, Tai64n, Want};
use sys::inotify::{AddWatchFlags, WatchDescriptor};
use sys::{FileId, FileWatches, Pid, procfs};

use super::adopted::status;
use super::critical::{self, CriticalFinding, CriticalService, FoundService};
use super::history::service_end;
use crate::state::{AdoptedChild, ChildKind, LifecycleEvent, ReportedState, ServiceEnd};

/// Watches on the services directory and on `supervise/` directories.
pub struct ServiceWatch {
    /// Where this is not available, status files are only read.
    inotify: FileWatches,
    watched: Vec<(WatchDescriptor, WatchPurpose)>,
    /// The working directories of the supervisors.
    directories: BTreeMap<Pid, PathBuf>,
    /// The last state that was reported of each watched supervisor.
    supervisors: BTreeMap<Pid, ReportedState>,
    criticals: BTreeMap<OsString, WatchedCritical>,
    /// All services at the last scan for critical ones.
    known: Option<BTreeSet<FileId>>,
    /// Earlier ends do not count.
    since: Tai64n,
}

/// A critical service and its watch.
struct WatchedCritical {
    critical: CriticalService,
    /// `None` while there is no watch.
    watch: Option<WatchDescriptor>,
}

/// What a watch is for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum WatchPurpose {
    /// A name was added to the services directory.
    Directory,
    /// The service of a supervisor may be down.
    Supervisor(Pid, ServiceDir),
    /// A critical service may have ended.
    Critical(OsString),
}

impl ServiceWatch {
    /// Without any watch.
    pub fn new() -> Self {
        Self {
            inotify: FileWatches::open(),
            watched: Vec::new(),
            directories: BTreeMap::new(),
            supervisors: BTreeMap::new(),
            criticals: BTreeMap::new(),
            known: None,
            since: Tai64n::of(SystemTime::now()),
        }
    }

    /// The descriptor that is ready when [`ServiceWatch::read`] has events.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.descriptor()
    }

    /// Adds watches for these supervisors; returns the current state of all.
    pub fn watch(&mut self, supervisors: &[Pid]) -> LifecycleEvent {
        for supervisor in supervisors {
            if self.supervisors.contains_key(supervisor) {
                continue;
            }
            let service = service_of(*supervisor);
            self.supervisors.insert(*supervisor, reported(&service));
            // Without a watch it has been read at least.
            self.add(&service.supervise(), WatchPurpose::Supervisor(*supervisor, service));
        }
        LifecycleEvent::Statuses(self.supervisors.iter().map(|(pid, reported)| (*pid, *reported)).collect())
    }

    /// Removes all watches. The kernel frees them later.
    pub fn unwatch(&mut self) {
        for (watch, _) in self.watched.drain(..) {
            self.inotify.remove(watch);
        }
        self.supervisors.clear();
        self.criticals.clear();
    }

    /// Remembers the working directories of supervisors: they are needed when the processes are gone.
    pub fn remember_directories<'a>(&mut self, children: impl Iterator<Item = &'a AdoptedChild>) {
        for child in children.filter(|child| matches!(child.kind, ChildKind::Supervisor { .. })) {
            if let Entry::Vacant(vacant) = self.directories.entry(child.pid)
                && let Some(path) = procfs::current_dir(child.pid)
            {
                vacant.insert(path);
            }
        }
    }

    /// How the service of a supervisor has ended. Its directory was `named`, if it was never seen at work.
    pub fn service_end(&mut self, supervisor: Pid, named: &Path, since: Tai64n) -> ServiceEnd {
        let remembered = self.directories.remove(&supervisor).map(ServiceDir::at);
        // A runsv that was just starting had not changed its directory yet.
        let is_there = |service: &ServiceDir| service.supervise().exists();
        service_end(&remembered.filter(is_there).unwrap_or_else(|| ServiceDir::at(named)), since)
    }

    /// Watches the services with a file `critical`, and no others; the event says whether each has a watch.
    pub fn watch_critical(&mut self, directory: &Path) -> LifecycleEvent {
        let mut is_complete = self.add(directory, WatchPurpose::Directory).is_some();
        let (mut new, mut blind) = (Vec::new(), Vec::new());
        let Ok(found) = critical::find(directory) else {
            return LifecycleEvent::CriticalWatched { new, blind, is_complete: false };
        };
        let mut before = std::mem::take(&mut self.criticals);
        let known_ids = self.known.replace(found.iter().map(|found| found.id).collect());
        for FoundService { name, service, id, .. } in found.into_iter().filter(|found| found.is_critical) {
            // Another directory with the same name is another service.
            let known = before.remove(&name).filter(|watched| watched.critical.has_id(id));
            // At the first scan, and for a service that was not critical at the last one, only later entries
            // count.
            let is_history_over = known_ids.as_ref().is_none_or(|ids| ids.contains(&id));
            let mut watched = known.unwrap_or_else(|| WatchedCritical {
                critical: CriticalService::new(service, id, self.since, is_history_over),
                watch: None,
            });
            if watched.watch.is_none() {
                let supervise = watched.critical.service().supervise();
                watched.watch = self.add(&supervise, WatchPurpose::Critical(name.clone()));
                if watched.watch.is_some() {
                    new.push(name.clone());
                } else {
                    blind.push(name.clone());
                    // runsv has not made the directory yet, or not again.
                    is_complete &= supervise.exists();
                }
            }
            self.criticals.insert(name, watched);
        }
        for watch in before.into_values().filter_map(|watched| watched.watch) {
            self.remove(watch);
        }
        LifecycleEvent::CriticalWatched { new, blind, is_complete }
    }

    /// Reads what is new in the history of a critical service.
    pub fn check_critical(&mut self, name: &OsStr) -> Option<LifecycleEvent> {
        let finding = self.criticals.get_mut(name)?.critical.check();
        let name = name.to_string_lossy().into_owned();
        match finding {
            CriticalFinding::Nothing => None,
            CriticalFinding::Ended(ending) => Some(LifecycleEvent::CriticalEnded { name, ending }),
            CriticalFinding::NoHistory => Some(LifecycleEvent::CriticalUnknown(name)),
        }
    }

    /// Reads the events of the watches.
    pub fn read(&mut self) -> Vec<LifecycleEvent> {
        let mut changes = Vec::new();
        while let Some(events) = self.inotify.read() {
            for event in events {
                if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                    // The watched directory is gone; there may be another one in its place.
                    changes.extend(self.forget(event.wd).then_some(LifecycleEvent::DirectoryChanged));
                    continue;
                }
                let is_lost = event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW);
                let is_status = event.name.as_deref() == Some("status".as_ref());
                for (watch, purpose) in &self.watched {
                    let is_meant = *watch == event.wd && (is_status || *purpose == WatchPurpose::Directory);
                    if is_lost || is_meant {
                        changes.extend(take_in(purpose, &mut self.criticals, &mut self.supervisors));
                    }
                }
            }
        }
        changes.dedup();
        changes
    }

    fn add(&mut self, path: &Path, purpose: WatchPurpose) -> Option<WatchDescriptor> {
        let flags = AddWatchFlags::IN_MOVED_TO
            | match &purpose {
                WatchPurpose::Directory => AddWatchFlags::IN_CREATE,
                // Without room for a new file runsv overwrites the old one, which changes its times.
                WatchPurpose::Critical(_) | WatchPurpose::Supervisor(..) => AddWatchFlags::IN_ATTRIB,
            };
        let watch = self.inotify.add(path, flags).ok()?;
        if !self.watched.contains(&(watch, purpose.clone())) {
            self.watched.push((watch, purpose));
        }
        Some(watch)
    }

    fn remove(&mut self, watch: WatchDescriptor) {
        self.forget(watch);
        self.inotify.remove(watch);
    }

    /// Forgets a watch; returns whether it was in use.
    fn forget(&mut self, watch: WatchDescriptor) -> bool {
        let count = self.watched.len();
        self.watched.retain(|(known, _)| *known != watch);
        for watched in self.criticals.values_mut() {
            watched.watch.take_if(|own| *own == watch);
        }
        self.watched.len() < count
    }
}

/// Handles a change in a watched directory; returns an event if something is new.
fn take_in(
    purpose: &WatchPurpose,
    criticals: &mut BTreeMap<OsString, WatchedCritical>,
    supervisors: &mut BTreeMap<Pid, ReportedState>,
) -> Option<LifecycleEvent> {
    match purpose {
        WatchPurpose::Directory => Some(LifecycleEvent::DirectoryChanged),
        WatchPurpose::Critical(name) => {
            if let Some(watched) = criticals.get_mut(name) {
                watched.critical.read_status();
            }
            Some(LifecycleEvent::CriticalChanged(name.clone()))
        }
        WatchPurpose::Supervisor(pid, service) => {
            let reported = reported(service);
            let is_new = supervisors.insert(*pid, reported) != Some(reported);
            is_new.then(|| LifecycleEvent::Statuses(vec![(*pid, reported)]))
        }
    }
}

/// The current state of the services of these supervisors.
pub fn read_status(supervisors: &[Pid]) -> LifecycleEvent {
    LifecycleEvent::Statuses(
        supervisors.iter().map(|supervisor| (*supervisor, reported(&service_of(*supervisor)))).collect(),
    )
}

/// The working directory of a supervisor, whatever its name is now.
fn service_of(supervisor: Pid) -> ServiceDir {
    ServiceDir::at(procfs::path(supervisor, "cwd"))
}

fn reported(service: &ServiceDir) -> ReportedState {
    let status = status(service);
    ReportedState {
        is_down: status.is_some_and(|status| status.state == Some(State::Down)),
        is_wanted_up: status.is_some_and(|status| status.want == Want::Up),
    }
}
