//! Effects: opens a service directory, in the order others rely on (LAY-7).

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use servicedir::client::Client;
use servicedir::lock::{
    ControlFifo, Lock, LockFile, LockState, OkFifo, StatusWriter, Supervise, make_supervise,
};
use servicedir::{ServiceDir, State, Want, session};
use sys::errno_text::errno_of;
use sys::{Errno, Error, Logger, Now, Pid, Poller, Remains, Session, Signal};

use crate::effects::{Effects, LogPipe, is_there};
use crate::event_source::CAUGHT;
use crate::event_source::EventSource;
use crate::state::{ServicePair, ServiceRole};

/// How often a log service's lock that somebody else holds is tried (DEV-7): locks have no events.
const LOCK_TICK: Duration = Duration::from_millis(50);

/// What opening came to.
pub enum Startup {
    /// Everything is in place.
    Ready(Box<Parts>),
    /// TERM came while the log service's lock was waited for.
    ToldToLeave,
}

/// All that supervising takes.
pub struct Parts {
    /// What decides.
    pub state: ServicePair,
    /// What acts.
    pub effects: Effects,
    /// What comes in.
    pub event_source: EventSource,
    /// What is held open for others to see.
    pub site: OpenFiles,
}

/// The place of a service on disk, and what shows others that a runsv lives there.
pub struct OpenFiles {
    /// Where it is, for the case that the directory is removed and made anew.
    path: Option<PathBuf>,
    has_log: bool,
    /// Held, not used.
    oks: Vec<OkFifo>,
}

/// What makes a place a runsv's again.
pub struct Regained {
    /// For the services whose lock stood for nothing any more.
    pub locks: Vec<(ServiceRole, Lock)>,
    /// The FIFOs to listen to.
    pub controls: Vec<(ServiceRole, ControlFifo)>,
}

impl OpenFiles {
    /// If `supervise/` was removed, or the whole directory and is there again (a package upgrade):
    /// makes it anew and moves there. `None` when nothing is lost, not yet back, or another runsv's.
    pub fn reopen_if_lost(&mut self, effects: &Effects) -> Option<Regained> {
        let main = ServiceDir::at(".");
        let log = self.has_log.then(|| (ServiceRole::Log, main.log()));
        let all: Vec<_> = [Some((ServiceRole::Main, main)), log].into_iter().flatten().collect();
        let lost: Vec<_> =
            all.iter().filter(|(role, _)| effects.place(*role) != Some(LockState::Held)).cloned().collect();
        if lost.is_empty() {
            return None;
        }
        let removed = Removed::leave(self.path.as_deref())?;
        let (regained, oks) = regain(&all, &lost)?;
        removed.forget();
        self.oks = oks;
        Some(regained)
    }
}

/// Takes the locks first: without them nothing is anybody's to open.
fn regain(
    all: &[(ServiceRole, ServiceDir)],
    lost: &[(ServiceRole, ServiceDir)],
) -> Option<(Regained, Vec<OkFifo>)> {
    let (mut locks, mut controls, mut oks) = (Vec::new(), Vec::new(), Vec::new());
    for (role, dir) in lost {
        make_supervise(dir).ok()?;
        locks.push((*role, LockFile::open(dir).ok()?.try_take().ok()?));
    }
    for (role, dir) in all {
        controls.push((*role, ControlFifo::open(dir).ok()?));
        oks.push(OkFifo::open(dir).ok()?);
    }
    Some((Regained { locks, controls }, oks))
}

/// The working directory, if it is one that was removed. Unless it is forgotten, the process goes
/// back there: nothing is done in a place that turned out to be somebody else's.
struct Removed(Option<OwnedFd>);

impl Removed {
    /// Changes to what is at `path` now, if the working directory was removed.
    fn leave(path: Option<&Path>) -> Option<Self> {
        if fs_err::metadata(".").is_ok_and(|about| about.nlink() > 0) {
            return Some(Self(None));
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let old = nix::fcntl::open(".", flags, Mode::empty()).ok()?;
        nix::unistd::chdir(path?).ok()?;
        Some(Self(Some(old)))
    }

    fn forget(mut self) {
        self.0 = None;
    }
}

impl Drop for Removed {
    fn drop(&mut self) {
        if let Some(old) = &self.0 {
            // It is open, and so can be entered.
            let _ = nix::unistd::fchdir(old);
        }
    }
}

/// Opens the service directory `dir`.
pub fn open(dir: &OsStr) -> Result<Startup, Error> {
    let mut logger = Logger::new(sys::error::words(["runsv ".as_ref(), dir]));
    let mut poller = Poller::new(&CAUGHT).map_err(Error::of_io("unable to create selfpipe"))?;
    nix::unistd::chdir(dir).map_err(Error::of("unable to change to directory"))?;
    // What a service forks and abandons stays its own. Without this it is reaped elsewhere, as with
    // the original; nothing else depends on it.
    let _ = nix::sys::prctl::set_child_subreaper(true);

    let main = ServiceDir::at(".");
    let wanted = |dir: &ServiceDir| if is_there(dir.down()) { Want::Down } else { Want::Up };
    let main_want = wanted(&main);
    let has_log = has_log(&main, &mut logger);
    let log = has_log.then(|| main.log());
    let log_want = log.as_ref().map(wanted);
    let log_pipe = match &log {
        Some(_) => Some(LogPipe::new().map_err(Error::of("unable to create log pipe"))?),
        None => None,
    };

    let main_supervise = make_supervise(&main)?;
    let main_lock = LockFile::open(&main)?.try_take().map_err(|(_, failure)| failure)?;
    let log = match log {
        Some(log) => {
            let supervise = make_supervise(&log)?;
            match wait_for_lock(LockFile::open(&log)?, &mut poller, &mut logger) {
                Some(lock) => Some((log, lock, supervise)),
                None => return Ok(Startup::ToldToLeave),
            }
        }
        None => None,
    };

    let mut controls = vec![(ServiceRole::Main, ControlFifo::open(&main)?)];
    let mut state = ServicePair::new(main_want, log_want, Now::read());
    let mut earlier = Vec::new();
    if main_supervise == Supervise::Old {
        earlier.extend(take_over(&mut state, ServiceRole::Main, &main, &mut logger));
    }
    if let Some((log, _, Supervise::Old)) = &log {
        earlier.extend(take_over(&mut state, ServiceRole::Log, log, &mut logger));
    }
    let mut status_writers =
        vec![(ServiceRole::Main, StatusWriter::new(main.clone(), main_lock, main_supervise))];
    publish_first(&state, ServiceRole::Main, &mut status_writers, &mut logger);
    if let Some((log, lock, supervise)) = log {
        controls.push((ServiceRole::Log, ControlFifo::open(&log)?));
        status_writers.push((ServiceRole::Log, StatusWriter::without_first_pid(log, lock, supervise)));
        publish_first(&state, ServiceRole::Log, &mut status_writers, &mut logger);
    }
    let mut oks = vec![OkFifo::open(&main)?];
    if has_log {
        oks.push(OkFifo::open(&main.log())?);
    }

    let event_source =
        EventSource::new(poller, controls).map_err(Error::of_io("unable to open supervise/control"))?;
    let mut effects = Effects::new(logger, status_writers, log_pipe);
    for (role, session) in earlier {
        effects.take_over(role, session);
    }
    effects.began(ServiceRole::Main, main_want);
    if let Some(want) = log_want {
        effects.began(ServiceRole::Log, want);
    }
    let site = OpenFiles { path: nix::unistd::getcwd().ok(), has_log, oks };
    Ok(Startup::Ready(Box::new(Parts { state, effects, event_source, site })))
}

/// A runsv that was killed leaves its service running (RSV-65). With `process-group` that is ended
/// before it is started again, if it is certain what it is; else a second copy is started as runit does,
/// but not silently.
fn take_over(
    state: &mut ServicePair,
    role: ServiceRole,
    dir: &ServiceDir,
    logger: &mut Logger,
) -> Option<(ServiceRole, Session)> {
    let earlier = earlier_session(dir).or_else(|| earlier_run(dir))?;
    let session = earlier.session.filter(|_| is_there(dir.file("process-group")));
    let run = if role == ServiceRole::Log { "log/./run" } else { "./run" };
    let what_becomes = if session.is_some() { ", and is ended first" } else { ", unsupervised" };
    let Earlier { pid, still, .. } = earlier;
    logger.warn(&Error::plain(format!("an earlier {run} {still} (pid {pid}){what_becomes}")));
    let session = session?;
    state.take_over(role, session.leader(), Now::read());
    Some((role, session))
}

/// What an earlier runsv has left.
struct Earlier {
    /// The first process of it.
    pid: Pid,
    /// How certain that is.
    still: &'static str,
    /// The session it is, if it may be signalled.
    session: Option<Session>,
}

/// The session of the last `./run` with `process-group`, if anything of it lives. Signals are only for
/// what this user, or root, has recorded, and never for the session of this process.
fn earlier_session(dir: &ServiceDir) -> Option<Earlier> {
    let session::Recorded { session, is_trusted } = session::read(dir)?;
    match session.remains() {
        Remains::Nothing => None,
        Remains::Unclear(pid) => Some(Earlier { pid, still: "may still run", session: None }),
        Remains::Living(members) => {
            let leader = session.leader();
            let pid = if members.contains(&leader) { leader } else { *members.first()? };
            let is_other = nix::unistd::getsid(None) != Ok(leader);
            let session = Some(session).filter(|_| is_trusted && is_other);
            Some(Earlier { pid, still: "still runs", session })
        }
    }
}

/// The `./run` of the last status, if it still lives: a process of that number in this directory. Who
/// controls the service may have written any number there.
fn earlier_run(dir: &ServiceDir) -> Option<Earlier> {
    let status = Client::of(dir.clone()).last_status().ok()?;
    let pid = Pid::from_raw(i32::try_from(status.pid).ok().filter(|pid| *pid > 0)?);
    let is_it = status.state == Some(State::Run)
        && pid != nix::unistd::getpid()
        && sys::procfs::stat(pid).is_some_and(|stat| stat.is_alive())
        && sys::procfs::current_dir(pid)? == fs_err::canonicalize(dir.path()).ok()?;
    is_it.then_some(Earlier { pid, still: "still runs", session: None })
}

/// LAY-11: `log` counts if it is a directory, links followed.
fn has_log(main: &ServiceDir, logger: &mut Logger) -> bool {
    match fs_err::metadata(main.file("log")) {
        Ok(about) if about.is_dir() => true,
        Ok(_) => {
            logger.warn(&Error::plain("./log: not a directory."));
            false
        }
        Err(error) => {
            let why = errno_of(&error);
            if why != Errno::ENOENT {
                // The doubled colon is what runit says.
                logger.warn(&Error::new("unable to stat() ./log: ", why));
            }
            false
        }
    }
}

/// LAY-12, DEV-7: waits until whoever supervises this log service is gone; `None` if TERM comes first.
fn wait_for_lock(mut file: LockFile, poller: &mut Poller, logger: &mut Logger) -> Option<Lock> {
    let mut is_said = false;
    loop {
        match file.try_take() {
            Ok(lock) => return Some(lock),
            Err((unlocked, failure)) => {
                file = unlocked;
                if !is_said {
                    is_said = true;
                    logger.warn(&failure);
                }
            }
        }
        let wakeup = poller.wait(Some(Instant::now() + LOCK_TICK));
        if wakeup.signals.contains(&Signal::TERM) {
            return None;
        }
    }
}

fn publish_first(
    state: &ServicePair,
    role: ServiceRole,
    status_writers: &mut [(ServiceRole, StatusWriter)],
    logger: &mut Logger,
) {
    for (of, status_writer) in status_writers {
        if *of == role
            && let Some(status) = state.status(role)
            && let Err(failure) = status_writer.publish(status)
        {
            logger.warn(&failure);
        }
    }
}
