//! Signals by number, real-time ones included, which nix's enumeration cannot express (RSV-40 has
//! a service killed by signal 64).

use std::fmt;
use std::mem::MaybeUninit;

use nix::errno::Errno;
use nix::unistd::Pid;

/// A signal's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Signal(pub i32);

macro_rules! named_signals {
    ($($name:ident $number:ident),* $(,)?) => {
        impl Signal {
            $(
                #[doc = concat!("`SIG", stringify!($name), "`.")]
                pub const $name: Self = Self(libc::$number);
            )*
        }

        /// Every signal with a name of its own.
        const NAMES: &[(&str, Signal)] = &[$((stringify!($name), Signal::$name)),*];
    };
}

named_signals! {
    HUP SIGHUP, INT SIGINT, QUIT SIGQUIT, ILL SIGILL, TRAP SIGTRAP, ABRT SIGABRT, BUS SIGBUS,
    FPE SIGFPE, KILL SIGKILL, USR1 SIGUSR1, SEGV SIGSEGV, USR2 SIGUSR2, PIPE SIGPIPE, ALRM SIGALRM,
    TERM SIGTERM, CHLD SIGCHLD, CONT SIGCONT, STOP SIGSTOP, TSTP SIGTSTP, TTIN SIGTTIN,
    TTOU SIGTTOU, URG SIGURG, XCPU SIGXCPU, XFSZ SIGXFSZ, VTALRM SIGVTALRM, PROF SIGPROF,
    WINCH SIGWINCH, IO SIGIO, PWR SIGPWR, SYS SIGSYS,
}

impl Signal {
    /// The highest signal number.
    const LAST: i32 = 64;

    /// `SIGRTMIN+offset`, as the C library counts (it keeps the first few for itself).
    pub fn real_time(offset: i32) -> Self {
        Self(libc::SIGRTMIN() + offset)
    }

    /// Reads `15`, `TERM`, `SIGTERM`, `term` or `RTMIN+3`; `None` for anything else.
    pub fn parse(word: &str) -> Option<Self> {
        if let Ok(number) = word.parse::<i32>() {
            return (1..=Self::LAST).contains(&number).then_some(Self(number));
        }
        let word = word.to_ascii_uppercase();
        let word = word.strip_prefix("SIG").unwrap_or(&word);
        let (base, offset) = match (word.strip_prefix("RTMIN"), word.strip_prefix("RTMAX")) {
            (Some(rest), _) => (libc::SIGRTMIN(), rest),
            (_, Some(rest)) => (libc::SIGRTMAX(), rest),
            _ => return NAMES.iter().find(|(name, _)| *name == word).map(|(_, signal)| *signal),
        };
        let offset = if offset.is_empty() { 0 } else { offset.parse::<i32>().ok()? };
        let number = base.checked_add(offset)?;
        (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&number).then_some(Self(number))
    }

    /// Reads what [`Display`](fmt::Display) writes: `SIGTERM`, or `signal 64` for one without a name.
    pub fn parse_displayed(words: &str) -> Option<Self> {
        Self::parse(words.strip_prefix("signal ").unwrap_or(words))
    }

    /// Sends this signal to one process.
    pub fn send(self, to: Pid) -> Result<(), Errno> {
        // SAFETY: kill has no memory arguments.
        Errno::result(unsafe { libc::kill(to.as_raw(), self.0) }).map(drop)
    }

    /// Sends this signal to every process of a group.
    pub fn send_to_group(self, leader: Pid) -> Result<(), Errno> {
        self.send(Pid::from_raw(-leader.as_raw()))
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, signal)| signal == self) {
            Some((name, _)) => write!(f, "SIG{name}"),
            None => write!(f, "signal {}", self.0),
        }
    }
}

/// Gives `signal` its default action in this process.
pub fn set_default(signal: Signal) {
    // SAFETY: SIG_DFL runs no code of ours.
    unsafe {
        libc::signal(signal.0, libc::SIG_DFL);
    }
}

/// A set of signals, as the kernel's masks know it.
#[derive(Clone, Copy)]
pub struct SignalSet(libc::sigset_t);

impl SignalSet {
    /// The set with these members.
    pub fn of(signals: &[Signal]) -> Self {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset initialises the whole set; sigaddset changes an initialised set.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in signals {
                libc::sigaddset(set.as_mut_ptr(), signal.0);
            }
            Self(set.assume_init())
        }
    }

    /// Every signal.
    pub fn all() -> Self {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigfillset initialises the whole set.
        unsafe {
            libc::sigfillset(set.as_mut_ptr());
            Self(set.assume_init())
        }
    }

    /// Blocks the members in this thread as well; returns what was blocked before.
    pub fn block(&self) -> Self {
        self.change_mask(libc::SIG_BLOCK)
    }

    /// Unblocks the members in this thread; returns what was blocked before.
    pub fn unblock(&self) -> Self {
        self.change_mask(libc::SIG_UNBLOCK)
    }

    /// Makes this set the mask of this thread.
    pub fn set_as_mask(&self) {
        self.change_mask(libc::SIG_SETMASK);
    }

    /// This set without these signals.
    #[must_use]
    pub fn without(mut self, signals: &[Signal]) -> Self {
        for signal in signals {
            // SAFETY: changes a set that is initialised.
            unsafe {
                libc::sigdelset(&raw mut self.0, signal.0);
            }
        }
        self
    }

    /// This set with these signals, too.
    #[must_use]
    pub fn with(mut self, signals: &[Signal]) -> Self {
        for signal in signals {
            // SAFETY: changes a set that is initialised.
            unsafe {
                libc::sigaddset(&raw mut self.0, signal.0);
            }
        }
        self
    }

    /// Whether `signal` is a member.
    pub fn contains(&self, signal: Signal) -> bool {
        // SAFETY: reads a set that is initialised.
        unsafe { libc::sigismember(&raw const self.0, signal.0) == 1 }
    }

    /// Takes one pending signal of this set off the queue, if there is one.
    pub fn take_pending(&self) {
        let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: both pointers are valid for the call; the signal's information may be null.
        unsafe {
            libc::sigtimedwait(&raw const self.0, std::ptr::null_mut(), &raw const at_once);
        }
    }

    fn change_mask(&self, how: i32) -> Self {
        let mut before = MaybeUninit::<libc::sigset_t>::zeroed();
        // SAFETY: both sets are valid for the call; it cannot fail with these arguments.
        unsafe {
            libc::pthread_sigmask(how, &raw const self.0, before.as_mut_ptr());
            Self(before.assume_init())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_read_by_number_and_by_name() {
        for word in ["15", "TERM", "SIGTERM", "term", "sigterm"] {
            assert_eq!(Signal::parse(word), Some(Signal::TERM), "{word}");
        }
        assert_eq!(Signal::parse("RTMIN+3"), Some(Signal::real_time(3)));
        assert_eq!(Signal::parse("RTMAX"), Some(Signal(64)));
        for word in ["", "0", "65", "-1", "TERMINATE", "RTMIN+99", "RTMAX+1", "1 5"] {
            assert_eq!(Signal::parse(word), None, "{word}");
        }
    }

    #[test]
    fn a_signal_without_a_name_is_shown_by_number() {
        assert_eq!(Signal::QUIT.to_string(), "SIGQUIT");
        assert_eq!(Signal(64).to_string(), "signal 64");
        for number in 1..=Signal::LAST {
            let signal = Signal(number);
            assert_eq!(Signal::parse_displayed(&signal.to_string()), Some(signal));
        }
        assert_eq!(Signal::parse("signal 64"), None, "nobody writes that into a file of settings");
    }
}
