//! runsv's end of the contract: makes `supervise/`, holds the lock and the FIFOs, writes the status.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::stat::{Mode, SFlag, futimens};
use nix::sys::time::TimeSpec;
use sys::errno_text::errno_of;
use sys::error::words;
use sys::{Errno, Error, OpenError, open_fifo, open_regular};

use crate::layout::ServiceDir;
use crate::status::Status;

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
/// missing is said by who opens the lock.
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
            // If it is there already, or cannot be made, opening the lock will tell.
            let _ = nix::unistd::mkdir(&parent.join(target), private);
            Ok(Supervise::Old)
        }
        // Not a link, or not there: opening the lock will tell.
        Err(Errno::EINVAL | Errno::ENOENT) => Ok(Supervise::Old),
        Err(why) => Err(Error::new(name, why)),
    }
}

/// The lock of a runsv, held while this lives. Services do not inherit it (LAY-12).
pub struct Lock {
    path: PathBuf,
    id: (u64, u64),
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
            Ok(about) if id(&about) == self.id => LockState::Held,
            // Some file systems give a file another number while it is open.
            Ok(about) if self.held.metadata().is_ok_and(|held| id(&held) == id(&about)) => LockState::Held,
            Ok(_) => LockState::Replaced,
            Err(error) if matches!(errno_of(&error), Errno::ENOENT | Errno::ENOTDIR) => LockState::Gone,
            // It cannot be told.
            Err(_) => LockState::Held,
        }
    }
}

/// The lock file, open but not taken.
pub struct LockFile {
    path: PathBuf,
    id: (u64, u64),
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
        Ok(Self { path, id: id(&about), file })
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

/// What tells a file from all others.
fn id(about: &std::fs::Metadata) -> (u64, u64) {
    (about.dev(), about.ino())
}

/// A FIFO that never reports the end of its input, because this process holds both ends, in one
/// descriptor, which only Linux has for a FIFO.
pub struct ControlFifo {
    both_ends: File,
}

impl ControlFifo {
    /// Makes and opens `supervise/control` (LAY-7).
    pub fn open(dir: &ServiceDir) -> Result<Self, Error> {
        let path = dir.control();
        let name = path.as_os_str();
        // If it is there already it is used as it is; anything else is told by what follows.
        if nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o600)).is_err() {
            let about = fs_err::symlink_metadata(&path)
                .map_err(Error::of_io(words(["unable to stat ".as_ref(), name])))?;
            if !about.file_type().is_fifo() {
                return Err(Error::plain(words([name, " exists but is not a fifo".as_ref()])));
            }
        }
        let both_ends = open_fifo(&path, OFlag::O_RDWR)
            .map_err(|why| why.failure(words(["unable to open ".as_ref(), name])))?;
        Ok(Self { both_ends })
    }

    /// Takes one byte out; `None` when there is none now.
    pub fn read_byte(&self) -> Option<u8> {
        let mut byte = [0];
        loop {
            match nix::unistd::read(&self.both_ends, &mut byte) {
                Ok(1) => return byte.first().copied(),
                Err(Errno::EINTR) => {}
                _ => return None,
            }
        }
    }
}

impl AsFd for ControlFifo {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.both_ends.as_fd()
    }
}

/// The reading end of `supervise/ok`: who can open it for writing knows that a runsv lives. `None` if that
/// is no FIFO, which is accepted (LAY-14) and not used.
pub struct OkFifo {
    _reader: Option<File>,
}

impl OkFifo {
    /// Makes and opens `supervise/ok`.
    pub fn open(dir: &ServiceDir) -> Result<Self, Error> {
        let path = dir.ok();
        let _ = nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o600));
        match open_fifo(&path, OFlag::O_RDONLY) {
            Ok(reader) => Ok(Self { _reader: Some(reader) }),
            Err(OpenError::Other(_)) => Ok(Self { _reader: None }),
            Err(why) => Err(why.failure(words(["unable to read ".as_ref(), path.as_os_str()]))),
        }
    }
}

/// Writes the status files of one service (LAY-4, LAY-5), which only who holds the lock may do.
pub struct StatusWriter {
    dir: ServiceDir,
    lock: Lock,
    /// What `pid` says, once it was written.
    pid: Option<u32>,
    /// What was last to be written.
    last: Option<Status>,
    /// Whether some of it could not be.
    is_behind: bool,
    /// Whether there may be files of the same names.
    may_replace: bool,
}

impl StatusWriter {
    /// For the service at `dir`, which has published nothing.
    pub fn new(dir: ServiceDir, lock: Lock, supervise: Supervise) -> Self {
        let may_replace = supervise == Supervise::Old;
        Self { dir, lock, pid: None, last: None, is_behind: false, may_replace }
    }

    /// For a service whose `pid` is not written before its first start (LAY-8).
    pub fn without_first_pid(dir: ServiceDir, lock: Lock, supervise: Supervise) -> Self {
        Self { pid: Some(0), ..Self::new(dir, lock, supervise) }
    }

    /// Writes `pid` if it changed, then `stat`, then `status`, each beside its place and renamed
    /// into it. One that cannot be written does not keep the others from being true; it is kept
    /// for [`StatusWriter::retry`], and the first failure is returned. Where there is no room for
    /// another file the old one is overwritten: a lie would be worse than a moment's half a record.
    pub fn publish(&mut self, status: Status) -> Result<(), Error> {
        self.last = Some(status);
        let place = self.lock.place();
        if place == LockState::Replaced {
            self.is_behind = true;
            let text = words([self.dir.supervise().as_os_str(), " was replaced, and is not ours".as_ref()]);
            return Err(Error::plain(text));
        }
        self.is_behind = place == LockState::Gone;
        let pid = if self.pid == Some(status.pid) {
            Ok(())
        } else {
            self.pid = None;
            self.make_true("pid", status.pid_text().as_bytes(), |status_writer| {
                status_writer.pid = Some(status.pid);
            })
        };
        let stat = self.make_true("stat", status.to_text().as_bytes(), |_| {});
        let record = self.make_true("status", &status.to_bytes(), |_| {});
        self.may_replace = true;
        pid.and(stat).and(record)
    }

    /// Lets a file say this, one way or the other; what went wrong with the first way is returned.
    fn make_true(&mut self, name: &str, content: &[u8], note: impl FnOnce(&mut Self)) -> Result<(), Error> {
        let written = self.write(name, content);
        let is_true = match &written {
            Ok(()) => true,
            Err(failure) => is_full(failure) && self.overwrite(name, content).is_ok(),
        };
        if is_true {
            note(self);
        } else {
            self.is_behind = true;
        }
        written
    }

    /// Tries again to write what could not be written.
    pub fn retry(&mut self) -> Result<(), Error> {
        match self.last {
            Some(status) if self.is_behind => self.publish(status),
            _ => Ok(()),
        }
    }

    /// The files are in a new place: all of them are to be written again. Without a new lock the old
    /// one stands for that place, too.
    pub fn start_anew(&mut self, lock: Option<Lock>) {
        if let Some(lock) = lock {
            self.lock = lock;
        }
        self.pid = None;
        self.is_behind = true;
    }

    /// Whether the lock still stands for its place.
    pub fn place(&self) -> LockState {
        self.lock.place()
    }

    /// Whether something could not be written.
    pub fn is_behind(&self) -> bool {
        self.is_behind
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<(), Error> {
        let fresh_name = format!("{name}.new");
        let supervise = self.dir.supervise();
        let (fresh, place) = (supervise.join(&fresh_name), supervise.join(name));
        let mode = Mode::from_bits_truncate(0o644);
        // An empty file is whole as soon as it is there.
        if content.is_empty()
            && !self.may_replace
            && nix::sys::stat::mknod(&place, SFlag::S_IFREG, mode, 0).is_ok()
        {
            return Ok(());
        }
        let unable =
            |verb: &str, path: &Path| words(["unable to ".as_ref(), verb.as_ref(), path.as_os_str()]);
        let open = || open_regular(&fresh, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC, mode);
        let mut file = match open() {
            // The owner of `supervise/` must not choose what is overwritten, nor what becomes the record.
            Err(OpenError::Link | OpenError::Other(_)) => {
                let _ = nix::unistd::unlink(&fresh);
                open()
            }
            opened => opened,
        }
        .map_err(|why| why.failure(unable("open ", &fresh)))?;
        let written = file.write_all(content);
        if written.is_err() {
            // It only takes room.
            let _ = nix::unistd::unlink(&fresh);
        }
        written.map_err(Error::of_io(unable("write ", &fresh)))?;
        let put = if self.may_replace { sys::fs::replace::replace } else { sys::fs::replace::rename };
        put(&fresh, &place).map_err(Error::of(unable(&format!("rename {fresh_name} to "), &place)))
    }

    /// Writes over a file that is in its place, unless it is a link, or in another place as well.
    fn overwrite(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let path = self.dir.supervise().join(name);
        let mut file = open_regular(&path, OFlag::O_WRONLY, Mode::empty())?;
        if file.metadata()?.nlink() != 1 {
            return Err(Errno::EEXIST.into());
        }
        file.write_all(content)?;
        file.set_len(u64::try_from(content.len()).unwrap_or(u64::MAX))?;
        // Whoever watches the directory is told of no other change.
        let _ = futimens(&file, &TimeSpec::UTIME_NOW, &TimeSpec::UTIME_NOW);
        Ok(())
    }
}

fn is_full(failure: &Error) -> bool {
    matches!(failure.why(), Some(Errno::ENOSPC | Errno::EDQUOT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{State, Tai64n, Want};

    fn with_a_lock(test: impl FnOnce(&ServiceDir, Lock)) {
        let dir = tempfile::tempdir().expect("a directory");
        let service = ServiceDir::at(dir.path());
        test(&service, locked(&service));
    }

    fn locked(service: &ServiceDir) -> Lock {
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

    #[test]
    fn nothing_is_published_without_the_lock_of_the_place() {
        let status = Status {
            since: Tai64n::of(std::time::UNIX_EPOCH),
            pid: 0,
            is_paused: false,
            want: Want::Up,
            got_term: false,
            state: Some(State::Down),
        };
        with_a_lock(|service, lock| {
            let mut status_writer = StatusWriter::new(service.clone(), lock, Supervise::New);
            fs_err::remove_dir_all(service.supervise()).expect("removed");
            let other = locked(service);
            status_writer.publish(status).expect_err("another's place");
            assert!(status_writer.is_behind() && !service.status().exists());
            drop(other);
            status_writer.start_anew(Some(locked(service)));
            status_writer.retry().expect("its own place");
            assert!(!status_writer.is_behind() && service.status().exists());
        });
    }

    #[test]
    fn only_a_file_in_no_other_place_is_overwritten() {
        with_a_lock(|service, lock| {
            let status_writer = StatusWriter::new(service.clone(), lock, Supervise::New);
            let [elsewhere, place] = ["elsewhere", "supervise/status"].map(|name| service.file(name));
            fs_err::write(&elsewhere, "precious").expect("a file");
            std::os::unix::fs::symlink(&elsewhere, &place).expect("a link");
            status_writer.overwrite("status", b"new").expect_err("a link");
            fs_err::remove_file(&place).expect("removed");
            fs_err::hard_link(&elsewhere, &place).expect("another name");
            status_writer.overwrite("status", b"new").expect_err("a second name");
            assert_eq!(fs_err::read(&elsewhere).expect("a file"), b"precious");
            fs_err::remove_file(&elsewhere).expect("removed");
            status_writer.overwrite("status", b"new").expect("its own file");
            assert_eq!(fs_err::read(&place).expect("a file"), b"new");
        });
    }
}
