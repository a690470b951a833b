//! init boots, serves and stops: its signals, its command line, its messages and exit codes.

use std::time::{Duration, Instant};

use fs_err as fs;
use nix::sys::signal::Signal;
use tests::namespace::PidNamespace;
use tests::process::{is_alive, send};
use tests::{CommandLine, Output, Service, Suite, TestTree, eventually, nothing_happens_for};

/// More than any orderly stop takes, even on a machine that is busy with other things.
pub const PATIENT: &str = "28";

/// A shell that waits, and hears each signal within a moment. A `read` does not return for one that
/// came just before it; a long `sleep` that was just forked could swallow one that was for the group,
/// and stay behind.
pub const WAITS: &str = "while :; do sleep .1; done";

/// A `./run` that ends of TERM, but not of INT, after it has saved its work for so many seconds.
/// When the file `ready` exists, the trap is set.
pub fn saves_for(seconds: &str) -> String {
    saves_after(&format!("sleep {seconds}"))
}

/// The same, but it has saved its work when there is a file `let` in its directory.
pub fn saves_when_let() -> String {
    saves_after("until [ -e let ]; do sleep .02; done")
}

fn saves_after(work: &str) -> String {
    format!(
        "trap 'echo cut off >>cut' INT\n\
         trap 'echo >>stopping; {work}; echo saved >>saved; exit 0' TERM\n\
         echo >>ready\n\
         {WAITS}"
    )
}

/// An init with these options on the tree, which works in the tree's root and plans for a stop that
/// takes its time.
pub fn patient(tree: &TestTree, options: &[&str]) -> CommandLine {
    with_grace(tree, PATIENT, options)
}

/// The same with another grace.
pub fn with_grace(tree: &TestTree, grace: &str, options: &[&str]) -> CommandLine {
    tree.command("init").args(["--grace", grace]).args(options).arg(tree.services()).dir(tree.root())
}

/// The same, with a COMMAND for the shell.
pub fn with_command(tree: &TestTree, options: &[&str], body: &str) -> CommandLine {
    patient(tree, options).args(["--", "sh", "-c", body])
}

/// An init with this grace on the tree, as process 1, that has begun.
#[track_caller]
pub fn begun(tree: &TestTree, grace: &str) -> PidNamespace {
    let container = with_grace(tree, grace, &[]).start_as_process_1();
    container.eventually_says("init: ");
    container
}

/// TERM, and then the end, in good order.
#[track_caller]
pub fn stopped_in_order(container: &PidNamespace) -> Output {
    container.signal(Signal::SIGTERM);
    ended_in_order(container)
}

/// The end, in good order.
#[track_caller]
pub fn ended_in_order(container: &PidNamespace) -> Output {
    let end = container.finished();
    assert_eq!(end.code(), Some(0), "{}", end.stderr);
    assert!(end.stderr.contains("none killed; exit 0\n"), "{}", end.stderr);
    end
}

/// Sends a signal to a process by its id inside.
#[track_caller]
pub fn signal_inmate(container: &PidNamespace, pid_inside: u32, signal: Signal) {
    let inmates = container.processes();
    let inmate = inmates.iter().find(|inmate| inmate.pid_inside == pid_inside);
    send(inmate.expect("it lives").outside.pid, signal);
}

/// Asserts that this was said.
#[track_caller]
pub fn said(end: &Output, text: &str) {
    assert!(end.stderr.contains(text), "no line has {text:?}:\n{}", end.stderr);
}

/// A tree with a service that saves, one that has a logger, and one that is down.
struct Three {
    saver: Service,
    logged: Service,
    idle: Service,
}

impl Three {
    fn made(tree: &TestTree) -> Self {
        Self {
            saver: tree.service("saver").run(&saves_for("0")).made(),
            logged: tree.service("logged").run("exec sleep 1000").log("exec cat >>../log.txt").made(),
            idle: tree.service("idle").run("echo >>started; exec sleep 1000").down().made(),
        }
    }

    /// Waits until each of them is what it is to be.
    #[track_caller]
    fn eventually_there(&self, starts: usize) {
        for service in [&self.saver, &self.logged, &self.idle] {
            service.eventually("is supervised", Service::is_supervised);
        }
        self.saver.eventually_lines("ready", starts);
        // It may be ready before its record is written.
        self.saver.eventually_runs();
        self.logged.eventually_runs();
    }
}

#[track_caller]
fn stops_everything_on(signal: impl FnOnce(&PidNamespace)) {
    let tree = Suite::ours().tree();
    let services = Three::made(&tree);
    let container = begun(&tree, PATIENT);
    services.eventually_there(1);
    signal(&container);
    let end = ended_in_order(&container);
    for name in ["saver", "logged", "idle"] {
        said(&end, &format!("init: {name}: stopped after "));
    }
    said(&end, "init: 3 services stopped in ");
    assert_eq!(services.saver.read("saved"), "saved\n");
    assert_eq!(services.saver.read("cut"), "", "only TERM is for services");
    assert_eq!(services.logged.stat(), "down");
    assert!(!services.idle.has("started"));
}

#[test]
fn term_stops_everything() {
    stops_everything_on(|container| container.signal(Signal::SIGTERM));
}

#[test]
fn int_stops_everything() {
    stops_everything_on(|container| container.signal(Signal::SIGINT));
}

/// PWR: what the daemon of an emergency power supply sends.
#[test]
fn pwr_stops_everything() {
    stops_everything_on(|container| container.signal(Signal::SIGPWR));
}

/// What systemd's tools, and podman for an image that has systemd, send to stop a container.
#[test]
fn the_third_real_time_signal_stops_everything() {
    stops_everything_on(|container| container.signal_number(37));
}

/// Started anywhere else, init adopts what its services leave.
#[test]
fn a_subreaper_stops_everything_too() {
    let tree = Suite::ours().tree();
    let services = Three::made(&tree);
    let stray = tree.service("parent").run("setsid sleep 12345 & exec sleep 1000").made();
    let init = patient(&tree, &[]).start();
    services.eventually_there(1);
    stray.eventually("has a stray", |_| !tree.processes_called("sleep 12345").is_empty());
    init.signal(Signal::SIGTERM);
    let end = init.finished();
    assert_eq!(end.code(), Some(0), "{}", end.stderr);
    said(&end, "init: 4 services stopped in ");
    assert_eq!(services.saver.read("saved"), "saved\n");
    let left: Vec<String> = tree.processes().iter().map(tests::process::Process::command_line).collect();
    assert_eq!(left, Vec::<String>::new());
}

/// A second stop request skips the drain. Without a drain it must not shorten the time of the services.
#[test]
fn a_second_request_changes_nothing_for_services() {
    let tree = Suite::ours().tree();
    let saver = tree.service("saver").run(&saves_for("2")).made();
    let container = begun(&tree, PATIENT);
    saver.eventually_has("ready");
    container.signal(Signal::SIGTERM);
    saver.eventually_has("stopping");
    container.signal(Signal::SIGINT);
    ended_in_order(&container);
    assert_eq!(saver.read("saved"), "saved\n");
    assert_eq!(saver.lines("stopping").len(), 1, "told to stop once");
}

#[test]
fn a_third_request_kills_at_once() {
    let tree = Suite::ours().tree();
    let deaf = tree.service("deaf").run(crate::IGNORES_TERM).made();
    let container = begun(&tree, PATIENT);
    deaf.eventually_has("ready");
    container.signal(Signal::SIGTERM);
    container.eventually_says("init: TERM: stopping");
    // Two of the same sort that wait for delivery are one.
    container.signal(Signal::SIGINT);
    // Without them it would be killed after twenty-one seconds.
    let end = container.stopped_within(Duration::from_secs(15));
    assert_eq!(end.code(), Some(99), "{}", end.stderr);
    said(&end, "asked three times to stop");
}

/// The grace is said at the start, so that a mismatch with the orchestrator's is noticed.
#[test]
fn the_budget_is_said_at_the_start() {
    let tree = Suite::ours().tree();
    let container = begun(&tree, "12.5");
    container.eventually_says(&format!("init: services of {}; grace 12.50 s, ", tree.services().display()));
    container.eventually_says("exit by ");
    stopped_in_order(&container);

    let container = tree.command("init").env("INIT_GRACE", "7").arg(tree.services()).start_as_process_1();
    container.eventually_says("; grace 7.00 s, ");
    stopped_in_order(&container);
}

#[test]
fn the_names_of_the_late_are_said_each_second() {
    let tree = Suite::ours().tree();
    let slow = tree.service("slow").run(&saves_for("3")).made();
    let quick = tree.service("quick").run("exec sleep 1000").made();
    let container = begun(&tree, PATIENT);
    slow.eventually_has("ready");
    quick.eventually_runs();
    let start = Instant::now();
    let end = stopped_in_order(&container);
    let most = start.elapsed().as_secs() + 1;
    let late = end.stderr.lines().filter(|line| line.ends_with(" waiting for slow")).count();
    assert!(late >= 2 && late as u64 <= most, "{}", end.stderr);
    assert!(!end.stderr.contains("waiting for quick"), "{}", end.stderr);
}

#[test]
fn with_quiet_an_orderly_stop_is_silent() {
    let tree = Suite::ours().tree();
    let web = tree.service("web").run("exec sleep 1000").made();
    let container = tree.command("init").arg("-q").arg(tree.services()).start_as_process_1();
    web.eventually_runs();
    container.signal(Signal::SIGTERM);
    let end = container.finished();
    assert_eq!((end.code(), end.stderr.as_str(), end.stdout.as_str()), (Some(0), "", ""));
}

/// As for runsvdir.
#[test]
fn alrm_looks_for_new_services_and_stops_none() {
    let tree = Suite::ours().tree();
    let web = tree.service("web").run("exec sleep 1000").made();
    let container = begun(&tree, PATIENT);
    let pid = web.eventually_runs().pid;
    let more = tree.service("more").run("exec sleep 1000").made();
    container.signal(Signal::SIGALRM);
    more.eventually_runs();
    assert_eq!(web.status().pid, pid);
    stopped_in_order(&container);
}

/// Signals that mean nothing to init do nothing.
#[test]
fn other_signals_are_harmless() {
    let tree = Suite::ours().tree();
    let web = tree.service("web").run("exec sleep 1000").made();
    let container = begun(&tree, PATIENT);
    let pid = web.eventually_runs().pid;
    for signal in [Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGWINCH, Signal::SIGTSTP, Signal::SIGPIPE] {
        container.signal(signal);
    }
    nothing_happens_for(Duration::from_millis(300), "init goes on", || container.is_alive());
    assert_eq!(web.status().pid, pid);
    stopped_in_order(&container);
}

/// An image may have no environment at all.
#[test]
fn an_empty_environment_is_enough() {
    let tree = Suite::ours().tree();
    let web = tree.service("web").run("exec /bin/sleep 1000").made();
    let init = fs::canonicalize(tree.bin().join("init")).expect("our init");
    let container = tree.command(init).through(&["env", "-i"]).arg(tree.services()).start_as_process_1();
    web.eventually_runs();
    // The shell adds its own.
    let environment = container.eventually_has("/bin/sleep 1000").outside.environment();
    assert!(environment.iter().all(|variable| variable.starts_with("PWD=")), "{environment:?}");
    stopped_in_order(&container);
}

/// Whatever init is given as its signal mask and dispositions, services get the usual ones.
#[test]
fn a_blocked_term_stops_everything_too() {
    let tree = Suite::ours().tree();
    let saver = tree.service("saver").run(&saves_for("0")).made();
    let container = tree
        .command("init")
        .through(&["env", "--block-signal=TERM,INT,CHLD", "--ignore-signal=HUP"])
        .args(["--grace", PATIENT])
        .arg(tree.services())
        .start_as_process_1();
    saver.eventually_has("ready");
    stopped_in_order(&container);
    assert_eq!(saver.read("saved"), "saved\n");
}

/// A second container of the same services: none of what is left of the first one matters.
#[test]
fn the_same_tree_can_be_started_again_and_again() {
    let tree = Suite::ours().tree();
    let Three { saver, .. } = Three::made(&tree);
    for round in 1..=5 {
        let container = begun(&tree, PATIENT);
        saver.eventually_lines("ready", round);
        stopped_in_order(&container);
    }
    assert_eq!(saver.lines("saved").len(), 5);
}

// Bad usage.

#[track_caller]
fn is_refused(tree: &TestTree, words: &[&str], code: i32, text: &str) {
    let end = tree.command("init").args(words).output();
    assert_eq!(end.code(), Some(code), "{words:?}: {}", end.stderr);
    assert_eq!(end.stderr.lines().count(), 1, "{words:?}: {}", end.stderr);
    assert!(
        end.stderr.starts_with("init: fatal: ") && end.stderr.contains(text),
        "{words:?}: {}",
        end.stderr
    );
    assert_eq!(end.stdout, "", "{words:?}");
}

#[test]
fn bad_words_are_refused_with_one_line() {
    let tree = Suite::ours().tree();
    let services = tree.services().display().to_string();
    let web = tree.service("web").run("echo >started; exec sleep 1000").made();
    for grace in ["ten", "-1", "0", "", "1e3", "1.2.3", "nan"] {
        is_refused(&tree, &["--grace", grace, &services], 100, "--grace: not a number of seconds");
    }
    is_refused(&tree, &["--grace"], 100, "lacks its value");
    is_refused(&tree, &["--no-such-option", &services], 100, "option is unknown");
    is_refused(&tree, &[&services, &services], 100, "more than one DIR");
    is_refused(&tree, &["-g", &services], 100, "--group is for a COMMAND");
    let end = tree.command("init").env("INIT_GRACE", "soon").arg(&services).output();
    assert_eq!(end.code(), Some(100), "{}", end.stderr);
    assert!(end.stderr.contains("$INIT_GRACE: not a number"), "{}", end.stderr);
    assert!(!web.has("started") && !web.has("supervise"), "nothing was started");
}

#[test]
fn a_directory_that_is_none_is_refused_with_one_line() {
    let tree = Suite::ours().tree();
    let absent = tree.root().join("absent").display().to_string();
    let file = tree.root().join("file").display().to_string();
    fs::write(&file, "").expect("a file");
    let start = format!("unable to open services directory {absent}: file does not exist");
    is_refused(&tree, &[&absent], 111, &start);
    is_refused(&tree, &[&file], 111, &format!("unable to open services directory {file}: not a directory"));
    is_refused(&tree, &[&absent, "--", "true"], 111, &start);
    let end = tree.command("init").env("SVDIR", &absent).output();
    assert_eq!((end.code(), end.stderr.contains(&start)), (Some(111), true), "{}", end.stderr);
}

#[test]
fn a_directory_that_may_not_be_read_is_refused_with_one_line() {
    let tree = Suite::ours().tree();
    tests::tree::set_mode(&tree.services(), 0o700);
    let end = tree.command("init").as_nobody().dir("/").arg(tree.services()).output();
    assert_eq!(end.code(), Some(111), "{}", end.stderr);
    assert!(end.stderr.contains("access denied"), "{}", end.stderr);
}

/// Neither runsvdir nor runsv is looked for.
#[test]
fn no_other_program_is_needed() {
    let tree = Suite::ours().tree();
    let web = tree.service("web").run("exec /bin/sleep 1000").made();
    let init = tree.root().join("init");
    tree.copy_program(&tree.bin().join("init"), &init);
    let alone = ["env", "PATH=/nonexistent"];
    let container = tree.command(&init).through(&alone).arg(tree.services()).start_as_process_1();
    web.eventually_runs();
    let end = stopped_in_order(&container);
    assert!(!end.stderr.contains("warning"), "{}", end.stderr);
}

#[test]
fn help_and_version_go_to_standard_output() {
    let tree = Suite::ours().tree();
    let help = tree.command("init").arg("--help").output();
    assert_eq!((help.code(), help.stderr.as_str()), (Some(0), ""));
    for word in ["--grace", "--hooks", "--group", "--quiet", "--verbose", "TERM", "COMMAND"] {
        assert!(help.stdout.contains(word), "{word}");
    }
    let version = tree.command("init").arg("--version").output();
    assert_eq!((version.code(), version.stderr.as_str()), (Some(0), ""));
    assert!(version.stdout.starts_with("init "), "{}", version.stdout);
}

// Zombies.

/// No orphan stays a zombie, and init goes on serving.
#[test]
fn orphans_are_reaped() {
    let tree = Suite::ours().tree();
    let parent = tree
        .service("parent")
        .run("i=0; while [ $i -lt 1000 ]; do (sleep 0 &); i=$((i+1)); done; echo >done; exec sleep 1000")
        .made();
    let container = begun(&tree, PATIENT);
    parent.eventually_has("done");
    // Only when the last of them has come and gone no further one can become a zombie.
    eventually("all of them are gone", || {
        let inmates = container.processes();
        inmates.len() == 2 && inmates.iter().any(|inmate| inmate.command_line == "sleep 1000")
    });
    assert_eq!(container.zombies().len(), 0);
    let end = stopped_in_order(&container);
    assert!(!end.stderr.contains("left behind"), "{}", end.stderr);
}

/// Nothing of a container outlives it.
#[test]
fn the_end_of_init_is_the_end_of_all() {
    let tree = Suite::ours().tree();
    let daemon =
        tree.service("daemon").run("setsid sh -c 'echo $$ >pid; exec sleep 1000' & exec sleep 1000").made();
    let container = begun(&tree, PATIENT);
    daemon.eventually_has("pid");
    let inmates = container.processes();
    assert!(inmates.len() >= 3, "{inmates:?}");
    stopped_in_order(&container);
    eventually("all are gone", || !inmates.iter().any(|inmate| is_alive(inmate.outside.pid)));
}

/// After the start only a stop request ends init.
#[test]
fn the_loss_of_its_directory_does_not_end_init() {
    let tree = Suite::ours().tree();
    let web = tree.service("web").run(&saves_for("0")).made();
    let container = begun(&tree, PATIENT);
    web.eventually_has("ready");
    let away = tree.root().join("away");
    fs::rename(tree.services(), &away).expect("the directory can be renamed");
    nothing_happens_for(Duration::from_millis(500), "init goes on", || container.is_alive());
    fs::rename(&away, tree.services()).expect("the directory can be renamed");
    container.signal(Signal::SIGTERM);
    let end = container.finished();
    assert_eq!(end.code(), Some(0), "{}", end.stderr);
    assert_eq!(web.read("saved"), "saved\n");
}

/// A killed process 1 takes every process with it, and the files it leaves do not disturb the next one.
#[test]
fn stale_state_of_a_killed_container_does_not_matter() {
    let tree = Suite::ours().tree();
    let services = Three::made(&tree);
    let container = begun(&tree, PATIENT);
    services.eventually_there(1);
    send(container.pid(), Signal::SIGKILL);
    container.finished();
    assert_eq!(services.saver.stat(), "run", "stale");
    let container = begun(&tree, PATIENT);
    services.eventually_there(2);
    let end = stopped_in_order(&container);
    said(&end, "init: 3 services stopped in ");
    for word in ["warning", "fatal", "unable"] {
        assert!(!end.stderr.contains(word), "{}", end.stderr);
    }
}
