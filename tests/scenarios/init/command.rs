//! `init [DIR] -- COMMAND`: a main program beside the services.

use std::io::Write;
use std::time::Duration;

use fs_err as fs;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use tests::namespace::PidNamespace;
use tests::process::{Process, is_alive};
use tests::wait::eventually_same;
use tests::{Output, StartedProgram, Suite, TestTree, eventually};

use crate::init::stop::{PATIENT, WAITS, patient, said, saves_for, saves_when_let, with_command};

fn read(tree: &TestTree, file: &str) -> String {
    fs::read_to_string(tree.root().join(file)).unwrap_or_default()
}

#[track_caller]
fn eventually_reads(tree: &TestTree, file: &str, content: &str) {
    eventually_same(file, content, || read(tree, file));
}

#[track_caller]
fn ends_with(container: &PidNamespace, code: i32) -> Output {
    exited(container.finished(), code)
}

#[track_caller]
fn exited(end: Output, code: i32) -> Output {
    assert_eq!(end.code(), Some(code), "{}", end.stderr);
    end
}

/// Its end is the services' end, in order, and its code is init's.
#[test]
fn the_commands_end_stops_the_services_and_its_code_is_inits() {
    let tree = Suite::ours().tree();
    let saver = tree.service("saver").run(&saves_for("1")).made();
    let ready = saver.path("ready").display().to_string();
    let body = format!("until [ -e {ready} ]; do sleep .01; done; exit 7");
    let end = exited(with_command(&tree, &[], &body).output_as_process_1(), 7);
    said(&end, "COMMAND: ended with exit 7: stopping");
    said(&end, "init: 1 service stopped in ");
    assert_eq!(saver.read("saved"), "saved\n");
}

#[test]
fn a_command_that_succeeds_is_a_success() {
    let tree = Suite::ours().tree();
    exited(with_command(&tree, &[], "sleep .2").output_as_process_1(), 0);
}

#[test]
fn a_command_that_dies_of_a_signal_is_128_and_its_number() {
    let tree = Suite::ours().tree();
    for (signal, code) in [("KILL", 137), ("TERM", 143), ("SEGV", 139)] {
        let body = format!("sleep .1; kill -{signal} $$");
        exited(with_command(&tree, &[], &body).output_as_process_1(), code);
    }
}

#[test]
fn a_command_that_is_not_there_is_127() {
    let tree = Suite::ours().tree();
    let web = tree.service("web").run("echo >started; exec sleep 1000").made();
    let end = tree.command("init").arg(tree.services()).args(["--", "no-such-program"]).output();
    assert_eq!(end.code(), Some(127), "{}", end.stderr);
    said(&end, "init: fatal: unable to run no-such-program: file does not exist\n");
    said(&end, "init: stopping: COMMAND could not be started\n");
    assert!(!web.has("started"), "nothing was started");
}

#[test]
fn a_command_that_cannot_be_run_is_126() {
    let tree = Suite::ours().tree();
    let web = tree.service("web").run("echo >started; exec sleep 1000").made();
    let file = tree.root().join("plain");
    fs::write(&file, "no program").expect("a file");
    let end = tree.command("init").arg(tree.services()).arg("--").arg(&file).output();
    assert_eq!(end.code(), Some(126), "{}", end.stderr);
    said(&end, &format!("init: fatal: unable to run {}: access denied\n", file.display()));
    assert!(!web.has("started"), "nothing was started");

    // Found out only by trying: no interpreter.
    tree.write_script(&tree.root().join("odd"), "#!/no/such/interpreter");
    let end = tree.command("init").arg(tree.services()).arg("--").arg(tree.root().join("odd")).output();
    assert_eq!(end.code(), Some(127), "{}", end.stderr);
    said(&end, "init: fatal: unable to run ");
}

/// init asks it to end first; its services are there for it until then.
#[test]
fn term_reaches_the_command_before_the_services() {
    let tree = Suite::ours().tree();
    let saver = tree.service("saver").run(&saves_for("0")).made();
    let stopping = saver.path("stopping").display().to_string();
    let body = format!(
        "trap 'kill $!; sleep 1; test -e {stopping} && echo too early >early; echo >done; exit 5' TERM
         echo >ready; sleep 1000 & wait"
    );
    let container = with_command(&tree, &[], &body).start_as_process_1();
    saver.eventually_has("ready");
    eventually_reads(&tree, "ready", "\n");
    container.signal(Signal::SIGTERM);
    ends_with(&container, 5);
    assert_eq!((read(&tree, "early").as_str(), read(&tree, "done").as_str()), ("", "\n"));
    assert_eq!(saver.read("saved"), "saved\n");
}

/// A death by the signal that init was asked with is an orderly end.
#[test]
fn a_command_that_dies_of_the_requested_signal_is_orderly() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let tree = Suite::ours().tree();
        let container = patient(&tree, &[]).args(["--", "sleep", "1000"]).start_as_process_1();
        container.eventually_has("sleep 1000");
        container.signal(signal);
        ends_with(&container, 0);
    }
}

/// nginx ends its work in progress on QUIT only.
#[test]
fn the_stop_signal_of_the_command_may_be_another_one() {
    let tree = Suite::ours().tree();
    let body = format!("trap 'exit 7' TERM; trap 'echo quit >got; exit 131' QUIT; echo >ready; {WAITS}");
    let container = with_command(&tree, &["--stop-signal", "QUIT"], &body).start_as_process_1();
    eventually_reads(&tree, "ready", "\n");
    container.signal(Signal::SIGTERM);
    ends_with(&container, 0);
    assert_eq!(read(&tree, "got"), "quit\n");
}

/// The Java virtual machine handles TERM, and exits with 143.
#[test]
fn a_command_that_exits_as_if_the_stop_signal_had_killed_it_is_orderly() {
    for (signal, expected) in [(Signal::SIGTERM, 0), (Signal::SIGINT, 143)] {
        let tree = Suite::ours().tree();
        let body = format!("trap 'exit 143' TERM INT; echo >ready; {WAITS}");
        let container = with_command(&tree, &[], &body).start_as_process_1();
        eventually_reads(&tree, "ready", "\n");
        container.signal(signal);
        ends_with(&container, expected);
    }
}

#[test]
fn other_signals_are_passed_on_to_the_command() {
    let tree = Suite::ours().tree();
    let signals = [
        (Signal::SIGHUP, "HUP"),
        (Signal::SIGUSR1, "USR1"),
        (Signal::SIGUSR2, "USR2"),
        (Signal::SIGWINCH, "WINCH"),
        (Signal::SIGQUIT, "QUIT"),
        (Signal::SIGALRM, "ALRM"),
    ];
    let traps: Vec<String> =
        signals.iter().map(|(_, name)| format!("trap 'echo {name} >>got' {name}")).collect();
    let body = format!("{}\necho >ready\nwhile :; do sleep 1000 & wait; done", traps.join("\n"));
    let container = with_command(&tree, &[], &body).start_as_process_1();
    eventually_reads(&tree, "ready", "\n");
    let mut expected = String::new();
    for (signal, name) in signals {
        container.signal(signal);
        expected.push_str(name);
        expected.push('\n');
        eventually_reads(&tree, "got", &expected);
    }
    container.signal(Signal::SIGTERM);
    ends_with(&container, 0);
}

#[test]
fn a_command_that_ignores_term_is_killed_in_time() {
    let tree = Suite::ours().tree();
    let saver = tree.service("saver").run(&saves_for("1")).made();
    let container = tree
        .command("init")
        .args(["--grace", "15"])
        .arg(tree.services())
        .args(["--", "sh", "-c", "trap '' TERM; echo >ready; exec sleep 1000"])
        .dir(tree.root())
        .start_as_process_1();
    eventually_reads(&tree, "ready", "\n");
    saver.eventually_has("ready");
    let end = container.stopped_within(Duration::from_secs(15));
    assert_eq!(end.code(), Some(137), "{}", end.stderr);
    said(&end, "COMMAND: does not stop: killed");
    assert_eq!(saver.read("saved"), "saved\n");
}

/// Only it gets the input: services have none.
#[test]
fn the_input_is_the_commands() {
    let tree = Suite::ours().tree();
    tree.service("greedy").run("cat >got; echo >done; exec sleep 1000").made();
    let input = tree.root().join("input");
    fs::write(&input, "typed\n").expect("an input");
    let greedy = tree.at("greedy");
    let done = greedy.path("done").display().to_string();
    let body = format!("until [ -e {done} ]; do sleep .01; done; cat >got");
    exited(with_command(&tree, &[], &body).stdin(&input).output_as_process_1(), 0);
    assert_eq!((read(&tree, "got").as_str(), greedy.read("got").as_str()), ("typed\n", ""));
}

/// One program, and nothing around it: no services directory is needed.
#[test]
fn a_command_needs_no_services() {
    let tree = Suite::ours().tree();
    let hidden = ["sh", "-c", "mount -t tmpfs none /etc && exec \"$@\"", "sh"];
    let init = tree.command("init").without_env("SVDIR").args(["--", "sh", "-c", "exit 3"]);
    exited(init.through(&hidden).output_as_process_1(), 3);
}

/// No time is kept for services that there are not.
#[test]
fn a_command_without_services_has_nearly_all_of_the_grace() {
    let tree = Suite::ours().tree();
    let hidden = ["sh", "-c", "mount -t tmpfs none /etc && exec \"$@\"", "sh"];
    let body = "trap '' TERM; echo >ready; sleep 1000 & wait; exec sleep 1000";
    let init = tree.command("init").without_env("SVDIR").args(["--grace", "4", "--", "sh", "-c", body]);
    let container = init.dir(tree.root()).through(&hidden).start_as_process_1();
    container.eventually_says("; grace 4.00 s, all killed at 3.00 s, exit by 3.00 s\n");
    eventually_reads(&tree, "ready", "\n");
    container.signal(Signal::SIGTERM);
    let end = ends_with(&container, 137);
    said(&end, "COMMAND: does not stop: killed");
    assert!(!end.stderr.contains("left behind, killed: sh"), "{}", end.stderr);
}

#[test]
fn a_commands_strays_are_ended() {
    let tree = Suite::ours().tree();
    let stray = format!("trap \"echo told >told; exit\" TERM; echo >ready; {WAITS}");
    let body = format!("setsid sh -c '{stray}' & until [ -e ready ]; do sleep .01; done; exit 4");
    exited(with_command(&tree, &[], &body).output_as_process_1(), 4);
    assert_eq!(read(&tree, "told"), "told\n");
}

/// The signal goes to the whole group, as with tini's -g, and init waits for every member.
#[test]
fn with_group_signals_reach_every_process_of_the_group() {
    let tree = Suite::ours().tree();
    let worker = format!(
        "trap \"echo term >>worker; exit 0\" TERM; trap \"echo usr1 >>worker\" USR1
         echo >worker.ready; {WAITS}"
    );
    let body = format!("trap 'exit 6' TERM; trap : USR1; sh -c '{worker}' & while :; do wait; done");
    let container = with_command(&tree, &["-g"], &body).start_as_process_1();
    eventually_reads(&tree, "worker.ready", "\n");
    container.signal(Signal::SIGUSR1);
    eventually_reads(&tree, "worker", "usr1\n");
    container.signal(Signal::SIGTERM);
    ends_with(&container, 6);
    assert_eq!(read(&tree, "worker"), "usr1\nterm\n");
}

/// Without `-g`, signals are for COMMAND alone, which may manage its workers itself.
#[test]
fn without_group_signals_are_for_the_command_alone() {
    let tree = Suite::ours().tree();
    let worker = "trap \"echo usr1 >>worker\" USR1; echo >worker.ready; while :; do sleep 1000 & wait; done";
    let body = format!(
        "trap 'echo usr1 >>main' USR1; sh -c '{worker}' & echo >ready; while :; do wait; sleep 1000 & done"
    );
    let container = with_command(&tree, &[], &body).start_as_process_1();
    eventually_reads(&tree, "worker.ready", "\n");
    container.signal(Signal::SIGUSR1);
    eventually_reads(&tree, "main", "usr1\n");
    container.signal(Signal::SIGTERM);
    ends_with(&container, 0);
    assert_eq!(read(&tree, "worker"), "");
}

// On a terminal.

/// init on a terminal of its own, with a FIFO for its keyboard.
pub struct Terminal {
    pub script: StartedProgram,
    keyboard: fs::File,
}

impl Terminal {
    pub fn of(tree: &TestTree, command: &str) -> Self {
        let services = tree.services();
        Self::running(tree, &format!("exec init --grace {PATIENT} {} {command}", services.display()))
    }

    /// Types a line for the shell there.
    pub fn running(tree: &TestTree, words: &str) -> Self {
        let fifo = tree.root().join("keyboard");
        nix::unistd::mkfifo(&fifo, Mode::S_IRUSR | Mode::S_IWUSR).expect("a FIFO");
        // Open for both, so that neither side ever waits for the other.
        let keyboard = fs::OpenOptions::new().read(true).write(true).open(&fifo).expect("a keyboard");
        let script = tree
            .command("script")
            .args(["-q", "-e", "-c", words, "/dev/null"])
            .env("SHELL", "/bin/sh")
            .stdin(fifo)
            .dir(tree.root())
            .start();
        Self { script, keyboard }
    }

    pub fn typed(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).expect("the text is typed");
    }

    #[track_caller]
    pub fn shows(&self, text: &str) {
        eventually(&format!("the terminal shows {text:?}"), || self.script.stdout().contains(text));
    }
}

const CTRL_C: &str = "\x03";

#[test]
fn ctrl_c_stops_everything_in_order() {
    let tree = Suite::ours().tree();
    let saver = tree.service("saver").run(&saves_for("1")).made();
    let mut terminal = Terminal::of(&tree, "");
    saver.eventually_has("ready");
    terminal.typed(CTRL_C);
    let end = terminal.script.finished();
    assert_eq!(end.code(), Some(0), "{}", end.stdout);
    assert!(end.stdout.contains("init: INT: stopping"), "{}", end.stdout);
    assert_eq!((saver.read("saved").as_str(), saver.read("cut").as_str()), ("saved\n", ""));
}

/// It is in the foreground: it can read, and Ctrl-C is for it; services are stopped as always.
#[test]
fn ctrl_c_reaches_the_command_but_no_service() {
    let tree = Suite::ours().tree();
    let saver = tree.service("saver").run(&saves_for("1")).made();
    let body = "trap \"echo cleaned up; exit 9\" INT; echo what is it; read word; echo it is $word; sleep 1000 & wait";
    let mut terminal = Terminal::of(&tree, &format!("-- sh -c '{body}'"));
    saver.eventually_has("ready");
    terminal.shows("what is it");
    terminal.typed("typed\n");
    terminal.shows("it is typed");
    terminal.typed(CTRL_C);
    terminal.shows("cleaned up");
    let end = terminal.script.finished();
    assert_eq!(end.code(), Some(9), "{}", end.stdout);
    assert_eq!((saver.read("saved").as_str(), saver.read("cut").as_str()), ("saved\n", ""));
}

/// After COMMAND's end the terminal is init's: Ctrl-C is a stop request, and does not kill init.
#[test]
fn the_terminal_is_inits_again_when_the_command_has_ended() {
    let tree = Suite::ours().tree();
    let saver = tree.service("saver").run(&saves_when_let()).made();
    let mut terminal = Terminal::of(&tree, "-- sh -c 'read word; exit 3'");
    saver.eventually_has("ready");
    terminal.typed("go\n");
    saver.eventually_has("stopping");
    terminal.typed(CTRL_C);
    saver.write("let", "");
    let end = terminal.script.finished();
    assert_eq!(end.code(), Some(3), "{}", end.stdout);
    assert_eq!((saver.read("saved").as_str(), saver.read("cut").as_str()), ("saved\n", ""));
}

/// The terminal would stop a background process that writes to it; while COMMAND has the foreground, init is
/// one.
#[test]
fn a_terminal_that_stops_background_writers_does_not_stop_init() {
    let tree = Suite::ours().tree();
    let saver = tree.service("saver").run(&saves_for("0")).made();
    let services = tree.services();
    let init =
        format!("init --grace {PATIENT} {} -- sh -c 'echo here i am; read word; exit 3'", services.display());
    let mut terminal = Terminal::running(&tree, &format!("stty tostop; set -m; {init}; echo code $?"));
    saver.eventually_has("ready");
    terminal.shows("here i am");
    tree.service("web").run("exec sleep 1000").file("dependencies.d/absent", "").made();
    terminal.shows("init: warning: web depends on absent, which is not running; ignored");
    terminal.typed("go\n");
    terminal.shows("code 3");
    terminal.script.finished();
    assert_eq!(saver.read("saved"), "saved\n");
}

/// A shell with job control, as in `docker run -it`.
#[test]
fn job_control_works() {
    let tree = Suite::ours().tree();
    let mut terminal = Terminal::of(&tree, "-- bash --norc -i");
    terminal.typed("PS1='ready'; echo i am $((6*7))\n");
    terminal.shows("i am 42");
    assert!(!terminal.script.stdout().contains("no job control"), "{}", terminal.script.stdout());
    terminal.typed("sleep 1000\n");
    eventually("the job runs", || !tree.processes_called("sleep 1000").is_empty());
    terminal.typed("\x1a");
    terminal.shows("Stopped");
    terminal.typed("kill %1; exit 12\n");
    // Bash may warn once about the stopped job, and then needs the command again.
    let has = |terminal: &Terminal, text: &str| terminal.script.stdout().contains(text);
    eventually("bash leaves or warns", || has(&terminal, "stopped jobs") || has(&terminal, "COMMAND: ended"));
    if !has(&terminal, "COMMAND: ended") {
        terminal.typed("exit 12\n");
    }
    assert_eq!(terminal.script.finished().code(), Some(12), "{}", terminal.script.stdout());
}

/// Workers may need the services until they have saved their work.
#[test]
fn services_wait_for_the_rest_of_the_commands_group() {
    let tree = Suite::ours().tree();
    let db = tree.service("db").run(&saves_for("0")).made();
    let worker = format!(
        "trap \"while ! test -e release; do sleep .05; done; cat service/db/stopping >seen; exit 0\" TERM
         echo >ready; {WAITS}"
    );
    let body = format!("sh -c '{worker}' & while ! test -e ready; do sleep .05; done; exec sleep 1000");
    let container = with_command(&tree, &["-g"], &body).start_as_process_1();
    db.eventually_has("ready");
    tests::eventually("the worker is ready", || tree.root().join("ready").exists());
    container.signal(Signal::SIGTERM);
    container.eventually_says("COMMAND: ended with SIGTERM");
    container.eventually_says("waiting for the rest of COMMAND's group");
    assert!(!db.has("stopping"));
    fs::write(tree.root().join("release"), "").expect("a file");
    let end = container.finished();
    assert_eq!((end.code(), db.read("saved")), (Some(0), "saved\n".to_owned()), "{}", end.stderr);
    assert_eq!(read(&tree, "seen"), "");
}

/// A zombie in COMMAND's group, which its parent outside the group never reaps, does not delay the services.
#[test]
fn services_do_not_wait_for_zombies_of_the_commands_group() {
    let tree = Suite::ours().tree();
    let member = "sh -c 'echo $$ >member.new; mv member.new member; until test -e go; do sleep .02; done'";
    let body = format!("({member} & exec setsid sleep 1000) & exec sleep 1000");
    let container = with_command(&tree, &["-g"], &body).start_as_process_1();
    let inmate = || {
        let inside = read(&tree, "member").trim().parse::<u32>().ok()?;
        container.processes().into_iter().find(|inmate| inmate.pid_inside == inside)
    };
    let member = tests::eventually_some("a member", inmate).outside;
    eventually("its parent has left the group", || {
        Process::find(member.parent)
            .is_some_and(|parent| parent.session == parent.pid && parent.command_line() == "sleep 1000")
    });
    fs::write(tree.root().join("go"), "").expect("a file");
    eventually("it is a zombie", || !is_alive(member.pid));
    assert!(Process::find(member.pid).is_some_and(|zombie| zombie.group == member.group));
    container.signal(Signal::SIGTERM);
    let end = ends_with(&container, 0);
    assert!(!end.stderr.contains("the rest of COMMAND's group"), "{}", end.stderr);
}
