//! The score by which the kernel picks a process to kill when memory runs out.

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::OnceLock;

const PATH: &CStr = c"/proc/self/oom_score_adj";

/// Enough to tell a score of 0 from any other.
const MOST_BYTES: usize = 2;

/// Whether this process has a score of its own, which is read once.
pub(crate) fn is_adjusted() -> bool {
    static IS_ADJUSTED: OnceLock<bool> = OnceLock::new();
    *IS_ADJUSTED.get_or_init(|| {
        let path = OsStr::from_bytes(PATH.to_bytes());
        crate::read_start(Path::new(path), MOST_BYTES).is_ok_and(|score| score != b"0\n")
    })
}

/// Gives this process, a child that has not executed its program yet, the score 0. A score that the kernel
/// does not let it lower stays.
pub(crate) fn reset() {
    // SAFETY: the path is NUL-terminated, the buffer has one byte, and the descriptor is this function's own.
    // After a fork the three calls are permitted: they take no lock and no memory.
    unsafe {
        let file = libc::open(PATH.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if file != -1 {
            libc::write(file, c"0".as_ptr().cast(), 1);
            libc::close(file);
        }
    }
}
