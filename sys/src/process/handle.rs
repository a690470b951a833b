//! A process that is no child of this one, told from a later one with its number.

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::procfs;
use crate::signal::Signal;

/// Sends a signal to the process of this number that was forked at this time, as [`procfs::Stat`] has it; to
/// no other one.
pub fn signal_exactly(pid: Pid, started: u64, signal: Signal) -> Result<(), Errno> {
    let opened = open(pid)?;
    // What is open now is one process, and the next lines are about it.
    if procfs::stat(pid).is_none_or(|stat| stat.started != started) {
        return Err(Errno::ESRCH);
    }
    let Some(process) = opened else { return signal.send(pid) };
    // SAFETY: the descriptor is open; the information about the signal may be null.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_raw_fd(),
            signal.0,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    Errno::result(sent).map(drop)
}

/// `None` where the kernel, or a filter of system calls, has no such descriptors.
fn open(pid: Pid) -> Result<Option<OwnedFd>, Errno> {
    // SAFETY: the call has no memory arguments.
    let opened = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    match Errno::result(i32::try_from(opened).unwrap_or(-1)) {
        // SAFETY: the kernel has just opened it for this process.
        Ok(descriptor) => Ok(Some(unsafe { OwnedFd::from_raw_fd(descriptor) })),
        Err(Errno::ESRCH) => Err(Errno::ESRCH),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::reap::{ExitStatus, reap_waiting};
    use crate::process::spawn::Program;

    #[test]
    fn only_the_process_that_is_meant_gets_the_signal() {
        let child = Program::new("/bin/sleep").arg("1000").spawn().expect("a child");
        let stat = procfs::stat(child).expect("/proc");
        assert_eq!(signal_exactly(child, stat.started + 1, Signal::TERM), Err(Errno::ESRCH));
        assert_eq!(signal_exactly(child, stat.started, Signal::KILL), Ok(()));
        assert_eq!(reap_waiting(child), Some(ExitStatus::Killed { signal: Signal::KILL, core: false }));
        assert_eq!(signal_exactly(child, stat.started, Signal::KILL), Err(Errno::ESRCH));
    }
}
