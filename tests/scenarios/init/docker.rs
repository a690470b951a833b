//! init as process 1 of real containers: made from nothing but our static programs and busybox, and
//! started and stopped by Docker.
//!
//! `tests/run` sees to an engine. Where there is none these tests fail: nothing would be proved.

use std::env;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use fs_err as fs;
use nix::sys::stat::Mode;
use tests::load::Stopwatch;
use tests::{CommandLine, Output, StartedProgram, Suite, TestTree, eventually};

use crate::IGNORES_TERM;
use crate::init::stop::saves_for;

const DOCKER: &str = "/usr/bin/docker";

/// What a shell in the image finds, all of it busybox.
const APPLETS: [&str; 14] = [
    "sh", "cat", "echo", "env", "false", "kill", "ls", "mkdir", "ps", "seq", "setsid", "sleep", "touch",
    "true",
];

/// The docker client, which gets nothing of our environment but where the engine is.
fn docker(tree: &TestTree) -> CommandLine {
    assert!(Path::new(DOCKER).exists(), "{DOCKER} is missing: install Debian's docker.io");
    with_engine(tree.command(DOCKER))
}

fn with_engine(command: CommandLine) -> CommandLine {
    let host = env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
    let config = env::var("DOCKER_CONFIG").unwrap_or_else(|_| "/nonexistent".to_owned());
    command.env("DOCKER_HOST", host).env("DOCKER_CONFIG", config)
}

#[track_caller]
fn done(command: CommandLine) -> String {
    let end = command.output();
    assert_eq!(end.code(), Some(0), "{}\n{}", end.stdout, end.stderr);
    end.stdout
}

/// The image: built once, FROM scratch.
fn image() -> &'static str {
    static IMAGE: OnceLock<String> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let tree = Suite::ours().tree();
        let version = docker(&tree).args(["version", "--format", "{{.Server.Version}}"]).output();
        assert_eq!(
            version.code(),
            Some(0),
            "no container engine answers: run tests/run, or tests/engine COMMAND\n{}",
            version.stderr
        );
        let context = tree.root().join("image");
        let bin = context.join("bin");
        for dir in ["bin", "etc/service", "tmp"] {
            fs::create_dir_all(context.join(dir)).expect("a directory for the image");
        }
        for program in ["init", "sv"] {
            tree.copy_program(&tree.bin().join(program), &bin.join(program));
        }
        tree.copy_program(Path::new("/bin/busybox"), &bin.join("busybox"));
        for applet in APPLETS {
            symlink("busybox", bin.join(applet)).expect("a link in the image");
        }
        // The entry point gets its arguments, and no shell is in between.
        let recipe = "FROM scratch\nCOPY . /\nENV PATH=/bin\nENTRYPOINT [\"/bin/init\"]\n";
        fs::write(tree.root().join("Dockerfile"), recipe).expect("a Dockerfile");
        let file = tree.root().join("Dockerfile");
        done(docker(&tree).args(["build", "--quiet", "--network", "none", "--file"]).arg(file).arg(&context))
            .trim()
            .to_owned()
    })
}

/// A container, which is removed when it is dropped.
struct Container {
    tree: TestTree,
    name: String,
}

impl Container {
    fn new(tree: &TestTree) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self { tree: tree.clone(), name: format!("runit-{}-{number}", std::process::id()) }
    }

    /// The words of `docker run` up to the image: no network, and the tree's services.
    fn run_words(&self, options: &[&str]) -> Vec<String> {
        let services = format!("{}:/etc/service", self.tree.services().display());
        let fixed = ["run", "--name", &self.name, "--network", "none", "--volume", &services];
        fixed.iter().chain(options).chain(&[image()]).map(|word| (*word).to_owned()).collect()
    }

    /// One that runs in the background.
    #[track_caller]
    fn started(tree: &TestTree, options: &[&str], arguments: &[&str]) -> Self {
        let container = Self::new(tree);
        let words = container.run_words(&[&["--detach"], options].concat());
        done(docker(tree).args(words).args(arguments));
        container
    }

    fn docker(&self, words: &str) -> CommandLine {
        docker(&self.tree).args(words.split_whitespace()).arg(&self.name)
    }

    /// Waits for its end, and returns its exit code.
    #[track_caller]
    fn code(&self) -> i32 {
        done(self.docker("wait")).trim().parse().expect("an exit code")
    }

    fn is_running(&self) -> bool {
        done(self.docker("inspect --format {{.State.Running}}")).trim() == "true"
    }

    /// What `docker logs` has.
    #[track_caller]
    fn logs(&self) -> Output {
        let end = self.docker("logs").output();
        assert_eq!(end.code(), Some(0), "{}", end.stderr);
        end
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.docker("rm --force --volumes").output();
    }
}

/// TERM, then KILL after ten seconds: everything has been saved by then.
#[test]
fn docker_stop_lets_services_save() {
    let tree = Suite::ours().tree();
    let saver = tree.service("saver").run(&saves_for("3")).made();
    let container = Container::started(&tree, &[], &[]);
    saver.eventually_has("ready");
    done(container.docker("stop"));
    assert_eq!(container.code(), 0, "{}", container.logs().stderr);
    assert_eq!(saver.read("saved"), "saved\n");
    assert!(container.logs().stderr.contains("init: 1 service stopped in "), "{}", container.logs().stderr);
}

/// Whatever a service does, init leaves by itself, with its own code and its summary.
#[test]
fn docker_stop_never_has_to_kill() {
    let tree = Suite::ours().tree();
    let deaf = tree.service("deaf").run(IGNORES_TERM).made();
    let saver = tree.service("saver").run(&saves_for("2")).made();
    let container = Container::started(&tree, &[], &[]);
    deaf.eventually_has("ready");
    saver.eventually_has("ready");
    done(container.docker("stop"));
    let logs = container.logs();
    assert_eq!(container.code(), 99, "not 137: {}", logs.stderr);
    assert!(logs.stderr.contains("1 killed: deaf; exit 99"), "{}", logs.stderr);
    assert_eq!(saver.read("saved"), "saved\n");
}

#[test]
fn docker_stop_with_a_short_limit_is_met_with_a_short_grace() {
    // Docker's three seconds cannot be made longer where the machine is busy.
    let _calm = Stopwatch::start();
    let tree = Suite::ours().tree();
    let deaf = tree.service("deaf").run(IGNORES_TERM).made();
    let saver = tree.service("saver").run(&saves_for("0.3")).made();
    let container = Container::started(&tree, &["--env", "INIT_GRACE=3"], &[]);
    deaf.eventually_has("ready");
    saver.eventually_has("ready");
    done(container.docker("stop --time 3"));
    let logs = container.logs();
    assert_eq!(container.code(), 99, "not 137: {}", logs.stderr);
    assert!(logs.stderr.contains("1 killed: deaf; exit 99"), "{}", logs.stderr);
    assert_eq!(saver.read("saved"), "saved\n");
}

#[test]
fn docker_kill_with_int_is_an_orderly_stop() {
    let tree = Suite::ours().tree();
    let saver = tree.service("saver").run(&saves_for("1")).made();
    let container = Container::started(&tree, &[], &[]);
    saver.eventually_has("ready");
    done(container.docker("kill --signal INT"));
    assert_eq!(container.code(), 0, "{}", container.logs().stderr);
    assert_eq!((saver.read("saved").as_str(), saver.read("cut").as_str()), ("saved\n", ""));
}

/// The state of a container that was killed is in the way of nothing.
#[test]
fn docker_restart_over_stale_state_is_a_clean_start() {
    let tree = Suite::ours().tree();
    let saver = tree.service("saver").run(&saves_for("0")).log("exec cat >>../log.txt").made();
    let container = Container::started(&tree, &[], &[]);
    saver.eventually_has("ready");
    // It may be ready before its record is written.
    saver.eventually_runs();
    done(container.docker("kill"));
    assert_eq!(container.code(), 137);
    assert_eq!(saver.stat(), "run", "stale");
    done(container.docker("start"));
    saver.eventually_lines("ready", 2);
    done(container.docker("restart"));
    saver.eventually_lines("ready", 3);
    assert_eq!(saver.read("saved"), "saved\n");
    done(container.docker("stop"));
    assert_eq!(container.code(), 0);
    assert_eq!(saver.read("saved"), "saved\nsaved\n");
    let logs = container.logs();
    for word in ["warning", "fatal", "unable"] {
        assert!(!logs.stderr.contains(word), "{}", logs.stderr);
    }
}

/// Docker's own init is process 1, ours a subreaper.
#[test]
fn docker_run_with_dockers_own_init_works_too() {
    let tree = Suite::ours().tree();
    let saver = tree.service("saver").run(&saves_for("1")).made();
    let parent = tree.service("parent").run("setsid sleep 1000 & echo >ready; exec sleep 1000").made();
    let container = Container::started(&tree, &["--init"], &[]);
    saver.eventually_has("ready");
    parent.eventually_has("ready");
    done(container.docker("stop"));
    assert_eq!(container.code(), 0, "{}", container.logs().stderr);
    assert_eq!(saver.read("saved"), "saved\n");
    assert!(container.logs().stderr.contains("init: 2 services stopped in "), "{}", container.logs().stderr);
}

/// Down to the last line of a service's last words.
#[test]
fn docker_logs_are_complete() {
    let tree = Suite::ours().tree();
    let talker = tree
        .service("talker")
        .run("trap 'kill $!; seq 10000; exit 0' TERM; echo >ready; while :; do sleep 1000 & wait; done")
        .made();
    let container = Container::started(&tree, &[], &[]);
    talker.eventually_has("ready");
    done(container.docker("stop"));
    let expected = (1..=10_000).map(|number| number.to_string()).collect::<Vec<_>>().join("\n") + "\n";
    let logs = container.logs();
    assert!(logs.stdout == expected, "{} lines\n{}", logs.stdout.lines().count(), logs.stderr);
    assert!(logs.stderr.ends_with("none killed; exit 0\n"), "{}", logs.stderr);
}

#[test]
fn a_commands_code_is_the_containers() {
    let tree = Suite::ours().tree();
    let saver = tree.service("saver").run(&saves_for("1")).made();
    let wait = "until [ -e /etc/service/saver/ready ]; do sleep 0.01; done; exit 7";
    let container = Container::started(&tree, &[], &["--", "sh", "-c", wait]);
    assert_eq!(container.code(), 7, "{}", container.logs().stderr);
    assert_eq!(saver.read("saved"), "saved\n");
}

/// sv, from another terminal.
#[test]
fn sv_works_inside_the_container() {
    let tree = Suite::ours().tree();
    let saver = tree.service("saver").run(&saves_for("0")).made();
    let container = Container::started(&tree, &[], &[]);
    saver.eventually_has("ready");
    saver.eventually_runs();
    let sv = |words: &str| {
        done(docker(&tree).arg("exec").arg(&container.name).arg("sv").args(words.split_whitespace()))
    };
    assert!(sv("status saver").starts_with("run: saver: (pid "));
    assert!(sv("stop saver").starts_with("ok: down: saver: "));
    done(container.docker("stop"));
    assert_eq!(container.code(), 0);
}

/// A read-only root, an ordinary user, and no capabilities: only the services need a place to write.
#[test]
fn an_ordinary_user_and_a_read_only_root_are_enough() {
    let tree = Suite::ours().tree();
    let saver = tree.service("saver").run(&saves_for("0")).made();
    for dir in [tree.services(), saver.dir().to_owned()] {
        tests::tree::set_mode(&dir, 0o777);
    }
    let options = ["--user", "12345:12345", "--read-only", "--cap-drop", "ALL"];
    let container = Container::started(&tree, &options, &[]);
    saver.eventually_has("ready");
    done(container.docker("stop"));
    assert_eq!(container.code(), 0, "{}", container.logs().stderr);
    assert_eq!(saver.read("saved"), "saved\n");
}

/// `docker run -it`, at a keyboard that is a FIFO.
struct ContainerTerminal {
    container: Container,
    script: StartedProgram,
    keyboard: fs::File,
}

impl ContainerTerminal {
    fn of(tree: &TestTree, arguments: &[&str]) -> Self {
        let container = Container::new(tree);
        let fifo: PathBuf = tree.root().join("keyboard");
        nix::unistd::mkfifo(&fifo, Mode::S_IRUSR | Mode::S_IWUSR).expect("a FIFO");
        // Open for both, so that neither side ever waits for the other.
        let keyboard = fs::OpenOptions::new().read(true).write(true).open(&fifo).expect("a keyboard");
        let words: Vec<String> = container
            .run_words(&["--interactive", "--tty"])
            .into_iter()
            .chain(arguments.iter().map(|word| (*word).to_owned()))
            .map(|word| format!("'{word}'"))
            .collect();
        let words = format!("exec {DOCKER} {}", words.join(" "));
        let script = with_engine(tree.command("script"))
            .args(["-q", "-e", "-c", &words, "/dev/null"])
            .env("SHELL", "/bin/sh")
            .stdin(fifo)
            .start();
        Self { container, script, keyboard }
    }

    fn typed(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).expect("the text is typed");
    }

    #[track_caller]
    fn shows(&self, text: &str) {
        eventually(&format!("the terminal shows {text:?}"), || self.script.stdout().contains(text));
    }
}

#[test]
fn ctrl_c_stops_a_container_in_the_foreground() {
    let tree = Suite::ours().tree();
    let saver = tree.service("saver").run(&saves_for("1")).made();
    let mut terminal = ContainerTerminal::of(&tree, &[]);
    saver.eventually_has("ready");
    terminal.typed("\x03");
    let end = terminal.script.finished();
    assert_eq!(end.code(), Some(0), "{}", end.stdout);
    assert!(end.stdout.contains("init: INT: stopping"), "{}", end.stdout);
    assert_eq!((saver.read("saved").as_str(), saver.read("cut").as_str()), ("saved\n", ""));
    assert!(!terminal.container.is_running());
}

/// It has the terminal: a shell has job control, and Ctrl-C is for what it runs.
#[test]
fn ctrl_c_is_for_the_command_that_has_the_terminal() {
    let tree = Suite::ours().tree();
    let saver = tree.service("saver").run(&saves_for("1")).made();
    let mut terminal = ContainerTerminal::of(&tree, &["--", "sh", "-i"]);
    saver.eventually_has("ready");
    // A shell that goes on by itself may get the Ctrl-C that is meant for what it is about to start.
    terminal.typed("sh -c 'echo i am $((6*7)); exec sleep 1000'\n");
    terminal.shows("i am 42");
    terminal.typed("\x03");
    // What is typed before the shell has its terminal back may be lost.
    let mut typed = None;
    eventually("the shell goes on", || {
        if typed.is_none_or(|at: Instant| at.elapsed() > Duration::from_secs(1)) {
            terminal.typed("echo it was $((7*8))\n");
            typed = Some(Instant::now());
        }
        terminal.script.stdout().contains("it was 56")
    });
    assert!(!terminal.script.stdout().contains("job control"), "{}", terminal.script.stdout());
    assert!(!saver.has("stopping"));
    terminal.typed("exit 9\n");
    let end = terminal.script.finished();
    assert_eq!(end.code(), Some(9), "{}", end.stdout);
    assert_eq!((saver.read("saved").as_str(), saver.read("cut").as_str()), ("saved\n", ""));
}
