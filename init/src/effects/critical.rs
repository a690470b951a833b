//! Effects: finds the services with a file `critical`, and reads from their histories how they end.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use servicedir::history::{self, HistoryEntry, unrequested_ends};
use servicedir::{ServiceDir, State, Status, Tai64n};
use sys::{ExitStatus, FileId};

use super::adopted::status;

/// A service with a file `critical`.
pub struct CriticalService {
    service: ServiceDir,
    id: FileId,
    /// Earlier entries of the history do not count.
    since: Tai64n,
    /// The last entry that was checked.
    checked: Option<HistoryEntry>,
    /// The status when this began.
    first: Option<Status>,
    /// Whether the service was started since then.
    was_started: bool,
    has_history: bool,
    is_reported: bool,
}

/// What a check finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CriticalFinding {
    /// No unrequested end.
    Nothing,
    /// The service has ended, and no client had requested that; its exit status, if it is known.
    Ended(Option<ExitStatus>),
    /// The runsv keeps no history: it is not known how the service ends.
    NoHistory,
}

/// A service directory.
pub struct FoundService {
    /// Its name.
    pub name: OsString,
    /// Its directory.
    pub service: ServiceDir,
    /// The identity of the directory.
    pub id: FileId,
    /// Whether it is marked critical.
    pub is_critical: bool,
}

/// The services of a directory, without hidden names.
pub fn find(directory: &Path) -> io::Result<Vec<FoundService>> {
    let services = fs_err::read_dir(directory)?
        .filter_map(Result::ok)
        .map(|entry| (entry.file_name(), ServiceDir::at(entry.path())))
        .filter(|(name, _)| !name.as_bytes().starts_with(b"."))
        .filter_map(|(name, service)| {
            let about = fs_err::metadata(service.path()).ok()?;
            // Only the name counts, whatever kind of file it is.
            let is_critical = fs_err::symlink_metadata(service.file("critical")).is_ok();
            Some(FoundService { name, service, id: FileId::of(&about), is_critical })
        });
    Ok(services.collect())
}

impl CriticalService {
    /// The service in this directory. If `is_history_over`, the entries that its history has now do not
    /// count, whatever their times are: the clock may have been wrong when they were written.
    pub fn new(service: ServiceDir, id: FileId, since: Tai64n, is_history_over: bool) -> Self {
        let checked = history::read(&service).ok().filter(|_| is_history_over).and_then(|mut all| all.pop());
        let first = status(&service);
        Self {
            service,
            id,
            since,
            checked,
            first,
            was_started: false,
            has_history: false,
            is_reported: false,
        }
    }

    /// Whether this is the identity of its directory.
    pub fn has_id(&self, id: FileId) -> bool {
        self.id == id
    }

    /// Its directory.
    pub fn service(&self) -> &ServiceDir {
        &self.service
    }

    /// Reads the status. A service that crashes at once is in the state `run` only for a moment.
    pub fn read_status(&mut self) {
        let life = |status: Status| (status.pid, status.since);
        self.was_started |= status(&self.service)
            .is_some_and(|now| now.state == Some(State::Run) && Some(life(now)) != self.first.map(life));
    }

    /// Reads what is new in the history.
    pub fn check(&mut self) -> CriticalFinding {
        // In this order: our runsv writes the first line of the history before the status `run`.
        self.read_status();
        let entries = history::read(&self.service).unwrap_or_default();
        let known =
            self.checked.as_ref().and_then(|checked| entries.iter().rposition(|entry| entry == checked));
        let first_new = known.map_or_else(
            || entries.iter().position(|entry| entry.when >= self.since).unwrap_or(entries.len()),
            |last| last + 1,
        );
        self.has_history |= first_new < entries.len();
        let end = unrequested_ends(&entries).into_iter().find(|end| end.number >= first_new);
        self.checked = entries.into_iter().last().or(self.checked.take());
        if let Some(end) = end {
            return CriticalFinding::Ended(end.ending);
        }
        if self.is_reported || self.has_history || !self.was_started {
            return CriticalFinding::Nothing;
        }
        self.is_reported = true;
        CriticalFinding::NoHistory
    }
}
