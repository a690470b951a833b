//! Effects: the children of init and of runsvdir, and what each of them is.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use servicedir::client::Client;
use servicedir::{ServiceDir, Status};
use sys::{Pid, has_children, procfs};

use crate::state::{AdoptedChild, ChildKind};

/// The limit for inspecting processes that are no runsv: there may be thousands.
const TIME_LIMIT: Duration = Duration::from_millis(20);

/// Lists the children of init and of runsvdir, or `None` where /proc does not tell. Zombies are left out.
pub fn children(directory: &Path, runsvdir: Option<Pid>) -> Option<Vec<AdoptedChild>> {
    // The children of runsvdir first: if it dies meanwhile they become children of init a moment later.
    let mut children: BTreeSet<Pid> = runsvdir.into_iter().flat_map(procfs::children).collect();
    children.extend(own_children()?);
    let mut known: Vec<AdoptedChild> = Vec::with_capacity(children.len());
    let mut others = Vec::new();
    for pid in children {
        let arguments = procfs::arguments(pid);
        if let Some(name) = supervised(&arguments) {
            let needs = needs_of(directory, &name);
            known.push(AdoptedChild { pid, kind: ChildKind::Supervisor { name, needs } });
        } else if is_runsvdir(&arguments, directory) {
            known.push(AdoptedChild { pid, kind: ChildKind::Starting });
        } else if !arguments.is_empty() {
            others.push(pid);
        }
    }
    if !others.is_empty() {
        let supervisors: BTreeSet<Pid> = known.iter().map(|child| child.pid).collect();
        let end = Instant::now() + TIME_LIMIT;
        known.extend(others.into_iter().map(|pid| {
            let is_time_left = Instant::now() < end;
            AdoptedChild {
                pid,
                kind: if is_time_left {
                    adopted_kind(pid, &supervisors, directory)
                } else {
                    ChildKind::Leftover
                },
            }
        }));
    }
    Some(known)
}

/// The children of init, from the kernel's list or, where there is none, from all of /proc.
fn own_children() -> Option<Vec<Pid>> {
    let listed = procfs::own_children();
    if !listed.is_empty() || !has_children() {
        return Some(listed);
    }
    let own = nix::unistd::getpid();
    let found: Vec<Pid> = procfs::all()
        .into_iter()
        .filter(|pid| procfs::stat(*pid).is_some_and(|stat| stat.parent == own))
        .collect();
    (!found.is_empty()).then_some(found)
}

/// The service's name, if these are the arguments of a runsv; it may be a multi-call program's.
pub fn supervised(arguments: &[Vec<u8>]) -> Option<String> {
    let ([program, name] | [_, program, name]) = arguments else { return None };
    (base_name(program) == b"runsv").then(|| String::from_utf8_lossy(name).into_owned())
}

/// Whether these are the arguments of runsvdir: a child of it that still has them has not executed runsv
/// yet.
fn is_runsvdir(arguments: &[Vec<u8>], directory: &Path) -> bool {
    matches!(arguments, [program, option, argument]
        if program == b"runsvdir" && option == b"-P" && argument == directory.as_os_str().as_bytes())
}

fn base_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// The names in `dependencies.d`.
fn needs_of(directory: &Path, name: &str) -> Vec<String> {
    // Almost no service has any: one system call has to be enough for these.
    let Ok(entries) = fs_err::read_dir(directory.join(name).join("dependencies.d")) else {
        return Vec::new();
    };
    let mut needs: Vec<String> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.'))
        .collect();
    needs.sort_unstable();
    needs
}

/// What an adopted process is that is no runsv: a service without its supervisor, or a process that a
/// service has left behind.
fn adopted_kind(pid: Pid, supervisors: &BTreeSet<Pid>, directory: &Path) -> ChildKind {
    // Each runsv leads a session that its service is in. A service with a session of its own is found by the
    // status file.
    let is_lost =
        procfs::stat(pid).is_some_and(|stat| stat.session != pid && !supervisors.contains(&stat.session));
    if is_lost
        && let Some(place) = procfs::current_dir(pid)
        && place.join("supervise/status").exists()
        && place.join("run").exists()
    {
        let parent = place.parent().unwrap_or(&place);
        return if place.file_name() == Some(OsStr::new("log")) && parent.join("run").exists() {
            ChildKind::OrphanedLogger { name: name_of(parent) }
        } else {
            ChildKind::Orphan { name: name_of(&place) }
        };
    }
    recorded(pid, directory).map_or(ChildKind::Leftover, |name| ChildKind::Orphan { name })
}

fn name_of(directory: &Path) -> String {
    directory.file_name().unwrap_or(directory.as_os_str()).to_string_lossy().into_owned()
}

/// The service with this process in its status file.
fn recorded(pid: Pid, directory: &Path) -> Option<String> {
    let pid = u32::try_from(pid.as_raw()).ok()?;
    fs_err::read_dir(directory)
        .ok()?
        .filter_map(Result::ok)
        .find(|entry| status(&ServiceDir::at(entry.path())).is_some_and(|status| status.pid == pid))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
}

/// The last status of a service, whether or not its runsv lives.
pub fn status(service: &ServiceDir) -> Option<Status> {
    Client::of(service.clone()).last_status().ok()
}
