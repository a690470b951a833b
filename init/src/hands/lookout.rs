//! Hands: which services are down, told by the kernel as soon as their runsv writes it.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use servicedir::{ServiceDir, State};
use unix::{Errno, Pid, proc};

use super::census::status;

/// Watches `supervise/` directories, each for one supervisor.
pub struct Lookout {
    inotify: Inotify,
    watched: Vec<(WatchDescriptor, Pid, ServiceDir)>,
    known: BTreeMap<Pid, bool>,
}

impl Lookout {
    /// Watches nothing yet.
    pub fn new() -> Result<Self, Errno> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        Ok(Self { inotify, watched: Vec::new(), known: BTreeMap::new() })
    }

    /// Watches these supervisors, too; says what is so now.
    pub fn watch(&mut self, supervisors: &[Pid]) -> Vec<(Pid, bool)> {
        for supervisor in supervisors {
            if self.known.contains_key(supervisor) {
                continue;
            }
            let Some(place) = proc::current_dir(*supervisor).map(ServiceDir::at) else { continue };
            // A record is renamed into place; a directory that cannot be watched is only read now.
            if let Ok(watch) = self.inotify.add_watch(&place.supervise(), AddWatchFlags::IN_MOVED_TO) {
                self.watched.push((watch, *supervisor, place.clone()));
            }
            self.known.insert(*supervisor, is_down(&place));
        }
        self.known.iter().map(|(pid, is_down)| (*pid, *is_down)).collect()
    }

    /// What has changed.
    pub fn read(&mut self) -> Vec<(Pid, bool)> {
        let mut changed = Vec::new();
        while let Ok(events) = self.inotify.read_events() {
            for event in events {
                if event.name.as_deref() != Some("status".as_ref()) {
                    continue;
                }
                for (_, supervisor, place) in self.watched.iter().filter(|(watch, ..)| *watch == event.wd) {
                    let is_down = is_down(place);
                    if self.known.insert(*supervisor, is_down) != Some(is_down) {
                        changed.push((*supervisor, is_down));
                    }
                }
            }
        }
        changed
    }
}

impl AsFd for Lookout {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

fn is_down(service: &ServiceDir) -> bool {
    status(service).is_some_and(|status| status.state == Some(State::Down))
}
