//! Effects: starts a runsv, unless another process supervises the service.

use std::collections::HashMap;
use std::ffi::{CString, OsStr, OsString};

use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::Mode;
use servicedir::ServiceDir;
use sys::error::words;
use sys::process::spawn::{Program, beside_or_along_path, c_string};
use sys::{Errno, Error, FileId, OpenError, Poller, Signal, open_fifo, open_regular};

use scan::state::services::StartAttempt;

/// All that runsvdir catches; runsv inherits none of it (RSD-19), but what is blocked stays so.
pub const CAUGHT: [Signal; 4] = [Signal::HUP, Signal::TERM, Signal::ALRM, Signal::CHLD];

const RUNSV: &str = "runsv";

const UNABLE_TO_START: &str = "unable to start runsv ";

/// Starts runsvs.
pub struct RunsvStarter {
    candidates: Vec<CString>,
    has_sessions: bool,
    occupants: HashMap<FileId, OtherRunsv>,
    next_token: usize,
}

/// What became of one start.
pub struct StartOutcome {
    /// The service directory.
    pub id: FileId,
    /// How it went; or what to say, as there was no process to be had.
    pub attempt: Result<StartAttempt, Error>,
}

/// A runsv that is not a child of this process: it keeps the reading end of `supervise/ok` open.
struct OtherRunsv {
    token: usize,
    ok: std::fs::File,
}

impl RunsvStarter {
    /// Finds runsv. With `has_sessions`, each gets a session of its own (RSD-7). Tokens from
    /// `first_token` on are used for the poller.
    pub fn new(has_sessions: bool, first_token: usize) -> Self {
        Self {
            candidates: beside_or_along_path(RUNSV),
            has_sessions,
            occupants: HashMap::new(),
            next_token: first_token,
        }
    }

    /// Starts `runsv NAME` for each of these services in the working directory, which is the services
    /// directory, until there are no more processes to be had: those that were not tried have no
    /// outcome.
    pub fn start(&mut self, services: Vec<(FileId, OsString)>, poller: &Poller) -> Vec<StartOutcome> {
        let mut outcomes = Vec::with_capacity(services.len());
        for (id, name) in services {
            self.forget(id, poller);
            let attempt = match occupied(&ServiceDir::at(&name)) {
                Some(ok) => Ok(StartAttempt::Occupied { is_watched: self.watch(id, ok, poller) }),
                None => self.execute(&name).map_err(|why| no_process(&name, why)),
            };
            let has_failed = attempt.is_err();
            outcomes.push(StartOutcome { id, attempt });
            if has_failed {
                break;
            }
        }
        outcomes
    }

    fn execute(&self, name: &OsStr) -> Result<StartAttempt, Errno> {
        let program = Program::first_of(self.candidates.clone(), c_string(RUNSV))
            .arg(name)
            .default_signals(&CAUGHT)
            .inherited_mask();
        let program = if self.has_sessions { program.own_session() } else { program };
        program.spawn().map(StartAttempt::Started)
    }

    /// The services that another runsv has left; one of these tokens is ready for each.
    pub fn vacated(&self, ready: &[usize]) -> Vec<FileId> {
        self.occupants
            .iter()
            .filter(|(_, occupant)| ready.contains(&occupant.token))
            .map(|(id, _)| *id)
            .collect()
    }

    /// Watches no longer for the end of another runsv of this service.
    pub fn forget(&mut self, id: FileId, poller: &Poller) {
        if let Some(occupant) = self.occupants.remove(&id) {
            // The descriptor is closed in a moment anyway.
            let _ = poller.forget(&occupant.ok);
        }
    }

    fn watch(&mut self, id: FileId, ok: std::fs::File, poller: &Poller) -> bool {
        if self.occupants.len() >= most_occupants() {
            return false;
        }
        let token = self.next_token;
        self.next_token += 1;
        let is_watched = poller.watch(&ok, token).is_ok();
        if is_watched {
            self.occupants.insert(id, OtherRunsv { token, ok });
        }
        is_watched
    }
}

fn no_process(name: &OsStr, why: Errno) -> Error {
    Error::new(words([OsStr::new("unable to fork for "), name]), why)
}

/// What to say of a child that could not become runsv (RSD-2).
pub fn could_not_start(name: &OsStr, why: Errno) -> Error {
    Error::new(words([OsStr::new(UNABLE_TO_START), name]), why)
}

/// What to say of a service that is not started, for a reason that the kernel has no word for.
pub fn may_not_start(name: &OsStr, why: &OsStr) -> Error {
    Error::plain(words([OsStr::new(UNABLE_TO_START), name, OsStr::new(": "), why]))
}

/// The writing end of `supervise/ok`, if a runsv reads it and holds the lock.
fn occupied(service: &ServiceDir) -> Option<std::fs::File> {
    let ok = open_fifo(&service.ok(), OFlag::O_WRONLY).ok()?;
    match open_regular(&service.lock(), OFlag::O_RDONLY, Mode::empty()) {
        Ok(lock) => match Flock::lock(lock, FlockArg::LockSharedNonblock) {
            Err((_, Errno::EWOULDBLOCK)) => Some(ok),
            Ok(_) | Err(_) => None,
        },
        // A lock that cannot be read may be held.
        Err(why) => (why != OpenError::Why(Errno::ENOENT)).then_some(ok),
    }
}

fn most_occupants() -> usize {
    // Half of what there is, so that everything else can go on.
    getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| usize::try_from(soft / 2).unwrap_or(usize::MAX))
}
