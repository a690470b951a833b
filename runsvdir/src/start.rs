//! Hands: to start a runsv, unless somebody else's has the service.

use std::collections::HashMap;
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use fs_err::os::unix::fs::OpenOptionsExt;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::resource::{Resource, getrlimit};
use runsv::fork_server::ForkServer;
use servicedir::{FORK_SERVER, ServiceDir};
use unix::failure::words;
use unix::fork::Copier;
use unix::phrase::errno_of;
use unix::spawn::{Program, beside_or_along_path, c_string};
use unix::{Errno, Failure, Pid, Poller, Signal, proc};

use crate::roster::{Attempt, Identity};
use crate::same_build::SameBuild;

/// All that runsvdir catches; runsv inherits none of it (RSD-19), but what is blocked stays so.
pub const CAUGHT: [Signal; 4] = [Signal::HUP, Signal::TERM, Signal::ALRM, Signal::CHLD];

const RUNSV: &str = "runsv";

const UNABLE_TO_START: &str = "unable to start runsv ";

/// Starts runsvs.
pub struct Starter {
    candidates: Vec<CString>,
    /// Whether the kernel would show a copy as what it is.
    can_fork: bool,
    same_build: SameBuild,
    /// While there is more to start.
    server: Option<ForkServer>,
    has_sessions: bool,
    occupants: HashMap<Identity, Occupant>,
    next_token: usize,
}

/// What became of one start.
pub struct Outcome {
    /// Whose.
    pub identity: Identity,
    /// How it went; or what to say, as there was no process to be had.
    pub attempt: Result<Attempt, Failure>,
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
            can_fork: Copier::new().is_some(),
            same_build: SameBuild::default(),
            server: None,
            has_sessions,
            occupants: HashMap::new(),
            next_token: first_token,
        }
    }

    /// Starts `runsv NAME` for each of these services in the working directory, which is the services
    /// directory, until there are no more processes to be had: nothing is said of those that were not
    /// tried any more. `knows`: whether a child of this process is accounted for.
    pub fn start(
        &mut self,
        services: Vec<(Identity, OsString)>,
        poller: &Poller,
        knows: impl Fn(Pid) -> bool,
    ) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(services.len());
        let mut free = Vec::with_capacity(services.len());
        for (identity, name) in services {
            self.forget(identity, poller);
            match occupied(&ServiceDir::at(&name)) {
                Some(ok) => {
                    let is_watched = self.watch(identity, ok, poller);
                    outcomes.push(Outcome { identity, attempt: Ok(Attempt::Occupied { is_watched }) });
                }
                None => free.push((identity, name)),
            }
        }
        let mut forked = self.fork(&free, knows).into_iter();
        let mut has_failed = false;
        for (identity, name) in free {
            let attempt = match forked.next() {
                Some(forked) => forked,
                None if has_failed => break,
                None => self.execute(&name),
            };
            // Of those that were tried together one failure is enough to say.
            if attempt.is_ok() || !has_failed {
                has_failed |= attempt.is_err();
                outcomes.push(Outcome { identity, attempt: attempt.map_err(|why| no_process(&name, why)) });
            }
        }
        outcomes
    }

    /// There is nothing more to start for now.
    pub fn rest(&mut self) {
        self.server = None;
    }

    /// Starts all of these, if that can be done at the price of one.
    fn fork(
        &mut self,
        services: &[(Identity, OsString)],
        knows: impl Fn(Pid) -> bool,
    ) -> Vec<Result<Attempt, Errno>> {
        if self.server.is_none() && self.can_fork && services.len() > 1 {
            self.server = self
                .same_build
                .is_first_of(&self.candidates)
                .then(|| ForkServer::start(&self.candidates, self.has_sessions, &CAUGHT))
                .flatten();
        }
        let Some(server) = self.server.as_ref().filter(|_| !services.is_empty()) else { return Vec::new() };
        let names = services.iter().map(|(_, name)| name.as_os_str());
        match server.fork(names.clone()) {
            Some(answer) if !is_refused(&answer) => {
                answer.into_iter().map(|forked| forked.map(Attempt::Started)).collect()
            }
            refused => {
                // It may not make copies here, or somebody has ended it, or stopped it. That is not risked
                // again.
                (self.server, self.can_fork) = (None, false);
                if refused.is_some() {
                    Vec::new()
                } else {
                    what_was_started(names, knows).into_iter().map(Ok).collect()
                }
            }
        }
    }

    fn execute(&mut self, name: &OsStr) -> Result<Attempt, Errno> {
        let program = Program::first_of(self.candidates.clone(), c_string(RUNSV))
            .arg(name)
            .default_signals(&CAUGHT)
            .inherited_mask();
        let program = if self.has_sessions { program.own_session() } else { program };
        program.spawn().map(Attempt::Started)
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

/// Whether no copy was made for another reason than that there is no room for a process: a kernel, or a
/// filter, that does not let it.
fn is_refused(answer: &[Result<Pid, Errno>]) -> bool {
    answer.iter().all(|forked| matches!(forked, Err(why) if !matches!(why, Errno::EAGAIN | Errno::ENOMEM)))
}

/// What a fork server that has not answered may have started.
fn what_was_started<'a>(names: impl Iterator<Item = &'a OsStr>, knows: impl Fn(Pid) -> bool) -> Vec<Attempt> {
    let lost: Vec<(Pid, Vec<Vec<u8>>)> = proc::own_children()
        .into_iter()
        .filter(|child| !knows(*child))
        .map(|child| (child, proc::arguments(child)))
        .collect();
    for (child, _) in lost.iter().filter(|(_, words)| proc::is_called(words, FORK_SERVER)) {
        // Nobody can tell whose runsv it would become.
        let _ = Signal::TERM.send(*child);
    }
    names
        .map(|name| {
            let is_its = |words: &[Vec<u8>]| {
                proc::is_called(words, RUNSV) && words.get(1).is_some_and(|word| word == name.as_bytes())
            };
            // One that is not there may come, nevertheless: a look in a second will tell.
            lost.iter()
                .find(|(_, words)| is_its(words))
                .map_or(Attempt::Occupied { is_watched: false }, |(child, _)| Attempt::Started(*child))
        })
        .collect()
}

fn no_process(name: &OsStr, why: Errno) -> Failure {
    Failure::new(words([OsStr::new("unable to fork for "), name]), why)
}

/// What to say of a child that could not become runsv (RSD-2).
pub fn could_not_start(name: &OsStr, why: Errno) -> Failure {
    Failure::new(words([OsStr::new(UNABLE_TO_START), name]), why)
}

/// What to say of a service that is not started, for a reason that the kernel has no word for.
pub fn may_not_start(name: &OsStr, why: &OsStr) -> Failure {
    Failure::plain(words([OsStr::new(UNABLE_TO_START), name, OsStr::new(": "), why]))
}

/// The writing end of `supervise/ok`, if a runsv reads it and holds the lock.
fn occupied(service: &ServiceDir) -> Option<std::fs::File> {
    let open = |options: &mut fs_err::OpenOptions, path: PathBuf| {
        let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        options.custom_flags(flags.bits()).open(path).map(fs_err::File::into_file)
    };
    let ok = open(fs_err::OpenOptions::new().write(true), service.ok()).ok()?;
    match open(fs_err::OpenOptions::new().read(true), service.lock()) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_without_room_is_asked_again_but_not_one_that_may_not() {
        let (copy, no_room, not_allowed) = (Ok(Pid::from_raw(7)), Err(Errno::EAGAIN), Err(Errno::EINVAL));
        assert!(is_refused(&[not_allowed, Err(Errno::EPERM)]));
        for answer in [[copy, not_allowed], [no_room, not_allowed], [no_room, no_room], [copy, no_room]] {
            assert!(!is_refused(&answer), "{answer:?}");
        }
    }
}
