//! Effects: whether the files that say how, and in which order, a service is stopped have changed since it was
//! started. A stop then has to read them again; all others it can begin without a look at any directory.
//!
//! The kernel keeps the changes until they are asked for: a service that writes to its directory wakes nothing.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use servicedir::dependencies;
use sys::FileWatches;
use sys::inotify::{AddWatchFlags, WatchDescriptor};

use crate::state::SupervisorId;

/// What can change such a file.
const CHANGES: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_CLOSE_WRITE)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_ATTRIB)
    .union(AddWatchFlags::IN_ONLYDIR);

/// Where such files are, besides the service's directory itself.
const DIRECTORIES: [&str; 2] = ["control", dependencies::DIRECTORY];

/// The files of the service's directory that matter.
const NAMES: [&str; 4] = ["down-signal", "timeout-kill", "control", dependencies::DIRECTORY];

/// The watches.
pub struct StopFiles {
    watches: FileWatches,
    /// With each watch its services, which may share a directory, and whether everything in there matters.
    watched: HashMap<WatchDescriptor, Vec<(SupervisorId, bool)>>,
    by_service: HashMap<SupervisorId, Vec<WatchDescriptor>>,
    /// The services that cannot be watched.
    blind: BTreeSet<SupervisorId>,
}

impl Default for StopFiles {
    fn default() -> Self {
        let (watched, by_service, blind) = (HashMap::new(), HashMap::new(), BTreeSet::new());
        Self { watches: FileWatches::open(), watched, by_service, blind }
    }
}

impl StopFiles {
    /// Watches the files of the service in the working directory.
    pub fn watch(&mut self, id: SupervisorId) {
        let mut watch = |directory: &str, is_whole| match self.watches.add(Path::new(directory), CHANGES) {
            Ok(watch) => {
                self.watched.entry(watch).or_default().push((id, is_whole));
                self.by_service.entry(id).or_default().push(watch);
                true
            }
            Err(_) => false,
        };
        if !watch(".", false) {
            self.blind.insert(id);
        }
        for directory in DIRECTORIES {
            // Most often it is not there.
            watch(directory, true);
        }
    }

    /// Watches them no longer.
    pub fn forget(&mut self, id: SupervisorId) {
        self.blind.remove(&id);
        for watch in self.by_service.remove(&id).unwrap_or_default() {
            if let Some(services) = self.watched.get_mut(&watch) {
                services.retain(|(service, _)| *service != id);
                if services.is_empty() {
                    self.watched.remove(&watch);
                    self.watches.remove(watch);
                }
            }
        }
    }

    /// The services with files that may have changed.
    pub fn changed(&self) -> BTreeSet<SupervisorId> {
        let mut changed = self.blind.clone();
        while let Some(events) = self.watches.read().filter(|events| !events.is_empty()) {
            for event in events {
                if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                    changed.extend(self.by_service.keys());
                }
                let name = event.name.as_deref();
                let is_meant = name.is_some_and(|name| NAMES.iter().any(|known| name == *known));
                let services = self.watched.get(&event.wd).into_iter().flatten();
                changed.extend(services.filter(|(_, is_whole)| *is_whole || is_meant).map(|(id, _)| *id));
            }
        }
        changed
    }
}
