//! Hands: opens a service directory, in the order others rely on (LAY-7).

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use servicedir::owner::{Control, Lock, LockFile, Ok as OkFifo, Publisher, Supervise, make_supervise};
use servicedir::{ServiceDir, State, Status, Want};
use unix::phrase::errno_of;
use unix::{Errno, Failure, Now, Pid, Poller, Reporter, Signal};

use crate::Opening;
use crate::hands::{Hands, LogPipe, is_there};
use crate::inbox::Inbox;
use crate::machine::{Role, Supervisor};

/// How often a log service's lock that somebody else holds is tried (DEV-7): locks have no events.
const LOCK_TICK: Duration = Duration::from_millis(50);

/// What opening came to.
pub enum Opened {
    /// Everything is in place.
    Ready(Box<Parts>),
    /// TERM came while the log service's lock was waited for.
    ToldToLeave,
}

/// All that supervising takes.
pub struct Parts {
    /// What decides.
    pub machine: Supervisor,
    /// What acts.
    pub hands: Hands,
    /// What comes in.
    pub inbox: Inbox,
    /// What is held open for others to see.
    pub site: Site,
}

/// The place of a service on disk, and what shows others that a runsv lives there.
pub struct Site {
    /// Where it is, for the case that the directory is removed and made anew.
    path: Option<PathBuf>,
    has_log: bool,
    /// Held, not used.
    locks: Vec<Lock>,
    /// Held, not used.
    oks: Vec<OkFifo>,
}

impl Site {
    /// If `supervise/` was removed, or the whole directory and is there again (a package upgrade):
    /// makes it anew and returns the new FIFOs. `None` when nothing is lost, or not yet back.
    pub fn reopen_if_lost(&mut self) -> Option<Vec<(Role, Control)>> {
        let main = ServiceDir::at(".");
        if is_there(main.control()) {
            return None;
        }
        if fs_err::metadata(".").is_ok_and(|about| about.nlink() == 0) {
            nix::unistd::chdir(self.path.as_ref()?).ok()?;
        }
        let dirs = [Some((Role::Main, main.clone())), self.has_log.then(|| (Role::Log, main.log()))];
        let (mut locks, mut controls, mut oks) = (Vec::new(), Vec::new(), Vec::new());
        for (role, dir) in dirs.into_iter().flatten() {
            make_supervise(&dir).ok()?;
            locks.push(LockFile::open(&dir).ok()?.try_take().ok()?);
            controls.push((role, Control::open(&dir).ok()?));
            oks.push(OkFifo::open(&dir).ok()?);
        }
        self.locks = locks;
        self.oks = oks;
        Some(controls)
    }
}

/// Opens the service directory `dir`.
pub fn open(dir: &OsStr, poller: io::Result<Poller>) -> Opening<Opened> {
    let mut reporter = Reporter::new(unix::failure::words(["runsv ".as_ref(), dir]));
    let mut poller = poller.map_err(Failure::of_io("unable to create selfpipe"))?;
    nix::unistd::chdir(dir).map_err(Failure::of("unable to change to directory"))?;
    // What a service forks and abandons stays its own. Without this it is reaped elsewhere, as with
    // the original; nothing else depends on it.
    let _ = nix::sys::prctl::set_child_subreaper(true);

    let main = ServiceDir::at(".");
    let wanted = |dir: &ServiceDir| if is_there(dir.down()) { Want::Down } else { Want::Up };
    let main_want = wanted(&main);
    let has_log = has_log(&main, &mut reporter);
    let log = has_log.then(|| main.log());
    let log_want = log.as_ref().map(wanted);
    let log_pipe = match &log {
        Some(_) => Some(LogPipe::new().map_err(Failure::of("unable to create log pipe"))?),
        None => None,
    };

    let main_supervise = make_supervise(&main)?;
    let mut log_supervise = Supervise::Old;
    let mut locks = vec![LockFile::open(&main)?.try_take().map_err(|(_, failure)| failure)?];
    if let Some(log) = &log {
        log_supervise = make_supervise(log)?;
        match wait_for_lock(LockFile::open(log)?, &mut poller, &mut reporter) {
            Some(lock) => locks.push(lock),
            None => return Ok(Opened::ToldToLeave),
        }
    }

    let mut controls = vec![(Role::Main, Control::open(&main)?)];
    let mut machine = Supervisor::new(main_want, log_want, Now::read());
    if main_supervise == Supervise::Old {
        take_over(&mut machine, Role::Main, &main, &mut reporter);
    }
    if let Some(log) = &log
        && log_supervise == Supervise::Old
    {
        take_over(&mut machine, Role::Log, log, &mut reporter);
    }
    let mut publishers = vec![(Role::Main, Publisher::new(main.clone(), main_supervise))];
    publish_first(&machine, Role::Main, &mut publishers, &mut reporter);
    if let Some(log) = &log {
        controls.push((Role::Log, Control::open(log)?));
        publishers.push((Role::Log, Publisher::without_first_pid(log.clone(), log_supervise)));
        publish_first(&machine, Role::Log, &mut publishers, &mut reporter);
    }
    let mut oks = vec![OkFifo::open(&main)?];
    if let Some(log) = &log {
        oks.push(OkFifo::open(log)?);
    }

    let inbox = Inbox::new(poller, controls).map_err(Failure::of_io("unable to open supervise/control"))?;
    let hands = Hands::new(reporter, publishers, log_pipe);
    let site = Site { path: nix::unistd::getcwd().ok(), has_log, locks, oks };
    Ok(Opened::Ready(Box::new(Parts { machine, hands, inbox, site })))
}

/// A runsv that was killed leaves its service running (RSV-65). With `process-group` that is ended
/// before it is started again; without, a second copy is started as runit does, but not silently.
fn take_over(machine: &mut Supervisor, role: Role, dir: &ServiceDir, reporter: &mut Reporter) {
    let Some(earlier) = earlier_run(dir) else { return };
    let leads = unix::proc::stat(earlier).is_some_and(|stat| stat.session == earlier);
    let run = if role == Role::Log { "log/./run" } else { "./run" };
    if leads && is_there(dir.file("process-group")) {
        machine.take_over(role, earlier, Now::read());
        reporter.warn(&Failure::plain(format!(
            "an earlier {run} still runs (pid {earlier}), and is ended first"
        )));
    } else {
        reporter.warn(&Failure::plain(format!("an earlier {run} still runs (pid {earlier}), unsupervised")));
    }
}

/// The `./run` of the last record, if it still lives: a process of that number in this directory.
fn earlier_run(dir: &ServiceDir) -> Option<Pid> {
    let status = Status::from_bytes(&fs_err::read(dir.status()).ok()?)?;
    let pid = Pid::from_raw(i32::try_from(status.pid).ok().filter(|pid| *pid > 0)?);
    let is_it = status.state == Some(State::Run)
        && pid != nix::unistd::getpid()
        && unix::proc::stat(pid).is_some_and(|stat| stat.state != 'Z')
        && unix::proc::current_dir(pid)? == fs_err::canonicalize(dir.path()).ok()?;
    is_it.then_some(pid)
}

/// LAY-11: `log` counts if it is a directory, links followed.
fn has_log(main: &ServiceDir, reporter: &mut Reporter) -> bool {
    match fs_err::metadata(main.file("log")) {
        Ok(about) if about.is_dir() => true,
        Ok(_) => {
            reporter.warn(&Failure::plain("./log: not a directory."));
            false
        }
        Err(error) => {
            let why = errno_of(&error);
            if why != Errno::ENOENT {
                // The doubled colon is what runit says.
                reporter.warn(&Failure::new("unable to stat() ./log: ", why));
            }
            false
        }
    }
}

/// LAY-12, DEV-7: waits until whoever supervises this log service is gone; `None` if TERM comes first.
fn wait_for_lock(mut file: LockFile, poller: &mut Poller, reporter: &mut Reporter) -> Option<Lock> {
    let mut is_said = false;
    loop {
        match file.try_take() {
            Ok(lock) => return Some(lock),
            Err((unlocked, failure)) => {
                file = unlocked;
                if !is_said {
                    is_said = true;
                    reporter.warn(&failure);
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
    machine: &Supervisor,
    role: Role,
    publishers: &mut [(Role, Publisher)],
    reporter: &mut Reporter,
) {
    for (of, publisher) in publishers {
        if *of == role
            && let Some(status) = machine.status(role)
            && let Err(failure) = publisher.publish(status)
        {
            reporter.warn(&failure);
        }
    }
}
