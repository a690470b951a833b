//! Effects: spawns COMMAND, hooks and checks.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::{AccessFlags, access};
use sys::errno_text::errno_of;
use sys::process::limits;
use sys::process::spawn::{along_path, c_string};
use sys::{Errno, Error, Pid, Program};

use super::{InitEffects, terminal};
use crate::state::signals::CAUGHT;

/// Prepares for the first start: orphans are reparented to init, which keeps no directory and no input that is
/// for others, and may have many descriptors. Returns the working directory for COMMAND and hooks.
pub fn prepare(has_command: bool) -> Result<PathBuf, Error> {
    if nix::unistd::getpid() != Pid::from_raw(1) {
        nix::sys::prctl::set_child_subreaper(true).map_err(Error::of("unable to become a subreaper"))?;
    }
    terminal::keep_input(has_command).map_err(Error::of("unable to keep standard input"))?;
    limits::raise_descriptors();
    let outside = std::env::current_dir().unwrap_or_else(|_| "/".into());
    nix::unistd::chdir("/").map_err(Error::of("unable to change to directory /"))?;
    Ok(outside)
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

impl InitEffects {
    /// COMMAND, in a process group of its own, in the terminal's foreground if there is one.
    pub(super) fn spawn_command(&self) -> Result<Pid, Errno> {
        let Some((name, arguments)) = self.command.split_first() else { return Err(Errno::ENOENT) };
        let candidates = along_path(name);
        first_executable(&candidates)?;
        let program = Program::first_of(candidates, c_string(name)).stdin(terminal::input());
        let program = arguments.iter().fold(program, Program::arg);
        self.spawn(program.own_group(terminal::own()))
    }

    pub(super) fn spawn_hook(
        &self,
        path: &Path,
        reason: Option<String>,
        remaining: Option<Duration>,
    ) -> Result<Pid, Errno> {
        let nothing = sys::open_null().ok();
        let mut program = Program::new(path).own_group(None::<BorrowedFd<'_>>).without_inherited();
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
        // It may be gone by now; the root directory is there.
        let program = if self.outside.is_dir() { program.current_dir(&self.outside) } else { program };
        program.default_signals(&CAUGHT).spawn()
    }
}

/// `./check` of the service in the working directory, if there is one.
pub fn spawn_check() -> Option<Result<Pid, Errno>> {
    fs_err::metadata("check").ok()?;
    let mut program = Program::new("./check").own_session().default_signals(&CAUGHT).without_inherited();
    let nothing = sys::open_null().ok();
    if let Some(nothing) = &nothing {
        program = program.stdin(nothing.as_fd()).stdout(nothing.as_fd());
    }
    Some(program.default_oom_score().spawn())
}
