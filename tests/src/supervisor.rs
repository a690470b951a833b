//! What supervises one service: a runsv of its own, or the init that hosts it.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use fs_err as fs;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;

use crate::command::{Output, StartedProgram};
use crate::process::Process;
use crate::service::{Service, is_listened_to};
use crate::wait::eventually;

/// The supervisor of a service.
///
/// Under an init there is no process for it: it is there while `supervise/ok` has a reader. It leaves for good
/// when the service's entry is removed from init's directory; after `x` init takes the service up again a
/// second later.
#[derive(Debug)]
pub struct Supervisor {
    program: StartedProgram,
    hosted: Option<Hosted>,
}

#[derive(Debug)]
struct Hosted {
    /// The service directory.
    dir: PathBuf,
    /// The only entry of the services directory that init was given, which leads there.
    entry: PathBuf,
}

impl Supervisor {
    pub(crate) fn new(program: StartedProgram, service: &Service, entry: Option<PathBuf>) -> Self {
        let hosted = entry.map(|entry| Hosted { dir: service.dir().to_owned(), entry });
        Self { program, hosted }
    }

    /// The process that supervises: runsv, or init.
    pub fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// What the kernel says about that process.
    #[track_caller]
    pub fn process(&self) -> Process {
        self.program.process()
    }

    /// Sends a signal to runsv, which a hosted service has not.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        assert!(self.hosted.is_none(), "there is no runsv to send {signal} to");
        self.program.signal(signal);
    }

    /// Tells it to exit, without a control byte: by TERM, or by the removal of the service's entry.
    #[track_caller]
    pub fn told_to_exit(&self) {
        match &self.hosted {
            None => self.program.signal(Signal::SIGTERM),
            Some(hosted) => hosted.removed(),
        }
    }

    /// Whether it still supervises.
    pub fn is_alive(&self) -> bool {
        self.program.is_alive() && self.hosted.as_ref().is_none_or(|hosted| is_listened_to(&hosted.dir))
    }

    /// How it ended, if it has: a hosted one always as it should.
    pub fn ended(&self) -> Option<ExitStatus> {
        match &self.hosted {
            None => self.program.ended(),
            Some(hosted) => (!is_listened_to(&hosted.dir)).then(|| {
                hosted.gone_for_good();
                ExitStatus::from_raw(0)
            }),
        }
    }

    /// What it and its services printed on standard error, without what init says of itself.
    pub fn stderr(&self) -> String {
        let text = self.program.stderr();
        if self.hosted.is_none() {
            return text;
        }
        text.split_inclusive('\n').filter(|line| !line.starts_with("init: ")).collect()
    }

    /// Waits until this appears on its standard error.
    #[track_caller]
    pub fn eventually_says(&self, text: &str) {
        self.program.eventually_says(text);
    }

    /// Waits until it has left: for the end of runsv, or until nothing of the service is held any more. A
    /// hosted service is not taken up again, so that a scenario can look at what is left.
    #[track_caller]
    pub fn finished(&self) -> Output {
        let Some(hosted) = &self.hosted else {
            return self.program.finished();
        };
        eventually("the supervisor leaves", || {
            assert!(self.program.is_alive(), "init ended: {}", self.program.stderr());
            !is_listened_to(&hosted.dir)
        });
        hosted.gone_for_good();
        Output { stderr: self.stderr(), ..self.program.so_far(ExitStatus::from_raw(0)) }
    }
}

impl Hosted {
    fn removed(&self) {
        // It may have been removed before.
        let _ = fs::remove_file(&self.entry);
    }

    /// Prevents that the service is taken up again, and waits until the locks are free.
    #[track_caller]
    fn gone_for_good(&self) {
        self.removed();
        for lock in ["supervise/lock", "log/supervise/lock"] {
            eventually("the lock is released", || is_free(&self.dir.join(lock)));
        }
    }
}

/// Whether no process holds this lock.
fn is_free(lock: &Path) -> bool {
    let Ok(file) = fs::File::open(lock) else {
        return true;
    };
    Flock::lock(std::fs::File::from(file), FlockArg::LockExclusiveNonblock).is_ok()
}
