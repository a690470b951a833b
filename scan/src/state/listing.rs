//! What a scan of the services directory found.

use std::ffi::OsString;

use sys::{Errno, FileId};

/// What one complete scan of the services directory found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Which directory was scanned.
    pub home: FileId,
    /// Its entries, in the order in which services are to start.
    pub entries: Vec<ScanEntry>,
    /// The scan was requested by a signal, so nothing is put off that need not be.
    pub is_forced: bool,
    /// Nothing that is known from before is to be relied on, such as which other supervisor runs where.
    pub is_thorough: bool,
    /// The directory, or one on the way to it, was made in its place a moment ago.
    pub is_home_fresh: bool,
}

impl Listing {
    /// Whether an entry could not be read for a reason that can end without an event: only missing names
    /// are watched.
    pub fn has_unwatched(&self) -> bool {
        self.entries.iter().any(|entry| match entry.what {
            EntryKind::Hidden(why) => why != Errno::ENOENT,
            EntryKind::Directory { .. } | EntryKind::Other => false,
        })
    }
}

/// One name in the services directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanEntry {
    /// The name.
    pub name: OsString,
    /// What it stands for.
    pub what: EntryKind,
}

/// What a name in the services directory stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory: a service.
    Directory {
        /// Which one.
        identity: FileId,
        /// It was made in its place a moment ago, or that is not known.
        is_fresh: bool,
        /// It is not the one its supervisor works in, which was removed, although it has its number.
        is_remade: bool,
        /// Its name looks like one that is there for a moment only.
        is_temporary: bool,
    },
    /// Something else, which is no service.
    Other,
    /// The name is there, but what it stands for could not be read this time.
    Hidden(Errno),
}
