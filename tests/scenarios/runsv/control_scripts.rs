//! Control scripts: when they run, with what, and what their exit code decides.

use std::time::Duration;

use tests::process::Process;
use tests::status::RUN;
use tests::wait::eventually_same;
use tests::{Service, Suite, all_suites, nothing_happens_for};

use crate::{IGNORES_TERM, one_a_line};

all_suites! {
    a_script_that_succeeds_replaces_the_signal,
    a_script_that_fails_lets_the_signal_be_sent,
    every_letter_has_its_script,
    a_suppressed_t_leaves_no_trace,
    a_suppressed_pause_is_still_recorded,
    the_stop_procedure_has_its_order,
    a_suppressed_stop_still_continues_and_wants_down,
    control_d_runs_after_the_signals,
    control_x_runs_for_exit_and_for_term,
    control_u_runs_before_every_start,
    the_record_says_down_while_control_u_runs,
    there_is_no_control_o,
    control_k_can_suppress,
    a_script_that_is_not_executable_is_ignored,
    a_script_that_cannot_be_executed_is_reported,
    a_control_that_is_no_directory_is_warned_about,
    scripts_may_be_added_later,
    no_script_runs_while_finish_does,
    only_the_owner_must_be_allowed_to_execute,
    what_is_written_while_control_x_runs_takes_the_exit_back,
}

/// RSV-50.
fn a_script_that_succeeds_replaces_the_signal(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").control('h', "echo h >>did").running();
    let before = web.status();
    web.control("h");
    web.eventually_reads("did", "h\n");
    nothing_happens_for(Duration::from_millis(200), "it lives", || web.status() == before);
}

/// RSV-50.
fn a_script_that_fails_lets_the_signal_be_sent(suite: &Suite) {
    let web =
        suite.service("web").run("exec sleep 1000").finish("echo $* >>told").control('h', "exit 1").running();
    web.control("h");
    web.eventually_reads("told", "-1 1\n");
}

/// RSV-50.
fn every_letter_has_its_script(suite: &Suite) {
    let letters = "tpchaiq12k";
    let web = letters
        .chars()
        .fold(suite.service("web").run("exec sleep 1000"), |web, letter| {
            web.control(letter, &format!("echo {letter} >>did"))
        })
        .running();
    let pid = web.status().pid;
    web.control(letters);
    web.eventually_reads("did", &one_a_line(letters));
    assert!(tests::process::is_alive(pid));
}

/// RSV-53.
fn a_suppressed_t_leaves_no_trace(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").control('t', "echo t >>did").running();
    let before = web.record();
    web.control("t");
    web.eventually_reads("did", "t\n");
    nothing_happens_for(Duration::from_millis(200), "the record is as before", || web.record() == before);
}

/// RSV-53: and the process is not stopped.
fn a_suppressed_pause_is_still_recorded(suite: &Suite) {
    let web = suite
        .service("web")
        .run("exec sleep 1000")
        .control('p', "echo p >>did")
        .control('c', "echo c >>did")
        .running();
    let pid = web.status().pid;
    web.control("p");
    web.eventually_exactly("run, paused", pid, [1, b'u', 0, RUN]);
    assert_ne!(Process::find(pid).unwrap().state, 'T');
    web.control("c");
    web.eventually_exactly("run", pid, [0, b'u', 0, RUN]);
    assert_eq!(web.read("did"), "p\nc\n");
}

const REPORTS: &str = "for s in TERM CONT; do trap \"echo $s >>order\" $s; done
    echo >ready; sleep 1000 & while :; do wait; done";

/// A script that lets `./run` report first what was sent to it.
fn after_both(name: &str, code: u8) -> String {
    let both = "grep -q TERM order && grep -q CONT order";
    format!("until {both}; do sleep .01; done; echo {name} >>order; exit {code}")
}

/// Waits for this order. Of two signals that come together, a shell may run the trap of the second
/// while it is about to run that of the first.
#[track_caller]
fn eventually_in_order(service: &Service, wanted: &str) {
    eventually_same("order", wanted, || service.read("order").replace("CONT\nTERM\n", "TERM\nCONT\n"));
}

/// RSV-31: with all scripts failing.
fn the_stop_procedure_has_its_order(suite: &Suite) {
    let web = suite
        .service("web")
        .run(REPORTS)
        .control('t', "sleep .1; echo control/t >>order; exit 1")
        .control('d', &after_both("control/d", 1))
        .running();
    web.eventually_has("ready");
    let pid = web.status().pid;
    web.control("d");
    eventually_in_order(&web, "control/t\nTERM\nCONT\ncontrol/d\n");
    web.eventually_exactly("run, got TERM, want down", pid, [0, b'd', 1, RUN]);
}

/// RSV-31, RSV-53: the flag is not set, CONT is sent.
fn a_suppressed_stop_still_continues_and_wants_down(suite: &Suite) {
    let web = suite.service("web").run(REPORTS).control('t', "echo control/t >>order").running();
    web.eventually_has("ready");
    let pid = web.status().pid;
    web.control("d");
    web.eventually_reads("order", "control/t\nCONT\n");
    web.eventually_exactly("run, want down", pid, [0, b'd', 0, RUN]);
}

/// RSV-31, RSV-52: control/d has no say.
fn control_d_runs_after_the_signals(suite: &Suite) {
    let web = suite.service("web").run(REPORTS).control('d', &after_both("control/d", 0)).running();
    web.eventually_has("ready");
    web.control("d");
    eventually_in_order(&web, "TERM\nCONT\ncontrol/d\n");
}

/// RSV-31, RSV-52, RSV-62.
fn control_x_runs_for_exit_and_for_term(suite: &Suite) {
    let tree = suite.tree();
    let [by_byte, by_term] = ["byte", "term"].map(|name| {
        tree.service(name)
            .run(REPORTS)
            .control('t', "echo control/t >>order; exit 1")
            .control('d', "echo wrong >>order")
            .control('x', &after_both("control/x", 0))
            .running()
    });
    by_byte.eventually_has("ready");
    by_byte.control("x");
    by_term.eventually_has("ready");
    by_term.runsv.told_to_exit();
    for service in [by_byte, by_term] {
        eventually_in_order(&service, "control/t\nTERM\nCONT\ncontrol/x\n");
        service.eventually_stat("run, got TERM, want exit");
    }
}

/// RSV-51: automatic restarts included, whatever the result.
fn control_u_runs_before_every_start(suite: &Suite) {
    let web = suite
        .service("web")
        .run("echo run >>order; exec sleep 1000")
        .control('u', "echo u >>order; exit 1")
        .running();
    web.eventually_reads("order", "u\nrun\n");
    let first = web.status().pid;
    web.control("t");
    web.eventually_reads("order", "u\nrun\nu\nrun\n");
    web.eventually_runs_anew(first);
    web.control("d");
    web.eventually_down();
    web.control("o");
    web.eventually_reads("order", "u\nrun\nu\nrun\nu\nrun\n");
    web.control("d");
    web.eventually_down();
    web.control("u");
    web.eventually_reads("order", "u\nrun\nu\nrun\nu\nrun\nu\nrun\n");
}

/// RSV-51.
fn the_record_says_down_while_control_u_runs(suite: &Suite) {
    let wait = "echo >asked; until test -e go; do sleep .02; done";
    let web = suite.service("web").run("echo >started; exec sleep 1000").control('u', wait).supervised();
    web.eventually_has("asked");
    web.eventually_exactly("down", 0, [0, b'u', 0, 0]);
    nothing_happens_for(Duration::from_millis(200), "run is not started", || !web.has("started"));
    web.write("go", "");
    web.eventually_runs();
}

/// RSV-51.
fn there_is_no_control_o(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").control('o', "echo >wrong").down().supervised();
    web.control("o");
    web.eventually_runs();
    web.control("o");
    web.control("p");
    web.eventually_stat("run, paused, want down");
    assert!(!web.has("wrong"));
}

/// RSV-50: the state after it is another matter.
fn control_k_can_suppress(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").control('k', "echo >did").running();
    let pid = web.status().pid;
    web.control("k");
    web.eventually_has("did");
    nothing_happens_for(Duration::from_millis(200), "it lives", || tests::process::is_alive(pid));
}

/// RSV-54: silently.
fn a_script_that_is_not_executable_is_ignored(suite: &Suite) {
    let web = suite
        .service("web")
        .run("exec sleep 1000")
        .finish("echo $* >>told")
        .file("control/h", "#!/bin/sh\n")
        .running();
    web.control("h");
    web.eventually_reads("told", "-1 1\n");
    assert_eq!(web.runsv.stderr(), "");
}

/// RSV-48, RSV-54: and the signal is sent.
fn a_script_that_cannot_be_executed_is_reported(suite: &Suite) {
    let tree = suite.tree();
    let cases = [
        (tree.service("dir").dir("control/h"), "access denied"),
        (tree.service("interpreter").control('h', "#!/nonexistent/sh\n"), "file does not exist"),
    ];
    for (service, why) in cases {
        let service = service.run("exec sleep 1000").finish("echo $* >>told").running();
        service.control("h");
        service.eventually_reads("told", "-1 1\n");
        let text = format!("runsv {}: fatal: unable to run control/?: {why}\n", service.name());
        assert_eq!(service.runsv.stderr(), text);
    }
}

/// RSV-54, RSV-71: at each event, and the signal is sent.
fn a_control_that_is_no_directory_is_warned_about(suite: &Suite) {
    let web =
        suite.service("web").run("exec sleep 1000").finish("echo $* >>told").file("control", "").running();
    web.control("h");
    web.eventually_reads("told", "-1 1\n");
    let text = "runsv web: warning: unable to stat control/h: not a directory\n";
    web.runsv.eventually_says(text);
    web.runsv.eventually_says("runsv web: warning: unable to stat control/u: not a directory\n");
}

/// LAY-1: looked for at each event.
fn scripts_may_be_added_later(suite: &Suite) {
    let web = suite.service("web").run(IGNORES_TERM).dir("control").running();
    web.eventually_has("ready");
    web.control("t");
    web.eventually_stat("run, got TERM");
    web.write_script("control/t", "echo >did");
    web.control("t");
    web.eventually_has("did");
}

/// RSV-30, column F; RSV-33.
fn no_script_runs_while_finish_does(suite: &Suite) {
    let web = "tpchaiq12dx"
        .chars()
        .fold(suite.service("web").run("exit 0"), |web, letter| web.control(letter, "echo >>wrong"))
        .finish("exec sleep 1000")
        .supervised();
    web.eventually_finishes();
    web.control("tpchaiq12dxp");
    web.eventually_stat("finish, paused, want exit");
    assert!(!web.has("wrong"));
}

/// RSV-50.
fn only_the_owner_must_be_allowed_to_execute(suite: &Suite) {
    let web =
        suite.service("web").run("exec sleep 1000").control('h', "echo >did").finish("echo >wrong").running();
    tests::tree::set_mode(&web.path("control/h"), 0o700);
    web.control("h");
    web.eventually_has("did");
    tests::tree::set_mode(&web.path("control/h"), 0o655);
    web.control("h");
    web.eventually_has("wrong");
}

/// RSV-32: also if the service is down before the script has ended.
fn what_is_written_while_control_x_runs_takes_the_exit_back(suite: &Suite) {
    let tree = suite.tree();
    let services = [("u", "run"), ("d", "down"), ("o", "run, want down")].map(|(byte, stat)| {
        let web = tree
            .service(byte)
            .run("echo >>runs; exec sleep 1000")
            .control('x', "echo >asked; until test -e go; do sleep .02; done")
            .running();
        (web, byte, stat)
    });
    for (web, byte, stat) in services {
        let first = web.status().pid;
        web.eventually_lines("runs", 1);
        web.control("x");
        web.eventually_has("asked");
        web.control(byte);
        web.eventually("it has ended", |_| Process::find(first).is_none_or(|process| process.state == 'Z'));
        web.write("go", "");
        web.eventually_stat(stat);
        web.eventually_lines("runs", if byte == "d" { 1 } else { 2 });
        nothing_happens_for(Duration::from_millis(100), "runsv stays", || web.runsv.is_alive());
    }
}
