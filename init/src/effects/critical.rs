//! InitEffects: the services that must not end: which they are, and what their history tells of their ends.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use servicedir::history::{self, HistoryEntry};
use servicedir::{ServiceDir, State, Status, Tai64n};
use sys::FileId;

use super::adopted::status;
use super::history::past_events;
use crate::state::{UnrequestedEnd, unrequested_end};

/// A service with a file `critical`.
pub struct CriticalService {
    service: ServiceDir,
    place: FileId,
    /// What ended before is no news.
    since: Tai64n,
    /// The last line of its history that was looked at.
    judged: Option<HistoryEntry>,
    /// The record that was there at first.
    first: Option<Status>,
    /// Whether its runsv has started it since then.
    was_started: bool,
    has_history: bool,
    is_reported: bool,
}

/// What is known of a critical service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CriticalFinding {
    /// Nothing that matters.
    Nothing,
    /// It has ended, and no client had asked for that.
    Ended(UnrequestedEnd),
    /// Its runsv keeps no history: its end will not be known.
    NoHistory,
}

/// A service that was found.
pub struct FoundService {
    /// Its name.
    pub name: OsString,
    /// Its directory.
    pub service: ServiceDir,
    /// Which directory that is.
    pub place: FileId,
    /// Whether it is marked critical.
    pub is_critical: bool,
}

/// The services of a directory.
pub fn find(directory: &Path) -> io::Result<Vec<FoundService>> {
    let services = fs_err::read_dir(directory)?
        .filter_map(Result::ok)
        .map(|entry| (entry.file_name(), ServiceDir::at(entry.path())))
        .filter(|(name, _)| !name.as_bytes().starts_with(b"."))
        .filter_map(|(name, service)| {
            let about = fs_err::metadata(service.path()).ok()?;
            // Whatever it is, only its name counts.
            let is_critical = fs_err::symlink_metadata(service.file("critical")).is_ok();
            Some(FoundService { name, service, place: FileId::of(&about), is_critical })
        });
    Ok(services.collect())
}

impl CriticalService {
    /// The service at this place, as it is now. What its history tells of a time before it was critical, or
    /// before this boot, may be over, whatever the clock says that has written it.
    pub fn new(service: ServiceDir, place: FileId, since: Tai64n, is_history_over: bool) -> Self {
        let judged = history::read(&service).ok().filter(|_| is_history_over).and_then(|mut all| all.pop());
        let first = status(&service);
        Self {
            service,
            place,
            since,
            judged,
            first,
            was_started: false,
            has_history: false,
            is_reported: false,
        }
    }

    /// Whether it is this one.
    pub fn is_at(&self, place: FileId) -> bool {
        self.place == place
    }

    /// Where it is.
    pub fn service(&self) -> &ServiceDir {
        &self.service
    }

    /// Reads its record, which may show a short life for a moment only.
    pub fn note(&mut self) {
        let life = |status: Status| (status.pid, status.since);
        self.was_started |= status(&self.service)
            .is_some_and(|now| now.state == Some(State::Run) && Some(life(now)) != self.first.map(life));
    }

    /// What its history tells that was not known the last time.
    pub fn check(&mut self) -> CriticalFinding {
        // In this stop_order: our runsv writes the history before it writes that it has started the service.
        self.note();
        let entries = history::read(&self.service).unwrap_or_default();
        let known = self.judged.as_ref().and_then(|judged| entries.iter().rposition(|entry| entry == judged));
        let first_new = known.map_or_else(
            || entries.iter().position(|entry| entry.when >= self.since).unwrap_or(entries.len()),
            |last| last + 1,
        );
        self.has_history |= first_new < entries.len();
        let end = unrequested_end(&past_events(&entries), first_new);
        self.judged = entries.into_iter().last().or(self.judged.take());
        if let Some(end) = end {
            return CriticalFinding::Ended(end);
        }
        if self.is_reported || self.has_history || !self.was_started {
            return CriticalFinding::Nothing;
        }
        self.is_reported = true;
        CriticalFinding::NoHistory
    }
}
