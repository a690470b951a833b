//! Where a program begins, in place of the standard library's own start.
//!
//! That one aborts without a word if a standard descriptor is closed and there is no `/dev/null`. It
//! also ignores SIGPIPE and catches SEGV and BUS; here the program, and with it all that it starts, has
//! the dispositions it was started with (GEN-12, RSV-17).

use std::ffi::{CStr, OsStr, OsString, c_char, c_int};
use std::os::fd::{IntoRawFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::error::Error;
use crate::log::Logger;
use crate::process::title;
use crate::signal;

/// Makes `$run`, which takes the arguments and returns the exit code, the start of the program `$name`;
/// `$code` is its exit code if it cannot even begin. The file says `#![no_main]`.
#[macro_export]
macro_rules! main {
    ($name:literal, $code:expr, $run:path) => {
        #[allow(unsafe_code, reason = "the C runtime looks for this name, which nothing else has")]
        #[unsafe(no_mangle)]
        extern "C" fn main(
            count: ::std::ffi::c_int,
            vector: *const *const ::std::ffi::c_char,
        ) -> ::std::ffi::c_int {
            // SAFETY: the C runtime calls this, once, with the arguments of the process.
            unsafe { $crate::process::entry::enter(count, vector, $name, $code, $run) }
        }
    };
}

/// The body of `main`.
///
/// # Safety
///
/// The arguments are those that the C runtime has for `main`.
pub unsafe fn enter(
    count: c_int,
    vector: *const *const c_char,
    name: &str,
    code: u8,
    run: impl FnOnce(Vec<OsString>) -> u8,
) -> c_int {
    signal::note_blocked_at_start();
    title::note(count, vector);
    let code = match (0..=2).try_for_each(occupy) {
        // SAFETY: the caller vouches for it.
        Ok(()) => run(unsafe { arguments(count, vector) }),
        Err(why) => {
            Logger::new(name).fatal(&Error::new("unable to open a standard descriptor", why));
            code
        }
    };
    // Unlike a return this writes what is still in the buffer of the standard output.
    std::process::exit(code.into())
}

/// # Safety
///
/// The vector has so many entries, each a string that lives as long as the process.
unsafe fn arguments(count: c_int, vector: *const *const c_char) -> Vec<OsString> {
    (0..usize::try_from(count).unwrap_or_default())
        // SAFETY: the caller vouches for it.
        .map(|index| unsafe { CStr::from_ptr(*vector.add(index)) })
        .map(|argument| OsStr::from_bytes(argument.to_bytes()).to_owned())
        .collect()
}

/// Opens a standard descriptor that is closed, lower ones being open (DEV-9): on `/dev/null`, or without
/// that on something that can be neither read nor written, as if it were closed.
fn occupy(number: RawFd) -> Result<(), Errno> {
    // SAFETY: the call has no memory arguments, and fails if nothing is open there.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } != -1 {
        return Ok(());
    }
    let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_NOCTTY, Mode::empty());
    // It takes the lowest number that is free, and stays open.
    null.or_else(|_| open("/", OFlag::O_PATH, Mode::empty())).map(|opened| {
        let _ = opened.into_raw_fd();
    })
}

/// Ends this process, whatever its other threads do. Nothing is flushed or dropped.
pub fn exit_at_once(code: u8) -> ! {
    // SAFETY: the call has no memory arguments, and does not return.
    unsafe { libc::_exit(i32::from(code)) }
}
