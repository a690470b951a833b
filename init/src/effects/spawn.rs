//! Effects: spawns runsvdir, COMMAND and hooks.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use fs_err::os::unix::fs::OpenOptionsExt as _;
use nix::fcntl::OFlag;
use nix::unistd::{AccessFlags, access};
use sys::errno_text::errno_of;
use sys::process::spawn::{along_path, beside_or_along_path, c_string};
use sys::{Errno, Error, Pid, Program, process::priority};

use super::{InitEffects, terminal};
use crate::state::signals::CAUGHT;

/// The program that scans the services directory.
const RUNSVDIR: &str = "runsvdir";

/// Prepares for the first start: orphans are reparented to init, and runsvdir can be executed.
pub fn prepare(has_services: bool) -> Result<(), Error> {
    if nix::unistd::getpid() != Pid::from_raw(1) {
        nix::sys::prctl::set_child_subreaper(true).map_err(Error::of("unable to become a subreaper"))?;
    }
    if has_services {
        first_executable(&beside_or_along_path(RUNSVDIR)).map_err(Error::of("unable to run runsvdir"))?;
    }
    Ok(())
}

/// Whether a file can be executed.
pub fn executable(path: &Path) -> Result<(), Errno> {
    access(path, AccessFlags::X_OK)?;
    let about = fs_err::metadata(path).map_err(|error| errno_of(&error))?;
    if about.is_dir() { Err(Errno::EACCES) } else { Ok(()) }
}

/// Why none of these can be executed, if so (GEN-9).
fn first_executable(candidates: &[std::ffi::CString]) -> Result<(), Errno> {
    let mut denied = None;
    for candidate in candidates {
        match executable(Path::new(OsStr::from_bytes(candidate.to_bytes()))) {
            Ok(()) => return Ok(()),
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(why) => denied = Some(why),
        }
    }
    Err(denied.unwrap_or(Errno::ENOENT))
}

/// Raises init's priority as far as possible; returns the previous one if that has changed.
pub fn raise_priority() -> Option<i32> {
    const FIRST: i32 = -20;
    let before = priority::own();
    priority::set_own(FIRST).ok().map(|()| before)
}

impl InitEffects {
    /// runsvdir, in a session of its own, and with one for each runsv: neither Ctrl-C nor a signal to the
    /// process group of a service reaches another one.
    pub(super) fn spawn_runsvdir(&self) -> Result<Pid, Errno> {
        let nothing = if self.command.is_empty() { None } else { open_null() };
        let mut program = Program::first_of(beside_or_along_path(RUNSVDIR), c_string(RUNSVDIR))
            .arg("-P")
            .arg(&self.directory)
            .own_session();
        if let Some(nothing) = &nothing {
            // The terminal's input is for COMMAND.
            program = program.stdin(nothing.as_fd());
        }
        self.spawn(program)
    }

    /// COMMAND, in a process group of its own, in the terminal's foreground if there is one.
    pub(super) fn spawn_command(&self) -> Result<Pid, Errno> {
        let Some((name, arguments)) = self.command.split_first() else { return Err(Errno::ENOENT) };
        let candidates = along_path(name);
        first_executable(&candidates)?;
        let terminal = terminal::own();
        let program = Program::first_of(candidates, c_string(name));
        let program = arguments.iter().fold(program, Program::arg);
        self.spawn(program.own_group(terminal.as_ref().map(AsFd::as_fd)))
    }

    pub(super) fn spawn_hook(
        &self,
        path: &Path,
        reason: Option<String>,
        remaining: Option<Duration>,
    ) -> Result<Pid, Errno> {
        let nothing = open_null();
        let mut program = Program::new(path).own_group(None::<BorrowedFd<'_>>);
        if let Some(nothing) = &nothing {
            program = program.stdin(nothing.as_fd());
        }
        if let Some(reason) = reason {
            program = program.env("INIT_REASON", reason);
        }
        if let Some(remaining) = remaining {
            program = program.env("INIT_REMAINING_MS", remaining.as_millis().to_string());
        }
        self.spawn(program)
    }

    fn spawn(&self, program: Program<'_>) -> Result<Pid, Errno> {
        let program = program.default_signals(&CAUGHT);
        let Some(nice) = self.nice else { return program.spawn() };
        // Children get the priority that init was started with.
        let _ = priority::set_own(nice);
        let started = program.spawn();
        raise_priority();
        started
    }
}

fn open_null() -> Option<fs_err::File> {
    let mut options = fs_err::OpenOptions::new();
    options.read(true).custom_flags(OFlag::O_NOCTTY.bits()).open("/dev/null").ok()
}
