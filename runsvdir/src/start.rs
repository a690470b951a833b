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
use unix::spawn::{FailurePipe, Program, beside_or_along_path, c_string};
use unix::{Errno, Failure, Pid, Poller, Signal};

use crate::built_in::BuiltIn;
use crate::roster::{Attempt, Identity};

/// All that runsvdir catches; runsv inherits none of it (RSD-19).
pub const CAUGHT: [Signal; 4] = [Signal::HUP, Signal::TERM, Signal::ALRM, Signal::CHLD];

const RUNSV: &str = "runsv";

/// Starts runsvs.
pub struct Starter {
    candidates: Vec<CString>,
    copier: Option<Copier>,
    built_in: BuiltIn,
    has_sessions: bool,
    failures: FailurePipe,
    occupants: HashMap<Identity, Occupant>,
    next_token: usize,
}

/// Where a start has led to.
pub enum Start {
    /// This process has made the attempt.
    Here(Attempt),
    /// This process is what was started.
    There(Offspring),
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
        self.mask.without(&CAUGHT).with(&runsv::CAUGHT).set_as_mask();
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
    pub fn new(has_sessions: bool, first_token: usize) -> Result<Self, Failure> {
        let failures = FailurePipe::new().map_err(Failure::of("unable to create pipe"))?;
        let candidates = beside_or_along_path(RUNSV);
        Ok(Self {
            candidates,
            copier: Copier::new(),
            built_in: BuiltIn::default(),
            has_sessions,
            failures,
            occupants: HashMap::new(),
            next_token: first_token,
        })
    }

    /// Starts `runsv NAME` in the working directory, which is the services directory.
    ///
    /// Where that is the program whose code is part of this one, this process is copied; else it is
    /// executed.
    pub fn attempt(&mut self, identity: Identity, name: &OsStr, poller: &Poller) -> Result<Start, Failure> {
        self.forget(identity, poller);
        if let Some(ok) = occupied(Path::new(name)) {
            return Ok(Start::Here(Attempt::Occupied { is_watched: self.watch(identity, ok, poller) }));
        }
        let text = || words([OsStr::new("unable to fork for "), name]);
        if self.built_in.is_first_of(&self.candidates)
            && let Some(copier) = &self.copier
        {
            return match copier.copy(self.has_sessions) {
                Ok(Side::Original(pid)) => Ok(Start::Here(Attempt::Started(pid))),
                Ok(Side::Copy(mask)) => {
                    // The kernel has been asked before whether it can do this.
                    let _ = copier.disguise(&[OsStr::new(RUNSV), name]);
                    Ok(Start::There(Offspring { name: name.to_owned(), mask }))
                }
                Err(why) => Err(Failure::new(text(), why)),
            };
        }
        let program = Program::first_of(self.candidates.clone(), c_string(RUNSV))
            .arg(name)
            .default_signals(&CAUGHT)
            .failures(&self.failures);
        let program = if self.has_sessions { program.own_session() } else { program };
        program.spawn().map(Attempt::Started).map(Start::Here).map_err(|why| Failure::new(text(), why))
    }

    /// Closes what it holds open, and nothing else.
    pub fn close(self) {
        let Self { candidates, copier, built_in, has_sessions: _, failures, occupants, next_token: _ } = self;
        drop((failures, occupants));
        forget((candidates, copier, built_in));
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
    pub fn failures(&self) -> Vec<(Pid, Errno)> {
        self.failures.drain().into_iter().map(|failure| (failure.child, failure.why)).collect()
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
