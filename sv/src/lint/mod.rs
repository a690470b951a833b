//! Effects: checks a service directory for mistakes (`sv lint`).

mod dependencies;
mod names;
mod script;
mod twins;

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::AccessFlags;
use servicedir::ServiceDir;
use servicedir::client::{Client, ClientError};
use sys::Signal;
use sys::errno_text::{errno_of, phrase};

pub use dependencies::DependencyGraph;
pub use names::is_close;
use script::Interpreter;
pub use twins::Twins;

/// How much of a program is read at most.
const MOST_BYTES: usize = 64 * 1024;

/// The finding about a program on a file system without execution.
const NOEXEC: &str = "on a file system that is mounted noexec, so it cannot be executed; keep it on another, \
                      or mount that one with exec";

/// The longest text of a `supervise` link that runsv accepts (LAY-10).
const LONGEST_LINK: usize = 255;

/// A mistake in a service directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    file: String,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.what)
    }
}

/// All mistakes of the service at `dir`, which is called `name`.
pub fn check(dir: &Path, name: &str, graph: &mut DependencyGraph) -> Vec<Finding> {
    let mut linter = Linter { dir, findings: Vec::new() };
    linter.program("run", ProgramKind::Run);
    linter.program("finish", ProgramKind::Helper);
    linter.program("check", ProgramKind::Helper);
    linter.control();
    linter.words("");
    linter.names("", names::KNOWN);
    linter.dependencies(graph);
    linter.supervise("");
    linter.log();
    linter.findings.extend(unused_log(&ServiceDir::at(dir), name));
    linter.findings
}

/// A log service that was created after the start of the runsv of the service called `name`: runsv looks for
/// it only at its start, and then keeps its `log/supervise/ok` open.
pub fn unused_log(dir: &ServiceDir, name: &str) -> Option<Finding> {
    let is_used = || match Client::of(dir.log()).is_supervised() {
        Ok(is_supervised) => is_supervised,
        Err(ClientError::Trouble(failure)) => failure.why() != Some(Errno::ENOENT),
        // Unknown, or there is none.
        Err(_) => true,
    };
    let is_unused = Client::of(dir.clone()).is_supervised() == Ok(true) && !is_used();
    is_unused.then(|| Finding {
        file: "log".to_owned(),
        what: format!(
            "created after runsv started, which looks for it only at its start; sv exit {name} makes runsvdir \
             start a new runsv"
        ),
    })
}

/// What a program is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ProgramKind {
    /// It must exist, and becomes the service.
    Run,
    /// It may exist, and ends by itself.
    Helper,
}

struct Linter<'a> {
    dir: &'a Path,
    findings: Vec<Finding>,
}

impl Linter<'_> {
    fn find(&mut self, file: &str, what: impl Into<String>) {
        self.findings.push(Finding { file: file.to_owned(), what: what.into() });
    }

    /// The metadata of a file, if it exists; a dangling symbolic link is a finding.
    fn about(&mut self, file: &str) -> Option<Metadata> {
        let path = self.dir.join(file);
        match fs_err::metadata(&path) {
            Ok(about) => Some(about),
            Err(error) if errno_of(&error) == Errno::ENOENT && fs_err::symlink_metadata(&path).is_err() => {
                None
            }
            Err(error) => {
                let why = match errno_of(&error) {
                    Errno::ENOENT => "dangling symlink: create the target or remove it".to_owned(),
                    why => format!("{}; runsv cannot stat it", phrase(why)),
                };
                self.find(file, why);
                None
            }
        }
    }

    fn program(&mut self, file: &str, purpose: ProgramKind) {
        let before = self.findings.len();
        let Some(about) = self.about(file) else {
            if purpose == ProgramKind::Run && self.findings.len() == before {
                self.find(file, "missing; runsv tries to start it every second");
            }
            return;
        };
        if about.is_dir() {
            return self.find(file, "a directory; it must be a program");
        }
        if !about.is_file() {
            return self.find(file, "not a regular file; it must be a program");
        }
        if about.mode() & 0o111 == 0 {
            self.find(file, format!("not executable; chmod +x {}", shown(&self.dir.join(file))));
        }
        if is_noexec(&self.dir.join(file)) {
            self.find(file, NOEXEC);
        }
        // A program that this user may not read can be right nevertheless.
        let Ok(text) = sys::read_start(&self.dir.join(file), MOST_BYTES) else { return };
        self.content(file, &text, purpose);
    }

    fn content(&mut self, file: &str, text: &[u8], purpose: ProgramKind) {
        let Some(interpreter) = Interpreter::of(text) else {
            if text.is_empty() {
                self.find(file, "empty; begin it with a line such as #!/bin/sh");
            } else if !text.contains(&0) {
                self.find(file, "no #! in its first line; begin it with a line such as #!/bin/sh");
            }
            return;
        };
        let has_carriage_return = |line: &[u8]| line.ends_with(b"\r");
        let mut lines = text.split(|byte| *byte == b'\n');
        if lines.next().is_some_and(has_carriage_return) {
            return self.find(file, "lines end with CR LF, so its interpreter is not found; remove the CRs");
        }
        if interpreter.is_shell() && lines.any(has_carriage_return) {
            self.find(file, "lines end with CR LF, which the shell takes for words; remove the CRs");
        }
        self.interpreter(file, &interpreter);
        if purpose == ProgramKind::Run && interpreter.is_shell() {
            self.run_script(file, &String::from_utf8_lossy(text));
        }
    }

    fn run_script(&mut self, file: &str, text: &str) {
        // The last command of a longer one is not known.
        if text.len() < MOST_BYTES
            && let Some(name) = script::waited_for(text)
        {
            let what = "and then signals reach the shell only";
            self.find(file, format!("may lack an exec before {name}, {what}; exec {name}"));
        }
        if script::executes(text, "runsvdir") && self.down_signal(file) != Some(Signal::HUP) {
            self.find(
                file,
                "starts runsvdir, which stops its services only on HUP; write HUP into down-signal",
            );
        }
        if script::executes(text, "setsid") {
            let what = "starts setsid, which forks under init, or with process-group, and then its end looks like \
                        that of the service; execute the program without it";
            self.find(file, what);
        }
    }

    /// The signal that stops the service with this `run`; `None` if that is not said.
    fn down_signal(&self, run: &str) -> Option<Signal> {
        let word = servicedir::word::read(&self.dir.join(run).with_file_name("down-signal"));
        Signal::parse(&word.ok()??)
    }

    fn interpreter(&mut self, file: &str, interpreter: &Interpreter) {
        let path = &interpreter.path;
        if path.is_empty() {
            return self.find(file, "nothing follows #! in its first line; name an interpreter there");
        }
        if is_noexec(&self.dir.join(path)) {
            return self.find(file, format!("interpreter {path}: {NOEXEC}"));
        }
        if let Err(why) = can_execute(&self.dir.join(path)) {
            return self.find(file, format!("interpreter {path}: {}; install or correct it", phrase(why)));
        }
        if let Some(name) = &interpreter.through_env
            && !name.contains('/')
            && let Some(path) = std::env::var_os("PATH")
            && !std::env::split_paths(&path).any(|place| can_execute(&place.join(name)).is_ok())
        {
            self.find(file, format!("interpreter {name}: not in PATH; install or correct it"));
        }
    }

    fn control(&mut self) {
        let Some(about) = self.about("control") else { return };
        if !about.is_dir() {
            return self.find("control", "not a directory; runsv warns at every command");
        }
        for name in entries(&self.dir.join("control")) {
            let file = format!("control/{name}");
            if name.len() == 1 && names::BYTES.contains(&name) {
                let before = self.findings.len();
                self.program(&file, ProgramKind::Helper);
                // Other findings about a script that never runs do not matter.
                let is_ignored = |about: Metadata| about.is_file() && about.mode() & 0o100 == 0;
                if fs_err::metadata(self.dir.join(&file)).is_ok_and(is_ignored) {
                    self.findings.truncate(before);
                    let path = shown(&self.dir.join(&file));
                    self.find(
                        &file,
                        format!("not executable by its owner, so runsv ignores it; chmod u+x {path}"),
                    );
                }
            } else if let Some(byte) = names::intended_byte(&name) {
                let is_once = name == "o" || name == "once";
                let why = if is_once { " (once starts it, and before each start runs)" } else { "" };
                self.find(&file, format!("never run; the name for this is control/{byte}{why}"));
            }
        }
    }

    /// The files of one word (ADD-1).
    fn words(&mut self, prefix: &str) {
        let signal = |word: &str| Signal::parse(word).is_some();
        let number = |word: &str| word.parse::<u64>().is_ok();
        self.word(&format!("{prefix}down-signal"), signal, "the name or number of a signal");
        for name in ["timeout-kill", "timeout-finish"] {
            // A log service has no finish.
            if name == "timeout-kill" || prefix.is_empty() {
                self.word(&format!("{prefix}{name}"), number, "a number of milliseconds");
            }
        }
        if prefix.is_empty() {
            let descriptor = |word: &str| servicedir::notification::parse_descriptor(word).is_some();
            self.word("notification-fd", descriptor, "the number of a descriptor above 2");
        }
    }

    fn word(&mut self, file: &str, is_good: impl Fn(&str) -> bool, expected: &str) {
        if self.about(file).is_none() {
            return;
        }
        match servicedir::word::read(&self.dir.join(file)) {
            Ok(Some(word)) if is_good(&word) => {}
            Ok(_) => {
                self.find(file, format!("bad content, so it counts as missing; write {expected} into it"));
            }
            Err(error) => self.find(file, format!("{}; write {expected} into it", phrase(errno_of(&error)))),
        }
    }

    /// Unknown names that are similar to a known one.
    fn names(&mut self, prefix: &str, known: &[&str]) {
        let all = entries(&self.dir.join(prefix));
        for name in &all {
            if let Some(intended) = names::intended(name, known)
                && all.binary_search_by(|name| name.as_str().cmp(intended)).is_err()
            {
                self.find(
                    &format!("{prefix}{name}"),
                    format!("unknown file, did you mean \"{prefix}{intended}\"?"),
                );
            }
        }
    }

    fn log(&mut self) {
        let Some(about) = self.about("log") else { return };
        if !about.is_dir() {
            return self
                .find("log", "not a directory, so there is no log service; make it one, with a run in it");
        }
        self.program("log/run", ProgramKind::Run);
        for never in ["finish", "control"] {
            let file = format!("log/{never}");
            if self.about(&file).is_some() {
                self.find(&file, "never run: a log service has none");
            }
        }
        self.words("log/");
        self.names("log/", names::KNOWN_IN_LOG);
        self.supervise("log/");
    }

    /// The services that init starts before this one.
    fn dependencies(&mut self, graph: &mut DependencyGraph) {
        const FILE: &str = servicedir::dependencies::DIRECTORY;
        let Some(about) = self.about(FILE) else { return };
        if !about.is_dir() {
            return self
                .find(FILE, "not a directory; make it one, with an empty file named after each service");
        }
        for name in graph.missing(self.dir) {
            self.find(&format!("{FILE}/{name}"), format!("there is no service {name} beside this one"));
        }
        if let Some(cycle) = graph.cycle(self.dir) {
            self.find(FILE, cycle);
        }
    }

    /// Whether runsv will find or can make its own directory (LAY-9, LAY-10, LAY-14).
    fn supervise(&mut self, prefix: &str) {
        let service = ServiceDir::at(self.dir.join(prefix));
        // Where a runsv runs, it has found all it needs.
        if Client::of(service.clone()).is_supervised() == Ok(true) {
            return;
        }
        let file = &format!("{prefix}supervise");
        let path = service.supervise();
        // Where it is, or will be created.
        let mut place = path.clone();
        if let Ok(target) = fs_err::read_link(&path) {
            if target.as_os_str().len() > LONGEST_LINK {
                return self.find(file, "the text of the link has more than 255 bytes; make it shorter");
            }
            place = service.path().join(&target);
        }
        match fs_err::metadata(&path) {
            Ok(about) if !about.is_dir() => {
                self.find(file, "not a directory; remove it, runsv makes its own");
            }
            Ok(_) => {
                self.fifos(file, &path);
                self.writable(file, &path);
            }
            Err(error) if errno_of(&error) == Errno::ENOENT => match place.parent().map(Path::to_owned) {
                Some(parent) if !parent.is_dir() => {
                    let parent = shown(&parent);
                    self.find(file, format!("link to a place that runsv cannot make; mkdir -p {parent}"));
                }
                Some(parent) => self.writable(file, &parent),
                None => {}
            },
            Err(error) => self.find(file, format!("{}; runsv cannot use it", phrase(errno_of(&error)))),
        }
    }

    fn fifos(&mut self, file: &str, supervise: &Path) {
        for name in ["control", "ok"] {
            let is_fifo = |about: Metadata| about.file_type().is_fifo();
            if fs_err::symlink_metadata(supervise.join(name)).is_ok_and(|about| !is_fifo(about)) {
                self.find(&format!("{file}/{name}"), "not a fifo; remove it, runsv makes its own");
            }
        }
        for name in ["lock", "status", "stat", "pid"] {
            if fs_err::symlink_metadata(supervise.join(name)).is_ok_and(|about| !about.is_file()) {
                self.find(&format!("{file}/{name}"), "not a regular file; remove it, runsv makes its own");
            }
        }
    }

    /// Checked only as the user that will run runsv: root, or the owner of the directory.
    fn writable(&mut self, file: &str, place: &Path) {
        let own = nix::unistd::geteuid();
        let is_owner = fs_err::metadata(self.dir).is_ok_and(|about| about.uid() == own.as_raw());
        if !own.is_root() && !is_owner {
            return;
        }
        if let Err(why) = nix::unistd::faccessat(AT_FDCWD, place, AccessFlags::W_OK, AtFlags::AT_EACCESS) {
            let what = format!(
                "runsv cannot write to {}: {}; make it a link into a directory it can write to",
                shown(place),
                phrase(why)
            );
            self.find(file, what);
        }
    }
}

/// The names in a directory that do not begin with a dot, sorted.
fn entries(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs_err::read_dir(dir) else { return Vec::new() };
    let names = entries.filter_map(Result::ok).map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort_unstable();
    names
}

fn can_execute(path: &Path) -> Result<(), Errno> {
    if fs_err::metadata(path).map_err(|error| errno_of(&error))?.is_dir() {
        return Err(Errno::EISDIR);
    }
    nix::unistd::faccessat(AT_FDCWD, path, AccessFlags::X_OK, AtFlags::AT_EACCESS)
}

/// Whether its file system is mounted noexec.
fn is_noexec(path: &Path) -> bool {
    statvfs(path).is_ok_and(|about| about.flags().contains(FsFlags::ST_NOEXEC))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
