//! Whether somebody has a file open for writing, which the kernel tells to whoever asks for a lease.

use std::fs::File;
use std::os::fd::AsRawFd;

use crate::signal::Signal;

/// Which signal tells of a lease; the libc crate has no name for it.
const F_SETSIG: libc::c_int = 10;

/// Whether somebody has this file, which was opened for reading, open for writing: whoever executed
/// it now would be told "text busy". False if the kernel does not tell, as for another user's file.
///
/// The lease that is asked for is given back at once. Whoever comes to write meanwhile waits those
/// microseconds, and this process gets a SIGCHLD, which it must not mind.
pub fn is_being_written(file: &File) -> bool {
    let descriptor = file.as_raw_fd();
    // SAFETY: fcntl with these commands has no memory arguments.
    unsafe {
        // The usual signal would be SIGIO, which kills.
        if libc::fcntl(descriptor, F_SETSIG, Signal::CHLD.0) != 0 {
            return false;
        }
        if libc::fcntl(descriptor, libc::F_SETLEASE, libc::F_RDLCK) == 0 {
            libc::fcntl(descriptor, libc::F_SETLEASE, libc::F_UNLCK);
            return false;
        }
    }
    nix::errno::Errno::last() == nix::errno::Errno::EAGAIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_being_written_until_its_last_writer_closes_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        let writer = File::create(&path).expect("a new file");
        let reader = File::open(&path).expect("the same file");
        let before = is_being_written(&reader);
        drop(writer);
        // Another test's child may have a copy of the writer until it executes its program.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        let mut is_free = false;
        while !is_free && std::time::Instant::now() < deadline {
            std::thread::yield_now();
            is_free = !is_being_written(&reader);
        }
        assert!(before);
        assert!(is_free);
    }
}
