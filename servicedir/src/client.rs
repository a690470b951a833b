//! A client of a supervised service (sv, init): is a supervisor there, what is the status, send a command.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag};
use nix::sys::stat::Mode;
use nix::unistd::AccessFlags;
use sys::errno_text::{errno_of, phrase};
use sys::error::Error;
use sys::log::without_sigpipe;
use sys::{OpenError, open_record};

use crate::command::Command;
use crate::layout::ServiceDir;
use crate::readiness::{self, Announcement, SAYS};
use crate::status::{RECORD_SIZE, Status};

/// Why a service cannot be queried or controlled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientError {
    /// The service directory cannot be entered.
    Directory(Errno),
    /// No runsv supervises it.
    NotRunning,
    /// A file below `supervise/` cannot be used.
    Trouble(Error),
}

impl ClientError {
    /// runit's message for it (SV-40), without a line end.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Directory(why) => {
                format!("unable to change to service directory: {}", phrase(*why)).into_bytes()
            }
            Self::NotRunning => b"runsv not running".to_vec(),
            Self::Trouble(failure) => failure.to_bytes(),
        }
    }
}

/// A service as a client sees it.
///
/// Nothing is kept open between two calls: each reads the disk again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    dir: ServiceDir,
}

impl Client {
    /// A client of the service at `dir`.
    pub fn of(dir: ServiceDir) -> Self {
        Self { dir }
    }

    /// The service's directory.
    pub fn dir(&self) -> &ServiceDir {
        &self.dir
    }

    /// Opens `supervise/ok`, which works while a supervisor lives. Polling the descriptor
    /// reports an error the moment the supervisor is gone.
    pub fn hold(&self) -> Result<OwnedFd, ClientError> {
        self.open_fifo(&self.dir.ok(), "unable to open supervise/ok").map(OwnedFd::from)
    }

    /// Whether a supervisor is there; an error if that cannot be found out.
    pub fn is_supervised(&self) -> Result<bool, ClientError> {
        match self.hold() {
            Ok(_) => Ok(true),
            Err(ClientError::NotRunning) => Ok(false),
            Err(refusal) => Err(refusal),
        }
    }

    /// The published status, if runsv is there (SV-20).
    pub fn status(&self) -> Result<Status, ClientError> {
        self.hold()?;
        self.last_status()
    }

    /// The published status, whether or not runsv still stands for it.
    pub fn last_status(&self) -> Result<Status, ClientError> {
        self.record().map(|(status, _)| status)
    }

    /// The published status and what its process has said of itself, if runsv is there.
    pub fn status_and_announcement(&self) -> Result<(Status, Option<Announcement>), ClientError> {
        self.hold()?;
        // A thousand services that say nothing cost a thousand look-ups less.
        let (status, mode) = self.record()?;
        let said = if mode.contains(SAYS) { readiness::read(&self.dir, &status) } else { None };
        Ok((status, said))
    }

    /// The status, and the mode of its file.
    fn record(&self) -> Result<(Status, Mode), ClientError> {
        let path = self.dir.status();
        let (file, mode) = open_record(&path).map_err(|why| match why {
            // runit can open a directory, and then not read it.
            OpenError::Other(_) if path.is_dir() => {
                ClientError::Trouble(Error::new("unable to read supervise/status", Errno::EISDIR))
            }
            why => self.refusal("unable to open supervise/status", why),
        })?;
        let mut record = [0; RECORD_SIZE];
        let length = nix::unistd::read(&file, &mut record)
            .map_err(Error::of("unable to read supervise/status"))
            .map_err(ClientError::Trouble)?;
        record
            .get(..length)
            .and_then(Status::from_bytes)
            .map(|status| (status, mode))
            .ok_or_else(|| ClientError::Trouble(Error::plain("unable to read supervise/status: bad format")))
    }

    /// Sends commands in one write, so that those of another client do not come between (SV-32).
    pub fn send(&self, commands: &[Command]) -> Result<(), ClientError> {
        let control = self.open_fifo(&self.dir.control(), "unable to open supervise/control")?;
        let bytes: Vec<u8> = commands.iter().map(|command| command.byte()).collect();
        // A runsv that leaves between the opening and the writing must not end its client, too.
        without_sigpipe(|| nix::unistd::write(&control, &bytes))
            .map(drop)
            .map_err(Error::of("unable to write to supervise/control"))
            .map_err(ClientError::Trouble)
    }

    /// Opens the write end of a FIFO, which fails if no process reads it.
    fn open_fifo(&self, path: &Path, text: &str) -> Result<File, ClientError> {
        sys::open_fifo(path, OFlag::O_WRONLY).map_err(|why| match why {
            OpenError::Why(Errno::ENXIO) => ClientError::NotRunning,
            why => self.refusal(text, why),
        })
    }

    /// Why a file of the service could not be opened. That the directory itself cannot be entered
    /// is found out only now: the usual case costs no system call.
    fn refusal(&self, text: &str, why: OpenError) -> ClientError {
        match can_enter(self.dir.path()) {
            Ok(()) => ClientError::Trouble(why.failure(text)),
            Err(why) => ClientError::Directory(why),
        }
    }
}

/// Whether `chdir` to the directory would work.
fn can_enter(dir: &Path) -> Result<(), Errno> {
    if !fs_err::metadata(dir).map_err(|why| errno_of(&why))?.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    nix::unistd::faccessat(AT_FDCWD, dir, AccessFlags::X_OK, AtFlags::AT_EACCESS)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Read as _;
    use std::path::PathBuf;

    use fs_err::os::unix::fs::OpenOptionsExt as _;
    use fs_err::{File, OpenOptions};

    use super::*;

    /// A service directory for one test, with a `supervise/` as runsv leaves it.
    pub(crate) struct ServiceFixture(tempfile::TempDir);

    impl ServiceFixture {
        pub(crate) fn new() -> Self {
            let service = Self(tempfile::tempdir().expect("a directory"));
            fs_err::create_dir(service.supervise("")).expect("a directory");
            for fifo in ["ok", "control"] {
                let mode = nix::sys::stat::Mode::S_IRWXU;
                nix::unistd::mkfifo(&service.supervise(fifo), mode).expect("a fifo");
            }
            service
        }

        fn supervise(&self, name: &str) -> PathBuf {
            self.0.path().join("supervise").join(name)
        }

        pub(crate) fn client(&self) -> Client {
            Client::of(ServiceDir::at(self.0.path()))
        }

        pub(crate) fn read_end(&self, fifo: &str) -> File {
            let mut options = OpenOptions::new();
            options.read(true).custom_flags(OFlag::O_NONBLOCK.bits());
            options.open(self.supervise(fifo)).expect("a fifo")
        }

        pub(crate) fn publish(&self, record: &[u8]) {
            fs_err::write(self.supervise("status.new"), record).expect("a file");
            fs_err::rename(self.supervise("status.new"), self.supervise("status")).expect("a rename");
        }
    }

    fn text<T: std::fmt::Debug>(result: Result<T, ClientError>) -> String {
        String::from_utf8(result.expect_err("a refusal").to_bytes()).expect("a text")
    }

    #[test]
    fn runsv_is_there_while_ok_has_a_reader() {
        let service = ServiceFixture::new();
        assert_eq!(service.client().is_supervised(), Ok(false));
        let reader = service.read_end("ok");
        assert_eq!(service.client().is_supervised(), Ok(true));
        drop(reader);
        assert_eq!(text(service.client().status()), "runsv not running");
    }

    #[test]
    fn what_is_wrong_is_said_in_runits_words() {
        let service = ServiceFixture::new();
        let _reader = service.read_end("ok");
        assert_eq!(text(service.client().status()), "unable to open supervise/status: file does not exist");
        service.publish(&[0; 19]);
        assert_eq!(text(service.client().status()), "unable to read supervise/status: bad format");
        let at = |path: &str| Client::of(ServiceDir::at(path));
        assert_eq!(
            text(at("/no/such").status()),
            "unable to change to service directory: file does not exist"
        );
        assert_eq!(text(at("/dev/null").status()), "unable to change to service directory: not a directory");
        assert_eq!(text(at("/").status()), "unable to open supervise/ok: file does not exist");
        assert_eq!(text(service.client().send(&[Command::Up])), "runsv not running");
    }

    #[test]
    fn commands_arrive_together() {
        let service = ServiceFixture::new();
        let mut control = service.read_end("control");
        assert_eq!(service.client().send(&[Command::Term, Command::Cont, Command::Up]), Ok(()));
        let mut bytes = Vec::new();
        control.read_to_end(&mut bytes).expect("bytes");
        assert_eq!(bytes, b"tcu");
    }
}
