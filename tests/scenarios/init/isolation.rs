//! What init keeps for itself, and what services, hooks and COMMAND are given.

use std::path::PathBuf;

use fs_err as fs;
use tests::process::Process;
use tests::{CommandLine, Service, StartedProgram, Suite, TestTree, eventually, eventually_some};

use crate::init::command::Terminal;
use crate::init::stop::patient;

/// The only process of the tree with this command line.
#[track_caller]
fn process(tree: &TestTree, command_line: &str) -> Process {
    eventually_some(command_line, || tree.processes_called(command_line).into_iter().next())
}

fn working_directory(process: &Process) -> PathBuf {
    fs::read_link(format!("/proc/{}/cwd", process.pid)).expect("a working directory")
}

/// The soft and the hard limit of open files.
fn limits_of_files(process: &Process) -> [String; 2] {
    let limits = fs::read_to_string(format!("/proc/{}/limits", process.pid)).expect("the limits");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("open files");
    let mut words = line.split_whitespace().map(str::to_owned);
    [(); 2].map(|()| words.next().expect("a limit"))
}

#[track_caller]
fn ended(init: &StartedProgram) {
    init.signal(nix::sys::signal::Signal::SIGTERM);
    let end = init.finished();
    assert_eq!(end.code(), Some(0), "{}", end.stderr);
}

/// A service with everything that can have a process: `run` sleeps for 1001 seconds, `finish` for 1002,
/// `control/t` for 1003, `check` for 1004, the log service for 1005; COMMAND for 1006.
fn with_all_programs(tree: &TestTree) -> (Service, Service) {
    let all = tree.service("all").run("exec sleep 1001").control('t', "exec sleep 1003");
    let all = all.log("exec sleep 1005").check("exec sleep 1004").made();
    tree.service("waits").run("exec true").file("dependencies.d/all", "").made();
    let finishing = tree.service("finishing").run("exit 0").finish("exec sleep 1002").made();
    (all, finishing)
}

const OF_SERVICES: [&str; 5] = ["sleep 1001", "sleep 1002", "sleep 1003", "sleep 1004", "sleep 1005"];
const COMMAND: &str = "sleep 1006";

/// An init with all of that, when each program has been executed.
#[track_caller]
fn with_all_running(tree: &TestTree, describe: impl Fn(CommandLine) -> CommandLine) -> StartedProgram {
    let (all, _) = with_all_programs(tree);
    let init = describe(patient(tree, &[])).args(["--", "sleep", "1006"]).start();
    process(tree, "sleep 1001");
    all.eventually_runs();
    all.control("t");
    for program in OF_SERVICES.into_iter().chain([COMMAND]) {
        process(tree, program);
    }
    init
}

/// What init was started with goes to COMMAND, which has been started by the same caller.
#[test]
fn services_have_no_descriptors_but_the_standard_ones() {
    let tree = Suite::ours().tree();
    let _init = with_all_running(&tree, |init| init.redirected("7</dev/null 9</etc/passwd"));
    for program in OF_SERVICES {
        let descriptors = process(&tree, program).descriptors();
        let numbers: Vec<u32> = descriptors.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [0, 1, 2], "{program}: {descriptors:?}");
    }
    let descriptors = process(&tree, COMMAND).descriptors();
    let numbers: Vec<u32> = descriptors.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [0, 1, 2, 7, 9], "{descriptors:?}");
}

/// With a COMMAND the input is for that.
#[test]
fn with_a_command_services_read_null() {
    let tree = Suite::ours().tree();
    let input = tree.root().join("input");
    fs::write(&input, "").expect("a file");
    let _init = with_all_running(&tree, |init| init.stdin(&input));
    for program in OF_SERVICES.into_iter().filter(|program| *program != "sleep 1005") {
        let descriptors = process(&tree, program).descriptors();
        assert_eq!(descriptors.first(), Some(&(0, "/dev/null".to_owned())), "{program}");
    }
    let log = process(&tree, "sleep 1005").descriptors();
    assert!(log.first().is_some_and(|(_, what)| what.starts_with("pipe:")), "{log:?}");
    let command = process(&tree, COMMAND).descriptors();
    assert_eq!(command.first(), Some(&(0, input.display().to_string())));
}

/// Without one, a file or a pipe is for the services, as under runsvdir; but no terminal is.
#[test]
fn without_a_command_services_read_what_is_no_terminal() {
    let tree = Suite::ours().tree();
    let input = tree.root().join("input");
    fs::write(&input, "").expect("a file");
    tree.service("web").run("exec sleep 1001").made();
    let init = patient(&tree, &[]).stdin(&input).start();
    let descriptors = process(&tree, "sleep 1001").descriptors();
    assert_eq!(descriptors.first(), Some(&(0, input.display().to_string())));
    ended(&init);

    let tree = Suite::ours().tree();
    tree.service("web").run("exec sleep 1001").made();
    let mut terminal = Terminal::of(&tree, "");
    let web = process(&tree, "sleep 1001");
    assert_eq!(web.descriptors().first(), Some(&(0, "/dev/null".to_owned())));
    assert_eq!((web.terminal, web.session), (0, web.pid));
    terminal.typed("\x03");
    assert_eq!(terminal.script.finished().code(), Some(0));
}

/// No file system is in use because of init; COMMAND starts where init was started.
#[test]
fn init_works_in_the_root_directory_and_command_does_not() {
    let tree = Suite::ours().tree();
    let init = with_all_running(&tree, |init| init);
    assert_eq!(working_directory(&process(&tree, COMMAND)), tree.root());
    for program in ["sleep 1001", "sleep 1003", "sleep 1004"] {
        assert_eq!(working_directory(&process(&tree, program)), tree.at("all").dir(), "{program}");
    }
    assert_eq!(working_directory(&process(&tree, "sleep 1005")), tree.at("all").dir().join("log"));
    assert_eq!(working_directory(&process(&tree, "sleep 1002")), tree.at("finishing").dir());
    eventually("init works in /", || working_directory(&init.process()).parent().is_none());
}

/// init needs descriptors for each service; programs that close them all get as many as ever.
#[test]
fn the_limit_of_open_files_is_raised_for_init_only() {
    let tree = Suite::ours().tree();
    let init = with_all_running(&tree, |init| init.through(&["prlimit", "--nofile=256:2048"]));
    assert_eq!(limits_of_files(&init.process()), ["2048", "2048"]);
    for program in OF_SERVICES.into_iter().chain([COMMAND]) {
        assert_eq!(limits_of_files(&process(&tree, program)), ["256", "2048"], "{program}");
    }
}

/// So no service is in the terminal's foreground, and what it leaves is known by its session.
#[test]
fn each_program_of_a_service_leads_a_session() {
    let tree = Suite::ours().tree();
    let init = with_all_running(&tree, |init| init);
    for program in OF_SERVICES {
        let process = process(&tree, program);
        assert_eq!((process.session, process.group, process.parent), (process.pid, process.pid, init.pid()));
    }
    let command = process(&tree, COMMAND);
    assert_eq!((command.group, command.session), (command.pid, init.process().session));
}

/// The score protects init, and not what it supervises.
#[test]
fn services_do_not_have_the_score_of_init() {
    let tree = Suite::ours().tree();
    let script = "echo 100 >/proc/self/oom_score_adj && exec \"$@\"";
    let init = with_all_running(&tree, |init| init.through(&["sh", "-c", script, "sh"]));
    let score = |process: &Process| {
        let score = fs::read_to_string(format!("/proc/{}/oom_score_adj", process.pid)).expect("a score");
        score.trim().to_owned()
    };
    assert_eq!(score(&init.process()), "100");
    for program in OF_SERVICES {
        assert_eq!(score(&process(&tree, program)), "0", "{program}");
    }
}
