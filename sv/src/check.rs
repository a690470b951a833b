//! Hands: the running of `./check`, for several services at a time (SV-44).

use std::os::fd::AsFd;

use fs_err::{File, OpenOptions};
use nix::errno::Errno;
use servicedir::ServiceDir;
use unix::spawn::{FailurePipe, StartFailure};
use unix::{Ending, Pid, Program, Signal, proc, reap_next};

/// Starts checks, and collects their verdicts.
pub struct Checks {
    failures: FailurePipe,
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
    /// Nothing runs yet.
    pub fn new() -> Result<Self, Errno> {
        let null = OpenOptions::new().write(true).open("/dev/null").ok();
        Ok(Self { failures: FailurePipe::new()?, null })
    }

    /// Starts the check of a service: in its directory, with sv's input and error output.
    pub fn start(&self, dir: &ServiceDir) -> Result<Pid, Errno> {
        let stderr = std::io::stderr();
        let stdout = self.null.as_ref().map_or_else(|| stderr.as_fd(), AsFd::as_fd);
        Program::new("check")
            .current_dir(dir.path())
            .stdout(stdout)
            .default_signals(&[Signal::CHLD])
            .failures(&self.failures)
            .spawn()
    }

    /// The checks that have ended.
    pub fn collect(&self) -> Vec<Outcome> {
        let ended: Vec<(Pid, Ending)> = std::iter::from_fn(reap_next).collect();
        let failures = if ended.is_empty() { Vec::new() } else { self.failures.drain() };
        let why = |check: Pid| {
            let of_check = |failure: &&StartFailure| failure.child == check;
            failures.iter().find(of_check).map(|failure| failure.why)
        };
        ended
            .iter()
            .map(|(check, ending)| Outcome {
                check: *check,
                agrees: ending.is_success(),
                failure: why(*check),
            })
            .collect()
    }
}

/// Ends a check, and what it has started.
pub fn kill(check: Pid) {
    let children = proc::children(check);
    // Whoever is gone already needs no signal.
    let _ = Signal::KILL.send(check);
    for child in children {
        kill(child);
    }
}
