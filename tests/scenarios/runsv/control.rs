//! Control bytes in every state.

use std::time::Duration;

use nix::sys::signal::Signal;
use tests::process::{Process, is_alive, send};
use tests::status::{DOWN, FINISH, RUN};
use tests::{Suite, all_suites, nothing_happens_for};

use crate::{IGNORES_TERM, one_a_line};

all_suites! {
    u_starts_and_d_stops,
    o_starts_once,
    once_runs_finish_too,
    o_on_a_running_service_only_ends_its_restarts,
    u_on_a_running_service_only_allows_its_restarts,
    each_letter_sends_its_signal,
    t_ends_and_the_service_restarts,
    k_kills_and_the_service_restarts,
    p_stops_the_process_and_c_lets_it_go_on,
    d_reaches_a_paused_process,
    t_alone_does_not_continue_a_paused_process,
    letters_for_a_process_do_nothing_without_one,
    nothing_is_sent_to_finish,
    d_during_finish_prevents_the_restart,
    u_during_finish_starts_when_it_is_over,
    unknown_bytes_are_skipped,
    bytes_written_at_once_are_handled_in_order,
    writers_may_come_and_go,
    bytes_written_by_a_shell_are_the_same,
    u_after_x_cancels_the_exit,
    d_after_x_cancels_the_exit,
    o_after_x_cancels_the_exit,
    x_on_a_service_that_is_down_ends_runsv,
    the_log_service_obeys_its_own_fifo,
    x_does_nothing_to_the_log_service,
    many_bytes_are_not_lost,
    t_stops_for_good_what_is_not_to_be_restarted,
    bytes_without_end_keep_no_other_event_from_being_handled,
}

/// RSV-30, LAY-6.
fn u_starts_and_d_stops(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").down().supervised();
    web.control("u");
    let first = web.eventually_runs().pid;
    web.control("d");
    web.eventually_exactly("down", 0, [0, b'd', 0, DOWN]);
    web.eventually_gone(first);
    web.control("u");
    let second = web.eventually_runs().pid;
    assert_ne!(first, second);
}

/// RSV-30, RSV-49.
fn o_starts_once(suite: &Suite) {
    let web = suite.service("web").run("echo >>runs").down().supervised();
    web.control("o");
    web.eventually_lines("runs", 1);
    nothing_happens_for(Duration::from_millis(1500), "it was started once", || web.lines("runs").len() == 1);
    web.eventually_exactly("down", 0, [0, b'd', 0, DOWN]);
    web.control("o");
    web.eventually_lines("runs", 2);
}

/// RSV-49.
fn once_runs_finish_too(suite: &Suite) {
    let web = suite.service("web").run("echo run >>did").finish("echo finish >>did").down().supervised();
    web.control("o");
    web.eventually_reads("did", "run\nfinish\n");
    web.eventually_down();
    nothing_happens_for(Duration::from_millis(1300), "it was started once", || web.lines("did").len() == 2);
}

/// RSV-34.
fn o_on_a_running_service_only_ends_its_restarts(suite: &Suite) {
    let web = suite.service("web").run("echo >>runs; exec sleep 1000").running();
    web.eventually_lines("runs", 1);
    let pid = web.status().pid;
    web.control("o");
    web.eventually_exactly("run, want down", pid, [0, b'd', 0, RUN]);
    web.control("k");
    web.eventually_stat("down");
    nothing_happens_for(Duration::from_millis(1300), "it is not restarted", || web.lines("runs").len() == 1);
}

/// RSV-34: and control/u is not run for it.
fn u_on_a_running_service_only_allows_its_restarts(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").control('u', "echo >>starts").down().supervised();
    web.control("o");
    let pid = web.eventually_runs().pid;
    web.control("u");
    web.eventually_exactly("run", pid, [0, b'u', 0, RUN]);
    assert_eq!(web.lines("starts").len(), 1);
    web.control("k");
    web.eventually_runs_anew(pid);
    assert_eq!(web.lines("starts").len(), 2);
}

/// Reports each signal it gets, and says when it can.
pub fn reporter(file: &str) -> String {
    format!(
        "for s in HUP ALRM INT QUIT USR1 USR2 TERM CONT; do trap \"echo $s >>{file}\" $s; done
        echo >ready; sleep 1000 & while :; do wait; done"
    )
}

/// RSV-30.
fn each_letter_sends_its_signal(suite: &Suite) {
    let web = suite.service("web").run(&reporter("got")).running();
    web.eventually_has("ready");
    let letters = [
        ("h", "HUP"),
        ("a", "ALRM"),
        ("i", "INT"),
        ("q", "QUIT"),
        ("1", "USR1"),
        ("2", "USR2"),
        ("t", "TERM"),
        ("c", "CONT"),
    ];
    let mut told = String::new();
    for (letter, signal) in letters {
        web.control(letter);
        told = told + signal + "\n";
        web.eventually_reads("got", &told);
    }
}

/// RSV-30.
fn t_ends_and_the_service_restarts(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").finish("echo $* >>told").running();
    let pid = web.status().pid;
    web.control("t");
    web.eventually_runs_anew(pid);
    assert_eq!(web.read("told"), "-1 15\n");
}

/// RSV-30: also one that ignores TERM.
fn k_kills_and_the_service_restarts(suite: &Suite) {
    let web = suite.service("web").run(IGNORES_TERM).running();
    web.eventually_has("ready");
    let pid = web.status().pid;
    web.control("k");
    let anew = web.eventually_runs_anew(pid);
    web.eventually_exactly("run", anew.pid, [0, b'u', 0, RUN]);
    assert!(!is_alive(pid));
}

pub fn is_stopped(pid: u32) -> bool {
    Process::find(pid).is_some_and(|process| process.state == 'T')
}

/// RSV-30.
fn p_stops_the_process_and_c_lets_it_go_on(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").running();
    let pid = web.status().pid;
    web.control("p");
    web.eventually("it is stopped", |_| is_stopped(pid));
    web.control("c");
    web.eventually("it goes on", |_| !is_stopped(pid));
    assert!(is_alive(pid));
}

/// RSV-31: the stop procedure always continues.
fn d_reaches_a_paused_process(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").running();
    let pid = web.status().pid;
    web.control("p");
    web.eventually("it is stopped", |_| is_stopped(pid));
    web.control("d");
    web.eventually_down();
    web.eventually_gone(pid);
}

/// RSV-31.
fn t_alone_does_not_continue_a_paused_process(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").running();
    let pid = web.status().pid;
    web.control("p");
    web.eventually("it is stopped", |_| is_stopped(pid));
    web.control("t");
    web.eventually_exactly("run, paused, got TERM", pid, [1, b'u', 1, RUN]);
    nothing_happens_for(Duration::from_millis(300), "it is stopped", || is_stopped(pid));
    web.control("c");
    web.eventually_runs_anew(pid);
}

/// RSV-30, column D: nothing is started, nothing written.
fn letters_for_a_process_do_nothing_without_one(suite: &Suite) {
    let scripts =
        "tkhaiq12".chars().fold(suite.service("web").run("exec sleep 1000").down(), |service, letter| {
            service.control(letter, "echo >>wrong")
        });
    let web = scripts.supervised();
    let before = web.status();
    web.control("thaiq12kp");
    let after = web.eventually_stat("down, paused");
    assert_eq!((after.time(), after.flags()), (before.time(), [1, b'd', 0, DOWN]));
    assert!(!web.has("wrong"));
}

/// RSV-33.
fn nothing_is_sent_to_finish(suite: &Suite) {
    let web = suite.service("web").run("exit 0").finish("exec sleep 1000").supervised();
    let pid = web.eventually_finishes().pid;
    web.control("thaiq12dp");
    web.eventually_exactly("finish, paused, want down", pid, [1, b'd', 0, FINISH]);
    assert!(is_alive(pid) && !is_stopped(pid));
}

/// RSV-30, column F.
fn d_during_finish_prevents_the_restart(suite: &Suite) {
    let web =
        suite.service("web").run("echo >>runs").finish("until test -e go; do sleep .02; done").supervised();
    web.eventually_finishes();
    web.control("d");
    web.eventually_stat("finish, want down");
    web.write("go", "");
    web.eventually_exactly("down", 0, [0, b'd', 0, DOWN]);
    nothing_happens_for(Duration::from_millis(1300), "it is not restarted", || web.lines("runs").len() == 1);
}

/// RSV-30, column F.
fn u_during_finish_starts_when_it_is_over(suite: &Suite) {
    let web = suite
        .service("web")
        .run("echo >>runs; exec sleep 1000")
        .finish("until test -e go; do sleep .02; done")
        .running();
    web.eventually_lines("runs", 1);
    web.control("d");
    web.eventually_stat("finish, want down");
    web.control("u");
    web.eventually_stat("finish");
    assert_eq!(web.lines("runs").len(), 1);
    web.write("go", "");
    web.eventually_lines("runs", 2);
}

/// RSV-26.
fn unknown_bytes_are_skipped(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").running();
    let pid = web.status().pid;
    web.control("\n\0 0345678ZDUKTXbefgjlmnrsvwyz{\u{7f}\u{fc}p");
    web.eventually_exactly("run, paused", pid, [1, b'u', 0, RUN]);
}

/// RSV-26.
fn bytes_written_at_once_are_handled_in_order(suite: &Suite) {
    let web = suite.service("web").run(&reporter("got")).running();
    web.eventually_has("ready");
    // One script for each byte, because signals that are pending together lose their order.
    fs_err::create_dir(web.path("control")).unwrap();
    for letter in "haiq12c".chars() {
        web.write_script(&format!("control/{letter}"), &format!("echo {letter} >>order"));
    }
    let letters = "haiq12ccqh";
    web.control(letters);
    web.eventually_reads("order", &one_a_line(letters));
}

/// RSV-27.
fn writers_may_come_and_go(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").running();
    for _ in 0..20 {
        web.control("p");
        web.eventually_stat("run, paused");
        web.control("c");
        web.eventually_stat("run");
    }
    assert!(web.is_supervised());
}

/// RSV-26: with or without a line end.
fn bytes_written_by_a_shell_are_the_same(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").running();
    let shell = |words: &str| {
        assert_eq!(web.tree().command("sh").args(["-c", words]).dir(web.dir()).output().code(), Some(0));
    };
    shell("echo d >supervise/control");
    web.eventually_down();
    shell("printf u >supervise/control");
    web.eventually_runs();
}

/// RSV-32.
fn u_after_x_cancels_the_exit(suite: &Suite) {
    let web = suite.service("web").run(IGNORES_TERM).running();
    web.eventually_has("ready");
    let pid = web.status().pid;
    web.control("x");
    web.eventually_stat("run, got TERM, want exit");
    web.control("u");
    web.eventually_stat("run, got TERM");
    tests::process::send(pid, Signal::SIGKILL);
    web.eventually_runs_anew(pid);
    assert!(web.runsv.is_alive());
}

/// RSV-32.
fn d_after_x_cancels_the_exit(suite: &Suite) {
    let web = suite.service("web").run(IGNORES_TERM).running();
    web.eventually_has("ready");
    let pid = web.status().pid;
    web.control("x");
    web.eventually_stat("run, got TERM, want exit");
    web.control("d");
    web.eventually_stat("run, got TERM, want down");
    tests::process::send(pid, Signal::SIGKILL);
    web.eventually_down();
    nothing_happens_for(Duration::from_millis(300), "runsv stays", || web.runsv.is_alive());
}

/// RSV-32.
fn o_after_x_cancels_the_exit(suite: &Suite) {
    let web = suite.service("web").run(IGNORES_TERM).running();
    web.eventually_has("ready");
    let pid = web.status().pid;
    web.control("x");
    web.eventually_stat("run, got TERM, want exit");
    web.control("o");
    web.eventually_stat("run, got TERM, want down");
    tests::process::send(pid, Signal::SIGKILL);
    web.eventually_down();
    nothing_happens_for(Duration::from_millis(300), "runsv stays", || web.runsv.is_alive());
}

/// RSV-30, column D; RSV-60.
fn x_on_a_service_that_is_down_ends_runsv(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").down().supervised();
    web.control("x");
    assert_eq!(web.runsv.finished().code(), Some(0));
    assert_eq!(web.runsv.stderr(), "");
}

/// RSV-35.
fn the_log_service_obeys_its_own_fifo(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").log(&reporter("got")).running();
    let (main, log) = (web.status(), web.log());
    let exactly = |stat: &str, pid: u32, flags: [u8; 4]| {
        let status = log.eventually_stat(stat);
        assert_eq!((status.pid, status.flags()), (pid, flags));
    };
    log.eventually_has("ready");
    let pid = log.eventually_runs().pid;
    log.control("h");
    log.eventually_reads("got", "HUP\n");
    log.control("t");
    log.eventually_reads("got", "HUP\nTERM\n");
    exactly("run, got TERM", pid, [0, b'u', 1, RUN]);
    log.control("p");
    exactly("run, paused, got TERM", pid, [1, b'u', 1, RUN]);
    log.control("c");
    exactly("run, got TERM", pid, [0, b'u', 1, RUN]);
    log.control("o");
    exactly("run, got TERM, want down", pid, [0, b'd', 1, RUN]);
    log.control("d");
    exactly("run, got TERM, want down", pid, [0, b'd', 1, RUN]);
    log.control("k");
    exactly("down", 0, [0, b'd', 0, DOWN]);
    log.control("u");
    log.eventually_runs_anew(pid);
    // The service itself noticed nothing.
    assert_eq!((web.status().pid, web.status().flags()), (main.pid, [0, b'u', 0, RUN]));
}

/// RSV-30, last row.
fn x_does_nothing_to_the_log_service(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").log("exec cat").running();
    let pid = web.log().eventually_runs().pid;
    web.log().control("xp");
    let status = web.log().eventually_stat("run, paused");
    assert_eq!((status.pid, status.flags()), (pid, [1, b'u', 0, RUN]));
    web.log().control("c");
    web.log().control("d");
    web.log().eventually_down();
    web.log().control("xp");
    web.log().eventually_stat("down, paused");
    assert!(web.runsv.is_alive());
}

/// RSV-26: the fifo keeps them.
fn many_bytes_are_not_lost(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").running();
    fs_err::create_dir(web.path("control")).unwrap();
    web.write_script("control/h", "echo >>hooks");
    web.control(&"h".repeat(100));
    web.control(&"h".repeat(100));
    web.eventually_lines("hooks", 200);
}

/// RSV-31: the whole procedure, for `t`, too.
fn t_stops_for_good_what_is_not_to_be_restarted(suite: &Suite) {
    let run = "trap 'echo TERM >>did' TERM; trap 'echo CONT >>did' CONT
        echo >ready; while :; do sleep .02; done";
    for (bytes, hook) in [("ot", 'd'), ("xt", 'x')] {
        let web = suite
            .service("web")
            .run(run)
            // What was sent is to be written down before this goes on.
            .control('t', "echo >>asked; exit 1")
            .control(hook, "echo >>stopped; exit 1")
            .running();
        web.eventually_has("ready");
        web.control(bytes);
        let stops = bytes.chars().filter(|byte| "xt".contains(*byte)).count();
        web.eventually_lines("stopped", stops);
        web.eventually("both were sent", |web| {
            ["TERM", "CONT"].iter().all(|signal| web.lines("did").contains(&(*signal).to_owned()))
        });
        assert_eq!(web.lines("asked").len(), stops);
    }
}

/// RSV-25: neither a death, nor the log service's commands, nor TERM, for one byte is taken at a time.
fn bytes_without_end_keep_no_other_event_from_being_handled(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").log("exec sleep 1000").running();
    web.log().eventually_runs();
    let writer = web.tree().command("sh").args(["-c", "exec yes c >web/supervise/control"]).start();
    let first = web.status().pid;
    send(first, Signal::SIGKILL);
    web.eventually_runs_anew(first);
    web.log().control("d");
    web.log().eventually_down();
    web.runsv.told_to_exit();
    assert_eq!(web.runsv.finished().code(), Some(0));
    writer.finished();
}
