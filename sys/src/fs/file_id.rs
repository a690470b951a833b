//! Which file a name stands for.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// A file or directory, whatever it is called: the device of its file system, and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    /// The device of its file system.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
}

impl FileId {
    /// The file at `path`, symbolic links followed.
    pub fn at(path: impl AsRef<Path>) -> io::Result<Self> {
        fs_err::metadata(path.as_ref()).map(|found| Self::of(&found))
    }

    /// The file that was found.
    pub fn of(found: &Metadata) -> Self {
        Self { device: found.dev(), inode: found.ino() }
    }
}
