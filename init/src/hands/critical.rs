//! Hands: the services that must not end: which they are, and what is known of their ends.
//!
//! A history, which our runsv keeps, knows it all. The original's runsv writes only a status: it tells
//! that the service has ended, but not how.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::SystemTime;

use servicedir::history::{self, HistoryEntry};
use servicedir::{ServiceDir, Status, Tai64n};
use sys::{FileId, Pid, procfs};

use super::census::{status, supervised};
use super::past::deeds;
use crate::machine::judgement::{ENDS_WITHIN, is_asked, is_life_between};
use crate::machine::{Deed, UnaskedEnd, unasked_end};

/// A service with a file `critical`.
pub struct Critical {
    service: ServiceDir,
    place: FileId,
    /// What ended before is no news.
    since: Tai64n,
    /// The last line of its history that was looked at.
    judged: Option<HistoryEntry>,
    before: Option<Run>,
    /// The time of its control FIFO when that was first seen.
    untold: Option<SystemTime>,
}

/// What a status says, and who stands for it.
struct Run {
    status: Status,
    runsv: Option<Pid>,
    /// Whether somebody has asked it to end, as far as a status tells.
    is_asked: bool,
}

/// A service that was found.
pub struct Found {
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
pub fn find(directory: &Path) -> io::Result<Vec<Found>> {
    let services = fs_err::read_dir(directory)?
        .filter_map(Result::ok)
        .map(|entry| (entry.file_name(), ServiceDir::at(entry.path())))
        .filter(|(name, _)| !name.as_bytes().starts_with(b"."))
        .filter_map(|(name, service)| {
            let about = fs_err::metadata(service.path()).ok()?;
            // Whatever it is, only its name counts.
            let is_critical = fs_err::symlink_metadata(service.file("critical")).is_ok();
            Some(Found { name, service, place: FileId::of(&about), is_critical })
        });
    Ok(services.collect())
}

impl Critical {
    /// The service at this place, as it is now. What its history tells of a time before it was critical, or
    /// before this boot, may be over, whatever the clock says that has written it.
    pub fn new(service: ServiceDir, place: FileId, since: Tai64n, is_history_over: bool) -> Self {
        let judged = history::read(&service).ok().filter(|_| is_history_over).and_then(|mut all| all.pop());
        let mut critical = Self { service, place, since, judged, before: None, untold: None };
        critical.note();
        critical
    }

    /// Whether it is this one.
    pub fn is_at(&self, place: FileId) -> bool {
        self.place == place
    }

    /// Where it is.
    pub fn service(&self) -> &ServiceDir {
        &self.service
    }

    /// Takes in what its status says now; that it was asked to end is to be seen only for a moment.
    pub fn note(&mut self) {
        self.untold = self.untold.or_else(|| self.written());
        let Some(before) = &mut self.before else {
            self.before = self.look();
            return;
        };
        if let Some(status) = status(&self.service)
            && status.pid == before.status.pid
        {
            before.is_asked |= is_asked(status);
        }
    }

    /// If it has ended since the last time, and nobody asked it to: how, if that is known.
    pub fn judge(&mut self) -> Option<UnaskedEnd> {
        let entries = history::read(&self.service).unwrap_or_default();
        let known = self.judged.as_ref().and_then(|judged| entries.iter().rposition(|entry| entry == judged));
        let first_new = known.map_or_else(
            || entries.iter().position(|entry| entry.when >= self.since).unwrap_or(entries.len()),
            |last| last + 1,
        );
        self.untold = self.untold.or_else(|| self.written());
        let now = self.look();
        let before = std::mem::replace(&mut self.before, now);
        let deeds = deeds(&entries);
        let is_told = deeds.iter().skip(first_new).any(|(_, deed)| matches!(deed, Deed::Ended(_)));
        let verdict = unasked_end(&deeds, first_new);
        self.judged = entries.into_iter().last().or(self.judged.take());
        if is_told { verdict } else { self.judge_by_status(&before?).then_some(UnaskedEnd { ending: None }) }
    }

    /// Whether what ran before has ended, by itself, under a runsv that has seen it end: who loses its
    /// runsv has not ended by that.
    fn judge_by_status(&self, before: &Run) -> bool {
        let has_ended = self.before.as_ref().is_some_and(|now| is_life_between(before.status, now.status));
        let has_witness = match before.runsv {
            Some(runsv) => self.is_runsv(runsv),
            None => !procfs::is_ours() && before.status.since >= self.since,
        };
        has_ended && has_witness && !before.is_asked && !self.is_told()
    }

    /// Whether somebody has told its runsv something lately: a status does not say what it was.
    fn is_told(&self) -> bool {
        let told = self.written().filter(|written| Some(*written) != self.untold);
        // What lies in the future has just been.
        told.is_some_and(|told| told.elapsed().map_or(true, |ago| ago <= ENDS_WITHIN))
    }

    /// When its control FIFO was written to, or made. Not every kernel lets inotify tell of it.
    fn written(&self) -> Option<SystemTime> {
        fs_err::metadata(self.service.control()).and_then(|about| about.modified()).ok()
    }

    fn look(&self) -> Option<Run> {
        let status = status(&self.service)?;
        let run = i32::try_from(status.pid).ok().filter(|pid| *pid > 0).map(Pid::from_raw);
        let runsv = match run {
            Some(run) => procfs::stat(run).map(|stat| stat.parent).filter(|parent| self.is_runsv(*parent)),
            // It is a child of runsvdir, then, which is one of init.
            None => {
                procfs::own_children().into_iter().flat_map(procfs::children).find(|pid| self.is_runsv(*pid))
            }
        };
        Some(Run { status, runsv, is_asked: is_asked(status) })
    }

    /// Whether a process is the runsv of this service.
    fn is_runsv(&self, pid: Pid) -> bool {
        let place = || FileId::at(procfs::path(pid, "cwd"));
        supervised(&procfs::arguments(pid)).is_some() && place().is_ok_and(|place| self.is_at(place))
    }
}
