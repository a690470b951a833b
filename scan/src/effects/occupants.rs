//! Effects: finds the supervisors that are not ours and hold services of ours, and watches for their end.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};

use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::Mode;
use servicedir::ServiceDir;
use sys::{Errno, FileId, OpenError, Poller, open_fifo, open_regular};

use crate::state::services::{Services, StartAttempt};

/// The supervisors that are not the host's own, or that it has for another service.
pub struct Occupants {
    watched: HashMap<FileId, Occupant>,
    next_token: usize,
    /// Services for which it was reported that they share a supervise directory, with the service that has it.
    sharing: HashMap<FileId, OsString>,
}

/// One of them: it keeps the reading end of `supervise/ok` open.
struct Occupant {
    token: usize,
    ok: std::fs::File,
}

/// A service that is occupied by a supervisor of ours.
#[derive(Debug, PartialEq, Eq)]
pub struct SharedSupervise {
    /// The name of the service.
    pub name: OsString,
    /// The name of the service that the supervisor was started for.
    pub owner: OsString,
}

impl Occupants {
    /// None are known. Tokens from `first_token` on are used for the poller.
    pub fn new(first_token: usize) -> Self {
        Self { watched: HashMap::new(), next_token: first_token, sharing: HashMap::new() }
    }

    /// Whether another supervisor holds this service: [`StartAttempt::Occupied`] if so. Watches then for its
    /// end.
    pub fn probe<S>(&mut self, id: FileId, service: &ServiceDir, poller: &Poller) -> Option<StartAttempt<S>> {
        self.forget(id, poller);
        let Some(ok) = occupied(service) else {
            self.sharing.remove(&id);
            return None;
        };
        Some(StartAttempt::Occupied { is_watched: self.watch(id, ok, poller) })
    }

    /// The services that another supervisor has left; one of these tokens is ready for each.
    pub fn vacated(&self, ready: &[usize]) -> Vec<FileId> {
        self.watched
            .iter()
            .filter(|(_, occupant)| ready.contains(&occupant.token))
            .map(|(id, _)| *id)
            .collect()
    }

    /// Watches no longer for the end of another supervisor of this service.
    pub fn forget(&mut self, id: FileId, poller: &Poller) {
        if let Some(occupant) = self.watched.remove(&id) {
            // The descriptor is closed in a moment anyway.
            let _ = poller.forget(&occupant.ok);
        }
    }

    /// Which of these services, all of them occupied, have a supervisor that is ours and was started for
    /// another service. Each is returned once: otherwise nothing would show why this service never runs. The
    /// services directory is the working directory.
    pub fn newly_shared<S>(&mut self, services: &Services<S>, occupied: &[FileId]) -> Vec<SharedSupervise>
    where
        S: Copy + Eq + std::hash::Hash,
    {
        if occupied.is_empty() {
            return Vec::new();
        }
        self.sharing.retain(|id, _| services.name_of(*id).is_some());
        let owners: HashMap<FileId, &OsStr> =
            services.names_of_running().filter_map(|name| Some((supervise_of(name)?, name))).collect();
        let mut shared = Vec::new();
        for id in occupied {
            let Some(name) = services.name_of(*id) else { continue };
            let Some(owner) = supervise_of(name).and_then(|supervise| owners.get(&supervise)) else {
                continue;
            };
            if self.sharing.get(id).is_none_or(|known| known != owner) {
                self.sharing.insert(*id, OsString::from(owner));
                shared.push(SharedSupervise { name: name.to_owned(), owner: OsString::from(owner) });
            }
        }
        shared
    }

    /// Whether the supervisor of this service, which is occupied, is one of ours.
    pub fn is_shared(&self, id: FileId) -> bool {
        self.sharing.contains_key(&id)
    }

    fn watch(&mut self, id: FileId, ok: std::fs::File, poller: &Poller) -> bool {
        if self.watched.len() >= most_occupants() {
            return false;
        }
        let token = self.next_token;
        self.next_token += 1;
        let is_watched = poller.watch(&ok, token).is_ok();
        if is_watched {
            self.watched.insert(id, Occupant { token, ok });
        }
        is_watched
    }
}

/// The writing end of `supervise/ok`, if a supervisor reads it and holds the lock.
fn occupied(service: &ServiceDir) -> Option<std::fs::File> {
    let ok = open_fifo(&service.ok(), OFlag::O_WRONLY).ok()?;
    match open_regular(&service.lock(), OFlag::O_RDONLY, Mode::empty()) {
        Ok(lock) => match Flock::lock(lock, FlockArg::LockSharedNonblock) {
            Err((_, Errno::EWOULDBLOCK)) => Some(ok),
            Ok(_) | Err(_) => None,
        },
        // A lock that cannot be read may be held.
        Err(why) => (why != OpenError::Why(Errno::ENOENT)).then_some(ok),
    }
}

/// Which directory holds the state of the service under `name` in the working directory.
fn supervise_of(name: &OsStr) -> Option<FileId> {
    FileId::at(ServiceDir::at(name).supervise()).ok()
}

fn most_occupants() -> usize {
    // Half of what there is, so that everything else can go on.
    getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| usize::try_from(soft / 2).unwrap_or(usize::MAX))
}
