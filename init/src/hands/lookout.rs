//! Hands: what services do, told by the kernel as soon as their runsv writes it.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::SystemTime;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use servicedir::{ServiceDir, Stamp, State, Want};
use unix::{Pid, proc};

use super::census::status;
use super::critical::{self, Critical};
use crate::machine::{Event, Seen};

/// Watches the services directory, and `supervise/` directories in it.
pub struct Lookout {
    /// Nothing can be watched without it, only looked at.
    inotify: Option<Inotify>,
    watched: Vec<(WatchDescriptor, Purpose)>,
    places: BTreeMap<Pid, ServiceDir>,
    /// What was told last of those that are watched.
    supervisors: BTreeMap<Pid, Seen>,
    criticals: BTreeMap<String, Critical>,
    /// What ended before is no news.
    since: Stamp,
}

/// What a watch is for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Purpose {
    /// Something was put into the services directory.
    Directory,
    /// A supervisor's service may be down.
    Supervisor(Pid, ServiceDir),
    /// A critical service may have ended.
    Critical(String),
}

impl Lookout {
    /// Watches nothing yet.
    pub fn new() -> Self {
        Self {
            inotify: Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).ok(),
            watched: Vec::new(),
            places: BTreeMap::new(),
            supervisors: BTreeMap::new(),
            criticals: BTreeMap::new(),
            since: Stamp::of(SystemTime::now()),
        }
    }

    /// The descriptor that is ready when [`Lookout::read`] has something to say.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// Says of these supervisors what is so now.
    pub fn look(&mut self, supervisors: &[Pid]) -> Event {
        let look = |supervisor: &Pid| Some((*supervisor, seen(&self.place(*supervisor)?)));
        Event::Statuses(supervisors.iter().filter_map(look).collect())
    }

    /// Watches these supervisors, too; says of all of them what is so now.
    pub fn watch(&mut self, supervisors: &[Pid]) -> Event {
        for supervisor in supervisors {
            if self.supervisors.contains_key(supervisor) {
                continue;
            }
            let Some(place) = self.place(*supervisor) else { continue };
            self.supervisors.insert(*supervisor, seen(&place));
            // A directory that cannot be watched has only been read.
            self.add(&place.supervise(), Purpose::Supervisor(*supervisor, place));
        }
        Event::Statuses(self.supervisors.iter().map(|(pid, seen)| (*pid, *seen)).collect())
    }

    /// Watches nothing any more. What the kernel has to do for that it does later.
    pub fn unwatch(&mut self) {
        for (watch, _) in self.watched.drain(..) {
            if let Some(inotify) = &self.inotify {
                // Of a directory that is gone there is no watch left.
                let _ = inotify.rm_watch(watch);
            }
        }
        self.supervisors.clear();
        self.criticals.clear();
    }

    /// Where a supervisor works.
    fn place(&mut self, supervisor: Pid) -> Option<ServiceDir> {
        if let Some(place) = self.places.get(&supervisor) {
            return Some(place.clone());
        }
        let place = ServiceDir::at(proc::current_dir(supervisor)?);
        // A runsv that has just been started may not be there yet.
        if status(&place).is_some() {
            self.places.insert(supervisor, place.clone());
        }
        Some(place)
    }

    /// Watches every service that is marked critical; says whether that was possible for all.
    pub fn watch_critical(&mut self, directory: &Path) -> Event {
        let mut is_complete = self.add(directory, Purpose::Directory);
        for (name, service) in critical::find(directory) {
            if self.criticals.contains_key(&name) {
                continue;
            }
            if self.add(&service.supervise(), Purpose::Critical(name.clone())) {
                self.criticals.insert(name, Critical::new(service));
            } else {
                // Its runsv has not made it yet.
                is_complete = false;
            }
        }
        Event::CriticalWatched { is_complete, names: self.criticals.keys().cloned().collect() }
    }

    /// Whether a critical service has ended, and nobody had asked it to.
    pub fn judge(&mut self, name: &str) -> Option<Event> {
        let end = self.criticals.get_mut(name)?.judge(self.since)?;
        Some(Event::CriticalEnded { name: name.to_owned(), ending: end.ending })
    }

    /// What has changed.
    pub fn read(&mut self) -> Vec<Event> {
        let mut changes = Vec::new();
        while let Some(Ok(events)) = self.inotify.as_ref().map(Inotify::read_events) {
            for event in events {
                let is_status = event.name.as_deref() == Some("status".as_ref());
                for (_, purpose) in self.watched.iter().filter(|(watch, _)| *watch == event.wd) {
                    changes.extend(match purpose {
                        Purpose::Directory => Some(Event::DirectoryChanged),
                        Purpose::Critical(name) if is_status => Some(Event::CriticalChanged(name.clone())),
                        Purpose::Supervisor(pid, place) if is_status => {
                            let seen = seen(place);
                            let is_new = self.supervisors.insert(*pid, seen) != Some(seen);
                            is_new.then(|| Event::Statuses(vec![(*pid, seen)]))
                        }
                        Purpose::Critical(_) | Purpose::Supervisor(..) => None,
                    });
                }
            }
        }
        changes.dedup();
        changes
    }

    fn add(&mut self, path: &Path, purpose: Purpose) -> bool {
        let mut flags = AddWatchFlags::IN_MOVED_TO;
        if purpose == Purpose::Directory {
            flags |= AddWatchFlags::IN_CREATE;
        }
        let Some(Ok(watch)) = self.inotify.as_ref().map(|inotify| inotify.add_watch(path, flags)) else {
            return false;
        };
        if !self.watched.contains(&(watch, purpose.clone())) {
            self.watched.push((watch, purpose));
        }
        true
    }
}

fn seen(service: &ServiceDir) -> Seen {
    let status = status(service);
    Seen {
        is_down: status.is_some_and(|status| status.state == Some(State::Down)),
        is_wanted_up: status.is_some_and(|status| status.want == Want::Up),
    }
}
