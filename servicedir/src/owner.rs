//! runsv's end of the contract: makes `supervise/`, holds the lock and the FIFOs, writes the status.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use fs_err::os::unix::fs::OpenOptionsExt as _;
use fs_err::{File, OpenOptions};
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::stat::{Mode, SFlag};
use unix::failure::words;
use unix::{Errno, Failure};

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
pub fn make_supervise(dir: &ServiceDir) -> Result<Supervise, Failure> {
    let supervise = dir.supervise();
    let private = Mode::from_bits_truncate(0o700);
    if nix::unistd::mkdir(&supervise, private).is_ok() {
        return Ok(Supervise::New);
    }
    let name = words(["unable to readlink ./".as_ref(), supervise.as_os_str()]);
    match nix::fcntl::readlink(&supervise) {
        Ok(target) if target.as_bytes().len() > LONGEST_LINK => {
            Err(Failure::plain(words([&name, ": name too long".as_ref()])))
        }
        Ok(target) => {
            let parent = supervise.parent().unwrap_or(Path::new(""));
            // If it is there already, or cannot be made, opening the lock will tell.
            let _ = nix::unistd::mkdir(&parent.join(target), private);
            Ok(Supervise::Old)
        }
        // Not a link, or not there: opening the lock will tell.
        Err(Errno::EINVAL | Errno::ENOENT) => Ok(Supervise::Old),
        Err(why) => Err(Failure::new(name, why)),
    }
}

/// The lock of a runsv, held while this lives. Services do not inherit it (LAY-12).
pub struct Lock {
    _held: Flock<std::fs::File>,
}

/// The lock file, open but not taken.
pub struct LockFile {
    name: OsString,
    file: std::fs::File,
}

impl LockFile {
    /// Opens `supervise/lock`.
    pub fn open(dir: &ServiceDir) -> Result<Self, Failure> {
        let path = dir.lock();
        let name = path.clone().into_os_string();
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(OFlag::O_NONBLOCK.bits())
            .open(&path)
            .map_err(Failure::of_io(words(["unable to open ".as_ref(), &name])))?;
        Ok(Self { name, file: file.into_file() })
    }

    /// Takes the lock, if it is free; gives the file back with the failure otherwise.
    pub fn try_take(self) -> Result<Lock, (Self, Failure)> {
        match Flock::lock(self.file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => Ok(Lock { _held: held }),
            Err((file, why)) => {
                let failure = Failure::new(words(["unable to lock ".as_ref(), &self.name]), why);
                Err((Self { name: self.name, file }, failure))
            }
        }
    }
}

/// A FIFO that never reports the end of its input, because this process holds both ends, in one
/// descriptor, which only Linux has for a FIFO.
pub struct Control {
    both_ends: File,
}

impl Control {
    /// Makes and opens `supervise/control` (LAY-7).
    pub fn open(dir: &ServiceDir) -> Result<Self, Failure> {
        let path = dir.control();
        let name = path.as_os_str();
        // If it is there already it is used as it is; anything else is told by what follows.
        if nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o600)).is_err() {
            let about =
                fs_err::metadata(&path).map_err(Failure::of_io(words(["unable to stat ".as_ref(), name])))?;
            if !about.file_type().is_fifo() {
                return Err(Failure::plain(words([name, " exists but is not a fifo".as_ref()])));
            }
        }
        let both_ends = open_fifo(OpenOptions::new().read(true).write(true), &path)
            .map_err(Failure::of_io(words(["unable to open ".as_ref(), name])))?;
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

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.both_ends.file().as_fd()
    }
}

/// The reading end of `supervise/ok`: who can open it for writing knows that a runsv lives.
pub struct Ok {
    _reader: File,
}

impl Ok {
    /// Makes and opens `supervise/ok`.
    pub fn open(dir: &ServiceDir) -> Result<Self, Failure> {
        let path = dir.ok();
        let _ = nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o600));
        open_fifo(OpenOptions::new().read(true), &path)
            .map(|reader| Self { _reader: reader })
            .map_err(Failure::of_io(words(["unable to read ".as_ref(), path.as_os_str()])))
    }
}

fn open_fifo(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    options.custom_flags(OFlag::O_NONBLOCK.bits()).open(path)
}

/// Writes the status files of one service (LAY-4, LAY-5).
pub struct Publisher {
    dir: ServiceDir,
    /// What `pid` says, once it was written.
    pid: Option<u32>,
    /// What was last to be written.
    last: Option<Status>,
    /// Whether some of it could not be.
    is_behind: bool,
    /// Whether there may be files of the same names.
    may_replace: bool,
}

impl Publisher {
    /// For the service at `dir`, which has published nothing.
    pub fn new(dir: ServiceDir, supervise: Supervise) -> Self {
        let may_replace = supervise == Supervise::Old;
        Self { dir, pid: None, last: None, is_behind: false, may_replace }
    }

    /// For a service whose `pid` is not written before its first start (LAY-8).
    pub fn without_first_pid(dir: ServiceDir, supervise: Supervise) -> Self {
        Self { pid: Some(0), ..Self::new(dir, supervise) }
    }

    /// Writes `pid` if it changed, then `stat`, then `status`, each beside its place and renamed
    /// into it. One that cannot be written does not keep the others from being true; it is kept
    /// for [`Publisher::retry`], and the first failure is returned.
    pub fn publish(&mut self, status: Status) -> Result<(), Failure> {
        let pid = if self.pid == Some(status.pid) {
            Result::Ok(())
        } else {
            self.write("pid", status.pid_text().as_bytes()).map(|()| self.pid = Some(status.pid))
        };
        let stat = self.write("stat", status.to_text().as_bytes());
        let record = self.write("status", &status.to_bytes());
        let result = pid.and(stat).and(record);
        self.last = Some(status);
        self.is_behind = result.is_err();
        self.may_replace = true;
        result
    }

    /// Tries again to write what could not be written.
    pub fn retry(&mut self) -> Result<(), Failure> {
        match self.last {
            Some(status) if self.is_behind => self.publish(status),
            _ => Result::Ok(()),
        }
    }

    /// The files are in a new place: all of them are to be written again.
    pub fn start_anew(&mut self) {
        self.pid = None;
        self.is_behind = true;
    }

    /// Whether something could not be written.
    pub fn is_behind(&self) -> bool {
        self.is_behind
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<(), Failure> {
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
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode.bits())
            .custom_flags(OFlag::O_NONBLOCK.bits())
            .open(&fresh)
            .map_err(Failure::of_io(unable("open ", &fresh)))?;
        file.write_all(content).map_err(Failure::of_io(unable("write ", &fresh)))?;
        let put = if self.may_replace { unix::replace::replace } else { unix::replace::rename };
        put(&fresh, &place).map_err(Failure::of(unable(&format!("rename {fresh_name} to "), &place)))
    }
}
