//! The other end of the contract (sv, init): is runsv there, what is the status, send a command,
//! wait for a change.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use nix::sys::stat::Mode;
use nix::unistd::AccessFlags;
use sys::errno_text::{errno_of, phrase};
use sys::error::Error;
use sys::log::without_sigpipe;
use sys::{OpenError, open_regular};

use crate::command::Command;
use crate::layout::ServiceDir;
use crate::status::{RECORD_SIZE, Status};

/// Why a service cannot be asked or told.
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
    /// What runit says of it (SV-40), without a line end.
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

/// A service as it is seen from outside.
///
/// Nothing is kept open between two questions: each answer is what the disk says now.
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

    /// Opens `supervise/ok`, which works while runsv lives; whoever keeps it open and polls it is
    /// woken by an error the moment runsv is gone.
    pub fn hold(&self) -> Result<OwnedFd, ClientError> {
        self.open_fifo(&self.dir.ok(), "unable to open supervise/ok").map(OwnedFd::from)
    }

    /// Whether runsv is there. Where this cannot be told, the answer is why.
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
        let path = self.dir.status();
        let file = open_regular(&path, OFlag::O_RDONLY, Mode::empty()).map_err(|why| match why {
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
            .ok_or_else(|| ClientError::Trouble(Error::plain("unable to read supervise/status: bad format")))
    }

    /// Sends commands in one write, so that no other client's come between (SV-32).
    pub fn send(&self, commands: &[Command]) -> Result<(), ClientError> {
        let control = self.open_fifo(&self.dir.control(), "unable to open supervise/control")?;
        let bytes: Vec<u8> = commands.iter().map(|command| command.byte()).collect();
        // A runsv that leaves between the opening and the writing must not end its client, too.
        without_sigpipe(|| nix::unistd::write(&control, &bytes))
            .map(drop)
            .map_err(Error::of("unable to write to supervise/control"))
            .map_err(ClientError::Trouble)
    }

    /// Opens the write end of a FIFO, which fails where nobody reads.
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

/// Something happened to a service. It is a hint: the truth is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusChange {
    /// The status may be another one.
    Status,
    /// A runsv has let go of `supervise/ok`, even if another one has taken its place since.
    Left,
}

/// Wakes for changes of any number of services, which are told apart by tokens.
///
/// To miss nothing: watch, read, then wait.
pub struct StatusWatcher {
    inotify: Option<Inotify>,
    places: HashMap<WatchDescriptor, LockState>,
}

/// What the kernel watches: the directory `supervise/`, or, where only the owner may list it, the
/// file `status` itself, which is another one after each change.
struct LockState {
    file: Option<PathBuf>,
    tokens: Vec<usize>,
}

impl StatusWatcher {
    /// A watch on nothing yet. Where the kernel gives none (its number is limited), each
    /// [`StatusWatcher::add`] says so.
    pub fn new() -> Self {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).ok();
        Self { inotify, places: HashMap::new() }
    }

    /// A watch that sees nothing, for whoever has no way to be woken.
    pub fn blind() -> Self {
        Self { inotify: None, places: HashMap::new() }
    }

    /// Watches a service. `false` if it cannot be watched: then somebody has to look now and then.
    pub fn add(&mut self, client: &Client, token: usize) -> bool {
        let Some(inotify) = &self.inotify else { return false };
        let directory = AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_CLOSE_NOWRITE
            | AddWatchFlags::IN_ATTRIB
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        let (watched, file) = match inotify.add_watch(&client.dir.supervise(), directory) {
            Ok(watched) => (watched, None),
            Err(_) => match watch_file(inotify, &client.dir.status()) {
                Ok(watched) => (watched, Some(client.dir.status())),
                Err(_) => return false,
            },
        };
        self.places.entry(watched).or_insert(LockState { file, tokens: Vec::new() }).tokens.push(token);
        true
    }

    /// What to poll; `None` if nothing can be watched.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// What has happened since the last time.
    pub fn changes(&mut self) -> Vec<(usize, StatusChange)> {
        let mut changes = Vec::new();
        let Some(inotify) = &self.inotify else { return changes };
        while let Ok(events) = inotify.read_events() {
            for event in events {
                if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                    let all = self.places.values().flat_map(|place| &place.tokens);
                    changes.extend(all.map(|token| (*token, StatusChange::Status)));
                    continue;
                }
                let change = match event.name.as_deref().map(std::os::unix::ffi::OsStrExt::as_bytes) {
                    Some(b"ok") if event.mask.contains(AddWatchFlags::IN_CLOSE_NOWRITE) => StatusChange::Left,
                    // A record that was overwritten, for want of room, has new times.
                    Some(b"status")
                        if event.mask.intersects(AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_ATTRIB) =>
                    {
                        StatusChange::Status
                    }
                    // Everybody's reading, ours included, and the other files.
                    Some(_) => continue,
                    None => StatusChange::Status,
                };
                let Some(place) = self.places.get(&event.wd) else { continue };
                changes.extend(place.tokens.iter().map(|token| (*token, change)));
                if place.file.is_some() {
                    follow(inotify, &mut self.places, event.wd);
                }
            }
        }
        changes
    }
}

impl Default for StatusWatcher {
    fn default() -> Self {
        Self::new()
    }
}

/// A file that was replaced is watched again under its name.
fn follow(inotify: &Inotify, places: &mut HashMap<WatchDescriptor, LockState>, old: WatchDescriptor) {
    let Some(place) = places.remove(&old) else { return };
    let Some(file) = &place.file else { return };
    // Without a file there is nothing to follow; the end of runsv is seen elsewhere.
    if let Ok(watched) = watch_file(inotify, file) {
        if watched != old {
            // The old one is gone with its file, unless somebody still has that open.
            let _ = inotify.rm_watch(old);
        }
        places.insert(watched, place);
    }
}

fn watch_file(inotify: &Inotify, file: &Path) -> nix::Result<WatchDescriptor> {
    // The link count changes when another file takes the name.
    inotify.add_watch(file, AddWatchFlags::IN_ATTRIB | AddWatchFlags::IN_DELETE_SELF)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use fs_err::os::unix::fs::OpenOptionsExt as _;
    use fs_err::{File, OpenOptions};

    use super::*;

    /// A service directory for one test, with a `supervise/` as runsv leaves it.
    struct Scene(tempfile::TempDir);

    impl Scene {
        fn new() -> Self {
            let scene = Self(tempfile::tempdir().expect("a directory"));
            fs_err::create_dir(scene.supervise("")).expect("a directory");
            for fifo in ["ok", "control"] {
                let mode = nix::sys::stat::Mode::S_IRWXU;
                nix::unistd::mkfifo(&scene.supervise(fifo), mode).expect("a fifo");
            }
            scene
        }

        fn supervise(&self, name: &str) -> PathBuf {
            self.0.path().join("supervise").join(name)
        }

        fn client(&self) -> Client {
            Client::of(ServiceDir::at(self.0.path()))
        }

        fn read_end(&self, fifo: &str) -> File {
            let mut options = OpenOptions::new();
            options.read(true).custom_flags(OFlag::O_NONBLOCK.bits());
            options.open(self.supervise(fifo)).expect("a fifo")
        }

        fn publish(&self, record: &[u8]) {
            fs_err::write(self.supervise("status.new"), record).expect("a file");
            fs_err::rename(self.supervise("status.new"), self.supervise("status")).expect("a rename");
        }
    }

    fn text<T: std::fmt::Debug>(result: Result<T, ClientError>) -> String {
        String::from_utf8(result.expect_err("a refusal").to_bytes()).expect("a text")
    }

    #[test]
    fn runsv_is_there_while_ok_has_a_reader() {
        let scene = Scene::new();
        assert_eq!(scene.client().is_supervised(), Ok(false));
        let reader = scene.read_end("ok");
        assert_eq!(scene.client().is_supervised(), Ok(true));
        drop(reader);
        assert_eq!(text(scene.client().status()), "runsv not running");
    }

    #[test]
    fn what_is_wrong_is_said_in_runits_words() {
        let scene = Scene::new();
        let _reader = scene.read_end("ok");
        assert_eq!(text(scene.client().status()), "unable to open supervise/status: file does not exist");
        scene.publish(&[0; 19]);
        assert_eq!(text(scene.client().status()), "unable to read supervise/status: bad format");
        let at = |path: &str| Client::of(ServiceDir::at(path));
        assert_eq!(
            text(at("/no/such").status()),
            "unable to change to service directory: file does not exist"
        );
        assert_eq!(text(at("/dev/null").status()), "unable to change to service directory: not a directory");
        assert_eq!(text(at("/").status()), "unable to open supervise/ok: file does not exist");
        assert_eq!(text(scene.client().send(&[Command::Up])), "runsv not running");
    }

    #[test]
    fn commands_arrive_together() {
        let scene = Scene::new();
        let mut control = scene.read_end("control");
        assert_eq!(scene.client().send(&[Command::Term, Command::Cont, Command::Up]), Ok(()));
        let mut bytes = Vec::new();
        control.read_to_end(&mut bytes).expect("bytes");
        assert_eq!(bytes, b"tcu");
    }

    #[test]
    fn a_new_status_and_a_leaving_runsv_are_seen() {
        let scene = Scene::new();
        let reader = scene.read_end("ok");
        scene.publish(&[0; 20]);
        let mut watch = StatusWatcher::new();
        assert!(watch.add(&scene.client(), 7));
        scene.publish(&[1; 20]);
        assert_eq!(watch.changes(), [(7, StatusChange::Status)]);
        scene.client().status().expect("a status");
        assert_eq!(watch.changes(), []);
        drop(reader);
        assert_eq!(watch.changes(), [(7, StatusChange::Left)]);
    }

    #[test]
    fn a_status_file_is_followed_through_replacements() {
        let scene = Scene::new();
        scene.publish(&[0; 20]);
        let status = scene.client().dir().status();
        let mut watch = StatusWatcher::new();
        let inotify = watch.inotify.as_ref().expect("inotify");
        let watched = watch_file(inotify, &status).expect("a watch");
        watch.places.insert(watched, LockState { file: Some(status), tokens: vec![3] });
        for round in 1..4 {
            scene.publish(&[round; 20]);
            assert!(watch.changes().contains(&(3, StatusChange::Status)), "round {round}");
            while !watch.changes().is_empty() {}
        }
    }
}
