//! The lock of a supervised service directory, and the directory `supervise/` that it is in.

use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::stat::Mode;
use sys::errno_text::errno_of;
use sys::error::words;
use sys::{Errno, Error, FileId, open_regular};

use crate::layout::ServiceDir;

/// The longest text of a `supervise` link that is accepted (LAY-10).
const LONGEST_LINK: usize = 255;

/// How `supervise/` was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Supervise {
    /// It was made here and now: nothing is in it.
    New,
    /// It may have been there before.
    Old,
}

/// Makes `supervise/`, or what it links to: one level, errors ignored (LAY-9). What is still
/// missing is reported when the lock is opened.
pub fn make_supervise(dir: &ServiceDir) -> Result<Supervise, Error> {
    let supervise = dir.supervise();
    let private = Mode::from_bits_truncate(0o700);
    if nix::unistd::mkdir(&supervise, private).is_ok() {
        return Ok(Supervise::New);
    }
    let name = words(["unable to readlink ./".as_ref(), supervise.as_os_str()]);
    match nix::fcntl::readlink(&supervise) {
        Ok(target) if target.as_bytes().len() > LONGEST_LINK => {
            Err(Error::plain(words([&name, ": name too long".as_ref()])))
        }
        Ok(target) => {
            let parent = supervise.parent().unwrap_or(Path::new(""));
            // If it is there already, or cannot be made, opening the lock will fail.
            let _ = nix::unistd::mkdir(&parent.join(target), private);
            Ok(Supervise::Old)
        }
        // Not a link, or not there: opening the lock will fail.
        Err(Errno::EINVAL | Errno::ENOENT) => Ok(Supervise::Old),
        Err(why) => Err(Error::new(name, why)),
    }
}

/// The lock of a runsv, held while this lives. Services do not inherit it (LAY-12).
pub struct Lock {
    path: PathBuf,
    id: FileId,
    held: Flock<File>,
}

/// What stands under the name of a file that is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockState {
    /// That file.
    Held,
    /// Nothing: `supervise/` was removed, or the whole directory.
    Gone,
    /// Another file, which another runsv may have locked.
    Replaced,
}

impl Lock {
    /// Whether the lock still stands for its place.
    pub fn place(&self) -> LockState {
        match fs_err::metadata(&self.path) {
            Ok(about) if FileId::of(&about) == self.id => LockState::Held,
            // Some file systems give a file another number while it is open.
            Ok(about) if self.held.metadata().is_ok_and(|held| FileId::of(&held) == FileId::of(&about)) => {
                LockState::Held
            }
            Ok(_) => LockState::Replaced,
            Err(error) if matches!(errno_of(&error), Errno::ENOENT | Errno::ENOTDIR) => LockState::Gone,
            // It cannot be found out.
            Err(_) => LockState::Held,
        }
    }
}

/// The lock file, open but not taken.
pub struct LockFile {
    path: PathBuf,
    id: FileId,
    file: File,
}

impl LockFile {
    /// Opens `supervise/lock`.
    pub fn open(dir: &ServiceDir) -> Result<Self, Error> {
        let path = dir.lock();
        let unable = || words(["unable to open ".as_ref(), path.as_os_str()]);
        let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT;
        let file = open_regular(&path, flags, Mode::from_bits_truncate(0o600))
            .map_err(|why| why.failure(unable()))?;
        let about = file.metadata().map_err(Error::of_io(unable()))?;
        Ok(Self { path, id: FileId::of(&about), file })
    }

    /// Takes the lock, if it is free; gives the file back with the failure otherwise.
    pub fn try_take(self) -> Result<Lock, (Self, Error)> {
        match Flock::lock(self.file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => Ok(Lock { path: self.path, id: self.id, held }),
            Err((file, why)) => {
                let failure = Error::new(words(["unable to lock ".as_ref(), self.path.as_os_str()]), why);
                Err((Self { file, ..self }, failure))
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn with_a_lock(test: impl FnOnce(&ServiceDir, Lock)) {
        let dir = tempfile::tempdir().expect("a directory");
        let service = ServiceDir::at(dir.path());
        test(&service, locked(&service));
    }

    pub(crate) fn locked(service: &ServiceDir) -> Lock {
        make_supervise(service).expect("a place for it");
        let Ok(lock) = LockFile::open(service).expect("a lock file").try_take() else {
            panic!("it is free");
        };
        lock
    }

    #[test]
    fn a_lock_stands_for_its_place_until_another_file_is_there() {
        with_a_lock(|service, lock| {
            assert_eq!(lock.place(), LockState::Held);
            fs_err::remove_dir_all(service.supervise()).expect("removed");
            assert_eq!(lock.place(), LockState::Gone);
            let other = locked(service);
            assert_eq!((lock.place(), other.place()), (LockState::Replaced, LockState::Held));
        });
    }
}
