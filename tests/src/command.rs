//! Runs a program of the suite, or any other, in a known environment, and keeps what it prints.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use fs_err as fs;
use nix::sys::signal::Signal;

use crate::process::{self, MARKER, Process, inherited_descriptors};
use crate::tree::TestTree;
use crate::wait::{eventually, eventually_some};

/// A program about to run.
///
/// It gets default signal dispositions and an empty mask, umask 022, null as its input, no descriptor above
/// 2, the tree's services directory as its working directory, and an environment of just `PATH`, `SVDIR`,
/// `SVWAIT` (60 seconds) and the marker of the tree. The suite's programs come first on that `PATH`.
#[derive(Debug)]
pub struct CommandLine {
    tree: TestTree,
    program: OsString,
    args: Vec<OsString>,
    through: Vec<OsString>,
    env: BTreeMap<OsString, OsString>,
    dir: PathBuf,
    umask: u32,
    stdin: Option<PathBuf>,
    redirection: String,
    /// Of an init that hosts one service: the entry of the services directory that it is given.
    pub(crate) entry: Option<PathBuf>,
}

impl CommandLine {
    pub(crate) fn new(tree: &TestTree, program: &OsStr) -> Self {
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", tree.bin().display());
        let env = [
            (MARKER.into(), tree.root().into()),
            ("PATH".into(), path.into()),
            ("SVDIR".into(), tree.services().into()),
            // Far more than any command needs, in case the machine stands still for a while.
            ("SVWAIT".into(), "60".into()),
        ];
        Self {
            tree: tree.clone(),
            program: program.to_owned(),
            args: Vec::new(),
            through: Vec::new(),
            env: env.into(),
            dir: tree.services(),
            umask: 0o022,
            stdin: None,
            redirection: String::new(),
            entry: None,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.insert(name.into(), value.as_ref().to_owned());
        self
    }

    /// Leaves a variable out.
    #[must_use]
    pub fn without_env(mut self, name: &str) -> Self {
        self.env.remove(OsStr::new(name));
        self
    }

    /// Starts it in another directory; a relative one starts at the services directory.
    #[must_use]
    pub fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.dir = self.dir.join(dir);
        self
    }

    /// Starts it with another umask.
    #[must_use]
    pub fn umask(mut self, umask: u32) -> Self {
        self.umask = umask;
        self
    }

    /// Gives it a file as its input.
    #[must_use]
    pub fn stdin(mut self, file: impl Into<PathBuf>) -> Self {
        self.stdin = Some(file.into());
        self
    }

    /// Opens or closes descriptors first, in a shell's words: `2>&-`, `7</dev/null`.
    #[must_use]
    pub fn redirected(mut self, words: &str) -> Self {
        words.clone_into(&mut self.redirection);
        self
    }

    /// Runs it through a program that executes it, such as `env --block-signal=HUP`. With several, the one
    /// named last is the innermost.
    #[must_use]
    pub fn through(mut self, words: &[&str]) -> Self {
        self.through.extend(words.iter().map(OsString::from));
        self
    }

    /// Runs it, and what it runs through, inside of what this program sets up.
    #[must_use]
    pub(crate) fn within(mut self, words: &[&str]) -> Self {
        self.through.splice(0..0, words.iter().map(OsString::from));
        self
    }

    /// Runs it with the rights of a user that owns nothing; the test must run as root.
    #[must_use]
    pub fn as_nobody(self) -> Self {
        self.through(&["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
    }

    /// Starts it.
    #[track_caller]
    pub fn start(self) -> StartedProgram {
        let Self { tree, program, args, through, env, dir, umask, stdin, redirection, entry: _ } = self;
        let (stdout, stderr) = tree.capture(&program);
        // A shell for the umask and the redirection, and env for everything else a parent hands on:
        // a shell started in the background ignores INT and QUIT, for one.
        let closed = inherited_descriptors().iter().fold(String::new(), |all, it| all + &format!("{it}>&- "));
        // sh may know no descriptor above 9.
        let shell = if closed.is_empty() { "/bin/sh" } else { "/bin/bash" };
        let mut command = std::process::Command::new(shell);
        command.arg("-c").arg(format!(
            "umask {umask:03o} && exec /usr/bin/env -i --default-signal \"$@\" {closed}{redirection}"
        ));
        command.arg("sh");
        for (name, value) in env {
            let mut variable = name;
            variable.push("=");
            variable.push(value);
            command.arg(variable);
        }
        command.args(through).arg(&program).args(args).current_dir(dir).env_clear();
        command.stdin(stdin.map_or_else(Stdio::null, |file| open(&file).into()));
        command.stdout(create(&stdout)).stderr(create(&stderr));
        let start = Instant::now();
        let child = process::spawn(&mut command).expect("a shell starts");
        let pid = child.id();
        tree.adopt(child);
        StartedProgram { tree, name: program.to_string_lossy().into_owned(), pid, start, stdout, stderr }
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn output(self) -> Output {
        self.start().finished()
    }
}

/// A program that was started.
#[derive(Debug)]
pub struct StartedProgram {
    tree: TestTree,
    name: String,
    pid: u32,
    start: Instant,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl StartedProgram {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What it printed so far.
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// What it, and every process that shares its standard error, printed there so far. Without what an init
    /// says of itself, where that supervises: the rest is what runsvdir and runsv would say.
    pub fn stderr(&self) -> String {
        let text = read(&self.stderr);
        if !(self.tree.is_hosted() && self.name == "init") {
            return text;
        }
        text.split_inclusive('\n').filter(|line| !line.starts_with("init: ")).collect()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        assert!(self.ended().is_none(), "{} has ended already", self.name);
        process::send(self.pid, signal);
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.tree.ended(self.pid)
    }

    /// Whether it is still there.
    pub fn is_alive(&self) -> bool {
        self.ended().is_none()
    }

    /// What the kernel says about it.
    #[track_caller]
    pub fn process(&self) -> Process {
        Process::find(self.pid).expect("the program is there")
    }

    /// Waits until this appears on its standard error.
    #[track_caller]
    pub fn eventually_says(&self, text: &str) {
        eventually(&format!("{} says {text:?}", self.name), || self.stderr().contains(text));
    }

    /// Waits for its end.
    #[track_caller]
    pub fn finished(&self) -> Output {
        let ended = eventually_some(&format!("{} ends", self.name), || self.ended());
        self.so_far(ended)
    }

    /// What it has printed, with this for its end.
    pub(crate) fn so_far(&self, ended: ExitStatus) -> Output {
        Output { took: self.start.elapsed(), ended, stdout: self.stdout(), stderr: self.stderr() }
    }
}

/// What a program that has ended left.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// How it ended.
    pub ended: ExitStatus,
    /// How long it ran, and a few milliseconds more.
    pub took: Duration,
}

impl Output {
    /// Its exit code; nothing when a signal killed it.
    pub fn code(&self) -> Option<i32> {
        self.ended.code()
    }

    /// Its output with process ids and seconds replaced, for comparison.
    pub fn normal(&self) -> String {
        crate::normal(&self.stdout)
    }

    /// Asserts its whole standard output (process ids and seconds replaced), its whole standard
    /// error, and its exit code.
    #[track_caller]
    pub fn is(&self, stdout: &str, stderr: &str, code: i32) {
        assert_eq!((self.normal().as_str(), self.stderr.as_str(), self.code()), (stdout, stderr, Some(code)));
    }

    /// Asserts a program that only says this on its standard output, and its exit code.
    #[track_caller]
    pub fn says(&self, stdout: &str, code: i32) {
        self.is(stdout, "", code);
    }
}

fn read(file: &Path) -> String {
    String::from_utf8_lossy(&fs::read(file).unwrap_or_default()).into_owned()
}

fn open(file: &Path) -> File {
    fs::File::open(file).expect("the input can be opened").into()
}

/// Appending keeps two writers of one file from overwriting each other.
fn create(file: &Path) -> File {
    fs::OpenOptions::new().create(true).append(true).open(file).expect("a file for the output").into()
}
