//! Starts processes, and sees that none is left behind.
//!
//! Tests are threads of one process, so nothing here may wait for "any child": each tree kills and
//! reaps exactly what is its own, by process id.

use std::collections::HashSet;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::Duration;

use fs_err as fs;
use nix::sys::prctl;
use nix::sys::signal::{self, SigSet, Signal};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

/// The variable that marks a process as one of a tree, whichever process started it.
pub const MARKER: &str = "RUNIT_TEST_TREE";

/// The children that a test will wait for.
///
/// Holding the lock also means that no thread is between fork and exec. A test that writes a program holds
/// it: otherwise another test's child could have the file open for writing when it is first executed, and the
/// kernel would answer "text busy".
static CHILDREN: Mutex<Option<HashSet<u32>>> = Mutex::new(None);

/// What `/proc/PID/stat` and `/proc/PID/status` say about a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its parent's id.
    pub parent: u32,
    /// The id of its process group.
    pub group: u32,
    /// The id of its session.
    pub session: u32,
    /// The number of its controlling terminal; 0 without one.
    pub terminal: u32,
    /// `R`, `S`, `T`, `Z`...
    pub state: char,
    /// The kernel's flags of it.
    flags: u32,
    /// When it was started, in hundredths of a second of the clock that counts from boot: with the id,
    /// what no other process ever has.
    pub started: u64,
}

impl Process {
    /// Looks a process up; nothing when there is none.
    pub fn find(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may contain blanks and parentheses; what follows its last parenthesis does not.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?.chars().next()?;
        let mut number = || fields.next()?.parse().ok();
        let (parent, group, session, terminal) = (number()?, number()?, number()?, number()?);
        // Terminal is field 7; the group that has it lies between.
        let flags = fields.nth(1)?.parse().ok()?;
        // That was field 9, this is field 22.
        let started = fields.nth(12)?.parse().ok()?;
        Some(Self { pid, parent, group, session, terminal, state, flags, started })
    }

    /// All processes there are.
    pub fn all() -> Vec<Self> {
        let Ok(entries) = fs::read_dir("/proc") else {
            return Vec::new();
        };
        entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter_map(Self::find)
            .collect()
    }

    /// Whether it still does something: a zombie does not.
    pub fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }

    /// Whether it is on its way out, which nothing can change any more.
    pub fn is_leaving(&self) -> bool {
        /// `PF_EXITING` in the kernel's `sched.h`.
        const EXITING: u32 = 4;
        self.flags & EXITING != 0 || !self.is_alive()
    }

    /// Its command line, blanks between the words.
    pub fn command_line(&self) -> String {
        let words = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        String::from_utf8_lossy(&words).trim_end_matches('\0').replace('\0', " ")
    }

    /// A line of `/proc/PID/status`, without its name.
    pub fn fact(&self, name: &str) -> Option<String> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(line.trim().to_owned())
    }

    /// A set of signals: `SigBlk`, `SigIgn` or `SigCgt`.
    ///
    /// Without 32 and 33, which are the C library's own: its fast way of starting a process leaves
    /// them ignored, and no program can change that.
    pub fn signals(&self, set: &str) -> Vec<u32> {
        let bits =
            self.fact(set).and_then(|bits| u64::from_str_radix(&bits, 16).ok()).expect("a set of signals");
        (1..=64).filter(|signal| bits >> (signal - 1) & 1 == 1 && ![32, 33].contains(signal)).collect()
    }

    /// The numbers of its open descriptors, with what each one refers to.
    pub fn descriptors(&self) -> Vec<(u32, String)> {
        let Ok(entries) = fs::read_dir(format!("/proc/{}/fd", self.pid)) else {
            return Vec::new();
        };
        let mut descriptors: Vec<_> = entries
            .flatten()
            .filter_map(|entry| {
                let target = fs::read_link(entry.path()).ok()?;
                Some((entry.file_name().to_str()?.parse().ok()?, target.to_string_lossy().into_owned()))
            })
            .collect();
        descriptors.sort();
        descriptors
    }

    /// Its environment, a `NAME=value` each.
    pub fn environment(&self) -> Vec<String> {
        let environment = fs::read(format!("/proc/{}/environ", self.pid)).unwrap_or_default();
        String::from_utf8_lossy(&environment).split_terminator('\0').map(str::to_owned).collect()
    }

    /// Whether it belongs to the tree: it has the marker, or works inside the tree (daemons write
    /// their title over the marker).
    fn belongs_to(&self, root: &Path) -> bool {
        let marker = [MARKER.as_bytes(), b"=", root.as_os_str().as_bytes()].concat();
        fs::read(format!("/proc/{}/environ", self.pid))
            .is_ok_and(|environment| environment.split(|&byte| byte == 0).any(|variable| variable == marker))
            || fs::read_link(format!("/proc/{}/cwd", self.pid)).is_ok_and(|dir| dir.starts_with(root))
    }
}

/// Whether a process is there and not a zombie.
pub fn is_alive(pid: u32) -> bool {
    Process::find(pid).is_some_and(|process| process.is_alive())
}

/// The numbers of the descriptors, beside the standard ones, that this process was given by its own parent
/// and would hand on.
pub(crate) fn inherited_descriptors() -> Vec<u32> {
    let is_handed_on = |number: u32| {
        // Those of other threads come and go, but none without the flag.
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).ok()?;
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
        Some(u32::from_str_radix(flags.trim(), 8).ok()? & 0o2_000_000 == 0)
    };
    let me = std::process::id();
    let mine = Process::find(me).expect("this process").descriptors();
    let more = mine.into_iter().map(|(number, _)| number).filter(|&number| number > 2);
    more.filter(|&number| is_handed_on(number) == Some(true)).collect()
}

/// Sends a signal; a process that is gone already is no trouble.
pub fn send(pid: u32, signal: Signal) {
    // A pid of 0 would mean the test's own group.
    assert_ne!(pid, 0, "no process to send {signal} to");
    let _ = signal::kill(id(pid), signal);
}

/// Sends a signal that has no name, such as a real-time one.
pub fn send_number(pid: u32, number: i32) {
    assert_ne!(pid, 0, "no process to send signal {number} to");
    let mut kill = Command::new("/bin/sh");
    kill.args(["-c", "kill -$0 $1", &number.to_string(), &pid.to_string()]);
    assert!(run(&mut kill).expect("a shell starts").success(), "signal {number} cannot be sent");
}

/// Runs something short that belongs to no tree.
pub fn run(command: &mut Command) -> io::Result<ExitStatus> {
    let mut child = spawn(command)?;
    wait(&mut child)
}

/// Starts a child with an empty signal mask, to be waited for with [`wait`] or [`try_wait`].
pub(crate) fn spawn(command: &mut Command) -> io::Result<Child> {
    static PREPARED: Once = Once::new();
    PREPARED.call_once(|| {
        // An orphan becomes our child, and can be found and reaped.
        prctl::set_child_subreaper(true).expect("this process can be a subreaper");
        umask(Mode::from_bits_truncate(0o022));
    });
    let mut children = lock();
    // A thread hands its mask on to what it starts.
    SigSet::empty().thread_set_mask()?;
    let child = command.spawn()?;
    children.get_or_insert_default().insert(child.id());
    Ok(child)
}

/// Waits for a child of [`spawn`].
pub(crate) fn wait(child: &mut Child) -> io::Result<ExitStatus> {
    let ended = child.wait()?;
    forget(child.id());
    Ok(ended)
}

/// Looks whether a child of [`spawn`] has ended.
pub(crate) fn try_wait(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    let ended = child.try_wait()?;
    if ended.is_some() {
        forget(child.id());
    }
    Ok(ended)
}

/// Does something while no thread is between fork and exec.
pub(crate) fn while_no_test_forks<T>(work: impl FnOnce() -> T) -> T {
    let _children = lock();
    work()
}

/// The processes of a tree that are alive: those that belong to it and all their descendants.
pub(crate) fn living(root: &Path) -> Vec<Process> {
    let (mut found, mut others): (Vec<_>, Vec<_>) =
        Process::all().into_iter().filter(Process::is_alive).partition(|process| process.belongs_to(root));
    loop {
        let (more, rest): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|other| found.iter().any(|process| process.pid == other.parent));
        if more.is_empty() {
            return found;
        }
        found.extend(more);
        others = rest;
    }
}

/// Kills every process of a tree, and reaps what became our child.
pub(crate) fn clear(root: &Path) {
    // A supervisor may have started a process between the look and its own death: look again.
    for _ in 0..2000 {
        let living = living(root);
        if living.is_empty() {
            break;
        }
        for process in living {
            send(process.pid, Signal::SIGKILL);
        }
        thread::sleep(Duration::from_millis(2));
    }
    reap_strangers();
}

/// Reaps the dead that became our children when their parents died; no test waits for them.
fn reap_strangers() {
    let children = lock();
    let me = std::process::id();
    for process in Process::all() {
        let is_known = children.as_ref().is_some_and(|children| children.contains(&process.pid));
        if process.parent == me && !process.is_alive() && !is_known {
            let _ = waitpid(id(process.pid), Some(WaitPidFlag::WNOHANG));
        }
    }
}

fn forget(pid: u32) {
    if let Some(children) = lock().as_mut() {
        children.remove(&pid);
    }
}

/// A test that panicked while it held the lock left a set that is still right.
fn lock() -> MutexGuard<'static, Option<HashSet<u32>>> {
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn id(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).expect("a process id"))
}
