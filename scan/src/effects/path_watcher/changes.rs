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

/// What was made in place and was in no complete scan since.
#[derive(Debug, Default)]
pub struct MadeInPlace {
    pub(super) names: HashSet<OsString>,
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
    /// What was made in place, as far as it is known by now.
    pub fn made_in_place(&mut self) -> MadeInPlace {
        self.drain();
        MadeInPlace {
            names: self.fresh.clone(),
            has_home: !self.fresh.is_disjoint(&self.way_home),
            is_unknown: self.has_lost || self.is_blind || !self.inotify.is_available(),
        }
    }

    /// A scan is complete, and has reported what was made in place under these names. What was made while
    /// it was under way the next one reports.
    pub fn reported(&mut self, names: &[OsString]) {
        self.has_lost = false;
        for name in names.iter().chain(&self.way_home) {
            if self.fresh_before.remove(name) {
                self.fresh.remove(name);
            }
        }
    }

    /// All that was reported since the last call.
    pub fn take_changes(&mut self) -> Changes {
        self.drain();
        std::mem::take(&mut self.changes)
    }

    /// Reads all events.
    pub(super) fn drain(&mut self) {
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
        // A directory that is renamed is as incomplete as it was.
        let is_fresh = match event.mask {
            mask if mask.contains(AddWatchFlags::IN_CREATE) => is_directory,
            mask if mask.contains(AddWatchFlags::IN_MOVED_TO) => self.moving.remove(&event.cookie),
            _ => false,
        };
        let was_fresh = if is_fresh { !self.fresh.insert(name) } else { self.fresh.remove(&name) };
        if was_fresh && event.mask.contains(AddWatchFlags::IN_MOVED_FROM) {
            self.moving.insert(event.cookie);
        }
    }
}
