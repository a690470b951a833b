//! The FIFO through which services say that they run; the moment of reading is the time.

use std::collections::VecDeque;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fs_err::{File, OpenOptions};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::Outcome;

/// Far above anything that is measured: reaching it means that something does not work.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Bytes of an event: a process id.
const RECORD: usize = 4;

/// A service began to run.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// Its process id, as it sees itself.
    pub pid: u32,
    /// When that was read.
    pub at: Instant,
}

/// The reading end.
#[derive(Debug)]
pub struct Events {
    path: PathBuf,
    fifo: File,
    pending: VecDeque<Event>,
}

impl Events {
    /// Makes the FIFO.
    pub fn new(path: PathBuf) -> Outcome<Self> {
        mkfifo(&path, Mode::from_bits_truncate(0o600))?;
        // A writer of its own keeps it from ending between two services.
        let fifo = OpenOptions::new().read(true).write(true).open(&path)?;
        Ok(Self { path, fifo, pending: VecDeque::new() })
    }

    /// Where services find it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for the next event.
    pub fn one(&mut self) -> Outcome<Event> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Ok(event);
            }
            wait_readable(&self.fifo, "a service to run")?;
            let mut buffer = [0; 4096];
            let length = self.fifo.read(&mut buffer)?;
            let at = Instant::now();
            let (records, _) = buffer.get(..length).unwrap_or_default().as_chunks::<RECORD>();
            self.pending.extend(records.iter().map(|record| Event { pid: u32::from_le_bytes(*record), at }));
        }
    }

    /// Waits for so many events, and returns the last.
    pub fn nth(&mut self, count: usize) -> Outcome<Event> {
        for _ in 1..count {
            self.one()?;
        }
        self.one()
    }

    /// Forgets what happened so far.
    pub fn forget(&mut self) -> Outcome<()> {
        self.pending.clear();
        while is_readable(&self.fifo, Duration::ZERO)? {
            let mut buffer = [0; 4096];
            let _ = self.fifo.read(&mut buffer)?;
        }
        Ok(())
    }
}

/// Waits until there is something to read, or no process has the other end open.
pub fn wait_readable(source: &impl AsFd, what: &str) -> Outcome<()> {
    if is_readable(source, LIMIT)? {
        return Ok(());
    }
    Err(format!("waited {LIMIT:?} in vain for {what}").into())
}

fn is_readable(source: &impl AsFd, time: Duration) -> Outcome<bool> {
    let mut sources = [PollFd::new(source.as_fd(), PollFlags::POLLIN)];
    Ok(poll(&mut sources, PollTimeout::try_from(time)?)? > 0)
}
