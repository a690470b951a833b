//! Wakes a client when the status of a service changes, or its supervisor is gone.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use sys::inotify::{AddWatchFlags, InotifyEvent, WatchDescriptor};
use sys::{Errno, FileWatches};

use crate::client::Client;

/// Something happened to a service. It is a hint: the truth is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusChange {
    /// The status may be another one.
    Status,
    /// A supervisor has closed `supervise/ok`, even if another one has opened it since.
    Left,
}

/// Wakes for changes of any number of services, which are known by tokens.
///
/// To miss nothing: watch, read, then wait.
pub struct StatusWatcher {
    inotify: FileWatches,
    watched: HashMap<WatchDescriptor, WatchedStatus>,
}

/// What the kernel watches: the directory `supervise/`, or, where only the owner may list it, the
/// file `status` itself, which is another one after each change.
struct WatchedStatus {
    file: Option<PathBuf>,
    tokens: Vec<usize>,
}

impl StatusWatcher {
    /// A watch on nothing yet. Where the kernel gives none (its number is limited), each
    /// [`StatusWatcher::add`] says so.
    pub fn new() -> Self {
        Self { inotify: FileWatches::open(), watched: HashMap::new() }
    }

    /// A watch that sees nothing, for a caller that cannot be woken.
    pub fn blind() -> Self {
        Self { inotify: FileWatches::default(), watched: HashMap::new() }
    }

    /// Watches a service. `false` if it cannot be watched: then the caller has to read the status again
    /// now and then.
    pub fn add(&mut self, client: &Client, token: usize) -> bool {
        let directory = AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_CLOSE_NOWRITE
            | AddWatchFlags::IN_ATTRIB
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        let dir = client.dir();
        let (descriptor, file) = match self.inotify.add(&dir.supervise(), directory) {
            Ok(descriptor) => (descriptor, None),
            Err(_) => match self.watch_file(&dir.status()) {
                Ok(descriptor) => (descriptor, Some(dir.status())),
                Err(_) => return false,
            },
        };
        let watched = self.watched.entry(descriptor);
        watched.or_insert(WatchedStatus { file, tokens: Vec::new() }).tokens.push(token);
        true
    }

    /// What to poll; `None` if nothing can be watched.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.descriptor()
    }

    /// What has happened since the last time.
    pub fn changes(&mut self) -> Vec<(usize, StatusChange)> {
        let mut changes = Vec::new();
        while let Some(events) = self.inotify.read() {
            for event in events {
                if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                    let all = self.watched.values().flat_map(|watched| &watched.tokens);
                    changes.extend(all.map(|token| (*token, StatusChange::Status)));
                    continue;
                }
                let Some(change) = change_of(&event) else { continue };
                let Some(watched) = self.watched.get(&event.wd) else { continue };
                changes.extend(watched.tokens.iter().map(|token| (*token, change)));
                if watched.file.is_some() {
                    self.follow(event.wd);
                }
            }
        }
        changes
    }

    /// A file that was replaced is watched again under its name.
    fn follow(&mut self, old: WatchDescriptor) {
        let Some(watched) = self.watched.remove(&old) else { return };
        let Some(file) = &watched.file else { return };
        // Without a file there is nothing to follow; `supervise/ok` shows the end of the supervisor.
        if let Ok(new) = self.watch_file(file) {
            if new != old {
                self.inotify.remove(old);
            }
            self.watched.insert(new, watched);
        }
    }

    fn watch_file(&self, file: &Path) -> Result<WatchDescriptor, Errno> {
        // The link count changes when another file takes the name.
        self.inotify.add(file, AddWatchFlags::IN_ATTRIB | AddWatchFlags::IN_DELETE_SELF)
    }
}

impl Default for StatusWatcher {
    fn default() -> Self {
        Self::new()
    }
}

/// What an event means for a service; `None` for a client that reads, and for the other files.
fn change_of(event: &InotifyEvent) -> Option<StatusChange> {
    // A record that was overwritten on a full disk has new times.
    let is_new = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_ATTRIB;
    match event.name.as_ref().map(|name| name.as_bytes()) {
        Some(b"ok") if event.mask.contains(AddWatchFlags::IN_CLOSE_NOWRITE) => Some(StatusChange::Left),
        Some(b"status" | b"ready") if event.mask.intersects(is_new) => Some(StatusChange::Status),
        Some(_) => None,
        None => Some(StatusChange::Status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::tests::ServiceFixture;

    #[test]
    fn a_new_status_and_a_leaving_runsv_are_seen() {
        let service = ServiceFixture::new();
        let reader = service.read_end("ok");
        service.publish(&[0; 20]);
        let mut watch = StatusWatcher::new();
        assert!(watch.add(&service.client(), 7));
        service.publish(&[1; 20]);
        assert_eq!(watch.changes(), [(7, StatusChange::Status)]);
        service.client().status().expect("a status");
        assert_eq!(watch.changes(), []);
        drop(reader);
        assert_eq!(watch.changes(), [(7, StatusChange::Left)]);
    }

    #[test]
    fn a_status_file_is_followed_through_replacements() {
        let service = ServiceFixture::new();
        service.publish(&[0; 20]);
        let status = service.client().dir().status();
        let mut watch = StatusWatcher::new();
        let descriptor = watch.watch_file(&status).expect("a watch");
        watch.watched.insert(descriptor, WatchedStatus { file: Some(status), tokens: vec![3] });
        for round in 1..4 {
            service.publish(&[round; 20]);
            assert!(watch.changes().contains(&(3, StatusChange::Status)), "round {round}");
            while !watch.changes().is_empty() {}
        }
    }
}
