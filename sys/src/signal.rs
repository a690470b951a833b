//! Signals by number, real-time ones included, which nix's enumeration cannot express (RSV-40 has
//! a service killed by signal 64).
//!
//! Numbers and masks are the kernel's: C libraries keep some of the real-time signals for themselves,
//! glibc two and musl three, and leave them out of every set. A service inherits them nevertheless.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

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
    /// The highest signal number: `SIGRTMAX`.
    pub const LAST: i32 = 64;

    /// `SIGRTMIN` as glibc counts, and with it kill(1), docker(1) and systemd, which use
    /// glibc's names for signals. musl begins one later.
    const FIRST_REAL_TIME: i32 = 34;

    /// `SIGRTMIN+offset`.
    pub fn real_time(offset: i32) -> Self {
        Self(Self::FIRST_REAL_TIME + offset)
    }

    /// Reads `15`, `TERM`, `SIGTERM`, `term` or `RTMIN+3`; `None` for anything else.
    pub fn parse(word: &str) -> Option<Self> {
        if let Ok(number) = word.parse::<i32>() {
            return (1..=Self::LAST).contains(&number).then_some(Self(number));
        }
        let word = word.to_ascii_uppercase();
        let word = word.strip_prefix("SIG").unwrap_or(&word);
        let (base, offset) = match (word.strip_prefix("RTMIN"), word.strip_prefix("RTMAX")) {
            (Some(rest), _) => (Self::FIRST_REAL_TIME, rest),
            (_, Some(rest)) => (Self::LAST, rest),
            _ => return NAMES.iter().find(|(name, _)| *name == word).map(|(_, signal)| *signal),
        };
        let offset = if offset.is_empty() { 0 } else { offset.parse::<i32>().ok()? };
        let number = base.checked_add(offset)?;
        (Self::FIRST_REAL_TIME..=Self::LAST).contains(&number).then_some(Self(number))
    }

    /// Reads what [`Display`](fmt::Display) writes: `SIGTERM`, or `signal 64` for one without a name.
    pub fn parse_displayed(words: &str) -> Option<Self> {
        Self::parse(words.strip_prefix("signal ").unwrap_or(words))
    }

    /// Whether a process is stopped by it, unless it handles the signal. CONT discards such a signal that is
    /// still pending.
    pub fn is_stop(self) -> bool {
        [Self::STOP, Self::TSTP, Self::TTIN, Self::TTOU].contains(&self)
    }

    /// This signal and CONT, without which a stopped process does not act on it; in the order in which CONT
    /// does not discard it.
    pub fn and_cont(self) -> [Self; 2] {
        if self.is_stop() { [Self::CONT, self] } else { [self, Self::CONT] }
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

/// A set of signals, as the kernel's masks know it: a bit for each, from the lowest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignalSet(u64);

impl SignalSet {
    /// The set with these members.
    pub fn of(signals: &[Signal]) -> Self {
        Self(0).with(signals)
    }

    /// Every signal.
    pub fn all() -> Self {
        Self(u64::MAX)
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
    pub fn without(self, signals: &[Signal]) -> Self {
        Self(signals.iter().fold(self.0, |set, signal| set & !bit(*signal)))
    }

    /// This set with these signals, too.
    #[must_use]
    pub fn with(self, signals: &[Signal]) -> Self {
        Self(signals.iter().fold(self.0, |set, signal| set | bit(*signal)))
    }

    /// The members of both sets.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether `signal` is a member.
    pub fn contains(&self, signal: Signal) -> bool {
        self.0 & bit(signal) != 0
    }

    /// Takes one pending signal of this set off the queue; returns whether there was one.
    pub fn take_pending(&self) -> bool {
        let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let no_information: *mut libc::siginfo_t = std::ptr::null_mut();
        // SAFETY: the set is as long as said, and valid for the call like the time; the signal's
        // information may be null.
        let taken = unsafe {
            libc::syscall(
                libc::SYS_rt_sigtimedwait,
                &raw const self.0,
                no_information,
                &raw const at_once,
                size_of::<u64>(),
            )
        };
        taken > 0
    }

    fn change_mask(&self, how: i32) -> Self {
        let mut before = Self(0);
        // SAFETY: both sets are as long as said and valid for the call, which cannot fail with these
        // arguments.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigprocmask,
                how,
                &raw const self.0,
                &raw mut before.0,
                size_of::<u64>(),
            );
        }
        before
    }
}

/// Which of the signals that C libraries keep for themselves were blocked when this process began.
static BLOCKED_AT_START: AtomicU64 = AtomicU64::new(0);

/// Remembers them for [`blocked_at_start`]: musl unblocks two of them when the first handler is set. To be
/// called before that.
pub(crate) fn note_blocked_at_start() {
    let kept: Vec<Signal> = (32..=Signal::FIRST_REAL_TIME).map(Signal).collect();
    let blocked = SignalSet::of(&[]).block().0 & SignalSet::of(&kept).0;
    BLOCKED_AT_START.store(blocked, Ordering::Relaxed);
}

/// What [`note_blocked_at_start`] has found: children inherit it as well.
pub(crate) fn blocked_at_start() -> SignalSet {
    SignalSet(BLOCKED_AT_START.load(Ordering::Relaxed))
}

/// The place of a signal in a set; none for a number that is no signal's.
fn bit(Signal(number): Signal) -> u64 {
    let place = number.checked_sub(1).and_then(|place| u32::try_from(place).ok());
    place.and_then(|place| 1_u64.checked_shl(place)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
    fn a_mask_holds_every_signal_that_can_be_blocked() {
        let before = SignalSet::all().block();
        let all = SignalSet::all().block();
        before.set_as_mask();
        let never = [Signal::KILL, Signal::STOP];
        assert_eq!(all, SignalSet::all().without(&never));
        assert_eq!(SignalSet::of(&[]).block(), before);
        assert!(all.contains(Signal(32)) && all.contains(Signal::real_time(0)) && all.contains(Signal(64)));
        assert!(!all.contains(Signal(0)) && !all.contains(Signal(65)) && !all.contains(Signal::KILL));
    }

    #[test]
    fn a_signal_without_a_name_is_shown_by_number() {
        assert_eq!(Signal::QUIT.to_string(), "SIGQUIT");
        assert_eq!(Signal(64).to_string(), "signal 64");
        for number in 1..=Signal::LAST {
            let signal = Signal(number);
            assert_eq!(Signal::parse_displayed(&signal.to_string()), Some(signal));
        }
        assert_eq!(Signal::parse("signal 64"), None, "not a name for a file of settings");
    }

    proptest! {
        #[test]
        fn any_word_is_a_signal_that_can_be_sent_or_none(word in "(SIG|sig)?(RTMIN|RTMAX|TERM|hup)?[-+]?[0-9]{0,12}|\\PC*") {
            for signal in [Signal::parse(&word), Signal::parse_displayed(&word)].into_iter().flatten() {
                prop_assert!((1..=Signal::LAST).contains(&signal.0));
            }
        }

        #[test]
        fn a_set_has_the_members_it_was_given(numbers in proptest::collection::vec(any::<i32>(), 0..8)) {
            let signals: Vec<_> = numbers.iter().map(|number| Signal(number % 70)).collect();
            let set = SignalSet::of(&signals);
            for number in 1..=Signal::LAST {
                prop_assert_eq!(set.contains(Signal(number)), signals.contains(&Signal(number)));
            }
        }
    }
}
