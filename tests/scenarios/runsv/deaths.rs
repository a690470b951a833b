//! Deaths of `./run` and `./finish`, and what follows.

use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};
use tests::status::DOWN;
use tests::tree::set_mode;
use tests::{Builder, Service, Suite, all_suites, nothing_happens_for};

all_suites! {
    finish_is_told_an_exit_code,
    finish_is_told_the_signal,
    finish_is_told_of_a_core,
    finish_is_told_111_when_run_cannot_be_executed,
    a_run_that_cannot_be_executed_is_reported,
    a_finish_that_cannot_be_executed_counts_as_ended,
    a_dangling_finish_is_no_finish,
    a_finish_that_is_a_directory_is_tried,
    finish_made_later_is_run,
    finish_has_no_pid_yet_when_it_starts,
    a_service_that_dies_at_once_rests_for_a_second,
    the_time_of_finish_counts,
    a_service_that_dies_at_once_rests_after_finish_too,
    stopping_a_young_service_rests_too,
    d_during_the_rest_prevents_the_start,
    x_during_the_rest_ends_runsv,
    a_log_service_that_dies_at_once_rests_too,
    a_log_run_that_cannot_be_executed_is_reported,
    children_of_run_are_left_alone,
    a_service_is_restarted_again_and_again,
    a_finish_that_may_not_be_read_is_no_finish;
    not_hosted "init/hosted.rs has it":
    a_process_that_cannot_be_had_is_said,
}

fn told(service: Builder, run: &str, wanted: &str) {
    // Once, so that the second start does not tell more.
    let web = service.run(run).finish("echo \"$0 $#: $*\" >told").down().supervised();
    web.control("o");
    web.eventually_reads("told", &format!("./finish 2: {wanted}\n"));
}

/// RSV-11, RSV-40.
fn finish_is_told_an_exit_code(suite: &Suite) {
    for code in [0, 1, 100, 111, 255] {
        told(suite.service("web"), &format!("exit {code}"), &format!("{code} 0"));
    }
}

/// RSV-40.
fn finish_is_told_the_signal(suite: &Suite) {
    for (signal, number) in [("TERM", 15), ("KILL", 9), ("HUP", 1), ("SEGV", 11), ("64", 64), ("34", 34)] {
        told(suite.service("web"), &format!("ulimit -c 0; kill -{signal} $$"), &format!("-1 {number}"));
    }
}

/// RSV-40: 128 more, which the manual does not say.
fn finish_is_told_of_a_core(suite: &Suite) {
    for (signal, number) in [("SEGV", 139), ("QUIT", 131)] {
        told(
            suite.service("web"),
            &format!("ulimit -c unlimited; kill -{signal} $$"),
            &format!("-1 {number}"),
        );
    }
}

/// RSV-41.
fn finish_is_told_111_when_run_cannot_be_executed(suite: &Suite) {
    let web = suite.service("web").finish("echo $* >>told").down().supervised();
    web.control("o");
    web.eventually_reads("told", "111 0\n");
    web.runsv.eventually_says("runsv web: fatal: unable to start ./run: file does not exist\n");
}

/// RSV-41, GEN-3.
fn a_run_that_cannot_be_executed_is_reported(suite: &Suite) {
    let tree = suite.tree();
    let cases = [
        (tree.service("missing"), "file does not exist"),
        (tree.service("plain").file("run", "#!/bin/sh\n"), "access denied"),
        (tree.service("directory").dir("run"), "access denied"),
        (tree.service("interpreter").run("#!/nonexistent/sh\n"), "file does not exist"),
        (tree.service("empty").file("run", ""), "exec format error"),
        (tree.service("headless").file("run", "exit 0\n"), "exec format error"),
        (tree.service("loop").link("run", "run"), "symbolic link loop"),
    ];
    for (service, why) in cases {
        let service = service.down().made();
        if ["empty", "headless"].contains(&service.name()) {
            set_mode(&service.path("run"), 0o755);
        }
        let service = service.supervised();
        service.control("o");
        let text = format!("runsv {}: fatal: unable to start ./run: {why}\n", service.name());
        service.eventually("the reason is told", |_| service.runsv.stderr() == text);
        service.eventually_stat("down");
    }
}

/// RSV-43.
fn a_finish_that_cannot_be_executed_counts_as_ended(suite: &Suite) {
    let web = suite.service("web").run("echo >>runs").file("finish", "").supervised();
    web.runsv.eventually_says("runsv web: fatal: unable to start ./finish: access denied\n");
    web.eventually_lines("runs", 2);
}

/// RSV-43.
fn a_dangling_finish_is_no_finish(suite: &Suite) {
    let web = suite.service("web").run("echo >>runs").link("finish", "nowhere").supervised();
    web.eventually_lines("runs", 2);
    assert_eq!(web.runsv.stderr(), "");
}

/// RSV-43: a directory can be opened for reading.
fn a_finish_that_is_a_directory_is_tried(suite: &Suite) {
    let web = suite.service("web").run("echo >>runs").dir("finish").supervised();
    web.runsv.eventually_says("runsv web: fatal: unable to start ./finish: access denied\n");
    web.eventually_lines("runs", 2);
}

/// LAY-1: it is looked for at each death.
fn finish_made_later_is_run(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").running();
    web.write_script("finish", "echo $* >told");
    web.control("t");
    web.eventually_reads("told", "-1 15\n");
    web.remove("finish");
    web.remove("told");
    let pid = web.eventually_runs().pid;
    web.control("t");
    web.eventually_runs_anew(pid);
    assert!(!web.has("told"));
}

/// REC-7, RSV-42: what finish may find in the files that are about itself.
fn finish_has_no_pid_yet_when_it_starts(suite: &Suite) {
    let web =
        suite.service("web").run("exit 0").finish("cat supervise/stat >seen; exec sleep 1000").supervised();
    web.eventually_reads("seen", "finish\n");
    let pid = web.eventually_finishes().pid;
    web.eventually_exactly("finish", pid, [0, b'u', 0, 2]);
}

/// When the script was forked, in ticks of the kernel: it may not get to say so for a while.
const CLOCK: &str = "read stat </proc/$$/stat; set -- ${stat##*) }; shift 19; echo $1";

/// Asserts that each line is at least this many seconds later than the one before.
#[track_caller]
fn apart(service: &Service, file: &str, count: usize, seconds: f64) {
    let ticks = sysconf(SysconfVar::CLK_TCK).unwrap().unwrap();
    let seconds_of = |line: &String| line.parse::<f64>().unwrap() / f64::from(i32::try_from(ticks).unwrap());
    let times: Vec<f64> = service.eventually_lines(file, count).iter().map(seconds_of).collect();
    for pair in times.windows(2) {
        // The clock has steps of a hundredth.
        assert!(pair[1] - pair[0] >= seconds - 0.015, "too soon: {times:?}");
    }
}

/// RSV-44: the second begins with the end of run.
fn a_service_that_dies_at_once_rests_for_a_second(suite: &Suite) {
    let tree = suite.tree();
    let quick = tree.service("quick").run(&format!("{CLOCK} >>starts")).supervised();
    let half = tree.service("half").run(&format!("{CLOCK} >>starts; sleep .5")).supervised();
    apart(&quick, "starts", 4, 1.0);
    apart(&half, "starts", 3, 1.5);
}

/// RSV-44: run 0, finish 1.2 seconds: no delay, so two starts are 1.2 apart, not less.
fn the_time_of_finish_counts(suite: &Suite) {
    let web = suite.service("web").run(&format!("{CLOCK} >>starts")).finish("sleep 1.2").supervised();
    apart(&web, "starts", 3, 1.2);
}

/// RSV-44.
fn a_service_that_dies_at_once_rests_after_finish_too(suite: &Suite) {
    let web = suite.service("web").run(&format!("{CLOCK} >>starts")).finish("sleep .4").supervised();
    apart(&web, "starts", 3, 1.4);
}

/// RSV-44: whatever is wanted.
fn stopping_a_young_service_rests_too(suite: &Suite) {
    let web = suite.service("web").run(&format!("{CLOCK} >>starts; exec sleep 1000")).supervised();
    web.eventually_lines("starts", 1);
    web.control("d");
    web.eventually_down();
    web.control("u");
    apart(&web, "starts", 2, 1.0);
}

/// RSV-45.
fn d_during_the_rest_prevents_the_start(suite: &Suite) {
    let web = suite.service("web").run("echo >>runs").supervised();
    web.eventually_stat("down");
    web.eventually_lines("runs", 1);
    web.eventually_down();
    web.control("d");
    web.eventually("d is accepted", |web| web.status().flags() == [0, b'd', 0, DOWN]);
    let runs = web.lines("runs").len();
    nothing_happens_for(Duration::from_millis(1500), "it is not started", || web.lines("runs").len() == runs);
}

/// RSV-45, RSV-60.
fn x_during_the_rest_ends_runsv(suite: &Suite) {
    let web = suite.service("web").run("echo >>runs").supervised();
    web.eventually_lines("runs", 1);
    web.eventually_down();
    web.control("x");
    assert_eq!(web.runsv.finished().code(), Some(0));
    assert_eq!(web.status().flags(), [0, b'd', 0, DOWN]);
}

/// RSV-46.
fn a_log_service_that_dies_at_once_rests_too(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").log(&format!("{CLOCK} >>../starts")).supervised();
    apart(&web, "starts", 4, 1.0);
    let pid = web.eventually_runs().pid;
    web.control("d");
    web.eventually_down();
    web.eventually_gone(pid);
}

/// RSV-46, RSV-48.
fn a_log_run_that_cannot_be_executed_is_reported(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").dir("log").supervised();
    web.runsv.eventually_says("runsv web: fatal: unable to start log/./run: file does not exist\n");
    let status = web.log().eventually_down();
    assert_eq!(status.flags(), [0, b'u', 0, DOWN]);
    web.eventually_runs();
}

/// RSV-19.
fn children_of_run_are_left_alone(suite: &Suite) {
    let web = suite.service("web").run("sleep 1001 & echo $! >child; exec sleep 1000").running();
    let child = web.eventually_lines("child", 1)[0].parse().unwrap();
    web.control("d");
    web.eventually_down();
    assert!(tests::process::is_alive(child));
}

/// RSV-25, RSV-44: one that lives for more than a second needs no rest.
fn a_service_is_restarted_again_and_again(suite: &Suite) {
    let web = suite.service("web").run("echo >>runs; sleep 1.1").supervised();
    web.eventually_lines("runs", 4);
    assert!(web.runsv.is_alive());
}

/// RSV-43: it must be readable; execute permission does not matter.
fn a_finish_that_may_not_be_read_is_no_finish(suite: &Suite) {
    let web = suite.service("web").run("echo >>runs").finish("echo >wrong").made();
    set_mode(web.dir(), 0o777);
    set_mode(&web.path("finish"), 0o711);
    let runsv = web.runsv().as_nobody();
    let web = web.supervised_by(runsv);
    web.eventually_lines("runs", 2);
    assert!(!web.has("wrong"));
    assert_eq!(web.runsv.stderr(), "");
}

/// RSV-47.
pub fn a_process_that_cannot_be_had_is_said(suite: &Suite) {
    let web = suite.service("web").run("echo >wrong").made();
    set_mode(web.dir(), 0o777);
    let runsv = web.runsv().as_nobody().through(&["prlimit", "--nproc=1"]);
    let web = web.supervised_by(runsv);
    web.runsv.eventually_says("runsv web: warning: unable to fork, sleeping: temporary failure\n");
    assert!(!web.has("wrong") && web.runsv.is_alive());
}
