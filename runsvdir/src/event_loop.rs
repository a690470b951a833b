//! Event loop: connects the scanner of the services directory, runsvs, signals and time.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use scan::effects::scanner::{Scanner, could_not_start};
use sys::process::spawn::failure_of;
use sys::signal::SignalSet;
use sys::{Error, Logger, Pid, Poller, Signal, reap_next};

use crate::rolling_log::RollingLog;
use crate::runsv_starter::{CAUGHT, RunsvStarter};

const CHANGES: usize = 0;
const LOG: usize = 1;
const OCCUPANTS: usize = 2;

/// How soon a message that could not be written is tried again.
const MESSAGE_RETRY: Duration = Duration::from_secs(1);

/// What the command line asks for.
pub struct RunsvdirOptions {
    /// The services directory.
    pub directory: PathBuf,
    /// A session for each runsv.
    pub has_sessions: bool,
    /// Which argument is the log.
    pub log: Option<usize>,
}

/// How the program is to end.
pub enum Exit {
    /// Everything that runs stays.
    Leave,
    /// Every runsv was asked to leave.
    Hangup,
}

/// All of the program.
pub struct EventLoop {
    poller: Poller,
    scanner: Scanner<Pid>,
    starter: RunsvStarter,
    log: Option<RollingLog>,
    logger: Logger,
    has_unread_log: bool,
}

impl EventLoop {
    /// Prepares everything that can fail; nothing after this is fatal.
    pub fn new(options: RunsvdirOptions, mut logger: Logger) -> Result<Self, Error> {
        let now = Instant::now();
        let poller =
            Poller::without_unblocking(&CAUGHT).map_err(Error::of_io("unable to wait for signals"))?;
        // The other signals stay blocked if the parent process has blocked them.
        SignalSet::of(&[Signal::CHLD]).unblock();
        // What is fatal must be said before the log has the standard error.
        let scanner = Scanner::new(options.directory, CHANGES, OCCUPANTS)?;
        let starter = RunsvStarter::new(options.has_sessions);
        let log = options.log.and_then(|index| match RollingLog::start(index, &poller, LOG, now) {
            Ok(log) => {
                logger.keep();
                Some(log)
            }
            Err(warnings) => {
                for warning in &warnings {
                    logger.warn(warning);
                }
                None
            }
        });
        Ok(Self { poller, scanner, starter, log, logger, has_unread_log: false })
    }

    /// Supervises until a signal says how to end.
    pub fn run(&mut self) -> Exit {
        loop {
            let wakeup = self.poller.wait(self.next_deadline());
            if let Some(end) = self.handle_signals(&wakeup.signals) {
                return end;
            }
            self.scanner.take_in(&wakeup.ready);
            self.reap();
            self.scanner.take_turn(&mut self.starter, &self.poller, &mut self.logger);
            self.logger.flush();
            self.roll_log();
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let now = Instant::now();
        if self.has_unread_log {
            return Some(now);
        }
        let dot = self.log.as_ref().map(RollingLog::next_deadline);
        let unsaid = self.logger.unsaid().map(|_| now + MESSAGE_RETRY);
        [self.scanner.next_deadline(), dot, unsaid].into_iter().flatten().min()
    }

    fn handle_signals(&mut self, signals: &[Signal]) -> Option<Exit> {
        for signal in signals {
            match *signal {
                Signal::TERM => return Some(Exit::Leave),
                Signal::HUP => {
                    for runsv in self.scanner.running() {
                        // It may have died a moment ago.
                        let _ = Signal::TERM.send(runsv);
                    }
                    return Some(Exit::Hangup);
                }
                Signal::ALRM => self.scanner.force(),
                // Children are reaped after every wait.
                _ => {}
            }
        }
        None
    }

    fn reap(&mut self) {
        while let Some((child, ending)) = reap_next() {
            if let Some(failure) = failure_of(child)
                && let Some(name) = self.scanner.name_of_supervisor(child)
            {
                self.logger.fatal_in_child(&could_not_start(name, failure.why));
            }
            self.scanner.exited(child, ending);
        }
    }

    fn roll_log(&mut self) {
        let Some(log) = &mut self.log else { return };
        log.add(&self.logger.take_kept());
        log.tick(Instant::now());
        self.has_unread_log = log.read();
    }
}
