//! Effects: opens a service directory, in the order that other programs rely on (LAY-7).

use std::ffi::OsStr;
use std::time::Duration;

use servicedir::control_fifo::{ControlFifo, OkFifo};
use servicedir::lock::{Lock, LockFile, Supervise, make_supervise};
use servicedir::status_writer::StatusWriter;
use servicedir::{ServiceDir, Want};
use sys::errno_text::errno_of;
use sys::{Errno, Error, Logger, Now};

use crate::directory::Directory;
use crate::effects::{Effects, LogPipe, is_there};
use crate::event_source::EventSource;
use crate::reopening::OpenFiles;
use crate::state::{ServicePair, ServiceRole};
use crate::supervisor::{Hosting, Supervisor};
use crate::takeover::take_over;

/// How often to try a log service's lock that another process holds (DEV-7): locks have no events.
pub const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// What opening a directory came to.
pub enum Startup {
    /// Everything is in place.
    Ready(Box<Supervisor>),
    /// The lock of the log service is held by another process (LAY-12, DEV-7). To be tried again after
    /// [`LOCK_RETRY_INTERVAL`], or dropped.
    LogIsLocked(Box<Opening>),
}

/// A service directory that is opened, but for its log service.
pub struct Opening {
    directory: Directory,
    hosting: Hosting,
    logger: Logger,
    main: Locked,
    log: Option<LogOpening>,
    is_wait_reported: bool,
}

/// A service with its lock taken.
struct Locked {
    dir: ServiceDir,
    want: Want,
    supervise: Supervise,
    lock: Lock,
}

/// A log service before its lock is taken.
struct LogOpening {
    dir: ServiceDir,
    want: Want,
    supervise: Supervise,
    file: LockFile,
    pipe: LogPipe,
}

/// Opens the service directory at `path`, and enters it.
pub fn open(path: &OsStr, mut logger: Logger, hosting: Hosting) -> Result<Startup, Error> {
    let directory = Directory::open(path).map_err(Error::of(CANNOT_ENTER))?;
    let dir = ServiceDir::at(".");
    let want = initial_want(&dir);
    let log = match has_log(&dir, &mut logger).then(|| dir.log()) {
        Some(log) => {
            let want = initial_want(&log);
            let pipe = LogPipe::new().map_err(Error::of("unable to create log pipe"))?;
            Some((log, want, pipe))
        }
        None => None,
    };

    let supervise = make_supervise(&dir)?;
    let lock = LockFile::open(&dir)?.try_take().map_err(|(_, failure)| failure)?;
    let log = match log {
        Some((dir, want, pipe)) => {
            let supervise = make_supervise(&dir)?;
            let file = LockFile::open(&dir)?;
            Some(LogOpening { dir, want, supervise, file, pipe })
        }
        None => None,
    };
    let main = Locked { dir, want, supervise, lock };
    Opening { directory, hosting, logger, main, log, is_wait_reported: false }.go_on()
}

const CANNOT_ENTER: &str = "unable to change to directory";

impl Opening {
    /// Tries again to take the lock of the log service.
    pub fn retry(self) -> Result<Startup, Error> {
        self.directory.enter().map_err(Error::of(CANNOT_ENTER))?;
        self.go_on()
    }

    fn go_on(mut self) -> Result<Startup, Error> {
        let Some(log) = self.log.take() else { return self.complete(None) };
        match log.file.try_take() {
            Ok(lock) => {
                let LogOpening { dir, want, supervise, pipe, .. } = log;
                self.complete(Some((Locked { dir, want, supervise, lock }, pipe)))
            }
            Err((file, failure)) => {
                if !self.is_wait_reported {
                    self.is_wait_reported = true;
                    self.logger.warn(&failure);
                }
                self.log = Some(LogOpening { file, ..log });
                Ok(Startup::LogIsLocked(Box::new(self)))
            }
        }
    }

    fn complete(self, log: Option<(Locked, LogPipe)>) -> Result<Startup, Error> {
        let Self { directory, hosting, mut logger, main, .. } = self;
        let (log, log_pipe) = log.unzip();
        let mut controls = vec![(ServiceRole::Main, ControlFifo::open(&main.dir)?)];
        let wants = (main.want, log.as_ref().map(|log| log.want));
        let mut state = ServicePair::new(wants.0, wants.1, Now::read());
        let mut earlier = Vec::new();
        for (role, of) in [(ServiceRole::Main, Some(&main)), (ServiceRole::Log, log.as_ref())] {
            if let Some(Locked { dir, supervise: Supervise::Old, .. }) = of {
                earlier.extend(take_over(&mut state, role, dir, &mut logger));
            }
        }
        let mut oks = vec![main.dir.clone()];
        let mut main = StatusWriter::new(main.dir, main.lock, main.supervise);
        publish_first(&state, ServiceRole::Main, &mut main, &mut logger);
        let mut status_writers = vec![(ServiceRole::Main, main)];
        if let Some(Locked { dir, supervise, lock, .. }) = log {
            controls.push((ServiceRole::Log, ControlFifo::open(&dir)?));
            oks.push(dir.clone());
            let mut log = StatusWriter::without_first_pid(dir, lock, supervise);
            publish_first(&state, ServiceRole::Log, &mut log, &mut logger);
            status_writers.push((ServiceRole::Log, log));
        }
        let oks = oks.iter().map(OkFifo::open).collect::<Result<_, _>>()?;

        let mut effects = Effects::new(hosting, logger, status_writers, log_pipe);
        for (role, session) in earlier {
            effects.take_over(role, session);
        }
        effects.began(ServiceRole::Main, wants.0);
        if let Some(want) = wants.1 {
            effects.began(ServiceRole::Log, want);
        }
        let files = OpenFiles::new(oks, wants.1.is_some());
        let event_source = EventSource::new(controls);
        Ok(Startup::Ready(Box::new(Supervisor::new(directory, state, effects, event_source, files))))
    }
}

fn initial_want(dir: &ServiceDir) -> Want {
    if is_there(dir.down()) { Want::Down } else { Want::Up }
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

fn publish_first(state: &ServicePair, role: ServiceRole, writer: &mut StatusWriter, logger: &mut Logger) {
    if let Some(Err(failure)) = state.status(role).map(|status| writer.publish(status)) {
        logger.warn(&failure);
    }
}
