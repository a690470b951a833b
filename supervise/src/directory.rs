//! The directory of a service, held open: the one place where the working directory is changed.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use nix::fcntl::{AT_FDCWD, OFlag};
use nix::sys::stat::Mode;
use sys::Errno;

/// A service directory. A directory that is renamed stays the same.
pub struct Directory {
    /// Opened with `O_PATH`.
    directory: File,
    /// Where it was when it was opened, for the case that it is removed and made again.
    path: Option<PathBuf>,
}

impl Directory {
    /// Opens and enters the directory at `path`.
    pub fn open(path: &OsStr) -> Result<Self, Errno> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory: OwnedFd = nix::fcntl::openat(AT_FDCWD, path, flags, Mode::empty())?;
        let mut opened = Self { directory: directory.into(), path: None };
        opened.enter()?;
        opened.path = nix::unistd::getcwd().ok();
        Ok(opened)
    }

    /// Makes this the working directory: relative paths mean what they mean in runsv, also in the
    /// programs that are started.
    pub fn enter(&self) -> Result<(), Errno> {
        nix::unistd::fchdir(&self.directory)
    }

    /// Whether this is the working directory. It may be, though it cannot be entered any more.
    pub fn is_current(&self) -> bool {
        match (fs_err::metadata("/proc/self/cwd"), self.directory.metadata()) {
            (Ok(current), Ok(own)) => (current.dev(), current.ino()) == (own.dev(), own.ino()),
            _ => false,
        }
    }

    /// Whether the directory was removed.
    pub fn is_removed(&self) -> bool {
        self.directory.metadata().is_ok_and(|about| about.nlink() == 0)
    }

    /// Enters the directory that is in the place of this one now.
    pub fn successor(&self) -> Option<Self> {
        Self::open(self.path.as_ref()?.as_os_str()).ok()
    }
}
