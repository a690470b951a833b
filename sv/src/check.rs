//! Effects: runs `./check`, for several services at a time (SV-44).

use std::os::fd::AsFd;

use nix::errno::Errno;
use servicedir::ServiceDir;
use std::fs::File;
use sys::process::spawn::failure_of;
use sys::{Pid, Program, Signal, procfs, reap_next};

/// Starts checks.
pub struct Checks {
    null: Option<File>,
}

/// The end of a check.
pub struct CheckOutcome {
    /// Its process.
    pub check: Pid,
    /// Whether it exited with 0. Death by a signal is a failure (DEV-4).
    pub has_succeeded: bool,
    /// Why it could not be executed.
    pub failure: Option<Errno>,
}

impl Checks {
    /// Opens /dev/null for the output of the checks.
    pub fn new() -> Self {
        Self { null: sys::open_null().ok() }
    }

    /// Starts the check of a service in its directory, with sv's standard input and standard error.
    pub fn start(&self, dir: &ServiceDir) -> Result<Pid, Errno> {
        let stderr = std::io::stderr();
        let stdout = self.null.as_ref().map_or_else(|| stderr.as_fd(), AsFd::as_fd);
        Program::new("check").current_dir(dir.path()).stdout(stdout).default_signals(&[Signal::CHLD]).spawn()
    }
}

/// Reaps the checks that have ended.
pub fn reap() -> Vec<CheckOutcome> {
    std::iter::from_fn(reap_next)
        .map(|(check, ending)| {
            let failure = failure_of(check).map(|failure| failure.why);
            CheckOutcome { check, has_succeeded: ending.is_success(), failure }
        })
        .collect()
}

/// Kills a check and its descendants.
pub fn kill(check: Pid) {
    let mut rest = vec![check];
    while let Some(pid) = rest.pop() {
        rest.extend(procfs::children(pid));
        // A process that has ended needs no signal.
        let _ = Signal::KILL.send(pid);
    }
}
