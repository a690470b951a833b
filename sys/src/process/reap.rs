//! How a process ended, and the collecting of those that did.

use std::mem::MaybeUninit;

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::signal::Signal;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// It exited with this code.
    Exited(u8),
    /// A signal killed it.
    Killed {
        /// Which one.
        signal: Signal,
        /// Whether it left a core dump.
        core: bool,
    },
}

impl ExitStatus {
    /// Whether this is an exit with code 0; a death by signal never is (DEV-4).
    pub fn is_success(self) -> bool {
        self == Self::Exited(0)
    }

    /// The two arguments of `./finish` (RSV-40): the exit code or -1, and the low byte of the wait
    /// status, which is the signal's number, with 128 added for a core dump.
    pub fn finish_arguments(self) -> [String; 2] {
        match self {
            Self::Exited(code) => [code.to_string(), "0".to_owned()],
            Self::Killed { signal, core } => {
                let core = if core { 128 } else { 0 };
                ["-1".to_owned(), (signal.0 + core).to_string()]
            }
        }
    }

    /// The exit code that a shell makes of this end of its command: the code, or 128 and the signal's number.
    pub fn shell_code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            Self::Killed { signal, .. } => u8::try_from(128 + signal.0).unwrap_or(u8::MAX),
        }
    }

    /// Reads what [`Display`](std::fmt::Display) writes: `exit 3`, `SIGSEGV (core dumped)`, `signal 64`.
    pub fn parse(words: &str) -> Option<Self> {
        if let Some(code) = words.strip_prefix("exit ") {
            return code.parse().ok().map(Self::Exited);
        }
        let (name, core) = words.strip_suffix(" (core dumped)").map_or((words, false), |name| (name, true));
        Signal::parse_displayed(name).map(|signal| Self::Killed { signal, core })
    }

    /// Whether a process that was sent this signal has stopped in order: it died of the signal, or exited
    /// with the code that a shell makes of that, as Java does.
    pub fn is_answer_to(self, signal: Signal) -> bool {
        self.shell_code() == Self::Killed { signal, core: false }.shell_code()
    }

    fn of_wait_status(status: i32) -> Self {
        if libc::WIFSIGNALED(status) {
            Self::Killed { signal: Signal(libc::WTERMSIG(status)), core: libc::WCOREDUMP(status) }
        } else {
            // The wait status holds the code in one byte.
            Self::Exited(u8::try_from(libc::WEXITSTATUS(status)).unwrap_or(u8::MAX))
        }
    }
}

impl std::fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit {code}"),
            Self::Killed { signal, core: false } => write!(f, "{signal}"),
            Self::Killed { signal, core: true } => write!(f, "{signal} (core dumped)"),
        }
    }
}

/// Collects one dead child, if there is one, without waiting.
///
/// nix's `waitpid` is not used: it fails, and so loses the death, for a real-time signal.
pub fn reap_next() -> Option<(Pid, ExitStatus)> {
    loop {
        let mut status = 0;
        // SAFETY: `status` is valid for the call.
        match Errno::result(unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) }) {
            Ok(pid) if pid > 0 => return Some((Pid::from_raw(pid), ExitStatus::of_wait_status(status))),
            Err(Errno::EINTR) => {}
            Ok(_) | Err(_) => return None,
        }
    }
}

/// The signal that has stopped a child, once for each stop.
pub fn stop_of(child: Pid) -> Option<Signal> {
    let mut about = MaybeUninit::<libc::siginfo_t>::zeroed();
    let id = libc::id_t::try_from(child.as_raw()).ok()?;
    let options = libc::WSTOPPED | libc::WNOHANG;
    // SAFETY: `about` is valid for the call.
    Errno::result(unsafe { libc::waitid(libc::P_PID, id, about.as_mut_ptr(), options) }).ok()?;
    // SAFETY: zeroed, or filled in by the kernel for a child.
    let (code, status) = unsafe {
        let about = about.assume_init();
        (about.si_code, about.si_status())
    };
    (code == libc::CLD_STOPPED).then_some(Signal(status))
}

/// Whether this process has any child, dead ones that are not collected included.
pub fn has_children() -> bool {
    loop {
        let mut about = MaybeUninit::<libc::siginfo_t>::zeroed();
        let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: `about` is valid for the call; WNOWAIT leaves every child as it is.
        match Errno::result(unsafe { libc::waitid(libc::P_ALL, 0, about.as_mut_ptr(), options) }) {
            Err(Errno::EINTR) => {}
            Err(Errno::ECHILD) => return false,
            Ok(_) | Err(_) => return true,
        }
    }
}

/// Collects one given child, waiting for its end; `None` when there is no such child.
pub fn reap_waiting(child: Pid) -> Option<ExitStatus> {
    loop {
        let mut status = 0;
        // SAFETY: `status` is valid for the call.
        match Errno::result(unsafe { libc::waitpid(child.as_raw(), &raw mut status, 0) }) {
            Ok(_) => return Some(ExitStatus::of_wait_status(status)),
            Err(Errno::EINTR) => {}
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn finish_gets_the_code_or_the_signal() {
        let text = |ending: ExitStatus| ending.finish_arguments().join(" ");
        assert_eq!(text(ExitStatus::Exited(0)), "0 0");
        assert_eq!(text(ExitStatus::Exited(255)), "255 0");
        assert_eq!(text(ExitStatus::Killed { signal: Signal::KILL, core: false }), "-1 9");
        assert_eq!(text(ExitStatus::Killed { signal: Signal::SEGV, core: true }), "-1 139");
        assert_eq!(text(ExitStatus::Killed { signal: Signal(64), core: false }), "-1 64");
    }

    #[test]
    fn how_it_ended_can_be_read_again() {
        let killed = |signal, core| ExitStatus::Killed { signal, core };
        for ending in [
            ExitStatus::Exited(3),
            killed(Signal::TERM, false),
            killed(Signal::SEGV, true),
            killed(Signal(64), false),
        ] {
            assert_eq!(ExitStatus::parse(&ending.to_string()), Some(ending));
        }
        for words in ["", "exit", "exit 256", "exit -1", "SIGNONE", "core dumped"] {
            assert_eq!(ExitStatus::parse(words), None, "{words}");
        }
    }

    #[test]
    fn a_stop_of_a_child_is_told_once() {
        let child = crate::Program::new("/bin/sleep").arg("60").spawn().expect("a child");
        assert_eq!(stop_of(child), None);
        Signal::STOP.send(child).expect("a child");
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        let stop = std::iter::from_fn(|| Some(stop_of(child))).find(|stop| {
            std::thread::yield_now();
            stop.is_some() || std::time::Instant::now() > deadline
        });
        assert_eq!(stop, Some(Some(Signal::STOP)));
        assert_eq!(stop_of(child), None);
        Signal::KILL.send(child).expect("a child");
        assert!(reap_waiting(child).is_some_and(|end| end.is_answer_to(Signal::KILL)));
        assert_eq!(stop_of(child), None);
    }

    #[test]
    fn an_exit_with_128_and_the_signal_is_an_answer_to_it() {
        assert!(ExitStatus::Exited(143).is_answer_to(Signal::TERM));
        assert!(ExitStatus::Killed { signal: Signal::TERM, core: true }.is_answer_to(Signal::TERM));
        assert!(!ExitStatus::Exited(143).is_answer_to(Signal::INT));
        assert!(!ExitStatus::Exited(15).is_answer_to(Signal::TERM));
    }

    #[test]
    fn a_death_by_signal_is_no_success() {
        assert!(ExitStatus::Exited(0).is_success());
        assert!(!ExitStatus::Exited(1).is_success());
        assert!(!ExitStatus::Killed { signal: Signal::TERM, core: false }.is_success());
    }

    proptest! {
        #[test]
        fn any_words_are_an_exit_status_or_none(words in "(exit )?[0-9]{0,5}|SIG[A-Z]{0,6}( \\(core dumped\\))?|\\PC*") {
            if let Some(status) = ExitStatus::parse(&words) {
                prop_assert_eq!(ExitStatus::parse(&status.to_string()), Some(status));
            }
        }

        #[test]
        fn any_wait_status_is_read(raw: i32) {
            let status = ExitStatus::of_wait_status(raw);
            prop_assert!(status.finish_arguments().iter().all(|word| word.parse::<i32>().is_ok()));
            let _ = status.shell_code();
        }
    }
}
