//! One service directory: made, supervised, read and controlled.

use std::io::{self, Write};
use std::ops::Deref;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use nix::fcntl::OFlag;

use crate::command::{CommandLine, Output};
use crate::process;
use crate::status::{DOWN, FINISH, RUN, RawStatus};
use crate::supervisor::Supervisor;
use crate::tree::TestTree;
use crate::wait::{eventually, eventually_same, eventually_some};

/// Describes a service directory; [`made`](Self::made) writes it.
#[derive(Debug)]
#[must_use = "a description makes nothing; see `made`, `supervised` and `running`"]
pub struct Builder {
    tree: TestTree,
    name: String,
    files: Vec<(String, Content)>,
}

#[derive(Debug)]
enum Content {
    Script(String),
    Plain(String),
    Link(PathBuf),
    Dir,
}

impl Builder {
    pub(crate) fn new(tree: &TestTree, name: &str) -> Self {
        Self { tree: tree.clone(), name: name.to_owned(), files: Vec::new() }
    }

    /// The body of `./run`. A body is for the shell unless it begins with `#!`.
    pub fn run(self, body: &str) -> Self {
        self.script("run", body)
    }

    /// The body of `./finish`.
    pub fn finish(self, body: &str) -> Self {
        self.script("finish", body)
    }

    /// The body of `./check`.
    pub fn check(self, body: &str) -> Self {
        self.script("check", body)
    }

    /// The body of `./control/LETTER`.
    pub fn control(self, letter: char, body: &str) -> Self {
        self.script(&format!("control/{letter}"), body)
    }

    /// The body of `./log/run`.
    pub fn log(self, body: &str) -> Self {
        self.script("log/run", body)
    }

    /// Not started by itself.
    pub fn down(self) -> Self {
        self.file("down", "")
    }

    /// An executable file.
    pub fn script(self, name: &str, body: &str) -> Self {
        self.with(name, Content::Script(body.to_owned()))
    }

    /// A file that is not executable.
    pub fn file(self, name: &str, content: &str) -> Self {
        self.with(name, Content::Plain(content.to_owned()))
    }

    /// A symbolic link.
    pub fn link(self, name: &str, target: impl AsRef<Path>) -> Self {
        self.with(name, Content::Link(target.as_ref().to_owned()))
    }

    /// A directory.
    pub fn dir(self, name: &str) -> Self {
        self.with(name, Content::Dir)
    }

    /// Writes the directory, complete before it appears: runsvdir may be looking.
    #[track_caller]
    pub fn made(self) -> Service {
        let dir = self.tree.services().join(&self.name);
        let beside = self.tree.root().join(format!("{}.new", self.name.replace('/', ".")));
        fs::create_dir_all(&beside).expect("a service directory");
        for (name, content) in &self.files {
            let file = beside.join(name);
            fs::create_dir_all(file.parent().expect("a file in the service directory")).expect("a directory");
            match content {
                Content::Script(body) => self.tree.write_script(&file, body),
                Content::Plain(content) => fs::write(&file, content).expect("a file"),
                Content::Link(target) => symlink(target, &file).expect("a link"),
                Content::Dir => fs::create_dir_all(&file).expect("a directory"),
            }
        }
        fs::rename(&beside, &dir).expect("the service directory can be put in its place");
        Service::new(&self.tree, dir)
    }

    /// Writes the directory and starts a runsv on it.
    #[track_caller]
    pub fn supervised(self) -> Supervised {
        self.made().supervised()
    }

    /// Writes the directory, starts a runsv on it, and waits until `./run` runs.
    #[track_caller]
    pub fn running(self) -> Supervised {
        let supervised = self.supervised();
        supervised.eventually_runs();
        supervised
    }

    fn with(mut self, name: &str, content: Content) -> Self {
        self.files.push((name.to_owned(), content));
        self
    }
}

/// A service directory.
#[derive(Clone, Debug)]
pub struct Service {
    tree: TestTree,
    dir: PathBuf,
}

impl Service {
    pub(crate) fn new(tree: &TestTree, dir: PathBuf) -> Self {
        Self { tree: tree.clone(), dir }
    }

    /// The tree it is in.
    pub fn tree(&self) -> &TestTree {
        &self.tree
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its name as runsv, runsvdir and sv are given it.
    pub fn name(&self) -> &str {
        self.dir.file_name().and_then(|name| name.to_str()).expect("a name")
    }

    /// Its log service.
    #[must_use]
    pub fn log(&self) -> Self {
        Self { tree: self.tree.clone(), dir: self.dir.join("log") }
    }

    /// A file in it.
    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    /// Whether a file is there.
    pub fn has(&self, file: &str) -> bool {
        self.path(file).symlink_metadata().is_ok()
    }

    /// The content of a file; empty when there is none.
    pub fn read(&self, file: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(file)).unwrap_or_default()).into_owned()
    }

    /// The lines of a file; none when there is no file.
    pub fn lines(&self, file: &str) -> Vec<String> {
        self.read(file).lines().map(str::to_owned).collect()
    }

    /// Writes a file.
    #[track_caller]
    pub fn write(&self, file: &str, content: &str) {
        fs::write(self.path(file), content).expect("the file can be written");
    }

    /// Writes an executable file.
    #[track_caller]
    pub fn write_script(&self, file: &str, body: &str) {
        self.tree.write_script(&self.path(file), body);
    }

    /// Removes a file.
    #[track_caller]
    pub fn remove(&self, file: &str) {
        fs::remove_file(self.path(file)).expect("the file can be removed");
    }

    /// A runsv for it, about to start; its name is the only argument. For a hosted service, an init for a
    /// services directory that has nothing but a link to it.
    pub fn runsv(&self) -> CommandLine {
        if !self.tree.is_hosted() {
            return self.tree.command("runsv").arg(self.name());
        }
        let entry = self.tree.services_directory_for_one().join(self.name());
        symlink(&self.dir, &entry).expect("a link to the service directory");
        let mut init = self.tree.command("init").arg(entry.parent().expect("its directory"));
        init.entry = Some(entry);
        init
    }

    /// Shows that a runsv does not start on it for this reason: it says so and ends; init says so and stays.
    #[track_caller]
    pub fn is_refused(&self, runsv: CommandLine, text: &str) {
        if !self.tree.is_hosted() {
            runsv.output().is("", text, 111);
            return;
        }
        let init = runsv.start();
        init.eventually_says(text);
        // It may have tried again by now.
        assert_eq!(init.stderr().replace(text, ""), "");
        assert!(init.is_alive() && !self.is_supervised());
    }

    /// Starts a runsv on it.
    #[track_caller]
    pub fn supervised(self) -> Supervised {
        let runsv = self.runsv();
        self.supervised_by(runsv)
    }

    /// Starts this runsv on it, and waits until it listens.
    #[track_caller]
    pub fn supervised_by(self, mut runsv: CommandLine) -> Supervised {
        let entry = runsv.entry.take();
        let program = runsv.start();
        eventually("runsv listens", || {
            assert!(program.is_alive(), "runsv ended: {}", program.stderr());
            self.is_supervised()
        });
        Supervised { runsv: Supervisor::new(program, &self, entry), service: self }
    }

    /// Whether a runsv listens: its end of `supervise/ok` is open.
    pub fn is_supervised(&self) -> bool {
        is_listened_to(&self.dir)
    }

    /// The bytes of `supervise/status`.
    #[track_caller]
    pub fn record(&self) -> Vec<u8> {
        fs::read(self.path("supervise/status")).expect("a status")
    }

    /// The parts of `supervise/status`.
    #[track_caller]
    pub fn status(&self) -> RawStatus {
        let record = self.record();
        assert_eq!(record.len(), 20, "the length of the record");
        RawStatus::read(&record).expect("a whole record")
    }

    /// The line in `supervise/stat`, without its end.
    pub fn stat(&self) -> String {
        let stat = self.read("supervise/stat");
        stat.strip_suffix('\n').unwrap_or(&stat).to_owned()
    }

    /// The process in `supervise/pid`, if there is one.
    pub fn pid(&self) -> Option<u32> {
        let text = self.read("supervise/pid");
        if text.is_empty() {
            return None;
        }
        Some(text.strip_suffix('\n').and_then(|text| text.parse().ok()).expect("a number and a line end"))
    }

    /// Writes control bytes, all in one write.
    #[track_caller]
    pub fn control(&self, bytes: &str) {
        self.try_control(bytes).expect("a runsv that listens");
    }

    /// Writes control bytes if a runsv listens.
    pub fn try_control(&self, bytes: &str) -> io::Result<()> {
        let mut control = fs::OpenOptions::new();
        control.write(true).custom_flags(OFlag::O_NONBLOCK.bits());
        control.open(self.path("supervise/control"))?.write_all(bytes.as_bytes())
    }

    /// Runs the suite's sv on it: `web.sv("-w 1 down")` is `sv -w 1 down web`.
    #[track_caller]
    pub fn sv(&self, words: &str) -> Output {
        self.tree.command("sv").args(words.split_whitespace()).arg(self.name()).output()
    }

    /// Waits until a condition on it holds.
    #[track_caller]
    pub fn eventually(&self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        eventually(&format!("{}: {what}", self.name()), || condition(self));
    }

    /// Waits until `supervise/stat` reads this, and returns the status that belongs to it.
    #[track_caller]
    pub fn eventually_stat(&self, text: &str) -> RawStatus {
        // stat is replaced just before status.
        eventually_some(&format!("{}: stat is {text:?}, and status agrees", self.name()), || {
            (self.stat() == text).then(|| self.agreed())?
        })
    }

    /// Waits for a process in the state with this byte, and returns the status.
    #[track_caller]
    pub fn eventually_in(&self, state: u8) -> RawStatus {
        eventually_some(&format!("{}: a status with state {state}", self.name()), || {
            let status = RawStatus::read(&fs::read(self.path("supervise/status")).ok()?)?;
            (status.state == state && (state == DOWN) == (status.pid == 0)).then_some(status)
        })
    }

    /// Waits until `./run` has been started, and returns the status.
    #[track_caller]
    pub fn eventually_runs(&self) -> RawStatus {
        self.eventually_in(RUN)
    }

    /// Waits until `./finish` has been started, and returns the status.
    #[track_caller]
    pub fn eventually_finishes(&self) -> RawStatus {
        self.eventually_in(FINISH)
    }

    /// Waits until it has no process, and returns the status.
    #[track_caller]
    pub fn eventually_down(&self) -> RawStatus {
        self.eventually_in(DOWN)
    }

    /// Waits until it runs as another process than this one.
    #[track_caller]
    pub fn eventually_runs_anew(&self, old: u32) -> RawStatus {
        eventually_some(&format!("{}: runs with another pid than {old}", self.name()), || {
            let status = RawStatus::read(&fs::read(self.path("supervise/status")).ok()?)?;
            (status.state == RUN && status.pid != 0 && status.pid != old).then_some(status)
        })
    }

    /// Waits until a file is there.
    #[track_caller]
    pub fn eventually_has(&self, file: &str) {
        self.eventually(&format!("{file} exists"), |service| service.has(file));
    }

    /// Waits until a file reads exactly this.
    #[track_caller]
    pub fn eventually_reads(&self, file: &str, content: &str) {
        eventually_same(&format!("{}: {file}", self.name()), content, || self.read(file));
    }

    /// Waits until a file has this many lines, and returns them.
    #[track_caller]
    pub fn eventually_lines(&self, file: &str, count: usize) -> Vec<String> {
        eventually_some(&format!("{}: {file} has {count} lines", self.name()), || {
            // A line that is still being written does not count.
            let text = self.read(file);
            (text.matches('\n').count() >= count).then(|| text.lines().map(str::to_owned).collect())
        })
    }

    /// Waits until the three files say exactly this: the text of `stat`, the process (0 for none) in
    /// `pid` and `status`, and the last four bytes. Returns the status.
    #[track_caller]
    pub fn eventually_exactly(&self, stat: &str, pid: u32, flags: [u8; 4]) -> RawStatus {
        let pid_text = if pid == 0 { String::new() } else { format!("{pid}\n") };
        eventually_some(&format!("{}: stat {stat:?}, pid {pid}, flags {flags:?}", self.name()), || {
            let status = self.status();
            let agrees = self.read("supervise/stat") == format!("{stat}\n")
                && self.read("supervise/pid") == pid_text
                && (status.pid, status.flags()) == (pid, flags);
            agrees.then_some(status)
        })
    }

    /// Waits until the process of this id is gone.
    #[track_caller]
    pub fn eventually_gone(&self, pid: u32) {
        self.eventually(&format!("process {pid} is gone"), |_| !process::is_alive(pid));
    }

    /// The status, if `status` says the same as `stat` and `pid`.
    fn agreed(&self) -> Option<RawStatus> {
        self.has("supervise/status").then_some(())?;
        let status = self.status();
        let stat = self.stat();
        let word = ["down", "run", "finish"].get(usize::from(status.state))?;
        let agrees = stat.split(',').next() == Some(word)
            && stat.contains(", paused") == (status.paused == 1)
            && stat.contains(", got TERM") == (status.got_term == 1)
            && (status.state == DOWN || stat.contains(", want ") == (status.want == b'd'))
            && self.pid().unwrap_or(0) == status.pid;
        agrees.then_some(status)
    }
}

/// Whether a supervisor has the `supervise/ok` of this directory open.
pub(crate) fn is_listened_to(dir: &Path) -> bool {
    let mut ok = fs::OpenOptions::new();
    ok.write(true).custom_flags(OFlag::O_NONBLOCK.bits());
    ok.open(dir.join("supervise/ok")).is_ok()
}

/// A service with a supervisor that the test started.
#[derive(Debug)]
pub struct Supervised {
    service: Service,
    /// Its runsv, or what it has in the place of one.
    pub runsv: Supervisor,
}

impl Supervised {
    /// Starts another supervisor in the place of one that is gone, and does not wait until it listens.
    #[track_caller]
    pub fn another_supervisor_starts(&mut self) {
        let mut runsv = self.service.runsv();
        let entry = runsv.entry.take();
        self.runsv = Supervisor::new(runsv.start(), &self.service, entry);
    }
}

impl Deref for Supervised {
    type Target = Service;

    fn deref(&self) -> &Service {
        &self.service
    }
}
