//! Starting a program: make a child, put it in order, execute.
//!
//! The standard library's `Command` hands its parent's signal mask on and reports a failed
//! execution by waiting for it; runsv must do neither (RSV-15, RSV-41).

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
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
    leads: Leads,
    default_signals: &'a [Signal],
    failures: Option<BorrowedFd<'a>>,
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

/// A child's word that it could not become the program it was to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartFailure {
    /// The child; it exits with [`CANNOT_START`].
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
            leads: Leads::Nothing,
            default_signals: &[],
            failures: None,
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

    /// Where a child says that it could not start, for [`FailurePipe::drain`].
    #[must_use]
    pub fn failures(mut self, pipe: &'a FailurePipe) -> Self {
        self.failures = Some(std::os::fd::AsFd::as_fd(&pipe.writer));
        self
    }

    /// Starts it. A child that cannot become the program exits with [`CANNOT_START`].
    pub fn spawn(&self) -> Result<Pid, Errno> {
        let arguments = pointers(&self.arguments);
        let environment = self.environment.as_deref().map(pointers);
        // No handler may run in the child: it would eat a signal that is meant for the program.
        let mask = SignalSet::all().block();
        let errand =
            Errand { program: self, mask, arguments: &arguments, environment: environment.as_deref() };
        let child = errand.run();
        mask.set_as_mask();
        let child = child?;
        if let Leads::Group { .. } = self.leads {
            // Also here, so that the group exists whoever runs first; the child's own call makes a
            // failure of this one harmless.
            let _ = nix::unistd::setpgid(child, child);
        }
        Ok(child)
    }

    fn become_program(
        &self,
        mask: SignalSet,
        arguments: &[*const libc::c_char],
        environment: Option<&[*const libc::c_char]>,
    ) -> ! {
        let (step, why) = match self.put_in_order(mask) {
            Ok(()) => (Step::Execute, self.execute(arguments, environment)),
            Err(failure) => failure,
        };
        if let Some(pipe) = self.failures {
            let record = Record::of(nix::unistd::getpid(), step, why).to_bytes();
            // Nobody is left to be told if this fails; the exit code says it, too.
            let _ = nix::unistd::write(pipe, &record);
        }
        // SAFETY: _exit runs no code of this process.
        unsafe { libc::_exit(i32::from(CANNOT_START)) }
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
        if let Some(directory) = &self.directory {
            nix::unistd::chdir(directory.as_c_str()).map_err(|why| (Step::Directory, why))?;
        }
        mask.without(self.default_signals).set_as_mask();
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
}

/// The child's stack while it is not yet the program: it calls a few system calls deep.
const CHILD_STACK: usize = 64 << 10;

impl Errand<'_, '_> {
    /// Sends a child on its way, and returns when it is the program or has failed.
    ///
    /// The child shares this process's memory until then, so nothing has to be copied, and when
    /// this returns nobody holds this process's descriptors any more: a supervisor that is killed
    /// right after has left no copy of its lock behind.
    fn run(&self) -> Result<Pid, Errno> {
        let stack = Stack::new()?;
        let errand: *const Self = self;
        // SAFETY: the child runs on a stack of its own and this thread is suspended (CLONE_VFORK)
        // until the child executes a program or exits, so `self` outlives its use and nothing is
        // accessed by both at once. Descriptors, dispositions and the working directory are
        // copies. Every signal is blocked.
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
        errand.program.become_program(errand.mask, errand.arguments, errand.environment)
    }
}

/// A piece of memory that is given back when the child no longer needs it.
struct Stack(*mut libc::c_void);

impl Stack {
    fn new() -> Result<Self, Errno> {
        // SAFETY: a fresh private mapping, placed by the kernel.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                CHILD_STACK,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED { Err(Errno::last()) } else { Ok(Self(start)) }
    }

    /// Stacks grow downwards.
    fn top(&self) -> *mut libc::c_void {
        // SAFETY: one past the end of the mapping; its size is a multiple of any alignment.
        unsafe { self.0.add(CHILD_STACK) }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and nobody runs on it any more.
        unsafe {
            libc::munmap(self.0, CHILD_STACK);
        }
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

/// The pipe through which children say that they could not start.
pub struct FailurePipe {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl FailurePipe {
    /// Makes the pipe; neither end is handed on to programs.
    pub fn new() -> Result<Self, Errno> {
        let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        Ok(Self { reader, writer })
    }

    /// What children have said since the last time. Read it after reaping: a child speaks before
    /// it ends.
    pub fn drain(&self) -> Vec<StartFailure> {
        let mut failures = Vec::new();
        let mut record = [0; Record::SIZE];
        while let Ok(Record::SIZE) = nix::unistd::read(&self.reader, &mut record) {
            failures.extend(Record(record).decode());
        }
        failures
    }
}

/// What travels through the pipe: small enough to be written whole or not at all.
struct Record([u8; Record::SIZE]);

impl Record {
    const SIZE: usize = 12;

    fn of(child: Pid, step: Step, why: Errno) -> Self {
        let step: i32 = match step {
            Step::Descriptor => 0,
            Step::Directory => 1,
            Step::Execute => 2,
        };
        let mut bytes = [0; Self::SIZE];
        for (place, number) in bytes.chunks_exact_mut(4).zip([child.as_raw(), why as i32, step]) {
            place.copy_from_slice(&number.to_ne_bytes());
        }
        Self(bytes)
    }

    fn to_bytes(&self) -> [u8; Self::SIZE] {
        self.0
    }

    fn decode(&self) -> Option<StartFailure> {
        let mut numbers =
            self.0.chunks_exact(4).filter_map(|place| Some(i32::from_ne_bytes(place.try_into().ok()?)));
        let (child, why, step) = (numbers.next()?, numbers.next()?, numbers.next()?);
        let step = match step {
            0 => Step::Descriptor,
            1 => Step::Directory,
            2 => Step::Execute,
            _ => return None,
        };
        Some(StartFailure { child: Pid::from_raw(child), step, why: Errno::from_raw(why) })
    }
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

    #[test]
    fn a_program_that_cannot_be_executed_says_why() {
        let pipe = FailurePipe::new().expect("a pipe");
        let child = Program::new("/no/such/program").failures(&pipe).spawn().expect("a child");
        assert_eq!(reap_waiting(child), Some(Ending::Exited(CANNOT_START)));
        assert_eq!(pipe.drain(), [StartFailure { child, step: Step::Execute, why: Errno::ENOENT }]);
        assert_eq!(pipe.drain(), []);
    }

    #[test]
    fn a_candidate_that_is_denied_is_remembered_while_the_search_goes_on() {
        let pipe = FailurePipe::new().expect("a pipe");
        let candidates = vec![c_string("/etc"), c_string("/no/such/program")];
        let child =
            Program::first_of(candidates, c_string("program")).failures(&pipe).spawn().expect("a child");
        assert_eq!(reap_waiting(child), Some(Ending::Exited(CANNOT_START)));
        assert_eq!(pipe.drain(), [StartFailure { child, step: Step::Execute, why: Errno::EACCES }]);
    }

    #[test]
    fn a_signal_that_arrives_before_the_program_still_meets_its_default_action() {
        let child =
            Program::new("/bin/sleep").arg("60").default_signals(&[Signal::TERM]).spawn().expect("a child");
        Signal::TERM.send(child).expect("a living child");
        assert_eq!(reap_waiting(child), Some(Ending::Killed { signal: Signal::TERM, core: false }));
    }
}
