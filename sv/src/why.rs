//! Effects: gathers what is known of a service, and explains it (`sv why`).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use servicedir::client::{Client, ClientError};
use servicedir::history::{self, HistoryEntry};
use servicedir::{HistoryEvent, ServiceDir, Status, Tai64n, Want, readiness};
use sys::{Pid, Signal, procfs};

use crate::details::{Details, run_checks};
use crate::diagnosis::{self, Observation};
use crate::service::{self, NamedService, identity, is_below_base};
use crate::snapshot::Snapshot;
use crate::{health, lint};

/// How many members of a process group are named.
const NAMED: usize = 5;

/// The lines that explain the state of a service; and whether its status could be read. The checks of what it
/// depends on run for so long at most.
pub fn explain(service: &NamedService, base: &Path, limit: Duration, now: Tai64n) -> (Vec<String>, bool) {
    let name = &*service.name.to_string_lossy();
    let found = service.client().map(|client| (client, client.status()));
    let (client, status) = match found {
        Err(refusal) | Ok((_, Err(refusal @ ClientError::Directory(_)))) => {
            let hints = nowhere(&service.name, base);
            return (lines(refused(name, &refusal), Vec::new(), &hints), false);
        }
        Ok(found) => found,
    };
    let dir = client.dir();
    let entries = history::read(dir).unwrap_or_default();
    let (first, hints) = match &status {
        Ok(status) => {
            let (control_script, group) = waited_for(entries.last());
            let has_down = nix::sys::stat::stat(&dir.down()).is_ok();
            let entries = entries.clone();
            let said = readiness::read(dir, status);
            let dependencies = if is_to_start(status) { not_up(dir, limit, now) } else { Vec::new() };
            let observation = Observation {
                status: *status,
                has_down,
                said,
                entries,
                control_script,
                group,
                dependencies,
                now,
            };
            (format!("{name}: {}", diagnosis::state(&observation)), hints(name, dir, &observation))
        }
        Err(refusal) => {
            let mut hints = without_runsv(refusal, service, dir, base);
            hints.extend(findings(dir, name));
            (refused(name, refusal), hints)
        }
    };
    (lines(first, diagnosis::events(&entries, now), &hints), status.is_ok())
}

fn lines(first: String, events: Vec<(String, String)>, hints: &[String]) -> Vec<String> {
    let events = events.into_iter().map(|(age, what)| format!("  {age:>11}  {what}"));
    let hints = hints.iter().map(|hint| format!("  hint: {hint}"));
    std::iter::once(first).chain(events).chain(hints).collect()
}

/// The programs that start control scripts.
const SUPERVISORS: [&str; 2] = ["runsv", "init"];

/// The line of `sv status`.
fn refused(name: &str, refusal: &ClientError) -> String {
    let severity = if matches!(refusal, ClientError::Trouble(_)) { "warning" } else { "fail" };
    format!("{severity}: {name}: {}", String::from_utf8_lossy(&refusal.to_bytes()))
}

/// Where a service that does not exist was looked for, and which other name may be meant.
fn nowhere(name: &OsStr, base: &Path) -> Vec<String> {
    if !is_below_base(name) {
        return Vec::new();
    }
    let name = name.to_string_lossy();
    let others = service::all(base).unwrap_or_default();
    let meant = others.iter().map(|other| other.to_string_lossy()).find(|it| lint::is_close(&name, it));
    let looked = format!("looked in {}, which SVDIR can change", base.display());
    std::iter::once(looked).chain(meant.map(|meant| format!("did you mean \"{meant}\"?"))).collect()
}

/// The control script and the processes that the last event says are waited for, if they are still
/// there.
fn waited_for(last: Option<&HistoryEntry>) -> (Option<(String, Pid)>, Vec<String>) {
    match last.and_then(|entry| entry.event.as_ref().ok()) {
        Some(&HistoryEvent::Asks(byte, pid)) => {
            let is_control_script = process(pid)
                .and_then(|it| procfs::stat(it.parent))
                .is_some_and(|it| SUPERVISORS.contains(&it.name.as_str()));
            (is_control_script.then(|| (format!("control/{}", char::from(byte)), pid)), Vec::new())
        }
        Some(&HistoryEvent::GroupLives(leader)) => {
            let is_member = |pid: &Pid| process(*pid).is_some_and(|it| it.group == leader);
            (None, procfs::all().into_iter().filter(is_member).take(NAMED).map(procfs::describe).collect())
        }
        _ => (None, Vec::new()),
    }
}

/// Whether a service has no process, and should have one.
fn is_to_start(status: &Status) -> bool {
    status.pid == 0 && status.want == Want::Up
}

/// The dependencies of a service that are not up, each with the reason.
fn not_up(dir: &ServiceDir, limit: Duration, now: Tai64n) -> Vec<String> {
    let places = lint::DependencyGraph::default().preconditions(dir.path());
    let names = places.into_iter().map(PathBuf::into_os_string).collect();
    let services = NamedService::find_all(names, Path::new(""));
    let mut services: Vec<_> =
        services.iter().map(|service| Details::of(service, Snapshot::of(service))).collect();
    run_checks(&mut services, limit);
    let line = |service: &Details| {
        let name = service.dir.path().file_name().unwrap_or_default().to_string_lossy();
        health::not_up(service, now).map(|why| format!("{name} ({why})"))
    };
    services.iter().filter_map(line).collect()
}

/// A process that is not a zombie.
fn process(pid: Pid) -> Option<procfs::Stat> {
    procfs::stat(pid).filter(|it| it.state != 'Z')
}

fn hints(name: &str, dir: &ServiceDir, observation: &Observation) -> Vec<String> {
    let mut hints = diagnosis::hints(&observation.entries);
    let unused_log = lint::unused_log(dir, name);
    if let Ok(pid) = i32::try_from(observation.status.pid)
        && pid > 0
    {
        hints.extend(obstacle(Pid::from_raw(pid), &observation.status));
    }
    if is_to_start(&observation.status) {
        if observation.entries.is_empty() && observation.dependencies.is_empty() {
            hints.push("there is no history: this runsv keeps none, or has had no event yet".to_owned());
        }
        hints.extend(findings(dir, name));
    } else {
        if observation.status.want == Want::Down && observation.status.pid == 0 {
            hints.push(format!("to start it: sv up {name}"));
        }
        hints.extend(unused_log.iter().map(ToString::to_string));
    }
    let log = Client::of(dir.log());
    let is_log_there = nix::sys::stat::stat(log.dir().path()).is_ok();
    if is_log_there && unused_log.is_none() && log.status().map_or(true, |status| status.pid == 0) {
        hints.push(format!("its log service does not run: sv why {name}/log"));
    }
    hints
}

/// The reason why the signals of runsv do not reach a process, or have no effect on it, as far as /proc shows
/// it.
fn obstacle(pid: Pid, status: &Status) -> Option<String> {
    let process = procfs::stat(pid)?;
    let runsv = process.parent;
    let supervisor = procfs::stat(runsv).filter(|it| it.name == "runsv")?;
    if supervisor.state == 'T' {
        return Some(format!("its runsv (pid {runsv}) is stopped, and does nothing: kill -CONT {runsv}"));
    }
    if let Some((user, other)) = procfs::barred_from_signalling(runsv, pid) {
        return Some(format!(
            "runsv is not permitted to signal it: runsv runs as user {user}, pid {pid} as user {other}; as that \
             user, or as root: kill {pid}"
        ));
    }
    match process.state {
        'T' if !status.is_paused => {
            Some(format!("pid {pid} is stopped, though not by runsv: it goes on after sv cont"))
        }
        'D' if status.got_term => Some(format!(
            "pid {pid} waits in the kernel for a device or a file system, where no signal ends it"
        )),
        _ if status.got_term && procfs::ignores(pid, Signal::TERM) => {
            Some(format!("pid {pid} ignores SIGTERM: down-signal may name another signal"))
        }
        _ => None,
    }
}

/// What `sv lint` finds.
fn findings(dir: &ServiceDir, name: &str) -> Vec<String> {
    // The advice holds in any working directory.
    let path = std::path::absolute(dir.path()).unwrap_or_else(|_| dir.path().to_owned());
    lint::check(&path, name, &mut lint::DependencyGraph::default())
        .into_iter()
        .map(|finding| finding.to_string())
        .collect()
}

/// What to do if runsv does not run, or its status cannot be read.
fn without_runsv(
    refusal: &ClientError,
    service: &NamedService,
    dir: &ServiceDir,
    base: &Path,
) -> Vec<String> {
    if let ClientError::Trouble(failure) = refusal {
        match failure.why() {
            Some(Errno::EACCES | Errno::EPERM) => {
                return vec!["sv needs write permission on supervise/ok: try as its owner".to_owned()];
            }
            Some(Errno::ENOENT) => {}
            _ => return Vec::new(),
        }
    }
    // A log service has the runsv of its service.
    if let Some(parent) = dir.path().parent().filter(|_| dir.path().ends_with("log"))
        && let name = service.name.to_string_lossy()
        && let Some(finding) =
            lint::unused_log(&ServiceDir::at(parent), name.strip_suffix("/log").unwrap_or(&name))
    {
        return vec![finding.to_string()];
    }
    let place = base.display();
    let mut hints = Vec::new();
    if !is_entry_of(base, dir.path()) {
        hints.push(format!(
            "it is not in {place}, which SVDIR can change, so no runsvdir scans it: sv enable {}",
            service.name.to_string_lossy()
        ));
        return hints;
    }
    hints.push(match scanner_of(base) {
        Some(pid) => format!(
            "runsvdir (pid {pid}) scans {place} and should have started a runsv: see its messages"
        ),
        None => format!(
            "no visible runsvdir scans {place}: start one with runsvdir {place}, or set SVDIR to another directory"
        ),
    });
    hints
}

/// Whether the services directory contains this directory, under any name.
fn is_entry_of(base: &Path, dir: &Path) -> bool {
    let wanted = identity(dir);
    // A log service belongs to its service.
    let parent = if dir.ends_with("log") { dir.parent().and_then(identity) } else { None };
    let entries = service::all(base).unwrap_or_default();
    entries
        .iter()
        .map(|name| identity(&base.join(name)))
        .any(|it| it.is_some() && (it == wanted || it == parent))
}

/// The runsvdir that scans a directory: it is its working directory, or one of its arguments leads there.
fn scanner_of(base: &Path) -> Option<Pid> {
    let base = identity(base)?;
    let is_scanner = |pid: &Pid| {
        let place = procfs::path(*pid, "cwd");
        let is_base = |path: &Path| identity(path) == Some(base);
        // Its root directory may be another one.
        let leads_to_base = |word: &Path| match word.strip_prefix("/") {
            Ok(rest) => is_base(&procfs::path(*pid, "root").join(rest)),
            Err(_) => is_base(&place.join(word)),
        };
        procfs::stat(*pid).is_some_and(|it| it.name == "runsvdir" && it.state != 'Z')
            && (is_base(&place)
                || procfs::arguments(*pid)
                    .iter()
                    .any(|word| leads_to_base(Path::new(OsStr::from_bytes(word)))))
    };
    procfs::all().into_iter().find(is_scanner)
}
