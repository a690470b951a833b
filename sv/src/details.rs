//! Effects: all that `sv list` and JSON show of a service at one moment.

use std::ffi::{OsStr, OsString};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use serde::Serialize;
use servicedir::client::ClientError;
use servicedir::readiness::Announcement;
use servicedir::{ServiceDir, State, Status, Tai64n, Want};
use sys::errno_text::phrase;
use sys::error::words;
use sys::{Pid, Poller, Signal};

use crate::check::{self, Checks};
use crate::service::NamedService;
use crate::snapshot::Snapshot;
use crate::time::rfc3339;

/// How many checks run at a time.
const CHECKS_AT_ONCE: usize = 64;

/// A service at one moment.
pub struct Details {
    /// The name, as it was typed.
    pub name: OsString,
    /// Its status, or why it cannot be read.
    pub status: Result<Status, ClientError>,
    /// Whether there is a file `down`, or why that cannot be checked.
    pub has_down: Result<bool, Errno>,
    /// Whether its check succeeded: `None` without a check, or if it was not run.
    pub check: Option<bool>,
    /// What it has said of itself, if it can.
    pub said: Option<Announcement>,
    /// Its log service, if there is one.
    pub log: Option<Box<Details>>,
    /// Its directory.
    pub dir: ServiceDir,
}

impl Details {
    /// The details of a service and its log service.
    pub fn of(service: &NamedService, snapshot: Snapshot) -> Self {
        let dir = service.client().map_or_else(|_| ServiceDir::at(""), |client| client.dir().clone());
        Self::new(service.name.clone(), dir, snapshot)
    }

    fn new(name: OsString, dir: ServiceDir, snapshot: Snapshot) -> Self {
        let log_name = || words([&name, OsStr::new("/log")]);
        let log = snapshot.log.map(|log| Box::new(Self::new(log_name(), dir.log(), *log)));
        let Snapshot { status, has_down, said, .. } = snapshot;
        Self { name, status, has_down, check: None, said, log, dir }
    }

    /// Whether it is ready: as its check says; without one that was run, as it has said itself; else unknown.
    pub fn is_ready(&self) -> Option<bool> {
        self.check.or_else(|| self.said.as_ref().map(Announcement::is_ready))
    }

    /// How many of the two have no readable status.
    pub fn failures(&self) -> usize {
        usize::from(self.status.is_err()) + self.log.as_ref().map_or(0, |log| log.failures())
    }

    /// The error, in runit's words.
    pub fn error(&self) -> Option<String> {
        match (&self.status, self.has_down) {
            (Err(refusal), _) => Some(String::from_utf8_lossy(&refusal.to_bytes()).into_owned()),
            (Ok(_), Err(why)) => Some(format!("unable to stat down: {}", phrase(why))),
            (Ok(_), Ok(_)) => None,
        }
    }

    /// The documented object: see `sv.8`.
    pub fn to_json(&self, now: Tai64n) -> ServiceJson {
        let status = self.status.as_ref().ok();
        let state = status.and_then(|status| status.state).map(|state| match state {
            State::Down => "down",
            State::Run => "run",
            State::Finish => "finish",
        });
        let want = status.and_then(|status| match status.want {
            Want::Up => Some("up"),
            Want::Down | Want::Exit => Some("down"),
            Want::Unknown => None,
        });
        let exists = !matches!(self.status, Err(ClientError::Directory(_)));
        ServiceJson {
            name: self.name.to_string_lossy().into_owned(),
            state,
            pid: status.map(|status| status.pid).filter(|pid| *pid != 0),
            since: status.and_then(|status| rfc3339(status.since)),
            uptime: status.map(|status| status.since.age_at(now)),
            want,
            paused: status.map(|status| status.is_paused),
            normally_up: self.has_down.ok().filter(|_| exists).map(|has_down| !has_down),
            got_term: status.map(|status| status.got_term),
            ready: self.is_ready(),
            log: self.log.as_ref().map(|log| Box::new(log.to_json(now))),
            error: self.error(),
            status_text: self.said.as_ref().map(|said| said.text.clone()).filter(|text| !text.is_empty()),
        }
    }

    /// Whether `./run` runs.
    pub fn runs(&self) -> bool {
        self.status.as_ref().is_ok_and(|status| status.pid != 0 && status.state == Some(State::Run))
    }
}

/// The JSON object of a service, with its members in the order in which they are printed.
#[derive(Serialize)]
pub struct ServiceJson {
    name: String,
    state: Option<&'static str>,
    pid: Option<u32>,
    since: Option<String>,
    uptime: Option<u64>,
    want: Option<&'static str>,
    paused: Option<bool>,
    normally_up: Option<bool>,
    got_term: Option<bool>,
    ready: Option<bool>,
    log: Option<Box<ServiceJson>>,
    error: Option<String>,
    status_text: Option<String>,
}

/// Runs the checks of all services and their logs, for so long at most. A service that does not run is not ready,
/// nor is one with a check that does not end in time.
pub fn run_checks(services: &mut [Details], limit: Duration) {
    let mut pending = Vec::new();
    let mut unseen: Vec<&mut Details> = services.iter_mut().collect();
    while let Some(details) = unseen.pop() {
        let runs = details.runs();
        let Details { dir, check: is_ready, log, status, .. } = details;
        if status.is_ok() && nix::sys::stat::stat(&dir.check()).is_ok() {
            *is_ready = Some(false);
            if runs {
                pending.push((&*dir, is_ready));
            }
        }
        unseen.extend(log.as_deref_mut());
    }
    // Without a poller the checks cannot be awaited.
    let Ok(poller) = Poller::new(&[Signal::CHLD]) else { return };
    run_all(pending, &Checks::new(), poller, Instant::now().checked_add(limit));
}

/// A service with a check to run, and the place for the result.
type PendingCheck<'a> = (&'a ServiceDir, &'a mut Option<bool>);

fn run_all(mut waiting: Vec<PendingCheck>, checks: &Checks, mut poller: Poller, deadline: Option<Instant>) {
    let mut running: Vec<(Pid, &mut Option<bool>)> = Vec::new();
    loop {
        while running.len() < CHECKS_AT_ONCE
            && let Some((dir, result)) = waiting.pop()
        {
            running.extend(checks.start(dir).ok().map(|check| (check, result)));
        }
        if running.is_empty() {
            return;
        }
        poller.wait(deadline);
        for outcome in check::reap() {
            if let Some(at) = running.iter().position(|(check, _)| *check == outcome.check) {
                *running.swap_remove(at).1 = Some(outcome.has_succeeded);
            }
        }
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return running.iter().for_each(|(check, _)| check::kill(*check));
        }
    }
}
