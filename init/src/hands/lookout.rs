//! Hands: what services do, told by the kernel as soon as their runsv writes it.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::SystemTime;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use servicedir::{ServiceDir, Stamp, State, Want};
use unix::{Errno, Pid, proc};

use super::census::status;
use super::critical::{self, Critical};
use crate::machine::{Event, Seen};

/// Watches the services directory, and `supervise/` directories in it.
pub struct Lookout {
    inotify: Inotify,
    watched: Vec<(WatchDescriptor, Purpose)>,
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
    pub fn new() -> Result<Self, Errno> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        Ok(Self {
            inotify,
            watched: Vec::new(),
            supervisors: BTreeMap::new(),
            criticals: BTreeMap::new(),
            since: Stamp::of(SystemTime::now()),
        })
    }

    /// Watches these supervisors, too; says of all of them what is so now.
    pub fn watch(&mut self, supervisors: &[Pid]) -> Event {
        for supervisor in supervisors {
            if self.supervisors.contains_key(supervisor) {
                continue;
            }
            let Some(place) = proc::current_dir(*supervisor).map(ServiceDir::at) else { continue };
            self.supervisors.insert(*supervisor, seen(&place));
            // A directory that cannot be watched has only been read.
            self.add(&place.supervise(), Purpose::Supervisor(*supervisor, place));
        }
        Event::Statuses(self.supervisors.iter().map(|(pid, seen)| (*pid, *seen)).collect())
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
        while let Ok(events) = self.inotify.read_events() {
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
        let Ok(watch) = self.inotify.add_watch(path, flags) else {
            return false;
        };
        if !self.watched.contains(&(watch, purpose.clone())) {
            self.watched.push((watch, purpose));
        }
        true
    }
}

impl AsFd for Lookout {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

fn seen(service: &ServiceDir) -> Seen {
    let status = status(service);
    Seen {
        is_down: status.is_some_and(|status| status.state == Some(State::Down)),
        is_wanted_up: status.is_some_and(|status| status.want == Want::Up),
    }
}
