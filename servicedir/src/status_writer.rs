//! Writes `pid`, `stat` and `status` in `supervise/`, which only the holder of the lock may do.

use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag, fchmod, futimens};
use nix::sys::time::TimeSpec;
use sys::error::words;
use sys::{Errno, Error, OpenError, open_regular};

use crate::layout::ServiceDir;
use crate::lock::{Lock, LockState, Supervise};
use crate::readiness::{Readiness, SAYS};
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
    /// What `ready` and `.notification` say, and the text in the latter.
    readiness: Option<Readiness>,
    text: String,
    /// Whether one of the two could not be written.
    is_readiness_behind: bool,
    /// Whether there may be files of the same names.
    may_replace: bool,
}

impl StatusWriter {
    /// For the service at `dir`, which has published nothing.
    pub fn new(dir: ServiceDir, lock: Lock, supervise: Supervise) -> Self {
        let may_replace = supervise == Supervise::Old;
        Self {
            dir,
            lock,
            pid: None,
            last: None,
            is_behind: false,
            readiness: None,
            text: String::new(),
            is_readiness_behind: false,
            may_replace,
        }
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
        let is_first = self.last.replace(status).is_none();
        self.is_behind = true;
        self.is_behind = self.own_place()? == LockState::Gone;
        if is_first && self.may_replace {
            // Of a service that an earlier supervisor has left.
            let _ = self.remove_ready();
        }
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

    /// The state of the place, unless it is another supervisor's.
    fn own_place(&self) -> Result<LockState, Error> {
        match self.lock.place() {
            LockState::Replaced => {
                let supervise = self.dir.supervise();
                Err(Error::plain(words([supervise.as_os_str(), " was replaced, and is not ours".as_ref()])))
            }
            place => Ok(place),
        }
    }

    /// Writes what a `./run` has said of itself: that it is ready, or not. If it is about another process than
    /// before, that one's text goes.
    pub fn publish_readiness(&mut self, readiness: Readiness) -> Result<(), Error> {
        let about = |readiness: Readiness| (readiness.since, readiness.pid);
        let is_another = self.readiness.replace(readiness).map(about) != Some(about(readiness));
        if is_another {
            self.text.clear();
        }
        self.write_readiness(is_another, true)
    }

    /// Writes the text that it has said of its state.
    pub fn publish_text(&mut self, text: String) -> Result<(), Error> {
        let is_another = self.text != text;
        self.text = text;
        self.write_readiness(is_another, false)
    }

    fn write_readiness(&mut self, has_new_text: bool, is_news: bool) -> Result<(), Error> {
        let Some(readiness) = self.readiness else { return Ok(()) };
        let was_behind = std::mem::replace(&mut self.is_readiness_behind, true);
        self.own_place()?;
        if has_new_text || was_behind {
            self.write(".notification", readiness.to_text(&self.text).as_bytes())?;
        }
        if is_news || was_behind {
            match readiness.ready {
                Some(ready) => self.write("ready", &ready.to_bytes())?,
                None => self.remove_ready()?,
            }
        }
        self.is_readiness_behind = false;
        Ok(())
    }

    fn remove_ready(&self) -> Result<(), Error> {
        let path = self.dir.ready();
        match nix::unistd::unlink(&path) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(why) => Err(Error::new(words(["unable to remove ".as_ref(), path.as_os_str()]), why)),
        }
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
        let status = match self.last {
            Some(status) if self.is_behind => self.publish(status),
            _ => Ok(()),
        };
        let readiness = if self.is_readiness_behind { self.write_readiness(true, true) } else { Ok(()) };
        status.and(readiness)
    }

    /// The files are in a new place: all of them are to be written again. Without a new lock the old
    /// one stands for that place, too.
    pub fn start_anew(&mut self, lock: Option<Lock>) {
        if let Some(lock) = lock {
            self.lock = lock;
        }
        self.pid = None;
        self.is_behind = true;
        self.is_readiness_behind = self.readiness.is_some();
    }

    /// Whether the lock still stands for its place.
    pub fn place(&self) -> LockState {
        self.lock.place()
    }

    /// Whether something could not be written.
    pub fn is_behind(&self) -> bool {
        self.is_behind || self.is_readiness_behind
    }

    /// What the mode of `status` has in addition if its `./run` can say something of itself.
    fn says(&self, name: &str) -> Mode {
        let is_about = |last: Status| {
            self.readiness.is_some_and(|said| (said.since, said.pid) == (last.since, last.pid))
        };
        if name == "status" && self.last.is_some_and(is_about) { SAYS } else { Mode::empty() }
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<(), Error> {
        let fresh_name = format!("{name}.new");
        let supervise = self.dir.supervise();
        let (fresh, place) = (supervise.join(&fresh_name), supervise.join(name));
        let mode = Mode::from_bits_truncate(0o644) | self.says(name);
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
        let about = file.metadata()?;
        if about.nlink() != 1 {
            return Err(Errno::EEXIST.into());
        }
        let before = Mode::from_bits_truncate(about.mode());
        let mode = (before - SAYS) | self.says(name);
        if mode != before {
            fchmod(&file, mode)?;
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
    use crate::readiness::Announcement;
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
    fn what_a_process_has_said_is_read_as_long_as_it_runs() {
        with_a_lock(|service, lock| {
            let running = Status {
                since: Tai64n::of(std::time::SystemTime::now()),
                pid: 7,
                is_paused: false,
                want: Want::Up,
                got_term: false,
                state: Some(State::Run),
            };
            let unready = Readiness { since: running.since, pid: 7, ready: None };
            let ready = Readiness { ready: Some(running.since), ..unready };
            let said = |ready, text: &str| Some(Announcement { ready, text: text.to_owned() });
            let read = |status| crate::readiness::read(service, &status);
            fs_err::write(service.ready(), "of an earlier supervisor").expect("a file");
            let mut status_writer = StatusWriter::new(service.clone(), lock, Supervise::Old);
            status_writer.publish(running).expect("a record");
            assert_eq!((read(running), service.ready().exists()), (None, false));
            let mode = || fs_err::metadata(service.status()).expect("a record").mode() & 0o777;
            assert_eq!(mode(), 0o644);
            status_writer.publish_readiness(unready).expect("files");
            status_writer.publish(running).expect("a record");
            assert_eq!((mode(), read(running)), (0o744, said(None, "")));
            status_writer.publish(Status { pid: 0, ..running }).expect("a record");
            assert_eq!(mode(), 0o644);
            status_writer.publish(running).expect("a record");
            status_writer.publish_text("two\nlines".to_owned()).expect("a text");
            status_writer.publish_readiness(ready).expect("files");
            assert_eq!(read(running), said(Some(running.since), "two\nlines"));
            assert_eq!(fs_err::read(service.ready()).expect("a label"), running.since.to_bytes());
            for other in [
                Status { pid: 8, ..running },
                Status { state: Some(State::Finish), ..running },
                Status { since: Tai64n { nanoseconds: 0, ..running.since }, ..running },
            ] {
                assert_eq!(read(other), None, "{other:?}");
            }
            status_writer.publish_readiness(Readiness { pid: 8, ..unready }).expect("files");
            assert_eq!(read(Status { pid: 8, ..running }), said(None, ""));
            fs_err::remove_dir_all(service.supervise()).expect("removed");
            status_writer.publish_readiness(ready).expect_err("no place");
            assert!(status_writer.is_behind());
            status_writer.start_anew(Some(locked(service)));
            status_writer.retry().expect("its own place");
            assert_eq!((read(running), status_writer.is_behind()), (said(ready.ready, ""), false));
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
