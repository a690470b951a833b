//! Hands: to start a runsv, unless somebody else's has the service.

use std::collections::HashMap;
use std::ffi::{CString, OsStr, OsString};
use std::mem::forget;
use std::path::Path;
use std::process::ExitCode;

use fs_err::os::unix::fs::OpenOptionsExt;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::resource::{Resource, getrlimit};
use unix::failure::words;
use unix::fork::{Copier, Side};
use unix::phrase::errno_of;
use unix::signal::{self, SignalSet};
use unix::spawn::{Child, Program, StartFailure, beside_or_along_path, c_string};
use unix::{Errno, Failure, Poller, Signal};

use crate::built_in::BuiltIn;
use crate::roster::{Attempt, Identity};

/// All that runsvdir catches; runsv inherits none of it (RSD-19), but what is blocked stays so.
pub const CAUGHT: [Signal; 4] = [Signal::HUP, Signal::TERM, Signal::ALRM, Signal::CHLD];

const RUNSV: &str = "runsv";

/// Starts runsvs.
pub struct Starter {
    candidates: Vec<CString>,
    copier: Option<Copier>,
    built_in: BuiltIn,
    has_sessions: bool,
    /// Of children that were not reaped yet.
    failures: Vec<StartFailure>,
    occupants: HashMap<Identity, Occupant>,
    next_token: usize,
}

/// Where starts have led to.
pub enum Started {
    /// This process has made the attempts.
    Here(Vec<Outcome>),
    /// This process is one of those that were started.
    There(Offspring),
}

/// What became of one start.
pub struct Outcome {
    /// Whose.
    pub identity: Identity,
    /// How it went; or what to say, as there was no process to be had.
    pub attempt: Result<Attempt, Failure>,
}

/// This process is a copy of runsvdir, about to go on as `runsv NAME`.
pub struct Offspring {
    name: OsString,
    mask: SignalSet,
}

impl Offspring {
    /// Is runsv, as if it had been executed, with what is left of runsvdir.
    pub fn go_on(self, poller: Poller) -> ExitCode {
        for signal in CAUGHT.iter().filter(|signal| !runsv::CAUGHT.contains(signal)) {
            signal::set_default(*signal);
        }
        // What both catch stays blocked until it is heard.
        self.mask.with(&runsv::CAUGHT).set_as_mask();
        runsv::go_on(&self.name, poller.in_copy(&runsv::CAUGHT))
    }
}

/// A runsv that is not ours, known by the end it keeps open of the FIFO that tells it is there.
struct Occupant {
    token: usize,
    ok: std::fs::File,
}

impl Starter {
    /// Finds runsv. With `has_sessions`, each gets a session of its own (RSD-7). Tokens from
    /// `first_token` on are used for the poller.
    pub fn new(has_sessions: bool, first_token: usize) -> Self {
        Self {
            candidates: beside_or_along_path(RUNSV),
            copier: Copier::new(),
            built_in: BuiltIn::default(),
            has_sessions,
            failures: Vec::new(),
            occupants: HashMap::new(),
            next_token: first_token,
        }
    }

    /// Starts `runsv NAME` for each of these services in the working directory, which is the services
    /// directory, until there are no more processes to be had.
    ///
    /// Where that is the program whose code is part of this one, this process is copied; else it is
    /// executed.
    pub fn start(&mut self, services: Vec<(Identity, OsString)>, poller: &Poller) -> Started {
        let mut outcomes = Vec::with_capacity(services.len());
        let mut free = Vec::with_capacity(services.len());
        for (identity, name) in services {
            self.forget(identity, poller);
            match occupied(Path::new(&name)) {
                Some(ok) => {
                    let is_watched = self.watch(identity, ok, poller);
                    outcomes.push(Outcome { identity, attempt: Ok(Attempt::Occupied { is_watched }) });
                }
                None => free.push((identity, name)),
            }
        }
        if self.built_in.is_first_of(&self.candidates)
            && let Some(copier) = &self.copier
        {
            return copy(copier, self.has_sessions, free, outcomes);
        }
        for (identity, name) in free {
            let attempt = self.execute(&name).map_err(|why| no_process(&name, why));
            let is_last = attempt.is_err();
            outcomes.push(Outcome { identity, attempt });
            if is_last {
                break;
            }
        }
        Started::Here(outcomes)
    }

    fn execute(&mut self, name: &OsStr) -> Result<Attempt, Errno> {
        let program = Program::first_of(self.candidates.clone(), c_string(RUNSV))
            .arg(name)
            .default_signals(&CAUGHT)
            .inherited_mask();
        let program = if self.has_sessions { program.own_session() } else { program };
        let Child { pid, failure } = program.spawn()?;
        self.failures.extend(failure);
        Ok(Attempt::Started(pid))
    }

    /// Closes what it holds open, and nothing else.
    pub fn close(self) {
        let Self { candidates, copier, built_in, has_sessions: _, failures, occupants, next_token: _ } = self;
        drop(occupants);
        forget((candidates, copier, built_in, failures));
    }

    /// The services whose occupants, among these tokens, have gone.
    pub fn vacated(&self, ready: &[usize]) -> Vec<Identity> {
        self.occupants
            .iter()
            .filter(|(_, occupant)| ready.contains(&occupant.token))
            .map(|(identity, _)| *identity)
            .collect()
    }

    /// Looks no longer after who else has this service.
    pub fn forget(&mut self, identity: Identity, poller: &Poller) {
        if let Some(occupant) = self.occupants.remove(&identity) {
            // The descriptor is closed in a moment anyway.
            let _ = poller.forget(&occupant.ok);
        }
    }

    /// The children that could not become runsv, and why. To be asked after reaping.
    pub fn take_failures(&mut self) -> Vec<StartFailure> {
        std::mem::take(&mut self.failures)
    }

    fn watch(&mut self, identity: Identity, ok: std::fs::File, poller: &Poller) -> bool {
        if self.occupants.len() >= most_occupants() {
            return false;
        }
        let token = self.next_token;
        self.next_token += 1;
        let is_watched = poller.watch(&ok, token).is_ok();
        if is_watched {
            self.occupants.insert(identity, Occupant { token, ok });
        }
        is_watched
    }
}

/// Copies this process for each of these services.
fn copy(
    copier: &Copier,
    has_sessions: bool,
    services: Vec<(Identity, OsString)>,
    mut outcomes: Vec<Outcome>,
) -> Started {
    match copier.copy(services.len(), has_sessions) {
        Side::Original(pids, failure) => {
            let attempts = pids.into_iter().map(|pid| Ok(Attempt::Started(pid))).chain(failure.map(Err));
            outcomes.extend(services.into_iter().zip(attempts).map(|((identity, name), attempt)| Outcome {
                identity,
                attempt: attempt.map_err(|why| no_process(&name, why)),
            }));
            Started::Here(outcomes)
        }
        Side::Copy { number, mask } => {
            let name = services.get(number).map(|(_, name)| name.clone()).unwrap_or_default();
            // To give memory back would mean to write to what is shared with the original.
            forget((services, outcomes));
            // The kernel has been asked before whether it can do this.
            let _ = copier.disguise(&[OsStr::new(RUNSV), &name]);
            Started::There(Offspring { name, mask })
        }
    }
}

fn no_process(name: &OsStr, why: Errno) -> Failure {
    Failure::new(words([OsStr::new("unable to fork for "), name]), why)
}

/// What to say of a child that could not become runsv (RSD-2).
pub fn could_not_start(name: &OsStr, why: Errno) -> Failure {
    Failure::new(words([OsStr::new("unable to start runsv "), name]), why)
}

/// The writing end of `supervise/ok`, if a runsv reads it and holds the lock.
fn occupied(service: &Path) -> Option<std::fs::File> {
    let open = |options: &mut fs_err::OpenOptions, file: &str| {
        let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        options.custom_flags(flags.bits()).open(service.join(file)).map(fs_err::File::into_file)
    };
    let ok = open(fs_err::OpenOptions::new().write(true), "supervise/ok").ok()?;
    match open(fs_err::OpenOptions::new().read(true), "supervise/lock") {
        Ok(lock) => match Flock::lock(lock, FlockArg::LockSharedNonblock) {
            Err((_, Errno::EWOULDBLOCK)) => Some(ok),
            Ok(_) | Err(_) => None,
        },
        // Whoever cannot read the lock cannot tell that it is free.
        Err(error) => (errno_of(&error) != Errno::ENOENT).then_some(ok),
    }
}

fn most_occupants() -> usize {
    // Half of what there is, so that everything else can go on.
    getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| usize::try_from(soft / 2).unwrap_or(usize::MAX))
}
