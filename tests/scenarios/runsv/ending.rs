//! The end of runsv: after `x`, after TERM, with and without a log service.

use std::time::Duration;

use nix::sys::signal::Signal;
use tests::process::{is_alive, send};
use tests::{Suite, all_suites, nothing_happens_for};

use crate::IGNORES_TERM;

all_suites! {
    x_stops_the_service_and_ends_runsv,
    term_stops_the_service_and_ends_runsv,
    finish_is_run_before_the_end,
    the_log_service_is_not_signalled_but_sees_the_end_of_its_input,
    a_log_service_that_ignores_the_end_of_its_input_is_waited_for,
    a_stray_holder_of_the_pipe_is_waited_for,
    a_log_service_that_is_down_is_not_waited_for,
    nothing_is_lost_at_the_end,
    x_then_k_ends_runsv_without_finish,
    x_then_k_gets_runsv_out_of_a_hanging_finish,
    nothing_takes_x_and_k_back_in_a_hanging_finish,
    a_service_that_rests_does_not_keep_runsv_from_ending,
    the_exit_waits_for_a_service_that_ignores_term;
    not_hosted "signals to the process runsv":
    terms_while_it_leaves_are_harmless,
    repeated_terms_are_harmless,
    each_term_repeats_the_stop_procedure;
    not_hosted "a killed runsv":
    a_killed_runsv_leaves_its_services_and_a_new_one_starts_a_second_copy,
}

/// RSV-3, RSV-60.
fn x_stops_the_service_and_ends_runsv(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").running();
    let pid = web.status().pid;
    web.control("x");
    assert_eq!(web.runsv.finished().code(), Some(0));
    assert!(!is_alive(pid));
    assert_eq!(web.runsv.stderr(), "");
}

/// RSV-62.
fn term_stops_the_service_and_ends_runsv(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").running();
    let pid = web.status().pid;
    web.runsv.told_to_exit();
    assert_eq!(web.runsv.finished().code(), Some(0));
    assert!(!is_alive(pid));
    assert_eq!(web.read("supervise/stat"), "down\n");
}

/// RSV-61.
fn finish_is_run_before_the_end(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").finish("sleep .2; echo $* >told").running();
    web.runsv.told_to_exit();
    assert_eq!(web.runsv.finished().code(), Some(0));
    assert_eq!(web.read("told"), "-1 15\n");
}

/// RSV-62.
fn terms_while_it_leaves_are_harmless(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").made();
    let runsv = web.runsv().through(crate::CLOSES_SLOWLY).start();
    web.eventually_runs();
    crate::tell_until_it_has_left(&runsv, Signal::SIGTERM);
    assert_eq!(runsv.finished().code(), Some(0));
}

/// RSV-62.
fn repeated_terms_are_harmless(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").finish("sleep .5; echo >>finished").running();
    for _ in 0..20 {
        send(web.runsv.pid(), Signal::SIGTERM);
    }
    assert_eq!(web.runsv.finished().code(), Some(0));
    assert_eq!(web.lines("finished").len(), 1);
}

/// RSV-62.
fn each_term_repeats_the_stop_procedure(suite: &Suite) {
    let web = suite
        .service("web")
        .run(IGNORES_TERM)
        .control('t', "echo t >>did; exit 1")
        .control('x', "echo x >>did")
        .running();
    web.eventually_has("ready");
    for count in 1..=3 {
        web.runsv.told_to_exit();
        web.eventually_reads("did", &"t\nx\n".repeat(count));
    }
    web.eventually_stat("run, got TERM, want exit");
}

/// RSV-60.
fn the_log_service_is_not_signalled_but_sees_the_end_of_its_input(suite: &Suite) {
    let log =
        "trap 'echo TERM >>ended' TERM; trap 'echo CONT >>ended' CONT; cat >/dev/null; echo end >>ended";
    let web = suite.service("web").run("exec sleep 1000").log(log).running();
    web.log().eventually_runs();
    web.control("x");
    assert_eq!(web.runsv.finished().code(), Some(0));
    assert_eq!(web.read("log/ended"), "end\n");
    assert_eq!(web.log().stat(), "down");
    assert_eq!(web.log().status().flags(), [0, b'd', 0, 0]);
}

/// RSV-61.
fn a_log_service_that_ignores_the_end_of_its_input_is_waited_for(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").log("exec sleep 1000").running();
    let log = web.log().eventually_runs().pid;
    web.control("x");
    web.log().eventually_stat("run, want exit");
    web.eventually_down();
    nothing_happens_for(Duration::from_millis(500), "runsv waits", || {
        web.runsv.is_alive() && web.is_supervised()
    });
    send(log, Signal::SIGTERM);
    assert_eq!(web.runsv.finished().code(), Some(0));
}

/// RSV-61.
fn a_stray_holder_of_the_pipe_is_waited_for(suite: &Suite) {
    let web = suite
        .service("web")
        .run("sleep 1001 & echo $! >stray; exec sleep 1000")
        .log("exec cat >lines")
        .running();
    let stray = web.eventually_lines("stray", 1)[0].parse().unwrap();
    web.log().eventually_runs();
    web.control("x");
    web.log().eventually_stat("run, want exit");
    nothing_happens_for(Duration::from_millis(500), "runsv waits", || web.runsv.is_alive());
    send(stray, Signal::SIGKILL);
    assert_eq!(web.runsv.finished().code(), Some(0));
}

/// RSV-61.
fn a_log_service_that_is_down_is_not_waited_for(suite: &Suite) {
    let web =
        suite.service("web").run("exec sleep 1000").log("exec sleep 1000").file("log/down", "").running();
    web.control("x");
    assert_eq!(web.runsv.finished().code(), Some(0));
}

/// RSV-60: what finish prints last is read, too.
fn nothing_is_lost_at_the_end(suite: &Suite) {
    let run =
        "i=0; while test $i -lt 2000; do i=$((i+1)); echo line $i; done; echo >written; exec sleep 1000";
    let web =
        suite.service("web").run(run).finish("echo the end").log("sleep .3; exec cat >lines").supervised();
    web.eventually_has("written");
    web.runsv.told_to_exit();
    assert_eq!(web.runsv.finished().code(), Some(0));
    let lines = web.lines("log/lines");
    assert_eq!((lines.len(), lines.last().map(String::as_str)), (2001, Some("the end")));
}

/// QRK-4: what becomes of the record is another matter.
fn x_then_k_ends_runsv_without_finish(suite: &Suite) {
    let web = suite.service("web").run(IGNORES_TERM).finish("echo >wrong").running();
    web.eventually_has("ready");
    let pid = web.status().pid;
    web.control("x");
    web.eventually_stat("run, got TERM, want exit");
    web.control("k");
    assert_eq!(web.runsv.finished().code(), Some(0));
    web.eventually_gone(pid);
    assert!(!web.has("wrong"));
}

/// RSV-33, QRK-4: finish is left running.
fn x_then_k_gets_runsv_out_of_a_hanging_finish(suite: &Suite) {
    let web = suite.service("web").run("exit 0").finish("exec sleep 1000").supervised();
    let finish = web.eventually_finishes().pid;
    web.control("x");
    web.eventually_stat("finish, want exit");
    nothing_happens_for(Duration::from_millis(300), "runsv waits for finish", || web.runsv.is_alive());
    web.control("k");
    assert_eq!(web.runsv.finished().code(), Some(0));
    assert!(is_alive(finish));
}

/// QRK-4: `u` takes an exit back, but here the service would run beside its `./finish`.
fn nothing_takes_x_and_k_back_in_a_hanging_finish(suite: &Suite) {
    let web = suite.service("web").run("echo >>runs; exit 0").finish("exec sleep 1000").supervised();
    web.eventually_finishes();
    web.control("xku");
    assert_eq!(web.runsv.finished().code(), Some(0));
    assert_eq!(web.lines("runs").len(), 1);
}

/// RSV-65, QRK-14.
fn a_killed_runsv_leaves_its_services_and_a_new_one_starts_a_second_copy(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").log("exec sleep 1000").running();
    let old = [web.status().pid, web.log().eventually_runs().pid];
    web.runsv.signal(Signal::SIGKILL);
    web.runsv.finished();
    // A child that was not executed yet still has everything of its parent.
    web.eventually("no runsv listens", |web| !web.is_supervised());
    web.sv("status").says("fail: web: runsv not running\n", 1);
    let anew = web.tree().at("web").supervised();
    anew.eventually_runs_anew(old[0]);
    anew.log().eventually_runs_anew(old[1]);
    assert!(old.into_iter().all(is_alive));
}

/// RSV-44, RSV-45, RSV-62.
fn a_service_that_rests_does_not_keep_runsv_from_ending(suite: &Suite) {
    let web = suite.service("web").run("echo >>runs").supervised();
    web.eventually_lines("runs", 1);
    web.eventually_down();
    web.runsv.told_to_exit();
    assert_eq!(web.runsv.finished().code(), Some(0));
    assert_eq!(web.read("supervise/stat"), "down\n");
}

/// RSV-62: no KILL comes from runsv.
fn the_exit_waits_for_a_service_that_ignores_term(suite: &Suite) {
    let web = suite.service("web").run(IGNORES_TERM).running();
    web.eventually_has("ready");
    let pid = web.status().pid;
    web.runsv.told_to_exit();
    web.eventually_stat("run, got TERM, want exit");
    nothing_happens_for(Duration::from_millis(500), "both live", || is_alive(pid) && web.runsv.is_alive());
    send(pid, Signal::SIGKILL);
    assert_eq!(web.runsv.finished().code(), Some(0));
}
