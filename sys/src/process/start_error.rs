//! Why a child could not become the program it was to be: how the child reports it, and how its parent
//! reads that.
//!
//! All children of a process share one pipe. A child writes one record before it exits, so the record is
//! in the pipe when the child can be reaped. Neither end waits: where the pipe is full or cannot be had,
//! the exit code is all that is known.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::Pid;

/// What a child could not do on its way to the program it was to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartStep {
    /// Put a descriptor in its place.
    Descriptor,
    /// Change the working directory.
    Directory,
    /// Execute the program.
    Execute,
}

/// Why a child could not become the program it was to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartError {
    /// What it could not do.
    pub step: StartStep,
    /// Why.
    pub why: Errno,
}

/// The pipe, and what was read from it for children that were not asked after yet.
struct Reports {
    pipe: Option<(OwnedFd, OwnedFd)>,
    read: Vec<(Pid, StartError)>,
}

static REPORTS: Mutex<Reports> = Mutex::new(Reports { pipe: None, read: Vec::new() });

/// The process id, the step and the error number.
type Record = [[u8; 4]; 3];

/// Why this child, which was reaped, could not become its program; `None` if it could, or if that is not
/// known. To be asked once for each child that was reaped: its number may be another's later.
pub fn failure_of(child: Pid) -> Option<StartError> {
    let mut reports = reports();
    reports.drain();
    let place = reports.read.iter().position(|(pid, _)| *pid == child)?;
    Some(reports.read.swap_remove(place).1)
}

/// The end of the pipe for a child that is about to be forked. It is made when it is first asked for.
pub(crate) fn writer() -> Option<RawFd> {
    let mut reports = reports();
    if reports.pipe.is_none() {
        reports.pipe = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).ok();
    }
    reports.pipe.as_ref().map(|(_, writer)| writer.as_raw_fd())
}

/// Writes the record of the calling process, in one piece and without waiting. For a child that was just
/// forked: it makes system calls only.
pub(crate) fn report(writer: RawFd, (step, why): (StartStep, Errno)) {
    // SAFETY: getpid has no arguments.
    let own = unsafe { libc::getpid() };
    let record: Record = [own, step as i32, why as i32].map(i32::to_ne_bytes);
    // SAFETY: the record is that long.
    unsafe {
        libc::write(writer, record.as_ptr().cast(), size_of::<Record>());
    }
}

fn reports() -> MutexGuard<'static, Reports> {
    REPORTS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reports {
    fn drain(&mut self) {
        let Some((reader, _)) = &self.pipe else { return };
        // A multiple of a record's length: writes of less than a page are never torn.
        let mut buffer = [0; 64 * size_of::<Record>()];
        loop {
            match nix::unistd::read(reader, &mut buffer) {
                Err(Errno::EINTR) => {}
                Ok(length) if length > 0 => {
                    let (records, _) = buffer.get(..length).unwrap_or_default().as_chunks();
                    self.read.extend(records.iter().filter_map(parse));
                }
                Ok(_) | Err(_) => return,
            }
        }
    }
}

fn parse(record: &[u8; size_of::<Record>()]) -> Option<(Pid, StartError)> {
    let (numbers, _) = record.as_chunks();
    let [pid, step, why] = *numbers else { return None };
    let [pid, step, why] = [pid, step, why].map(i32::from_ne_bytes);
    let step = [StartStep::Descriptor, StartStep::Directory, StartStep::Execute]
        .into_iter()
        .find(|one| *one as i32 == step)?;
    Some((Pid::from_raw(pid), StartError { step, why: Errno::from_raw(why) }))
}
