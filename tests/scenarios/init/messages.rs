//! The messages of init: their form, and a standard error that is full or not read.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt;
use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tests::{Suite, TestTree, eventually};

use crate::init::stop::{patient, saves_for, stopped_in_order};

/// A pipe that is full, and that is not read yet.
pub struct FullPipe {
    path: PathBuf,
    reader: fs::File,
    filling: usize,
}

impl FullPipe {
    pub fn new(tree: &TestTree) -> Self {
        let path = tree.root().join("full");
        mkfifo(&path, Mode::S_IRWXU).expect("a FIFO");
        let open = |options: &mut fs::OpenOptions| {
            options.custom_flags(OFlag::O_NONBLOCK.bits()).open(&path).expect("the FIFO can be opened")
        };
        let reader = open(fs::OpenOptions::new().read(true));
        let mut writer = open(fs::OpenOptions::new().write(true));
        let mut filling = 0;
        while let Ok(written) = writer.write(&[b'.'; 4096]) {
            filling += written;
        }
        Self { path, reader, filling }
    }

    /// Makes it the standard error of a program.
    pub fn redirection(&self) -> String {
        format!("2>{}", self.path.display())
    }

    /// What came after the filling; `is_over` says when nothing more will come.
    pub fn read_until(&mut self, is_over: impl Fn(&str) -> bool) -> String {
        let mut bytes = Vec::new();
        let mut piece = [0; 4096];
        eventually("all of it can be read", || {
            while let Ok(length @ 1..) = self.reader.read(&mut piece) {
                bytes.extend_from_slice(&piece[..length]);
            }
            bytes.len() >= self.filling && is_over(&String::from_utf8_lossy(&bytes[self.filling..]))
        });
        String::from_utf8_lossy(&bytes[self.filling..]).into_owned()
    }
}

/// ADD-12: of COMMAND or of a service.
#[test]
fn no_name_drives_a_terminal_or_forges_a_line() {
    const NAME: &str = "a\x1b[2J\ninit: b\u{9b}31m";
    let tree = Suite::ours().tree();
    let output = patient(&tree, &[]).args(["--", NAME]).output();
    assert!(output.stderr.contains(": unable to run a?[2J?init: b?31m: file does not exist\n"), "{output:?}");

    let web = tree.service(NAME).run(&saves_for("0")).made();
    let container = patient(&tree, &[]).start_as_process_1();
    web.eventually_has("ready");
    let end = stopped_in_order(&container);
    assert!(end.stderr.contains("\ninit: a?[2J?init: b?31m: stopped after "), "{end:?}");
    assert!(!end.stderr.contains('\x1b'), "{end:?}");
}

/// A write to a full pipe blocks until the pipe is read; init never waits for that.
#[test]
fn a_standard_error_that_is_not_read_holds_nothing_up() {
    let tree = Suite::ours().tree();
    let saver = tree.service("saver").run(&saves_for("0")).made();
    let pipe = FullPipe::new(&tree);
    let init = patient(&tree, &["-v"]);
    let container = init.redirected(&pipe.redirection()).start_as_process_1();
    saver.eventually_has("ready");
    let end = container.stopped_within(Duration::from_secs(20));
    assert_eq!(end.code(), Some(0));
    assert_eq!(saver.read("saved"), "saved\n");
}

/// The kept lines are all written as soon as there is room, without a new message.
#[test]
fn what_could_not_be_said_is_said_when_it_is_read_again() {
    let tree = Suite::ours().tree();
    let saver = tree.service("saver").run(&saves_for("0")).made();
    let mut pipe = FullPipe::new(&tree);
    let init = patient(&tree, &[]);
    let container = init.redirected(&pipe.redirection()).start_as_process_1();
    saver.eventually_has("ready");
    let text = pipe.read_until(|text| text.contains('\n'));
    assert!(text.starts_with("init: services of "), "{text}");
    pipe.filling = 0;
    container.signal(Signal::SIGTERM);
    let text = pipe.read_until(|text| text.contains("exit 0\n"));
    assert!(text.contains("init: saver: stopped after "), "{text}");
    container.finished();
}

/// The exit code tells the mistake all the same.
#[test]
fn a_refusal_that_is_not_read_is_a_refusal() {
    let tree = Suite::ours().tree();
    let pipe = FullPipe::new(&tree);
    let init = tree.command("init").arg(Path::new("/no/such/directory"));
    let end = init.redirected(&pipe.redirection()).output();
    assert_eq!(end.code(), Some(111));
}

/// The services share the open file description: their own writes must still block, not fail, while it is
/// full.
#[test]
fn services_inherit_a_standard_error_that_waits_as_before() {
    let tree = Suite::ours().tree();
    let body = "cat /proc/self/fdinfo/2 >flags; echo >ready; exec sleep 1000";
    let web = tree.service("web").run(body).made();
    let mut pipe = FullPipe::new(&tree);
    let init = patient(&tree, &[]);
    let container = init.redirected(&pipe.redirection()).start_as_process_1();
    web.eventually_has("ready");
    let flags = web.read("flags");
    let flags = flags.lines().find_map(|line| line.strip_prefix("flags:")).expect("a line of flags").trim();
    let flags = i32::from_str_radix(flags, 8).expect("an octal number");
    assert!(!OFlag::from_bits_truncate(flags).contains(OFlag::O_NONBLOCK), "{flags:o}");
    pipe.read_until(|text| text.contains('\n'));
    container.signal(Signal::SIGTERM);
    assert_eq!(container.finished().code(), Some(0));
}
