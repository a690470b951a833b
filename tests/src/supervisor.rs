//! What supervises one service: a runsv of its own, or the init that hosts it.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fs::File, mem, thread};

use fs_err as fs;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;

use crate::command::{Output, StartedProgram};
use crate::process::{self, Process};
use crate::service::{Service, is_listened_to};
use crate::wait::{eventually, eventually_some};

/// The supervisor of a service.
///
/// Under an init there is no process for it: it is there while it has the lock of the service. It leaves when
/// the service's entry is removed from init's directory, and on `x`.
#[derive(Debug)]
pub struct Supervisor {
    program: StartedProgram,
    hosted: Option<Hosted>,
}

/// After `x`, init takes a service up again a second later. So that a scenario can look at what was left,
/// however late it does, a thread queues for the lock, and gets it as soon as the supervisor has let it go.
#[derive(Debug)]
struct Hosted {
    /// The service directory.
    dir: PathBuf,
    /// The only entry of the services directory that init was given, which leads there.
    entry: PathBuf,
    turn: Arc<Mutex<Turn>>,
}

#[derive(Debug)]
enum Turn {
    Queued,
    Has(Flock<File>),
    Over,
}

impl Supervisor {
    /// Of a service that is supervised; the entry is that of an init.
    #[track_caller]
    pub(crate) fn new(program: StartedProgram, service: &Service, entry: Option<PathBuf>) -> Self {
        let hosted = entry.map(|entry| Hosted::queued(service.dir(), entry));
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
        self.program.is_alive() && !self.hosted.as_ref().is_some_and(Hosted::has_left)
    }

    /// How it ended, if it has: a hosted one always as it should.
    pub fn ended(&self) -> Option<ExitStatus> {
        let Some(hosted) = &self.hosted else {
            return self.program.ended();
        };
        hosted.has_left().then(|| {
            hosted.ends(&self.program);
            ExitStatus::from_raw(0)
        })
    }

    /// What it and its services printed on standard error, without what init says of itself.
    pub fn stderr(&self) -> String {
        self.program.stderr()
    }

    /// Waits until this appears on its standard error.
    #[track_caller]
    pub fn eventually_says(&self, text: &str) {
        self.program.eventually_says(text);
    }

    /// Waits until it has left: for the end of runsv, or until nothing of the service is held any more. An
    /// init has nothing else to do then, and is ended.
    #[track_caller]
    pub fn finished(&self) -> Output {
        if self.hosted.is_none() {
            return self.program.finished();
        }
        self.program.so_far(eventually_some("the supervisor leaves", || self.ended()))
    }
}

impl Hosted {
    #[track_caller]
    fn queued(dir: &Path, entry: PathBuf) -> Self {
        let lock = fs::File::open(dir.join("supervise/lock")).expect("the lock of a service");
        let turn = Arc::new(Mutex::new(Turn::Queued));
        let next = Arc::clone(&turn);
        thread::spawn(move || {
            let lock = Flock::lock(lock.into(), FlockArg::LockExclusive).expect("a lock that is waited for");
            *next.lock().unwrap_or_else(PoisonError::into_inner) = Turn::Has(lock);
        });
        Self { dir: dir.to_owned(), entry, turn }
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A lock that was got because `supervise` was made anew says nothing.
    fn has_left(&self) -> bool {
        match *self.turn() {
            Turn::Queued => false,
            Turn::Has(_) => !is_listened_to(&self.dir),
            Turn::Over => true,
        }
    }

    fn removed(&self) {
        // It may have been removed before.
        let _ = fs::remove_file(&self.entry);
    }

    /// When the supervisor has left: all that it held is free, and init cannot take the service up again.
    #[track_caller]
    fn ends(&self, init: &StartedProgram) {
        if let Turn::Has(lock) = mem::replace(&mut *self.turn(), Turn::Over) {
            eventually("the log's lock is released", || is_free(&self.dir.join("log/supervise/lock")));
            self.removed();
            process::send(init.pid(), Signal::SIGKILL);
            assert_eq!(init.finished().ended.signal(), Some(9), "init ended: {}", init.stderr());
            lock.unlock().expect("a lock that is held");
        }
    }
}

/// Whether no process holds this lock.
fn is_free(lock: &Path) -> bool {
    let Ok(file) = fs::File::open(lock) else {
        return true;
    };
    Flock::lock(File::from(file), FlockArg::LockExclusiveNonblock).is_ok()
}
