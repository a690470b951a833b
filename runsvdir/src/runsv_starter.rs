//! Effects: starts a runsv, unless another process supervises the service.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use servicedir::ServiceDir;
use sys::error::words;
use sys::process::spawn::{Program, beside_or_along_path, c_string};
use sys::{Errno, Error, FileId, Pid, Poller, Signal, procfs};

use scan::effects::occupants::Occupants;
use scan::state::services::StartAttempt;

/// All that runsvdir catches; runsv inherits none of it (RSD-19), but what is blocked stays so.
pub const CAUGHT: [Signal; 4] = [Signal::HUP, Signal::TERM, Signal::ALRM, Signal::CHLD];

const RUNSV: &str = "runsv";

const UNABLE_TO_START: &str = "unable to start runsv ";

/// What follows the path of a directory that was removed, in /proc.
const REMOVED: &[u8] = b" (deleted)";

/// Starts runsvs.
pub struct RunsvStarter {
    candidates: Vec<CString>,
    has_sessions: bool,
}

/// What became of one start.
pub struct StartOutcome {
    /// The service directory.
    pub id: FileId,
    /// How it went; or what to say, as there was no process to be had.
    pub attempt: Result<StartAttempt<Pid>, Error>,
}

impl RunsvStarter {
    /// Finds runsv. With `has_sessions`, each gets a session of its own (RSD-7).
    pub fn new(has_sessions: bool) -> Self {
        Self { candidates: beside_or_along_path(RUNSV), has_sessions }
    }

    /// Starts `runsv NAME` for each of these services in the working directory, which is the services
    /// directory, until there are no more processes to be had: those that were not tried have no
    /// outcome.
    pub fn start(
        &self,
        services: Vec<(FileId, OsString)>,
        occupants: &mut Occupants,
        poller: &Poller,
    ) -> Vec<StartOutcome> {
        let mut outcomes = Vec::with_capacity(services.len());
        for (id, name) in services {
            let attempt = match occupants.probe(id, &ServiceDir::at(&name), poller) {
                Some(occupied) => Ok(occupied),
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

    fn execute(&self, name: &OsStr) -> Result<StartAttempt<Pid>, Errno> {
        let program = Program::first_of(self.candidates.clone(), c_string(RUNSV))
            .arg(name)
            .default_signals(&CAUGHT)
            .inherited_mask();
        let program = if self.has_sessions { program.own_session() } else { program };
        program.spawn().map(StartAttempt::Started)
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

/// Whether the directory that this runsv works in was removed. Its number may be another
/// directory's by now.
pub fn works_in_removed_directory(runsv: Pid) -> bool {
    procfs::current_dir(runsv).is_some_and(|directory| {
        directory.as_os_str().as_bytes().ends_with(REMOVED) && fs_err::symlink_metadata(&directory).is_err()
    })
}
