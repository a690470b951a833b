//! Hands: the running of `./check`, for several services at a time (SV-44).

use std::os::fd::AsFd;

use fs_err::{File, OpenOptions};
use nix::errno::Errno;
use servicedir::ServiceDir;
use unix::spawn::{Child, StartFailure};
use unix::{Pid, Program, Signal, proc, reap_next};

/// Starts checks, and collects their verdicts.
pub struct Checks {
    /// Of checks that were not collected yet.
    failures: Vec<StartFailure>,
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
    pub fn new() -> Self {
        let null = OpenOptions::new().write(true).open("/dev/null").ok();
        Self { failures: Vec::new(), null }
    }

    /// Starts the check of a service: in its directory, with sv's input and error output.
    pub fn start(&mut self, dir: &ServiceDir) -> Result<Pid, Errno> {
        let stderr = std::io::stderr();
        let stdout = self.null.as_ref().map_or_else(|| stderr.as_fd(), AsFd::as_fd);
        let Child { pid, failure } = Program::new("check")
            .current_dir(dir.path())
            .stdout(stdout)
            .default_signals(&[Signal::CHLD])
            .spawn()?;
        self.failures.extend(failure);
        Ok(pid)
    }

    /// The checks that have ended.
    pub fn collect(&mut self) -> Vec<Outcome> {
        std::iter::from_fn(reap_next)
            .map(|(check, ending)| {
                let place = self.failures.iter().position(|failure| failure.child == check);
                let failure = place.map(|place| self.failures.swap_remove(place).why);
                Outcome { check, agrees: ending.is_success(), failure }
            })
            .collect()
    }
}

/// Ends a check, and what it has started.
pub fn kill(check: Pid) {
    let mut rest = vec![check];
    while let Some(pid) = rest.pop() {
        rest.extend(proc::children(pid));
        // A process that is gone already needs no signal.
        let _ = Signal::KILL.send(pid);
    }
}
