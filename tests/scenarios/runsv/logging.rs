//! The log service and its pipe: no line is lost when either side stops.

use std::time::Duration;

use tests::process::is_alive;
use tests::{Suite, all_suites, nothing_happens_for};

all_suites! {
    lines_written_while_the_log_is_down_are_read_later,
    restarting_the_log_loses_nothing,
    restarting_the_service_loses_nothing,
    a_service_blocks_on_a_full_pipe_and_sees_no_broken_one,
    the_log_starts_before_the_service,
    a_log_that_dies_is_restarted,
    a_killed_log_does_not_disturb_the_service,
}

/// RSV-18.
fn lines_written_while_the_log_is_down_are_read_later(suite: &Suite) {
    let web = suite
        .service("web")
        .run("echo early; echo >written; exec sleep 1000")
        .log("exec cat >lines")
        .file("log/down", "")
        .running();
    web.eventually_has("written");
    web.log().control("u");
    web.log().eventually_reads("lines", "early\n");
}

/// Writes numbered lines until told to stop.
const COUNTS: &str =
    "i=0; until test -e stop; do i=$((i+1)); echo $i; done; echo $i >written; exec sleep 1000";

/// RSV-18.
fn restarting_the_log_loses_nothing(suite: &Suite) {
    // A reader that ends between two lines: it takes them one at a time and holds none back.
    let log = "trap 'ending=1' TERM; while test -z \"$ending\" && read -r line; do echo $line >>lines; done";
    let web = suite.service("web").run(COUNTS).log(log).running();
    web.log().eventually_lines("lines", 100);
    for _ in 0..2 {
        let pid = web.log().eventually_runs().pid;
        web.log().control("t");
        web.log().eventually_runs_anew(pid);
        let count = web.lines("log/lines").len();
        web.log().eventually_lines("lines", count + 100);
    }
    web.write("stop", "");
    web.eventually_has("written");
    let written: usize = web.eventually_lines("written", 1)[0].parse().unwrap();
    let lines = web.log().eventually_lines("lines", written);
    assert!(
        lines.iter().enumerate().all(|(index, line)| *line == (index + 1).to_string()),
        "lines are missing"
    );
}

/// RSV-18.
fn restarting_the_service_loses_nothing(suite: &Suite) {
    let web = suite
        .service("web")
        .run("echo start; exec sleep 1000")
        .finish("echo end")
        .log("exec cat >lines")
        .running();
    for round in 1..=3 {
        web.log().eventually_reads("lines", &("start\nend\n".repeat(round - 1) + "start\n"));
        let pid = web.eventually_runs().pid;
        web.control("t");
        web.eventually_runs_anew(pid);
    }
}

/// RSV-18, RSV-35.
fn a_service_blocks_on_a_full_pipe_and_sees_no_broken_one(suite: &Suite) {
    let run = "head -c 200000 /dev/zero; echo $? >written; exec sleep 1000";
    let web = suite.service("web").run(run).log("exec wc -c >count").file("log/down", "").running();
    let pid = web.status().pid;
    nothing_happens_for(Duration::from_millis(500), "it is blocked", || !web.has("written") && is_alive(pid));
    web.log().control("u");
    web.eventually_reads("written", "0\n");
    web.control("x");
    web.runsv.finished();
    web.log().eventually_reads("count", "200000\n");
}

/// LAY-7.
fn the_log_starts_before_the_service(suite: &Suite) {
    let web =
        suite.service("web").run("cat log/supervise/stat >seen; exec sleep 1000").log("exec cat").running();
    web.eventually_reads("seen", "run\n");
}

/// RSV-46.
fn a_log_that_dies_is_restarted(suite: &Suite) {
    let web = suite
        .service("web")
        .run("while :; do echo line; sleep .2; done")
        .log("echo >>runs; read -r line")
        .running();
    web.log().eventually_lines("runs", 2);
    let status = web.status();
    web.log().eventually_lines("runs", 3);
    assert_eq!(web.status(), status);
}

/// RSV-18, RSV-35.
fn a_killed_log_does_not_disturb_the_service(suite: &Suite) {
    let run = "while :; do echo line || echo >wrong; sleep .01; done";
    let web = suite.service("web").run(run).log("exec cat >>lines").running();
    let before = web.status();
    web.log().eventually_lines("lines", 3);
    let log = web.log().status().pid;
    web.log().control("k");
    web.log().eventually_runs_anew(log);
    assert_eq!(web.status(), before);
    let count = web.lines("log/lines").len();
    web.log().eventually_lines("lines", count + 3);
    assert!(!web.has("wrong"));
}
