//! Hands: what services do, told by the kernel as soon as their runsv writes it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use servicedir::{ServiceDir, State, Tai64n, Want};
use sys::inotify::{AddWatchFlags, WatchDescriptor};
use sys::{FileId, FileWatches, Pid, procfs};

use super::census::status;
use super::critical::{self, Critical, Found};
use super::past::account;
use crate::machine::{Account, Child, Event, Kind, Seen, UnaskedEnd};

/// Watches the services directory, and `supervise/` directories in it.
pub struct Lookout {
    /// Nothing can be watched without it, only looked at.
    inotify: FileWatches,
    watched: Vec<(WatchDescriptor, Purpose)>,
    /// Where supervisors were at work when they were met.
    places: BTreeMap<Pid, PathBuf>,
    /// What was told last of those that are watched.
    supervisors: BTreeMap<Pid, Seen>,
    criticals: BTreeMap<OsString, Guarded>,
    /// The services that were there, critical or not, when critical ones were looked for last.
    known: Option<BTreeSet<FileId>>,
    /// What ended before is no news.
    since: Tai64n,
}

/// A critical service, and how changes of it are told.
struct Guarded {
    critical: Critical,
    /// `None` while nothing tells.
    watch: Option<WatchDescriptor>,
}

/// What a watch is for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Purpose {
    /// Something was put into the services directory.
    Directory,
    /// A supervisor's service may be down.
    Supervisor(Pid, ServiceDir),
    /// A critical service may have ended.
    Critical(OsString),
}

impl Lookout {
    /// Watches nothing yet.
    pub fn new() -> Self {
        Self {
            inotify: FileWatches::open(),
            watched: Vec::new(),
            places: BTreeMap::new(),
            supervisors: BTreeMap::new(),
            criticals: BTreeMap::new(),
            known: None,
            since: Tai64n::of(SystemTime::now()),
        }
    }

    /// The descriptor that is ready when [`Lookout::read`] has something to say.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.descriptor()
    }

    /// Watches these supervisors, too; says of all of them what is so now.
    pub fn watch(&mut self, supervisors: &[Pid]) -> Event {
        for supervisor in supervisors {
            if self.supervisors.contains_key(supervisor) {
                continue;
            }
            let place = place(*supervisor);
            self.supervisors.insert(*supervisor, seen(&place));
            // A directory that cannot be watched has only been read.
            self.add(&place.supervise(), Purpose::Supervisor(*supervisor, place));
        }
        Event::Statuses(self.supervisors.iter().map(|(pid, seen)| (*pid, *seen)).collect())
    }

    /// Watches nothing any more. What the kernel has to do for that it does later.
    pub fn unwatch(&mut self) {
        for (watch, _) in self.watched.drain(..) {
            self.inotify.remove(watch);
        }
        self.supervisors.clear();
        self.criticals.clear();
    }

    /// Takes note of where these are at work, for the time when they are gone.
    pub fn meet<'a>(&mut self, children: impl Iterator<Item = &'a Child>) {
        for child in children.filter(|child| matches!(child.kind, Kind::Supervisor { .. })) {
            if let Entry::Vacant(vacant) = self.places.entry(child.pid)
                && let Some(path) = procfs::current_dir(child.pid)
            {
                vacant.insert(path);
            }
        }
    }

    /// How the service of a supervisor that has ended did, which was called like the directory `named`.
    pub fn account(&mut self, supervisor: Pid, named: &Path, since: Tai64n) -> Account {
        let met = self.places.remove(&supervisor).map(ServiceDir::at);
        // One that was just starting had not gone there yet.
        let is_there = |place: &ServiceDir| place.supervise().exists();
        account(&met.filter(is_there).unwrap_or_else(|| ServiceDir::at(named)), since)
    }

    /// Watches every service that is marked critical, and no other any more; says whether that was
    /// possible for all.
    pub fn watch_critical(&mut self, directory: &Path) -> Event {
        let mut is_complete = self.add(directory, Purpose::Directory).is_some();
        let (mut new, mut blind) = (Vec::new(), Vec::new());
        let Ok(found) = critical::find(directory) else {
            return Event::CriticalWatched { new, blind, is_complete: false };
        };
        let mut before = std::mem::take(&mut self.criticals);
        let known_places = self.known.replace(found.iter().map(|found| found.place).collect());
        for Found { name, service, place, .. } in found.into_iter().filter(|found| found.is_critical) {
            // Another directory under the same name is another service.
            let known = before.remove(&name).filter(|guarded| guarded.critical.is_at(place));
            // At the first look, and of one that was not critical at the last, only what is to come counts.
            let is_history_over = known_places.as_ref().is_none_or(|places| places.contains(&place));
            let mut guarded = known.unwrap_or_else(|| Guarded {
                critical: Critical::new(service, place, self.since, is_history_over),
                watch: None,
            });
            if guarded.watch.is_none() {
                let supervise = guarded.critical.service().supervise();
                guarded.watch = self.add(&supervise, Purpose::Critical(name.clone()));
                if guarded.watch.is_some() {
                    new.push(name.clone());
                } else {
                    blind.push(name.clone());
                    // Its runsv has not made it yet, or not again.
                    is_complete &= supervise.exists();
                }
            }
            self.criticals.insert(name, guarded);
        }
        for watch in before.into_values().filter_map(|guarded| guarded.watch) {
            self.remove(watch);
        }
        Event::CriticalWatched { new, blind, is_complete }
    }

    /// Whether a critical service has ended, and nobody had asked it to.
    pub fn judge(&mut self, name: &OsStr) -> Option<Event> {
        let UnaskedEnd { ending } = self.criticals.get_mut(name)?.critical.judge()?;
        Some(Event::CriticalEnded { name: name.to_string_lossy().into_owned(), ending })
    }

    /// What has changed.
    pub fn read(&mut self) -> Vec<Event> {
        let mut changes = Vec::new();
        while let Some(events) = self.inotify.read() {
            for event in events {
                if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                    // What was watched is gone; something else may stand in its place.
                    changes.extend(self.forget(event.wd).then_some(Event::DirectoryChanged));
                    continue;
                }
                let is_lost = event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW);
                let is_status = event.name.as_deref() == Some("status".as_ref());
                for (watch, purpose) in &self.watched {
                    let is_meant = *watch == event.wd && (is_status || *purpose == Purpose::Directory);
                    if is_lost || is_meant {
                        changes.extend(take_in(purpose, &mut self.criticals, &mut self.supervisors));
                    }
                }
            }
        }
        changes.dedup();
        changes
    }

    fn add(&mut self, path: &Path, purpose: Purpose) -> Option<WatchDescriptor> {
        let flags = AddWatchFlags::IN_MOVED_TO
            | match &purpose {
                Purpose::Directory => AddWatchFlags::IN_CREATE,
                // A record that was overwritten, for want of room, has new times.
                Purpose::Critical(_) | Purpose::Supervisor(..) => AddWatchFlags::IN_ATTRIB,
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

    /// A watch tells nothing any more; whether it was to tell something.
    fn forget(&mut self, watch: WatchDescriptor) -> bool {
        let count = self.watched.len();
        self.watched.retain(|(known, _)| *known != watch);
        for guarded in self.criticals.values_mut() {
            guarded.watch.take_if(|own| *own == watch);
        }
        self.watched.len() < count
    }
}

/// Something has changed where it was watched for this purpose; says what that is, if it is news.
fn take_in(
    purpose: &Purpose,
    criticals: &mut BTreeMap<OsString, Guarded>,
    supervisors: &mut BTreeMap<Pid, Seen>,
) -> Option<Event> {
    match purpose {
        Purpose::Directory => Some(Event::DirectoryChanged),
        Purpose::Critical(name) => {
            if let Some(guarded) = criticals.get_mut(name) {
                guarded.critical.note();
            }
            Some(Event::CriticalChanged(name.clone()))
        }
        Purpose::Supervisor(pid, place) => {
            let seen = seen(place);
            let is_new = supervisors.insert(*pid, seen) != Some(seen);
            is_new.then(|| Event::Statuses(vec![(*pid, seen)]))
        }
    }
}

/// Says of these supervisors what is so now.
pub fn look(supervisors: &[Pid]) -> Event {
    Event::Statuses(supervisors.iter().map(|supervisor| (*supervisor, seen(&place(*supervisor)))).collect())
}

/// Where a supervisor works, whatever that is called by now.
fn place(supervisor: Pid) -> ServiceDir {
    ServiceDir::at(procfs::path(supervisor, "cwd"))
}

fn seen(service: &ServiceDir) -> Seen {
    let status = status(service);
    Seen {
        is_down: status.is_some_and(|status| status.state == Some(State::Down)),
        is_wanted_up: status.is_some_and(|status| status.want == Want::Up),
    }
}
