//! Hands: the running of `./check`, for several services at a time (SV-44).

use std::os::fd::AsFd;

use fs_err::{File, OpenOptions};
use nix::errno::Errno;
use servicedir::ServiceDir;
use sys::process::spawn::failure_of;
use sys::{Pid, Program, Signal, procfs, reap_next};

/// Starts checks.
pub struct Checks {
    null: Option<File>,
}

/// What a check came to.
pub struct Outcome {
    /// Which.
    pub check: Pid,
    /// Whether it exited with 0. A death by signal is no yes (DEV-4).
    pub agrees: bool,
    /// Why it could not be executed.
    pub failure: Option<Errno>,
}

impl Checks {
    /// Opens what their output goes to.
    pub fn new() -> Self {
        let null = OpenOptions::new().write(true).open("/dev/null").ok();
        Self { null }
    }

    /// Starts the check of a service: in its directory, with sv's input and error output.
    pub fn start(&self, dir: &ServiceDir) -> Result<Pid, Errno> {
        let stderr = std::io::stderr();
        let stdout = self.null.as_ref().map_or_else(|| stderr.as_fd(), AsFd::as_fd);
        Program::new("check").current_dir(dir.path()).stdout(stdout).default_signals(&[Signal::CHLD]).spawn()
    }
}

/// The checks that have ended.
pub fn collect() -> Vec<Outcome> {
    std::iter::from_fn(reap_next)
        .map(|(check, ending)| {
            let failure = failure_of(check).map(|failure| failure.why);
            Outcome { check, agrees: ending.is_success(), failure }
        })
        .collect()
}

/// Ends a check, and what it has started.
pub fn kill(check: Pid) {
    let mut rest = vec![check];
    while let Some(pid) = rest.pop() {
        rest.extend(procfs::children(pid));
        // A process that is gone already needs no signal.
        let _ = Signal::KILL.send(pid);
    }
}
