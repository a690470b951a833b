//! Hands: what the disk says of services at one moment; of many, read on several processors.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use nix::errno::Errno;
use nix::sched::CloneFlags;
use servicedir::client::{Client, ClientError};
use servicedir::{ServiceDir, Status};

use crate::service::NamedService;

/// What is known of a service, without its name.
pub struct Snapshot {
    /// What runsv says of it, or why that cannot be known.
    pub status: Result<Status, ClientError>,
    /// Whether there is a file `down`, if that can be told.
    pub has_down: Result<bool, Errno>,
    /// Its log service, if there is one and the service itself can be asked.
    pub log: Option<Box<Snapshot>>,
}

/// How many services one processor looks at before it takes the next ones.
const SHARE: usize = 16;

/// How many services are worth a further thread, which costs as much as looking at a few dozen.
const CROWD: usize = 256;

/// More threads than this only stand in each other's way in the kernel.
const MOST_THREADS: usize = 4;

impl Snapshot {
    /// Looks at a service and its log service.
    pub fn of(service: &NamedService) -> Self {
        match service.client() {
            Ok(client) => {
                let mut snapshot = Self::of_one(client);
                if snapshot.status.is_ok() {
                    snapshot.log = log_of(client.dir()).map(|log| Box::new(Self::of_one(&log)));
                }
                snapshot
            }
            Err(refusal) => Self { status: Err(refusal), has_down: Err(Errno::ENOENT), log: None },
        }
    }

    /// Looks at each of them; the answers come in their order.
    pub fn of_all(services: &[NamedService]) -> Vec<Self> {
        let threads = threads_for(services.len(), processors);
        if threads == 1 {
            return services.iter().map(Self::of).collect();
        }
        let shares: Vec<&[NamedService]> = services.chunks(SHARE).collect();
        // Whoever is free takes the next share: a thread whose processor is late just gets less.
        let next = AtomicUsize::new(0);
        let look = || {
            let take = || {
                let number = next.fetch_add(1, Ordering::Relaxed);
                shares.get(number).map(|share| (number, share.iter().map(Self::of).collect::<Vec<_>>()))
            };
            std::iter::from_fn(take).collect::<Vec<_>>()
        };
        let mut looks = thread::scope(|scope| {
            let helper = || {
                // A table of descriptors that is shared would be locked at each opening and closing.
                let _ = nix::sched::unshare(CloneFlags::CLONE_FILES);
                look()
            };
            let start = |_| thread::Builder::new().spawn_scoped(scope, helper).ok();
            let helpers: Vec<_> = (1..threads).filter_map(start).collect();
            // A helper that waits here for its first turn gets it, and this thread another processor,
            // sooner than one that is idle is woken for the helper.
            thread::yield_now();
            let mut looks = look();
            looks.extend(helpers.into_iter().filter_map(|helper| helper.join().ok()).flatten());
            looks
        });
        looks.sort_unstable_by_key(|(number, _)| *number);
        looks.into_iter().flat_map(|(_, snapshots)| snapshots).collect()
    }

    fn of_one(client: &Client) -> Self {
        Self { status: client.status(), has_down: has_down(client.dir()), log: None }
    }
}

/// Whether there is a file `down`.
pub fn has_down(dir: &ServiceDir) -> Result<bool, Errno> {
    match nix::sys::stat::stat(&dir.down()) {
        Ok(_) => Ok(true),
        Err(Errno::ENOENT) => Ok(false),
        Err(why) => Err(why),
    }
}

/// Whoever can be asked about the log service. One that cannot be looked at is there, too.
fn log_of(dir: &ServiceDir) -> Option<Client> {
    let log = dir.log();
    (nix::sys::stat::stat(log.path()) != Err(Errno::ENOENT)).then(|| Client::of(log))
}

/// By how many threads so many services are looked at.
fn threads_for(services: usize, processors: impl FnOnce() -> usize) -> usize {
    let wanted = (services / CROWD).clamp(1, MOST_THREADS);
    if wanted == 1 { 1 } else { wanted.min(processors()) }
}

/// How many processors there are for this process.
fn processors() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_few_services_need_no_help() {
        let never = || unreachable!("asked for processors");
        assert_eq!((threads_for(0, never), threads_for(1, never), threads_for(CROWD, never)), (1, 1, 1));
        assert_eq!(threads_for(CROWD * 2, || 1), 1);
        assert_eq!(threads_for(CROWD * 2, || 64), 2);
        assert_eq!(threads_for(CROWD * 64, || 2), 2);
        assert_eq!(threads_for(CROWD * 64, || 64), MOST_THREADS);
    }

    #[test]
    fn many_services_are_answered_for_in_their_order() {
        let base = tempfile::tempdir().expect("a directory");
        let names = (0..=CROWD * 2).map(|number| base.path().join(number.to_string()));
        let names: Vec<_> = names.map(std::path::PathBuf::into_os_string).collect();
        let has_down = |number: usize| number.is_multiple_of(3);
        for (number, name) in names.iter().enumerate() {
            fs_err::create_dir_all(name).expect("a directory");
            if has_down(number) {
                fs_err::write(Path::new(name).join("down"), "").expect("a file");
            }
        }
        let services = NamedService::find_all(names, base.path());
        for snapshots in [Snapshot::of_all(&services), services.iter().map(Snapshot::of).collect()] {
            assert_eq!(snapshots.len(), services.len());
            for (number, snapshot) in snapshots.iter().enumerate() {
                assert_eq!(snapshot.has_down, Ok(has_down(number)), "{number}");
            }
        }
    }
}
