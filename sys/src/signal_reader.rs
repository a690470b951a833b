//! Signals that are read from a descriptor, with what sent them. No handler runs: all of them can be taken,
//! those that a fault of the process raises and those that a C library keeps for itself included. A fault
//! ends the process as ever, since the kernel does not wait for a blocked signal then.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd};

use nix::errno::Errno;

use crate::signal::{Signal, SignalSet};

/// A reader of signals, which are blocked from its start on.
#[derive(Debug)]
pub struct SignalReader(OwnedFd);

/// A signal, and what has sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceivedSignal {
    /// Which one.
    pub signal: Signal,
    /// What has sent it.
    pub sender: SignalSender,
}

/// What sends a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalSender {
    /// The kernel, for a terminal or a limit.
    Kernel,
    /// This process, as by a write to a pipe without a reader.
    Itself,
    /// Another process.
    Process,
}

impl SignalReader {
    /// Blocks these signals. The kernel drops what a process 1 has no handler for, but not what is blocked:
    /// a container may have to stop before its first process is ready.
    pub fn new(signals: &[Signal]) -> Result<Self, Errno> {
        let set = SignalSet::of(signals);
        set.block();
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        // SAFETY: the set is as long as said, and valid for the call.
        let opened = unsafe {
            libc::syscall(libc::SYS_signalfd4, -1, std::ptr::from_ref(&set), size_of::<SignalSet>(), flags)
        };
        let descriptor = Errno::result(i32::try_from(opened).unwrap_or(-1))?;
        // SAFETY: the kernel has just opened it for this process.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }

    /// The signals that have arrived.
    pub fn read(&self) -> Vec<ReceivedSignal> {
        std::iter::from_fn(|| self.read_next()).collect()
    }

    fn read_next(&self) -> Option<ReceivedSignal> {
        let mut about = MaybeUninit::<libc::signalfd_siginfo>::zeroed();
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: the buffer is as long as said. The kernel writes whole records only.
        let count = unsafe { libc::read(self.0.as_raw_fd(), about.as_mut_ptr().cast(), size) };
        if usize::try_from(count).ok()? < size {
            return None;
        }
        // SAFETY: every pattern of bits is valid for this type of numbers.
        let about = unsafe { about.assume_init() };
        let sender = match about.ssi_code {
            libc::SI_KERNEL => SignalSender::Kernel,
            libc::SI_USER if about.ssi_pid == std::process::id() => SignalSender::Itself,
            _ => SignalSender::Process,
        };
        Some(ReceivedSignal { signal: Signal(i32::try_from(about.ssi_signo).ok()?), sender })
    }
}

impl AsFd for SignalReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_is_read_once_with_its_sender() {
        // Signals for this process go to any of its threads; those for one thread stay there.
        let signals = [Signal::SEGV, Signal(32), Signal::real_time(3), Signal::TSTP];
        let reader = SignalReader::new(&signals).expect("a descriptor");
        assert_eq!(reader.read(), []);
        // SAFETY: the calls have no memory arguments; the signals are blocked in this thread.
        let thread = unsafe { libc::syscall(libc::SYS_gettid) };
        for signal in signals {
            // SAFETY: as above.
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, signal.0) };
        }
        let mut read: Vec<Signal> = reader.read().into_iter().map(|received| received.signal).collect();
        read.sort_unstable();
        let mut wanted = signals.to_vec();
        wanted.sort_unstable();
        assert_eq!(read, wanted);
    }
}
