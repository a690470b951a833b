//! Writes `pid`, `stat` and `status` in `supervise/`, which only the holder of the lock may do.

use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag, futimens};
use nix::sys::time::TimeSpec;
use sys::error::words;
use sys::{Errno, Error, OpenError, open_regular};

use crate::layout::ServiceDir;
use crate::lock::{Lock, LockState, Supervise};
use crate::status::Status;

/// Writes the status files of one service (LAY-4, LAY-5).
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

    /// For a service that has no `pid` before its first start (LAY-8).
    pub fn without_first_pid(dir: ServiceDir, lock: Lock, supervise: Supervise) -> Self {
        Self { pid: Some(0), ..Self::new(dir, lock, supervise) }
    }

    /// Writes `pid` if it changed, then `stat`, then `status`, each beside its place and renamed
    /// into it. If one cannot be written, the others still are; it is kept for
    /// [`StatusWriter::retry`], and the first failure is returned. On a full disk the old file is
    /// overwritten: half a record for a moment is better than a wrong one.
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
            self.write_somehow("pid", status.pid_text().as_bytes(), |status_writer| {
                status_writer.pid = Some(status.pid);
            })
        };
        let stat = self.write_somehow("stat", status.to_text().as_bytes(), |_| {});
        let record = self.write_somehow("status", &status.to_bytes(), |_| {});
        self.may_replace = true;
        pid.and(stat).and(record)
    }

    /// Writes a file, beside its place or over the old one; returns why the first way failed.
    fn write_somehow(
        &mut self,
        name: &str,
        content: &[u8],
        note: impl FnOnce(&mut Self),
    ) -> Result<(), Error> {
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
        // What is there is never written to: the owner of `supervise/` must not choose what is overwritten,
        // nor what becomes the record.
        let create = || open_regular(&fresh, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL, mode);
        let mut file = match create() {
            Err(OpenError::Why(Errno::EEXIST)) => match nix::unistd::unlink(&fresh) {
                Ok(()) | Err(Errno::ENOENT) => create(),
                Err(why) => Err(why.into()),
            },
            created => created,
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
        // The only change that a watch of the directory reports.
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
    use crate::lock::tests::{locked, with_a_lock};
    use crate::status::{State, Want};
    use crate::tai64n::Tai64n;

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
    fn what_stands_beside_a_record_is_never_written_to() {
        with_a_lock(|service, lock| {
            let mut status_writer = StatusWriter::new(service.clone(), lock, Supervise::New);
            let [elsewhere, fresh] = ["elsewhere", "supervise/status.new"].map(|name| service.file(name));
            fs_err::write(&elsewhere, "precious").expect("a file");
            fs_err::hard_link(&elsewhere, &fresh).expect("another name");
            status_writer.write("status", b"new").expect("a record");
            assert_eq!(fs_err::read(&elsewhere).expect("a file"), b"precious");
            // No process reads from it.
            nix::unistd::mkfifo(&fresh, Mode::S_IRWXU).expect("a fifo");
            status_writer.may_replace = true;
            status_writer.write("status", b"newer").expect("a record");
            assert_eq!(fs_err::read(service.status()).expect("a record"), b"newer");
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
