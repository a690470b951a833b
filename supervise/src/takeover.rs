//! Effects: finds what a supervisor that was killed has left of a service (RSV-65).

use servicedir::client::Client;
use servicedir::{ServiceDir, State, session};
use sys::{Error, Logger, Now, Pid, Remains, Session};

use crate::effects::is_there;
use crate::state::{ServicePair, ServiceRole};

/// A supervisor that was killed leaves its service running. With `process-group` that is ended before it
/// is started again, if it is certain what it is; else a second copy is started as runit does, but not
/// silently.
pub fn take_over(
    state: &mut ServicePair,
    role: ServiceRole,
    dir: &ServiceDir,
    logger: &mut Logger,
) -> Option<(ServiceRole, Session)> {
    let earlier = earlier_session(dir).or_else(|| earlier_run(dir))?;
    let session = earlier.session.filter(|_| is_there(dir.file("process-group")));
    let run = if role == ServiceRole::Log { "log/./run" } else { "./run" };
    let what_becomes = if session.is_some() { ", and is ended first" } else { ", unsupervised" };
    let EarlierRun { pid, still, .. } = earlier;
    logger.warn(&Error::plain(format!("an earlier {run} {still} (pid {pid}){what_becomes}")));
    let session = session?;
    state.take_over(role, session.leader(), Now::read());
    Some((role, session))
}

/// What was found of an earlier `./run`.
struct EarlierRun {
    /// Its first process.
    pid: Pid,
    /// How certain it is that it lives, in words.
    still: &'static str,
    /// Its session, if that may be signalled.
    session: Option<Session>,
}

/// The session of the last `./run` with `process-group`, if a process of it lives. Only a session that
/// this user, or root, has recorded is signalled, and never the session of this process.
fn earlier_session(dir: &ServiceDir) -> Option<EarlierRun> {
    let session::Recorded { session, is_trusted } = session::read(dir)?;
    match session.remains() {
        Remains::Nothing => None,
        Remains::Unclear(pid) => Some(EarlierRun { pid, still: "may still run", session: None }),
        Remains::Living(members) => {
            let leader = session.leader();
            let pid = if members.contains(&leader) { leader } else { *members.first()? };
            let is_other = nix::unistd::getsid(None) != Ok(leader);
            let session = Some(session).filter(|_| is_trusted && is_other);
            Some(EarlierRun { pid, still: "still runs", session })
        }
    }
}

/// The `./run` of the last status, if it still lives: a process of that number in this directory. The
/// user that controls the service may have written any number there.
fn earlier_run(dir: &ServiceDir) -> Option<EarlierRun> {
    let status = Client::of(dir.clone()).last_status().ok()?;
    let pid = Pid::from_raw(i32::try_from(status.pid).ok().filter(|pid| *pid > 0)?);
    let is_it = status.state == Some(State::Run)
        && pid != nix::unistd::getpid()
        && sys::procfs::stat(pid).is_some_and(|stat| stat.is_alive())
        && sys::procfs::current_dir(pid)? == fs_err::canonicalize(dir.path()).ok()?;
    is_it.then_some(EarlierRun { pid, still: "still runs", session: None })
}
