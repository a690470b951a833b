//! What `./run`, `./finish`, `log/run` and control scripts inherit: environment, directory, descriptors,
//! signals.

use std::os::unix::fs::MetadataExt;

use fs_err as fs;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tests::process::{Process, is_alive};
use tests::{CommandLine, Service, Suite, all_suites, eventually, eventually_some};

all_suites! {
    run_is_called_by_its_name_in_its_directory,
    log_run_is_called_by_its_name_in_its_directory,
    control_scripts_are_called_in_the_service_directory,
    the_environment_is_handed_on_unchanged,
    the_umask_is_handed_on,
    no_descriptor_leaks,
    standard_descriptors_are_those_of_runsv,
    a_log_service_reads_what_run_and_finish_print,
    signals_are_clean_with_a_clean_parent,
    term_and_chld_are_default_and_unblocked_whatever_runsv_inherited;
    not_hosted "each process leads a session of its own under init":
    group_and_session_are_those_of_runsv;
    not_hosted "init has no descriptors above 2 but its own":
    an_inherited_descriptor_reaches_every_child;
    not_hosted "init catches most signals, and its services begin with a clean mask for them":
    other_signals_are_inherited;
    not_hosted "signals to the process runsv, and its children":
    runsv_itself_handles_only_term_and_chld,
    signals_other_than_term_end_runsv_and_leave_the_services,
    a_stranger_that_dies_is_ignored,
}

/// RSV-10.
fn run_is_called_by_its_name_in_its_directory(suite: &Suite) {
    let tree = suite.tree();
    let run = "tr '\\0' ' ' </proc/$$/cmdline >words; pwd -P >here; exec sleep 1000";
    let web = tree.service("web").run(&format!("#!/bin/sh\n{run}")).made().supervised();
    web.eventually_reads("here", &format!("{}\n", web.dir().display()));
    assert_eq!(web.read("words"), "/bin/sh ./run ");
}

/// RSV-12.
fn log_run_is_called_by_its_name_in_its_directory(suite: &Suite) {
    let log = "tr '\\0' ' ' </proc/$$/cmdline >words; pwd -P >here; exec cat";
    let web = suite.service("web").run("exec sleep 1000").log(log).supervised();
    web.log().eventually_reads("here", &format!("{}\n", web.path("log").display()));
    assert_eq!(web.log().read("words"), "/bin/sh ./run ");
}

/// RSV-16.
fn control_scripts_are_called_in_the_service_directory(suite: &Suite) {
    let script = "echo $0 $# >called; pwd -P >here";
    let web = suite.service("web").run("exec sleep 1000").control('h', script).running();
    web.control("h");
    web.eventually_reads("here", &format!("{}\n", web.dir().display()));
    assert!(web.read("called").starts_with("control/h "));
}

/// RSV-10, GEN-11: even a `PWD` that is wrong.
fn the_environment_is_handed_on_unchanged(suite: &Suite) {
    let web = without_shell(suite);
    let runsv = with_endless_input(&web).env("PWD", "/nowhere").env("EMPTY", "").env("Strange-1", "a=b\nc");
    let web = web.supervised_by(runsv);
    let wanted = web.runsv.process().environment();
    assert!(wanted.len() >= 6, "{wanted:?}");
    let sleeping = |service: &Service, state: fn(&Service) -> u32| {
        let pid = state(service);
        let process = executed(pid);
        assert_eq!(process.environment(), wanted);
    };
    sleeping(&web, |web| web.eventually_runs().pid);
    sleeping(&web.log(), |log| log.eventually_runs().pid);
    web.control("d");
    sleeping(&web, |web| web.eventually_finishes().pid);
}

/// The process, once it has become `sleep`.
#[track_caller]
fn asleep(pid: u32) -> Process {
    eventually_some("the process is sleep", || {
        Process::find(pid).filter(|process| process.command_line().starts_with("sleep "))
    })
}

/// A service with programs that are no shell scripts, because a shell changes its environment and its
/// signals: `cat`, which reads from an input without an end, and `head`, so that `./finish -1 15` waits until
/// the fifo `15` is written to.
fn without_shell(suite: &Suite) -> Service {
    let cat = "/bin/cat";
    let web =
        suite.service("web").link("run", cat).link("finish", "/usr/bin/head").link("log/run", cat).made();
    for name in ["15", "endless"] {
        mkfifo(&web.path(name), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    }
    web
}

/// runsv with an input that has no end.
fn with_endless_input(web: &Service) -> CommandLine {
    web.runsv().redirected("<>web/endless")
}

/// The process, once it is `./run` or `./finish`.
#[track_caller]
fn executed(pid: u32) -> Process {
    eventually_some("the process has been executed", || {
        Process::find(pid).filter(|process| process.command_line().starts_with("./"))
    })
}

/// RSV-10, GEN-11.
fn the_umask_is_handed_on(suite: &Suite) {
    let web = suite.service("web").run("umask >mask; exec sleep 1000").log("umask >mask; exec cat").made();
    let runsv = web.runsv().umask(0o037);
    let web = web.supervised_by(runsv);
    web.eventually_reads("mask", "0037\n");
    web.log().eventually_reads("mask", "0037\n");
}

/// RSV-10, RSV-19: no setsid, no setpgid, direct children.
fn group_and_session_are_those_of_runsv(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").log("exec sleep 1000").running();
    let runsv = web.runsv.process();
    for pid in [web.status().pid, web.log().eventually_runs().pid] {
        let process = asleep(pid);
        let wanted = (runsv.pid, runsv.group, runsv.session);
        assert_eq!((process.parent, process.group, process.session), wanted);
    }
}

/// Waits until a process has these descriptors and no others: one that has just been executed still
/// reads its libraries.
#[track_caller]
pub fn has_just(process: &Process, wanted: &[u32]) {
    let numbers = || process.descriptors().into_iter().map(|(number, _)| number).collect::<Vec<_>>();
    eventually(&format!("{} has just {wanted:?}", process.command_line()), || numbers() == wanted);
}

/// RSV-14, TST-2.
fn no_descriptor_leaks(suite: &Suite) {
    let web = suite
        .service("web")
        .run("exec sleep 1000")
        .finish("exec sleep 1000")
        .log("exec sleep 1000")
        .control('h', "exec sleep 1000")
        .running();
    let wanted = [0, 1, 2];
    has_just(&asleep(web.status().pid), &wanted);
    has_just(&asleep(web.log().eventually_runs().pid), &wanted);
    let script = web.status().pid;
    web.control("h");
    let script = eventually_some("the script sleeps", || {
        let mut sleeping = web.tree().processes_called("sleep 1000").into_iter();
        sleeping.find(|process| process.pid != script && process.pid != web.log().status().pid)
    });
    has_just(&script, &wanted);
    tests::process::send(script.pid, Signal::SIGKILL);
    web.control("d");
    has_just(&asleep(web.eventually_finishes().pid), &wanted);
}

/// RSV-14.
fn an_inherited_descriptor_reaches_every_child(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").log("exec sleep 1000").made();
    let runsv = web.runsv().redirected("7</dev/zero");
    let web = web.supervised_by(runsv);
    for pid in [web.eventually_runs().pid, web.log().eventually_runs().pid] {
        let process = asleep(pid);
        has_just(&process, &[0, 1, 2, 7]);
        assert!(process.descriptors().contains(&(7, "/dev/zero".to_owned())));
    }
}

/// RSV-13: nothing is redirected without a log service.
fn standard_descriptors_are_those_of_runsv(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").running();
    let [run, runsv] = [asleep(web.status().pid), web.runsv.process()].map(|process| {
        process.descriptors().into_iter().filter(|(number, _)| *number <= 2).collect::<Vec<_>>()
    });
    assert_eq!(run, runsv);
}

/// RSV-13: only the output of the one and the input of the other are the pipe.
fn a_log_service_reads_what_run_and_finish_print(suite: &Suite) {
    let web = suite
        .service("web")
        .run("echo run; trap 'exit 3' TERM; sleep 1000 & wait")
        .finish("echo finish $*; echo aside >&2")
        .control('h', "echo control")
        .log("exec cat >lines")
        .running();
    web.log().eventually_reads("lines", "run\n");
    web.control("h");
    web.log().eventually_reads("lines", "run\ncontrol\n");
    web.control("d");
    web.log().eventually_reads("lines", "run\ncontrol\nfinish 3 0\n");
    web.runsv.eventually_says("aside\n");
    let log = web.log().status().pid;
    let target = |number: u32| fs::read_link(format!("/proc/{log}/fd/{number}")).unwrap();
    let runsv = web.runsv.pid();
    assert_eq!(target(2), fs::read_link(format!("/proc/{runsv}/fd/2")).unwrap());
    assert_eq!(fs::metadata(format!("/proc/{log}/fd/0")).unwrap().mode() & 0o170_000, 0o010_000);
}

/// RSV-15, TST-2.
fn signals_are_clean_with_a_clean_parent(suite: &Suite) {
    let body = "exec sleep 1000";
    let web = suite.service("web").run(body).finish(body).log(body).running();
    let clean = |pid: u32| {
        let process = asleep(pid);
        for set in ["SigBlk", "SigIgn", "SigCgt"] {
            assert_eq!(process.signals(set), [0; 0], "{set}");
        }
    };
    clean(web.status().pid);
    clean(web.log().eventually_runs().pid);
    web.control("d");
    clean(web.eventually_finishes().pid);
}

/// RSV-15.
fn term_and_chld_are_default_and_unblocked_whatever_runsv_inherited(suite: &Suite) {
    let web = without_shell(suite);
    let runsv =
        with_endless_input(&web).through(&["env", "--block-signal=TERM,CHLD", "--ignore-signal=TERM"]);
    let web = web.supervised_by(runsv);
    let clean = |pid: u32| {
        let process = executed(pid);
        for set in ["SigBlk", "SigIgn", "SigCgt"] {
            assert_eq!(process.signals(set), [0; 0], "{set}");
        }
    };
    clean(web.eventually_runs().pid);
    clean(web.log().eventually_runs().pid);
    web.control("d");
    clean(web.eventually_finishes().pid);
}

/// RSV-15, GEN-12: PIPE (13) among them.
fn other_signals_are_inherited(suite: &Suite) {
    let web = without_shell(suite);
    let words = ["env", "--block-signal=HUP,USR2,RTMIN", "--ignore-signal=INT,PIPE,USR1"];
    let runsv = with_endless_input(&web).through(&words);
    let web = web.supervised_by(runsv);
    let inherits = |pid: u32| {
        let process = executed(pid);
        assert_eq!(process.signals("SigBlk"), [1, 12, 34]);
        assert_eq!(process.signals("SigIgn"), [2, 10, 13]);
    };
    inherits(web.eventually_runs().pid);
    inherits(web.log().eventually_runs().pid);
    web.control("d");
    inherits(web.eventually_finishes().pid);
}

/// RSV-17, GEN-12.
fn runsv_itself_handles_only_term_and_chld(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").running();
    let runsv = web.runsv.process();
    assert_eq!(runsv.signals("SigCgt"), [15, 17]);
    assert_eq!(runsv.signals("SigIgn"), [0; 0]);
}

/// RSV-17, RSV-65, QRK-14.
fn signals_other_than_term_end_runsv_and_leave_the_services(suite: &Suite) {
    let tree = suite.tree();
    let signals =
        [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGPIPE, Signal::SIGALRM, Signal::SIGUSR1];
    for signal in signals.into_iter().chain([Signal::SIGUSR2]) {
        let web = tree.service(signal.as_str()).run("exec sleep 1000").log("exec sleep 1000").running();
        let pids = [web.status().pid, web.log().eventually_runs().pid];
        web.runsv.signal(signal);
        let output = web.runsv.finished();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&output.ended), Some(signal as i32));
        assert!(pids.into_iter().all(is_alive));
        // What was just forked has a copy of its descriptors until it is executed.
        web.eventually("no runsv supervises it", |web| !web.is_supervised());
    }
}

/// RSV-19: a child that the process had before it became runsv.
fn a_stranger_that_dies_is_ignored(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").made();
    let runsv = web.tree().command("sh").args(["-c", "sleep .3 & exec runsv web"]);
    let web = web.supervised_by(runsv);
    let before = web.eventually_runs();
    web.eventually("the stranger is reaped", |_| {
        !Process::all().iter().any(|process| process.parent == web.runsv.pid() && process.pid != before.pid)
    });
    assert_eq!(web.status(), before);
}
