//! The priority of this process.

use nix::errno::Errno;

/// The nice value of this process.
pub fn own() -> i32 {
    // SAFETY: getpriority has no memory arguments; -1 may be an answer, and then it is a fine one.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
}

/// Changes the nice value of this process; to a smaller one only with the right to.
pub fn set_own(nice: i32) -> Result<(), Errno> {
    // SAFETY: setpriority has no memory arguments.
    Errno::result(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) }).map(drop)
}
