//! Takes in the events of inotify: what they mean for the next scan.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};

use sys::FileId;
use sys::inotify::{AddWatchFlags, InotifyEvent};

use super::{NAMES, PathWatcher, is_hidden};
use crate::state::scan_schedule::DirectoryChange;

/// What was reported since the last time.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// What concerns the directory as a whole.
    pub directory: Vec<DirectoryChange>,
    /// Names in the services directory to which something happened.
    pub names: HashSet<OsString>,
    /// Service directories that are watched from inside, in which something happened.
    pub inside: HashSet<FileId>,
}

/// What was made in place since the last scan.
#[derive(Debug, Default)]
pub struct MadeInPlace {
    names: HashSet<OsString>,
    /// The services directory, or a directory on the way to it, is among them.
    pub has_home: bool,
    /// It is not known what was made in place.
    pub is_unknown: bool,
}

impl MadeInPlace {
    /// Whether the directory with this name may have been made in place.
    pub fn contains(&self, name: &OsStr) -> bool {
        self.is_unknown || self.names.contains(name)
    }
}

impl PathWatcher {
    /// What was made in place since the last call.
    pub fn take_fresh(&mut self) -> MadeInPlace {
        self.drain();
        let names = std::mem::take(&mut self.fresh);
        let is_unknown = std::mem::take(&mut self.has_lost) || self.is_blind || !self.inotify.is_available();
        MadeInPlace { has_home: !names.is_disjoint(&self.way_home), is_unknown, names }
    }

    /// All that was reported since the last call.
    pub fn take_changes(&mut self) -> Changes {
        self.drain();
        std::mem::take(&mut self.changes)
    }

    /// Reads all events.
    fn drain(&mut self) {
        while let Some(events) = self.inotify.read() {
            for event in events {
                self.take_in(event);
            }
        }
    }

    fn take_in(&mut self, event: InotifyEvent) {
        let changes = &mut self.changes;
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            self.has_lost = true;
            changes.directory.push(DirectoryChange::Lost);
            changes
                .inside
                .extend(self.points.values().flat_map(|point| &point.inside).map(|(watched, _)| *watched));
            return;
        }
        if event.mask.contains(AddWatchFlags::IN_IGNORED) {
            self.points.remove(&event.wd);
            return;
        }
        let Some(point) = self.points.get(&event.wd) else { return };
        let concerns = |only: &Option<OsString>| only.is_none() || *only == event.name;
        changes
            .inside
            .extend(point.inside.iter().filter(|(_, only)| concerns(only)).map(|(watched, _)| *watched));
        let is_relevant = match &event.name {
            Some(name) => point.names.contains(name) || (point.is_home && !is_hidden(name)),
            None => point.round > 0,
        };
        // A directory may be watched from inside, too; for a scan only names and links count.
        if !is_relevant || !event.mask.intersects(NAMES | AddWatchFlags::IN_ATTRIB) {
            return;
        }
        let is_directory = event.mask.contains(AddWatchFlags::IN_ISDIR);
        let is_removed = (is_directory && event.mask.contains(AddWatchFlags::IN_DELETE))
            || event.mask.contains(AddWatchFlags::IN_DELETE_SELF);
        changes.directory.push(if is_removed {
            DirectoryChange::DirectoryRemoved
        } else {
            DirectoryChange::Something
        });
        let Some(name) = event.name else { return };
        if point.is_home {
            changes.names.insert(name.clone());
        }
        if is_directory && event.mask.contains(AddWatchFlags::IN_CREATE) {
            self.fresh.insert(name);
        } else if event.mask.intersects(AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO) {
            self.fresh.remove(&name);
        }
    }
}
