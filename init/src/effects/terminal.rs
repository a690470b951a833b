//! Effects: the terminal's foreground, and the job that init is for the shell that has started it.

use std::io::{Stdin, stdin};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use nix::unistd::{dup2_stdin, getpgrp, getpid, isatty, tcgetpgrp, tcsetpgrp};
use sys::signal::{SignalSet, set_default};
use sys::{Errno, Pid, Signal};

/// The standard input that init was started with, if it has another one now.
static INPUT: OnceLock<OwnedFd> = OnceLock::new();
/// The standard input of this process.
static STDIN: OnceLock<Stdin> = OnceLock::new();

/// Keeps the input for COMMAND, or a terminal for itself: everything else reads /dev/null.
pub fn keep_input(has_command: bool) -> Result<(), Errno> {
    if !has_command && !isatty(stdin()).unwrap_or(false) {
        return Ok(());
    }
    let Ok(null) = sys::open_null() else { return Ok(()) };
    let kept = stdin().as_fd().try_clone_to_owned().map_err(|error| sys::errno_text::errno_of(&error))?;
    dup2_stdin(&null)?;
    let _ = INPUT.set(kept);
    Ok(())
}

/// The standard input that init was started with.
pub fn input() -> BorrowedFd<'static> {
    match INPUT.get() {
        Some(kept) => kept.as_fd(),
        None => STDIN.get_or_init(stdin).as_fd(),
    }
}

/// The terminal that init was started at, if init's process group is in its foreground.
pub fn own() -> Option<BorrowedFd<'static>> {
    let input = input();
    let is_ours = is_there() && tcgetpgrp(input) == Ok(getpgrp());
    is_ours.then_some(input)
}

/// Whether init was started at a terminal.
pub fn is_there() -> bool {
    isatty(input()).unwrap_or(false)
}

/// Puts init's process group into the terminal's foreground: Ctrl-C is for init now.
pub fn take() {
    give_to(getpgrp());
}

/// Stops init and its group as this signal does, until a shell continues it; then continues COMMAND, in the
/// foreground if init is put there.
///
/// The kernel does not let such a signal stop process 1, or a group that no shell can continue: there,
/// COMMAND goes on at once.
pub fn suspend(command: Option<Pid>, signal: Signal) {
    // Process 1 may share its group with processes outside of its namespace.
    let was_stopped = getpid().as_raw() != 1 && stop_own_group(signal);
    if let Some(command) = command {
        resume(command, !was_stopped || own().is_some());
    }
}

/// Returns whether init was stopped, and continued.
fn stop_own_group(signal: Signal) -> bool {
    let continued = SignalSet::of(&[Signal::CONT]);
    while continued.take_pending() {}
    let own_signal = SignalSet::of(&[signal]);
    set_default(signal);
    // A signal for the own group that is not blocked has its effect before the call returns.
    let blocked = own_signal.unblock();
    let _ = signal.send(Pid::from_raw(0));
    blocked.set_as_mask();
    continued.take_pending()
}

/// Continues COMMAND's group, in the foreground if that is wanted: a background process that reads from the
/// terminal would be stopped again.
pub fn resume(command: Pid, is_foreground: bool) {
    // Its own group, which it leads, and not one that it has joined.
    if is_foreground {
        give_to(command);
    }
    let _ = Signal::CONT.send_to_group(command);
}

fn give_to(group: Pid) {
    let input = input();
    if is_there() {
        // TTOU is blocked, and so does not stop a background process here. A terminal of another session
        // stays as it is.
        let _ = tcsetpgrp(input, group);
    }
}
