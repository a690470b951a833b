//! Effects: reads the published state of services.

use nix::errno::Errno;
use servicedir::client::{Client, ClientError};
use servicedir::readiness::Announcement;
use servicedir::{ServiceDir, Status};

use crate::service::NamedService;

/// What can be read of a service at one moment.
pub struct Snapshot {
    /// Its status, or why it cannot be read.
    pub status: Result<Status, ClientError>,
    /// Whether there is a file `down`, or why that cannot be checked.
    pub has_down: Result<bool, Errno>,
    /// What it has said of itself, if it can.
    pub said: Option<Announcement>,
    /// Its log service, if there is one and the status of the service can be read.
    pub log: Option<Box<Snapshot>>,
}

impl Snapshot {
    /// Whether it has said that it is ready; `None` if it cannot.
    pub fn is_ready(&self) -> Option<bool> {
        self.said.as_ref().map(Announcement::is_ready)
    }

    /// Reads a service and its log service.
    pub fn of(service: &NamedService) -> Self {
        match service.client() {
            Ok(client) => {
                let mut snapshot = Self::of_one(client);
                if snapshot.status.is_ok() {
                    snapshot.log = log_of(client.dir()).map(|log| Box::new(Self::of_one(&log)));
                }
                snapshot
            }
            Err(refusal) => {
                Self { status: Err(refusal), has_down: Err(Errno::ENOENT), said: None, log: None }
            }
        }
    }

    fn of_one(client: &Client) -> Self {
        let (status, said) = match client.status_and_announcement() {
            Ok((status, said)) => (Ok(status), said),
            Err(refusal) => (Err(refusal), None),
        };
        Self { status, has_down: has_down(client.dir()), said, log: None }
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

/// The client of the log service, if there is one. One that cannot be checked counts as existing.
fn log_of(dir: &ServiceDir) -> Option<Client> {
    let log = dir.log();
    (nix::sys::stat::stat(log.path()) != Err(Errno::ENOENT)).then(|| Client::of(log))
}
