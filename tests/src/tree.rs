//! A temporary tree of services, and the end of all that was started on it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::{env, thread};

use fs_err as fs;
use nix::sys::statvfs::{FsFlags, statvfs};

use crate::command::{CommandLine, Output};
use crate::process::{self, Process};
use crate::service::{Builder, Service};
use crate::status::RawStatus;
use crate::suite::Suite;

/// A temporary directory of services, with a short path.
///
/// It has `service/` (what runsvdir and `SVDIR` are given), `bin/` (the suite's programs) and `out/`
/// (what the programs print). When the last handle is dropped, every process of the tree is killed
/// and the directory removed.
#[derive(Clone, Debug)]
pub struct TestTree(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    children: Mutex<BTreeMap<u32, Started>>,
    captures: AtomicU32,
    is_hosted: bool,
    hosts: AtomicU32,
}

/// A child of the test.
#[derive(Debug)]
enum Started {
    Running(Child),
    Ended(ExitStatus),
}

impl TestTree {
    pub(crate) fn new(suite: &Suite) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let root = place().join(format!("rt.{}.{number}", std::process::id()));
        // Left over from a process of the same number that was killed.
        let _ = fs::remove_dir_all(&root);
        for dir in ["service", "bin", "out"] {
            fs::create_dir_all(root.join(dir)).expect("a temporary tree");
        }
        for (name, place) in suite.programs() {
            symlink(place, root.join("bin").join(name)).expect("a link in the temporary tree");
        }
        Self(Arc::new(Inner {
            root,
            children: Mutex::default(),
            captures: AtomicU32::new(0),
            is_hosted: suite.is_hosted(),
            hosts: AtomicU32::new(0),
        }))
    }

    /// The temporary directory itself, a free place for whatever a scenario needs.
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// The directory of service directories.
    pub fn services(&self) -> PathBuf {
        self.root().join("service")
    }

    /// The directory of the suite's programs.
    pub fn bin(&self) -> PathBuf {
        self.root().join("bin")
    }

    /// Whether init supervises its services.
    pub fn is_hosted(&self) -> bool {
        self.0.is_hosted
    }

    /// A new and empty services directory.
    pub(crate) fn services_directory_for_one(&self) -> PathBuf {
        let number = self.0.hosts.fetch_add(1, Ordering::Relaxed);
        let dir = self.root().join(format!("hosted/{number}"));
        fs::create_dir_all(&dir).expect("a services directory");
        dir
    }

    /// Describes a service directory.
    pub fn service(&self, name: &str) -> Builder {
        Builder::new(self, name)
    }

    /// A service directory that is there already, or will be.
    pub fn at(&self, name: &str) -> Service {
        Service::new(self, self.services().join(name))
    }

    /// Prepares a program: of the suite by its bare name, or any other.
    pub fn command(&self, program: impl AsRef<OsStr>) -> CommandLine {
        CommandLine::new(self, program.as_ref())
    }

    /// Runs the suite's sv with words separated by blanks: `tree.sv("-w 1 down web")`.
    #[track_caller]
    pub fn sv(&self, words: &str) -> Output {
        self.command("sv").args(words.split_whitespace()).output()
    }

    /// Writes an executable file; the body needs no first line if it is for the shell.
    #[track_caller]
    pub fn write_script(&self, file: &Path, body: &str) {
        let body = if body.starts_with("#!") { body.to_owned() } else { format!("#!/bin/sh\n{body}\n") };
        process::while_no_test_forks(|| {
            fs::write(file, body).expect("a script");
            set_mode(file, 0o755);
        });
    }

    /// Copies a program, following links.
    #[track_caller]
    pub fn copy_program(&self, from: &Path, to: &Path) {
        process::while_no_test_forks(|| fs::copy(from, to).expect("the program can be copied"));
    }

    /// All processes of the tree that are alive.
    pub fn processes(&self) -> Vec<Process> {
        process::living(self.root())
    }

    /// The processes of the tree with exactly this command line.
    pub fn processes_called(&self, command_line: &str) -> Vec<Process> {
        let mut processes = self.processes();
        processes.retain(|process| process.command_line() == command_line);
        processes
    }

    /// Files for the output of a program.
    pub(crate) fn capture(&self, program: &OsStr) -> (PathBuf, PathBuf) {
        let number = self.0.captures.fetch_add(1, Ordering::Relaxed);
        let name = Path::new(program).file_name().unwrap_or(program).to_string_lossy().into_owned();
        let file = |end: &str| self.root().join("out").join(format!("{number:02}.{name}.{end}"));
        (file("stdout"), file("stderr"))
    }

    /// Takes over a child, to be killed and reaped with the tree.
    pub(crate) fn adopt(&self, child: Child) {
        self.children().insert(child.id(), Started::Running(child));
    }

    /// How a child ended, if it has.
    pub(crate) fn ended(&self, pid: u32) -> Option<ExitStatus> {
        let mut children = self.children();
        let started = children.get_mut(&pid)?;
        if let Started::Running(child) = started
            && let Some(status) = process::try_wait(child).expect("the child can be waited for")
        {
            *started = Started::Ended(status);
        }
        match started {
            Started::Ended(status) => Some(*status),
            Started::Running(_) => None,
        }
    }

    fn children(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, Started>> {
        self.0.children.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.report());
        }
        let children = self.children.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        for child in children.values_mut() {
            if let Started::Running(child) = child {
                let _ = child.kill();
            }
        }
        process::clear(&self.root);
        for child in children.values_mut() {
            if let Started::Running(child) = child {
                let _ = process::wait(child);
            }
        }
        // On panic too: what is in there was reported above.
        let _ = fs::remove_dir_all(&self.root);
    }
}

impl Inner {
    /// What the tree looks like: its processes, its status files, what was printed.
    fn report(&self) -> String {
        let mut report = format!("the tree {} at the time of the failure:\n", self.root.display());
        for process in process::living(&self.root) {
            let _ =
                writeln!(report, "  process {} ({}) {}", process.pid, process.state, process.command_line());
        }
        for dir in sorted(&self.root.join("service")) {
            for supervise in [dir.join("supervise"), dir.join("log/supervise")] {
                let Some(record) = read_regular(&supervise.join("status")) else {
                    continue;
                };
                let text = |name| {
                    let text = read_regular(&supervise.join(name)).unwrap_or_default();
                    String::from_utf8_lossy(&text).into_owned()
                };
                let _ = write!(
                    report,
                    "  {}: stat {:?}, pid {:?}, ",
                    supervise.display(),
                    text("stat"),
                    text("pid")
                );
                let _ = writeln!(report, "status {:?}", RawStatus::read(&record));
            }
        }
        for file in sorted(&self.root.join("out")) {
            let text = fs::read(&file).unwrap_or_default();
            if !text.is_empty() {
                let _ = write!(report, "  {}:\n{}\n", file.display(), String::from_utf8_lossy(&text));
            }
        }
        report
    }
}

/// What is in a file; nothing else that a test has put there is waited for.
fn read_regular(file: &Path) -> Option<Vec<u8>> {
    let is_file = fs::symlink_metadata(file).is_ok_and(|about| about.is_file());
    is_file.then(|| fs::read(file).ok()).flatten()
}

/// Sets the mode of a file.
#[track_caller]
pub fn set_mode(file: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).expect("the mode can be set");
}

/// Where trees are made: `TMPDIR` if it is set, else in memory if programs may be executed there and there is
/// room for a database, else the temporary directory. A busy disk can delay the creation of a file for
/// seconds, and then a limit of one second proves nothing.
fn place() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let suits = || {
        let about = statvfs(memory).ok()?;
        let room = about.blocks_available().checked_mul(about.fragment_size())?;
        Some(!about.flags().contains(FsFlags::ST_NOEXEC) && room >= 1 << 30)
    };
    if env::var_os("TMPDIR").is_none() && suits() == Some(true) { memory.to_owned() } else { env::temp_dir() }
}

fn sorted(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    files
}
