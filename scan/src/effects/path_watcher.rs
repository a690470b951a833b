//! Effects: watches, by inotify, the services directory, all that its path and its links pass through, and
//! the inside of directories that are being made.
//!
//! A reported change is only a hint: it says when to scan, never what is there.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use servicedir::ServiceDir;
use sys::inotify::{AddWatchFlags, WatchDescriptor};
use sys::{Errno, FileId, FileWatches, Poller};

pub use changes::{Changes, MadeInPlace};
use path_walk::Last;

mod changes;
mod path_walk;
#[cfg(test)]
mod tests;

/// The path itself is removed, moved, or (a link) overwritten.
const ITSELF: AddWatchFlags = AddWatchFlags::IN_DELETE_SELF.union(AddWatchFlags::IN_MOVE_SELF);

/// Names come and go.
const NAMES: AddWatchFlags = ITSELF
    .union(AddWatchFlags::IN_CREATE)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_MOVED_TO);

/// Anything that may make a service complete, or shows that it is still being made.
const CONTENT: AddWatchFlags = NAMES
    .union(AddWatchFlags::IN_MODIFY)
    .union(AddWatchFlags::IN_CLOSE_WRITE)
    .union(AddWatchFlags::IN_ATTRIB);

/// How many names of paths one scan watches; the rest is left to the periodic scans.
const MOST_NAMES: usize = 20_000;

/// Everything that is watched: nothing before the first scan.
#[derive(Default)]
pub struct PathWatcher {
    inotify: FileWatches,
    points: HashMap<WatchDescriptor, WatchPoint>,
    changes: Changes,
    /// Names of directories that were made in place, until a scan has reported them.
    fresh: HashSet<OsString>,
    /// Those that were known when the scan began.
    fresh_before: HashSet<OsString>,
    /// Renames of such directories, of which only the first half is known yet.
    moving: HashSet<u32>,
    /// The names on the way to the services directory.
    way_home: HashSet<OsString>,
    /// Changes were lost since the last scan.
    has_lost: bool,
    /// Counts the scans. What the last one did not need is not watched any more.
    round: u64,
    /// Directories of this round that need no second visit.
    visited: HashSet<PathBuf>,
    parents: HashMap<PathBuf, Option<WatchDescriptor>>,
    /// How many more names this round may watch.
    names_left: usize,
    is_blind: bool,
}

/// One thing that is watched, and why.
#[derive(Default)]
struct WatchPoint {
    round: u64,
    is_home: bool,
    names: HashSet<OsString>,
    /// The service directories that are incomplete as long as something happens here, or only to this
    /// name.
    inside: Vec<(FileId, Option<OsString>)>,
}

impl PathWatcher {
    /// Begins a scan: what is not watched again until its end will not be watched after it.
    pub fn begin(&mut self, poller: &Poller, token: usize) {
        self.round += 1;
        self.forget_paths();
        self.names_left = MOST_NAMES;
        self.is_blind = false;
        if !self.inotify.is_available() {
            self.inotify = open_inotify(poller, token);
        }
        self.drain();
        self.fresh_before = self.fresh.clone();
    }

    /// Ends a complete scan. Whether every change will be reported from now on.
    pub fn end(&mut self) -> bool {
        let round = self.round;
        let inotify = &self.inotify;
        self.points.retain(|descriptor, point| {
            let is_needed = point.round == round;
            if !is_needed {
                point.is_home = false;
                point.names.clear();
            }
            if !is_needed && point.inside.is_empty() {
                inotify.remove(*descriptor);
            }
            is_needed || !point.inside.is_empty()
        });
        !self.is_blind && self.inotify.is_available()
    }

    /// Watches the services directory, and all that `path` passes through.
    pub fn directory(&mut self, path: &Path) {
        self.way_home = self.trace(path, Last::Itself).into_iter().collect();
        if let Some(descriptor) = self.add(path, NAMES) {
            self.point(descriptor).is_home = true;
            self.distrust_if_changed_elsewhere(path);
        }
        // From now on relative paths begin elsewhere.
        self.forget_paths();
    }

    /// Watches what an entry that is a link leads to; gives the names on the way there.
    pub fn link(&mut self, name: &OsStr) -> Vec<OsString> {
        fs_err::read_link(name).map(|target| self.trace(&target, Last::Name)).unwrap_or_default()
    }

    /// Watches inside a service directory, and where its `supervise` directories are to be.
    pub fn inside(&mut self, identity: FileId, name: &OsStr) {
        let service = ServiceDir::at(name);
        let log = service.log();
        for path in [service.path().to_owned(), log.path().to_owned(), service.path().join("control")] {
            self.add_inside(identity, &path, CONTENT, None);
        }
        for supervise in [service.supervise(), log.supervise()] {
            let Ok(target) = fs_err::read_link(&supervise) else { continue };
            let target = supervise.parent().unwrap_or(Path::new(".")).join(target);
            if let (Some(parent), Some(name)) = (target.parent(), target.file_name()) {
                self.add_inside(identity, parent, NAMES, Some(name));
            }
        }
    }

    fn add_inside(&mut self, identity: FileId, path: &Path, flags: AddWatchFlags, only: Option<&OsStr>) {
        let Some(descriptor) = self.add(path, flags) else { return };
        let inside = &mut self.points.entry(descriptor).or_default().inside;
        let reason = (identity, only.map(OsStr::to_owned));
        if !inside.contains(&reason) {
            inside.push(reason);
        }
    }

    /// Watches no longer inside this directory.
    pub fn forget(&mut self, identity: FileId) {
        let (round, inotify) = (self.round, &self.inotify);
        self.points.retain(|descriptor, point| {
            let reasons = point.inside.len();
            point.inside.retain(|(watched, _)| *watched != identity);
            let is_needed = point.round == round || !point.inside.is_empty() || reasons == 0;
            if !is_needed {
                inotify.remove(*descriptor);
            }
            is_needed
        });
    }

    fn forget_paths(&mut self) {
        self.visited.clear();
        self.parents.clear();
    }

    fn add(&mut self, path: &Path, flags: AddWatchFlags) -> Option<WatchDescriptor> {
        match self.inotify.add_more(path, flags) {
            Ok(descriptor) => Some(descriptor),
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => None,
            Err(_) => {
                self.is_blind = true;
                None
            }
        }
    }

    /// The watch point with this descriptor, marked as needed by this scan.
    fn point(&mut self, descriptor: WatchDescriptor) -> &mut WatchPoint {
        let round = self.round;
        let point = self.points.entry(descriptor).or_default();
        if point.round != round {
            point.round = round;
            point.is_home = false;
            point.names.clear();
        }
        point
    }
}

/// Names with a dot in front are not services.
pub fn is_hidden(name: &OsStr) -> bool {
    name.as_bytes().first() == Some(&b'.')
}

/// An instance that wakes the poller.
fn open_inotify(poller: &Poller, token: usize) -> FileWatches {
    let inotify = FileWatches::open();
    let is_polled = inotify.descriptor().is_some_and(|inotify| poller.watch(inotify, token).is_ok());
    if is_polled { inotify } else { FileWatches::default() }
}
