//! Starting a program: fork a child, put it in order, execute.
//!
//! The standard library's `Command` hands its parent's signal mask on, reports a failure in place of a
//! child that has ended, and waits until the child has executed its program. runsv must do none of it
//! (RSV-15, RSV-41): an exec can hang on a file system or on a lease. Here only the child waits, and a
//! failure is reported through a pipe, to be read when the child is reaped.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use crate::process::descriptors;
use crate::process::oom_score;
use crate::process::start_error;
use crate::signal::{self, Signal, SignalSet};

pub use crate::process::search::{along_path, beside_or_along_path};
pub use crate::process::start_error::{StartError, StartStep, failure_of};

/// The exit code of a child that could not become the program it was to be (RSV-41).
pub const CANNOT_START: u8 = 111;

/// How long a parent waits for a child that another process has stopped before it could do anything.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// A program to start.
pub struct Program<'a> {
    candidates: Vec<CString>,
    arguments: Vec<CString>,
    environment: Option<Vec<CString>>,
    directory: Option<CString>,
    stdin: Option<BorrowedFd<'a>>,
    stdout: Option<BorrowedFd<'a>>,
    stderr: Option<BorrowedFd<'a>>,
    further: Option<(BorrowedFd<'a>, RawFd)>,
    leadership: Leadership,
    awaits_session: bool,
    default_signals: &'a [Signal],
    has_own_mask: bool,
    has_default_oom_score: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Leadership {
    Nothing,
    Session,
    Group { foreground_of: Option<i32> },
}

/// A string for the kernel; what follows a NUL byte cannot be passed and is dropped.
pub fn c_string(text: impl AsRef<OsStr>) -> CString {
    let bytes = text.as_ref().as_bytes();
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    CString::new(bytes.get(..end).unwrap_or_default()).unwrap_or_default()
}

impl<'a> Program<'a> {
    /// The program at `path`, which is not searched for; `argv[0]` is the path.
    pub fn new(path: impl AsRef<Path>) -> Self {
        let path = c_string(path.as_ref());
        Self::first_of(vec![path.clone()], path)
    }

    /// The first of `candidates` that can be executed, in GEN-9's sense, called `name`.
    pub fn first_of(candidates: Vec<CString>, name: CString) -> Self {
        Self {
            candidates,
            arguments: vec![name],
            environment: None,
            directory: None,
            stdin: None,
            stdout: None,
            stderr: None,
            further: None,
            leadership: Leadership::Nothing,
            awaits_session: false,
            default_signals: &[],
            has_own_mask: true,
            has_default_oom_score: false,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(c_string(argument));
        self
    }

    /// Adds `NAME=value` to the environment this process has.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        let mut environment = self.environment.take().unwrap_or_else(|| {
            std::env::vars_os()
                .map(|(name, value)| {
                    let mut entry = name;
                    entry.push("=");
                    entry.push(value);
                    c_string(entry)
                })
                .collect()
        });
        let prefix = format!("{name}=");
        environment.retain(|entry| !entry.to_bytes().starts_with(prefix.as_bytes()));
        let mut entry = std::ffi::OsString::from(prefix);
        entry.push(value);
        environment.push(c_string(entry));
        self.environment = Some(environment);
        self
    }

    /// The working directory; a relative path is taken from this process's.
    #[must_use]
    pub fn current_dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.directory = Some(c_string(directory.as_ref()));
        self
    }

    /// What the program reads.
    #[must_use]
    pub fn stdin(mut self, from: BorrowedFd<'a>) -> Self {
        self.stdin = Some(from);
        self
    }

    /// Where the program writes.
    #[must_use]
    pub fn stdout(mut self, to: BorrowedFd<'a>) -> Self {
        self.stdout = Some(to);
        self
    }

    /// Where the program complains.
    #[must_use]
    pub fn stderr(mut self, to: BorrowedFd<'a>) -> Self {
        self.stderr = Some(to);
        self
    }

    /// A descriptor that the program has under this number, which is none of the standard ones.
    #[must_use]
    pub fn descriptor(mut self, descriptor: BorrowedFd<'a>, number: RawFd) -> Self {
        self.further = Some((descriptor, number));
        self
    }

    /// Gives the program a session, and so a process group, of its own.
    #[must_use]
    pub fn own_session(mut self) -> Self {
        self.leadership = Leadership::Session;
        self
    }

    /// The same, and [`spawn`](Self::spawn) returns when the session exists.
    #[must_use]
    pub fn own_session_at_once(mut self) -> Self {
        self.awaits_session = true;
        self.own_session()
    }

    /// Gives the program a process group of its own; with a terminal, its foreground.
    #[must_use]
    pub fn own_group(mut self, foreground_of: Option<BorrowedFd<'_>>) -> Self {
        self.leadership =
            Leadership::Group { foreground_of: foreground_of.map(|terminal| terminal.as_raw_fd()) };
        self
    }

    /// Signals that get their default action and are unblocked, whatever this process does with
    /// them; every other disposition and mask bit is inherited. To be named: all that this
    /// process catches.
    #[must_use]
    pub fn default_signals(mut self, signals: &'a [Signal]) -> Self {
        self.default_signals = signals;
        self
    }

    /// What this process has blocked stays blocked, even if it is named among the default signals.
    #[must_use]
    pub fn inherited_mask(mut self) -> Self {
        self.has_own_mask = false;
        self
    }

    /// Gives the program the score 0 for the kernel's choice of what to kill when memory runs out, if this
    /// process has another one and the kernel permits it.
    #[must_use]
    pub fn default_oom_score(mut self) -> Self {
        self.has_default_oom_score = true;
        self
    }

    /// Starts it; returns at once. A child that cannot become the program exits with [`CANNOT_START`]
    /// and is to be reaped as any other; then [`failure_of`] says why.
    pub fn spawn(&self) -> Result<Pid, Errno> {
        let arguments = pointers(&self.arguments);
        let environment = self.environment.as_deref().map(pointers);
        let resets_oom_score = self.has_default_oom_score && oom_score::is_adjusted();
        let reports = start_error::writer();
        // The pipe for the child's report must not be where the program is to have another descriptor.
        let moved = self.further.filter(|(_, number)| reports == Some(*number));
        let moved = moved.map(|(_, number)| another_than(number)).transpose()?;
        let reports = moved.as_ref().map(AsRawFd::as_raw_fd).or(reports);
        let further = self.further.map(|(descriptor, _)| descriptor.as_raw_fd());
        let own_descriptors = descriptors::own(reports.into_iter().chain(further));
        let session = if self.awaits_session { nix::unistd::pipe2(OFlag::O_CLOEXEC).ok() } else { None };
        // No handler may run in the child: it would eat a signal that is meant for the program.
        let mask = SignalSet::all().block();
        // SAFETY: the child makes system calls only, on what was prepared before, until it executes the
        // program or exits.
        let child = Errno::result(unsafe { libc::fork() });
        if child == Ok(0) {
            if resets_oom_score {
                oom_score::reset();
            }
            let at_session = session.as_ref().map(|(_, writer)| writer.as_raw_fd());
            let failure =
                self.become_program(mask, at_session, &own_descriptors, &arguments, environment.as_deref());
            if let Some(reports) = reports {
                start_error::report(reports, failure);
            }
            // SAFETY: _exit runs no code of this process.
            unsafe { libc::_exit(i32::from(CANNOT_START)) }
        }
        mask.set_as_mask();
        let child = Pid::from_raw(child?);
        if let Leadership::Group { .. } = self.leadership {
            // Also here, so that the group exists whichever process runs first; the child's own call
            // makes a failure of this one harmless.
            let _ = nix::unistd::setpgid(child, child);
        }
        if let Some((reader, writer)) = session {
            drop(writer);
            await_end(&reader);
        }
        Ok(child)
    }

    /// What the child does. Returns if it cannot become the program.
    fn become_program(
        &self,
        mask: SignalSet,
        at_session: Option<RawFd>,
        own_descriptors: &[descriptors::Range],
        arguments: &[*const libc::c_char],
        environment: Option<&[*const libc::c_char]>,
    ) -> (StartStep, Errno) {
        match self.put_in_order(mask, at_session, own_descriptors) {
            Ok(()) => (StartStep::Execute, self.execute(arguments, environment)),
            Err(failure) => failure,
        }
    }

    fn put_in_order(
        &self,
        mask: SignalSet,
        at_session: Option<RawFd>,
        own_descriptors: &[descriptors::Range],
    ) -> Result<(), (StartStep, Errno)> {
        match self.leadership {
            Leadership::Nothing => {}
            // A child that was just forked leads nothing, so neither call can fail.
            Leadership::Session => {
                let _ = nix::unistd::setsid();
                if let Some(end) = at_session {
                    // SAFETY: the parent's own end of the pipe, which nothing else in this process uses.
                    unsafe {
                        libc::close(end);
                    }
                }
            }
            Leadership::Group { foreground_of } => {
                let own = Pid::from_raw(0);
                let _ = nix::unistd::setpgid(own, own);
                if let Some(terminal) = foreground_of {
                    // SAFETY: tcsetpgrp has no memory arguments. Every signal is blocked, so a
                    // SIGTTOU cannot stop the child here.
                    unsafe {
                        libc::tcsetpgrp(terminal, libc::getpid());
                    }
                }
            }
        }
        for signal in self.default_signals {
            signal::set_default(*signal);
        }
        for (wanted, place) in [(self.stdin, 0), (self.stdout, 1), (self.stderr, 2)] {
            if let Some(descriptor) = wanted {
                put_descriptor(descriptor, place).map_err(|why| (StartStep::Descriptor, why))?;
            }
        }
        // The exec closes them as well, but it may hang. A lock of this process must not outlive it in a
        // child that waits for a file system.
        descriptors::close(own_descriptors);
        if let Some((descriptor, number)) = self.further {
            put_descriptor(descriptor, number).map_err(|why| (StartStep::Descriptor, why))?;
        }
        if let Some(directory) = &self.directory {
            nix::unistd::chdir(directory.as_c_str()).map_err(|why| (StartStep::Directory, why))?;
        }
        let mask = mask.union(signal::blocked_at_start());
        let mask = if self.has_own_mask { mask.without(self.default_signals) } else { mask };
        mask.set_as_mask();
        Ok(())
    }

    /// Tries the candidates as GEN-9 says; returns why none could be executed.
    fn execute(
        &self,
        arguments: &[*const libc::c_char],
        environment: Option<&[*const libc::c_char]>,
    ) -> Errno {
        let mut denied = None;
        for path in &self.candidates {
            // SAFETY: path and arrays are NUL-terminated and live until the call returns or the
            // process is replaced.
            unsafe {
                match environment {
                    Some(environment) => {
                        libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr())
                    }
                    None => libc::execv(path.as_ptr(), arguments.as_ptr()),
                };
            }
            match Errno::last() {
                Errno::ENOENT => {}
                why @ (Errno::EACCES | Errno::EPERM | Errno::EISDIR) => denied = Some(why),
                why => return why,
            }
        }
        denied.unwrap_or(Errno::ENOENT)
    }
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| CStr::as_ptr(string)).chain([std::ptr::null()]).collect()
}

/// Waits until nothing holds the other end of a pipe. A child closes it within a few system calls, unless
/// another process stops it.
fn await_end(reader: &OwnedFd) {
    let deadline = Instant::now() + LONGEST_WAIT;
    loop {
        let rest = deadline.saturating_duration_since(Instant::now());
        let mut asked = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
        let rest = PollTimeout::try_from(rest).unwrap_or(PollTimeout::ZERO);
        if poll(&mut asked, rest) != Err(Errno::EINTR) {
            return;
        }
    }
}

/// A descriptor of the same file as this one, with a greater number.
fn another_than(number: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: the caller has it open, and for as long as this call takes.
    let open = unsafe { BorrowedFd::borrow_raw(number) };
    let moved = nix::fcntl::fcntl(open, FcntlArg::F_DUPFD_CLOEXEC(number.saturating_add(1)))?;
    // SAFETY: the call has made it, and nothing else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(moved) })
}

fn put_descriptor(descriptor: BorrowedFd<'_>, place: i32) -> Result<(), Errno> {
    // SAFETY: dup2 and fcntl have no memory arguments; the process is about to be replaced, so
    // nothing of ours relies on what `place` was.
    unsafe {
        if descriptor.as_raw_fd() == place {
            Errno::result(libc::fcntl(place, libc::F_SETFD, 0)).map(drop)
        } else {
            Errno::result(libc::dup2(descriptor.as_raw_fd(), place)).map(drop)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::process::reap::{ExitStatus, reap_waiting};

    fn failure(program: &Program<'_>) -> Option<(StartStep, Errno)> {
        let child = program.spawn().expect("a child");
        assert_eq!(reap_waiting(child), Some(ExitStatus::Exited(CANNOT_START)));
        let failure = failure_of(child)?;
        assert_eq!(failure_of(child), None, "it is said once");
        Some((failure.step, failure.why))
    }

    #[test]
    fn a_program_that_cannot_be_executed_says_why() {
        let program = Program::new("/no/such/program");
        assert_eq!(failure(&program), Some((StartStep::Execute, Errno::ENOENT)));
    }

    #[test]
    fn a_directory_that_is_not_there_says_so() {
        let program = Program::new("/bin/true").current_dir("/no/such/directory");
        assert_eq!(failure(&program), Some((StartStep::Directory, Errno::ENOENT)));
    }

    #[test]
    fn a_program_that_was_executed_has_nothing_to_say() {
        let child = Program::new("/bin/true").spawn().expect("a child");
        assert_eq!(reap_waiting(child), Some(ExitStatus::Exited(0)));
        assert_eq!(failure_of(child), None);
    }

    #[test]
    fn a_candidate_that_is_denied_is_remembered_while_the_search_goes_on() {
        let candidates = vec![c_string("/etc"), c_string("/no/such/program")];
        let program = Program::first_of(candidates, c_string("program"));
        assert_eq!(failure(&program), Some((StartStep::Execute, Errno::EACCES)));
    }

    #[test]
    fn a_program_has_a_descriptor_under_any_number() {
        let reports = start_error::writer().expect("a pipe");
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        // Where the child reports to, where the pipe is itself, and elsewhere.
        let numbers = [reports, writer.as_raw_fd(), 3, 200];
        for number in numbers {
            let script = format!("echo {number} >/proc/self/fd/{number}");
            let program = Program::new("/bin/sh").arg("-c").arg(script);
            let child = program.descriptor(writer.as_fd(), number).spawn().expect("a child");
            assert_eq!(reap_waiting(child), Some(ExitStatus::Exited(0)), "{number}");
        }
        let missing = Program::new("/no/such/program").descriptor(writer.as_fd(), reports);
        assert_eq!(failure(&missing), Some((StartStep::Execute, Errno::ENOENT)));
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("lines");
        assert_eq!(text, numbers.map(|number| format!("{number}\n")).concat());
    }

    #[test]
    fn a_signal_that_arrives_before_the_program_has_its_default_action() {
        let child =
            Program::new("/bin/sleep").arg("60").default_signals(&[Signal::TERM]).spawn().expect("a child");
        Signal::TERM.send(child).expect("a living child");
        assert_eq!(reap_waiting(child), Some(ExitStatus::Killed { signal: Signal::TERM, core: false }));
    }

    /// Makes every other opening of a file wait until this one is closed.
    fn lease(file: &fs_err::File) {
        const F_SETSIG: libc::c_int = 10;
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        // SAFETY: the calls have no memory arguments. The usual signal, SIGIO, would end the process.
        unsafe {
            assert_eq!(libc::fcntl(file.as_raw_fd(), F_SETSIG, libc::SIGCHLD), 0);
            // Another test's child may have a copy of the descriptor that the file was written through.
            while libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) != 0 {
                assert!(std::time::Instant::now() < deadline, "{}", Errno::last());
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn a_child_whose_exec_hangs_holds_nothing_of_its_parent() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("program");
        fs_err::copy("/bin/true", &path).expect("a program");
        let file = fs_err::File::open(&path).expect("the program");
        lease(&file);
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        let child = Program::new(&path).default_signals(&[Signal::TERM]).spawn().expect("a child");
        drop(writer);
        // It ends when the last copy of the writing end is closed.
        reader.read_to_end(&mut Vec::new()).expect("the end of the pipe");
        let arguments = crate::procfs::arguments(child);
        Signal::TERM.send(child).expect("a living child");
        assert_eq!(reap_waiting(child), Some(ExitStatus::Killed { signal: Signal::TERM, core: false }));
        assert_eq!(arguments, crate::procfs::arguments(nix::unistd::getpid()), "it is not the program yet");
    }
}
