//! Starting a program: make a child, put it in order, execute.
//!
//! The standard library's `Command` hands its parent's signal mask on, and what failed it tells
//! instead of a child that has ended; runsv must do neither (RSV-15, RSV-41).

use std::cell::Cell;
use std::ffi::{CStr, CString, OsStr};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::signal::{self, Signal, SignalSet};

/// The exit code of a child that could not become the program it was to be (RSV-41).
pub const CANNOT_START: u8 = 111;

/// A program to start.
pub struct Program<'a> {
    candidates: Vec<CString>,
    arguments: Vec<CString>,
    environment: Option<Vec<CString>>,
    directory: Option<CString>,
    stdin: Option<BorrowedFd<'a>>,
    stdout: Option<BorrowedFd<'a>>,
    stderr: Option<BorrowedFd<'a>>,
    kept_open: Option<BorrowedFd<'a>>,
    leads: Leads,
    default_signals: &'a [Signal],
    has_own_mask: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Leads {
    Nothing,
    Session,
    Group { foreground_of: Option<i32> },
}

/// What a child could not do on its way to the program it was to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Put a descriptor in its place.
    Descriptor,
    /// Change the working directory.
    Directory,
    /// Execute the program.
    Execute,
}

/// A child that was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Child {
    /// Its process id.
    pub pid: Pid,
    /// Why it is not the program it was to be. It exits with [`CANNOT_START`], and is to be reaped
    /// as any other.
    pub failure: Option<StartFailure>,
}

/// Why a child could not become the program it was to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartFailure {
    /// The child.
    pub child: Pid,
    /// What it could not do.
    pub step: Step,
    /// Why.
    pub why: Errno,
}

/// A string for the kernel; what stands behind a NUL byte cannot be said to it and is dropped.
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
            kept_open: None,
            leads: Leads::Nothing,
            default_signals: &[],
            has_own_mask: true,
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

    /// Stays open in the program, under its number: see [`kept_open`].
    #[must_use]
    pub fn keep_open(mut self, descriptor: BorrowedFd<'a>) -> Self {
        self.kept_open = Some(descriptor);
        self
    }

    /// Gives the program a session, and so a process group, of its own.
    #[must_use]
    pub fn own_session(mut self) -> Self {
        self.leads = Leads::Session;
        self
    }

    /// Gives the program a process group of its own; with a terminal, its foreground.
    #[must_use]
    pub fn own_group(mut self, foreground_of: Option<BorrowedFd<'_>>) -> Self {
        self.leads = Leads::Group { foreground_of: foreground_of.map(|terminal| terminal.as_raw_fd()) };
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

    /// What this process has blocked stays blocked, whatever else is said of those signals.
    #[must_use]
    pub fn inherited_mask(mut self) -> Self {
        self.has_own_mask = false;
        self
    }

    /// Starts it, and returns when the child is the program or has failed.
    pub fn spawn(&self) -> Result<Child, Errno> {
        let arguments = pointers(&self.arguments);
        let environment = self.environment.as_deref().map(pointers);
        // No handler may run in the child: it would eat a signal that is meant for the program.
        let mask = SignalSet::all().block();
        let errand = Errand {
            program: self,
            mask,
            arguments: &arguments,
            environment: environment.as_deref(),
            failure: Cell::new(None),
        };
        let child = errand.run();
        mask.set_as_mask();
        let child = child?;
        if let Leads::Group { .. } = self.leads {
            // Also here, so that the group exists whoever runs first; the child's own call makes a
            // failure of this one harmless.
            let _ = nix::unistd::setpgid(child, child);
        }
        let failure = errand.failure.get().map(|(step, why)| StartFailure { child, step, why });
        Ok(Child { pid: child, failure })
    }

    fn put_in_order(&self, mask: SignalSet) -> Result<(), (Step, Errno)> {
        match self.leads {
            Leads::Nothing => {}
            // A child that was just forked leads nothing, so neither call can fail.
            Leads::Session => drop(nix::unistd::setsid()),
            Leads::Group { foreground_of } => {
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
                put_descriptor(descriptor, place).map_err(|why| (Step::Descriptor, why))?;
            }
        }
        if let Some(descriptor) = self.kept_open {
            put_descriptor(descriptor, descriptor.as_raw_fd()).map_err(|why| (Step::Descriptor, why))?;
        }
        if let Some(directory) = &self.directory {
            nix::unistd::chdir(directory.as_c_str()).map_err(|why| (Step::Directory, why))?;
        }
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

/// What a child has to do, as it is handed over to it.
struct Errand<'a, 'b> {
    program: &'a Program<'b>,
    mask: SignalSet,
    arguments: &'a [*const libc::c_char],
    environment: Option<&'a [*const libc::c_char]>,
    /// What the child could not do, and why: it writes this before it exits.
    failure: Cell<Option<(Step, Errno)>>,
}

/// Where a child lives while it is not yet the program: a few system calls, which take 1.8 KiB where
/// nothing is optimized. A piece of the stack of whoever starts it is in use anyway, and mapped
/// already.
#[repr(align(16))]
struct Stack(MaybeUninit<[u8; Self::SIZE]>);

impl Stack {
    const SIZE: usize = 4 << 10;

    /// Stacks grow downwards.
    fn top(&mut self) -> *mut libc::c_void {
        self.0.as_mut_ptr().wrapping_add(1).cast()
    }
}

impl Errand<'_, '_> {
    /// Sends a child on its way, and returns when it is the program or has failed.
    ///
    /// The child shares this process's memory until then, so nothing has to be copied, it tells of
    /// its failure by writing it down, and when this returns nobody holds this process's descriptors
    /// any more: a supervisor that is killed right after has left no copy of its lock behind. The
    /// price is that this process waits with the child: while the kernel reads the program, which may
    /// lie on a server that does not answer, and while a STOP to the whole group holds the child.
    #[inline(never)]
    fn run(&self) -> Result<Pid, Errno> {
        let mut stack = Stack(MaybeUninit::uninit());
        let errand: *const Self = self;
        // SAFETY: the child runs on a piece of memory of its own and this thread is suspended
        // (CLONE_VFORK) until the child executes a program or exits, so `self` and the stack outlive
        // their use and nothing is accessed by both at once; what the child changes is in a cell.
        // Descriptors, dispositions and the working directory are copies. Every signal is blocked.
        let child = unsafe {
            libc::clone(
                Self::in_child,
                stack.top(),
                libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
                errand.cast_mut().cast(),
            )
        };
        Errno::result(child).map(Pid::from_raw)
    }

    extern "C" fn in_child(errand: *mut libc::c_void) -> i32 {
        // SAFETY: `run` hands over a pointer to itself and is suspended while the child uses it.
        let errand = unsafe { &*errand.cast_const().cast::<Errand<'_, '_>>() };
        let failure = match errand.program.put_in_order(errand.mask) {
            Ok(()) => (Step::Execute, errand.program.execute(errand.arguments, errand.environment)),
            Err(failure) => failure,
        };
        errand.failure.set(Some(failure));
        // SAFETY: _exit runs no code of this process.
        unsafe { libc::_exit(i32::from(CANNOT_START)) }
    }
}

/// The descriptor that whoever has started this program has kept open for it under this number;
/// programs that this one starts do not get it. `None` if there is none. To be asked once for each.
pub fn kept_open(number: i32) -> Option<OwnedFd> {
    // The first three belong to everybody.
    if number <= libc::STDERR_FILENO {
        return None;
    }
    // SAFETY: fcntl has no memory arguments, and fails if nothing is open there. What is open there was
    // inherited, and so far nobody knows of it.
    unsafe {
        Errno::result(libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC)).ok()?;
        Some(OwnedFd::from_raw_fd(number))
    }
}

/// Where a program called `name` may be, in GEN-9's order: as it is if it has a slash, else along
/// PATH, whose default is `/bin:/usr/bin` and whose empty elements mean the working directory.
pub fn along_path(name: &OsStr) -> Vec<CString> {
    if name.as_bytes().contains(&b'/') {
        return vec![c_string(name)];
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    path.as_bytes()
        .split(|byte| *byte == b':')
        .map(|directory| {
            let mut candidate = if directory.is_empty() { b".".to_vec() } else { directory.to_vec() };
            candidate.push(b'/');
            candidate.extend_from_slice(name.as_bytes());
            c_string(OsStr::from_bytes(&candidate))
        })
        .collect()
}

/// Where a program of this tree may be: next to the one that runs, then along PATH, so that an
/// image with an empty environment works.
pub fn beside_or_along_path(name: &str) -> Vec<CString> {
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join(name)));
    beside.map(c_string).into_iter().chain(along_path(OsStr::new(name))).collect()
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| CStr::as_ptr(string)).chain([std::ptr::null()]).collect()
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
    use super::*;
    use crate::reap::{Ending, reap_waiting};

    fn failure_of(program: &Program<'_>) -> Option<(Step, Errno)> {
        let Child { pid, failure } = program.spawn().expect("a child");
        assert_eq!(reap_waiting(pid), Some(Ending::Exited(CANNOT_START)));
        let StartFailure { child, step, why } = failure?;
        assert_eq!(child, pid);
        Some((step, why))
    }

    #[test]
    fn a_program_that_cannot_be_executed_says_why() {
        let program = Program::new("/no/such/program");
        assert_eq!(failure_of(&program), Some((Step::Execute, Errno::ENOENT)));
    }

    #[test]
    fn a_directory_that_is_not_there_says_so() {
        let program = Program::new("/bin/true").current_dir("/no/such/directory");
        assert_eq!(failure_of(&program), Some((Step::Directory, Errno::ENOENT)));
    }

    #[test]
    fn a_program_that_was_executed_has_nothing_to_say() {
        let Child { pid, failure } = Program::new("/bin/true").spawn().expect("a child");
        assert_eq!(failure, None);
        assert_eq!(reap_waiting(pid), Some(Ending::Exited(0)));
    }

    #[test]
    fn a_candidate_that_is_denied_is_remembered_while_the_search_goes_on() {
        let candidates = vec![c_string("/etc"), c_string("/no/such/program")];
        let program = Program::first_of(candidates, c_string("program"));
        assert_eq!(failure_of(&program), Some((Step::Execute, Errno::EACCES)));
    }

    #[test]
    fn a_signal_that_arrives_before_the_program_still_meets_its_default_action() {
        let child =
            Program::new("/bin/sleep").arg("60").default_signals(&[Signal::TERM]).spawn().expect("a child");
        Signal::TERM.send(child.pid).expect("a living child");
        assert_eq!(reap_waiting(child.pid), Some(Ending::Killed { signal: Signal::TERM, core: false }));
    }
}
