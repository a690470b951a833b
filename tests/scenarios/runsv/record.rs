//! The record in every state: 20 bytes, the text of `stat`, and `pid`, all but the clock byte for byte.

use std::time::{SystemTime, UNIX_EPOCH};

use tests::status::{DOWN, FINISH, RUN};
use tests::{Suite, Supervised, all_suites};

use crate::IGNORES_TERM;

all_suites! {
    a_service_that_is_down_wants_down,
    a_service_that_rests_wants_up,
    a_running_service_has_its_pid,
    a_paused_service_says_so,
    a_service_that_ignores_term_shows_every_flag,
    a_service_run_once_wants_down,
    a_service_told_to_exit_shows_it_in_the_text_only,
    a_finishing_service_shows_its_want,
    a_service_that_is_down_can_be_paused,
    a_log_service_told_to_end_shows_it,
    pause_survives_the_continue_of_a_stop,
    pause_survives_death_and_ends_with_the_next_start,
    got_term_ends_with_the_process,
    the_time_is_the_start_of_run,
    the_time_of_a_service_that_is_down_is_its_end,
    the_first_record_has_the_start_of_runsv,
    the_last_record_is_down,
    the_time_is_a_label,
}

const U: u8 = b'u';
const D: u8 = b'd';

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// REC-7: down, wanted down.
fn a_service_that_is_down_wants_down(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").down().supervised();
    web.eventually_exactly("down", 0, [0, D, 0, DOWN]);
}

/// REC-7, RSV-45: down, wanted up, in the restart delay.
fn a_service_that_rests_wants_up(suite: &Suite) {
    let web = suite.service("web").run("echo >>runs").supervised();
    // The record from before the first start may be there for longer than that.
    web.eventually_lines("runs", 2);
    let status = web.eventually_stat("down");
    assert_eq!((status.pid, status.flags()), (0, [0, U, 0, DOWN]));
}

/// REC-1, REC-7: run, and the process is the one that runs.
fn a_running_service_has_its_pid(suite: &Suite) {
    let web = suite.service("web").run("echo $$ >mine; exec sleep 1000").running();
    let pid = web.eventually_lines("mine", 1)[0].parse().unwrap();
    let status = web.eventually_exactly("run", pid, [0, U, 0, RUN]);
    assert!(status.nanos < 1_000_000_000);
    let mut record = Vec::new();
    record.extend(status.seconds.to_be_bytes());
    record.extend(status.nanos.to_be_bytes());
    record.extend(pid.to_le_bytes());
    record.extend([0, U, 0, RUN]);
    assert_eq!(web.record(), record);
}

/// REC-7: run after `p`, after `c`.
fn a_paused_service_says_so(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").running();
    let pid = web.status().pid;
    web.control("p");
    web.eventually_exactly("run, paused", pid, [1, U, 0, RUN]);
    web.control("c");
    web.eventually_exactly("run", pid, [0, U, 0, RUN]);
}

fn ignoring_term(suite: &Suite) -> (Supervised, u32) {
    let web = suite.service("web").run(IGNORES_TERM).running();
    web.eventually_has("ready");
    let pid = web.status().pid;
    (web, pid)
}

/// REC-7: run after `t`, then `p`, `d`, `c`, `u`.
fn a_service_that_ignores_term_shows_every_flag(suite: &Suite) {
    let (web, pid) = ignoring_term(suite);
    web.control("t");
    web.eventually_exactly("run, got TERM", pid, [0, U, 1, RUN]);
    web.control("p");
    web.eventually_exactly("run, paused, got TERM", pid, [1, U, 1, RUN]);
    web.control("d");
    web.eventually_exactly("run, paused, got TERM, want down", pid, [1, D, 1, RUN]);
    web.control("c");
    web.eventually_exactly("run, got TERM, want down", pid, [0, D, 1, RUN]);
    web.control("u");
    web.eventually_exactly("run, got TERM", pid, [0, U, 1, RUN]);
    web.control("o");
    web.eventually_exactly("run, got TERM, want down", pid, [0, D, 1, RUN]);
}

/// REC-7: run started by `o`.
fn a_service_run_once_wants_down(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").down().supervised();
    web.control("o");
    let pid = web.eventually_runs().pid;
    web.eventually_exactly("run, want down", pid, [0, D, 0, RUN]);
}

/// REC-6, REC-7: the record has `d` for down and exit alike.
fn a_service_told_to_exit_shows_it_in_the_text_only(suite: &Suite) {
    let (web, pid) = ignoring_term(suite);
    web.control("x");
    web.eventually_exactly("run, got TERM, want exit", pid, [0, D, 1, RUN]);
}

/// REC-7: finish, then `d`, `p`, `c`, `u`, `x`.
fn a_finishing_service_shows_its_want(suite: &Suite) {
    let web = suite.service("web").run("exit 0").finish("exec sleep 1000").supervised();
    let pid = web.eventually_finishes().pid;
    web.eventually_exactly("finish", pid, [0, U, 0, FINISH]);
    web.control("d");
    web.eventually_exactly("finish, want down", pid, [0, D, 0, FINISH]);
    web.control("p");
    web.eventually_exactly("finish, paused, want down", pid, [1, D, 0, FINISH]);
    web.control("c");
    web.eventually_exactly("finish, want down", pid, [0, D, 0, FINISH]);
    web.control("u");
    web.eventually_exactly("finish", pid, [0, U, 0, FINISH]);
    web.control("x");
    web.eventually_exactly("finish, want exit", pid, [0, D, 0, FINISH]);
}

/// REC-3, REC-7, QRK-6.
fn a_service_that_is_down_can_be_paused(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").down().supervised();
    web.control("p");
    web.eventually_exactly("down, paused", 0, [1, D, 0, DOWN]);
    web.control("c");
    web.eventually_exactly("down", 0, [0, D, 0, DOWN]);
    web.control("p");
    web.eventually_stat("down, paused");
    web.control("u");
    let pid = web.eventually_runs().pid;
    web.eventually_exactly("run", pid, [0, U, 0, RUN]);
}

/// REC-7, RSV-60: a log service that does not heed the end of its input.
fn a_log_service_told_to_end_shows_it(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").down().log("exec sleep 1000").supervised();
    let pid = web.log().eventually_runs().pid;
    web.control("x");
    let status = web.log().eventually_stat("run, want exit");
    assert_eq!((status.pid, status.flags()), (pid, [0, D, 0, RUN]));
    assert_eq!(web.log().read("supervise/pid"), format!("{pid}\n"));
}

/// REC-3, QRK-6: `d` lets the process go on, the flag stays.
fn pause_survives_the_continue_of_a_stop(suite: &Suite) {
    let (web, pid) = ignoring_term(suite);
    web.control("p");
    web.eventually_stat("run, paused");
    web.control("d");
    web.eventually_exactly("run, paused, got TERM, want down", pid, [1, D, 1, RUN]);
    web.eventually("it goes on", |_| {
        tests::process::Process::find(pid).is_some_and(|process| process.state == 'S')
    });
}

/// REC-3.
fn pause_survives_death_and_ends_with_the_next_start(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").running();
    web.control("p");
    web.eventually_stat("run, paused");
    web.control("d");
    web.eventually_exactly("down, paused", 0, [1, D, 0, DOWN]);
    web.control("u");
    web.eventually_runs();
    web.eventually_stat("run");
}

/// REC-3.
fn got_term_ends_with_the_process(suite: &Suite) {
    let (web, pid) = ignoring_term(suite);
    web.control("t");
    web.eventually_stat("run, got TERM");
    web.control("k");
    let anew = web.eventually_runs_anew(pid);
    web.eventually_exactly("run", anew.pid, [0, U, 0, RUN]);
}

/// REC-2: nothing but a start or an end changes it; finish has the time of run.
fn the_time_is_the_start_of_run(suite: &Suite) {
    let before = now();
    let web = suite.service("web").run(IGNORES_TERM).finish("exec sleep 1000").running();
    web.eventually_has("ready");
    let started = web.eventually_stat("run").time();
    assert!((before..=now()).contains(&web.status().unix_seconds()));
    for (byte, stat) in
        [("t", "run, got TERM"), ("p", "run, paused, got TERM"), ("d", "run, paused, got TERM, want down")]
    {
        web.control(byte);
        assert_eq!(web.eventually_stat(stat).time(), started);
    }
    tests::process::send(web.status().pid, nix::sys::signal::Signal::SIGKILL);
    assert_eq!(web.eventually_finishes().time(), started);
}

/// REC-2: the end of finish.
fn the_time_of_a_service_that_is_down_is_its_end(suite: &Suite) {
    let web =
        suite.service("web").run("exec sleep 1000").finish("until test -e go; do sleep .02; done").running();
    let started = web.status().time();
    web.control("d");
    web.eventually_finishes();
    let (before, told) = (now(), web.status().time());
    assert_eq!(told, started);
    web.write("go", "");
    let ended = web.eventually_down();
    assert!(ended.time() > started);
    assert!((before..=now()).contains(&ended.unix_seconds()));
}

/// REC-2.
fn the_first_record_has_the_start_of_runsv(suite: &Suite) {
    let before = now();
    let web = suite.service("web").run("exec sleep 1000").down().supervised();
    assert!((before..=now()).contains(&web.status().unix_seconds()));
}

/// RSV-64.
fn the_last_record_is_down(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").running();
    web.control("x");
    web.runsv.finished();
    let status = web.status();
    assert_eq!((status.pid, status.flags()), (0, [0, D, 0, DOWN]));
    assert_eq!(web.read("supervise/pid"), "");
    assert_eq!(web.read("supervise/stat"), "down\n");
}

/// GEN-8: two to the 62nd, ten seconds for leap seconds long ago, and the seconds since 1970.
fn the_time_is_a_label(suite: &Suite) {
    let before = now();
    let web = suite.service("web").run("exec sleep 1000").down().supervised();
    let record = web.record();
    let (label, nanos) = record.split_at(8);
    let label = u64::from_be_bytes(label.try_into().unwrap());
    assert!(((1 << 62) + 10 + before..=(1 << 62) + 10 + now()).contains(&label), "{label:x}");
    assert!(u32::from_be_bytes(nanos[..4].try_into().unwrap()) < 1_000_000_000);
}
