//! Effects: starts and ends runsvs.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;

use scan::effects::scanner::SupervisorHost;
use sys::error::words;
use sys::process::spawn::{Program, beside_or_along_path, c_string};
use sys::{Error, Pid, Signal, procfs};

/// All that runsvdir catches; runsv inherits none of it (RSD-19), but what is blocked stays so.
pub const CAUGHT: [Signal; 4] = [Signal::HUP, Signal::TERM, Signal::ALRM, Signal::CHLD];

const RUNSV: &str = "runsv";

/// What follows the path of a directory that was removed, in /proc.
const REMOVED: &[u8] = b" (deleted)";

/// Starts a runsv for each service.
pub struct RunsvStarter {
    candidates: Vec<CString>,
    has_sessions: bool,
}

impl RunsvStarter {
    /// Finds runsv. With `has_sessions`, each gets a session of its own (RSD-7).
    pub fn new(has_sessions: bool) -> Self {
        Self { candidates: beside_or_along_path(RUNSV), has_sessions }
    }
}

impl SupervisorHost for RunsvStarter {
    type Handle = Pid;

    fn start(&mut self, name: &OsStr) -> Result<Pid, Error> {
        let program = Program::first_of(self.candidates.clone(), c_string(RUNSV))
            .arg(name)
            .default_signals(&CAUGHT)
            .inherited_mask();
        let program = if self.has_sessions { program.own_session() } else { program };
        program.spawn().map_err(|why| Error::new(words([OsStr::new("unable to fork for "), name]), why))
    }

    fn terminate(&mut self, runsv: Pid) {
        // It may have died a moment ago.
        let _ = Signal::TERM.send(runsv);
    }

    fn works_in_removed_directory(&self, runsv: Pid) -> bool {
        procfs::current_dir(runsv).is_some_and(|directory| {
            directory.as_os_str().as_bytes().ends_with(REMOVED)
                && fs_err::symlink_metadata(&directory).is_err()
        })
    }

    fn describe(&self, runsv: Pid) -> String {
        format!("runsv (pid {runsv})")
    }
}
