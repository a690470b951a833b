//! The status lines of sv, and its failures.

use fs_err as fs;
use nix::sys::signal::Signal;
use tests::tree::set_mode;
use tests::{Suite, Supervised, all_suites};

use crate::IGNORES_TERM;

all_suites! {
    a_running_service_is_told,
    a_service_that_is_down_is_told,
    a_service_that_rests_wants_up,
    every_flag_is_told,
    a_finishing_service_is_told,
    normally_follows_the_file_as_it_is_now,
    a_wanted_exit_looks_like_a_wanted_down,
    the_log_follows_on_the_same_line,
    only_status_shows_the_log,
    a_log_whose_runsv_is_gone_is_told,
    a_log_that_is_a_file_is_told,
    a_record_is_told_byte_by_byte,
    the_age_is_never_negative,
    failures_are_told_and_counted,
    failures_do_not_stop_the_others,
    a_missing_runsv_is_told,
    a_missing_runsv_is_what_exit_wants,
    rights_are_missed_one_by_one,
    a_short_record_is_bad_format,
    a_missing_record_is_told,
    more_than_99_failures_are_99,
    a_crowd_is_told_in_its_order,
    a_service_that_is_down_is_no_failure,
    a_down_that_cannot_be_looked_at_is_warned_about,
    a_command_prints_nothing_by_itself,
    a_current_directory_that_may_not_be_read_is_fatal,
    the_first_trouble_is_the_one_that_is_told,
}

fn sleeping(suite: &Suite) -> Supervised {
    suite.service("web").run("exec sleep 1000").running()
}

/// SV-21, SV-24.
pub fn a_running_service_is_told(suite: &Suite) {
    let web = sleeping(suite);
    let pid = web.status().pid;
    let output = web.sv("status");
    output.says("run: web: (pid N) Ns\n", 0);
    assert!(output.stdout.contains(&format!("(pid {pid})")));
}

/// SV-21, SV-24.
pub fn a_service_that_is_down_is_told(suite: &Suite) {
    let web = sleeping(suite);
    web.control("d");
    web.eventually_stat("down");
    web.sv("status").says("down: web: Ns, normally up\n", 0);
    web.write("down", "");
    web.sv("status").says("down: web: Ns\n", 0);
}

/// SV-24, RSV-45.
pub fn a_service_that_rests_wants_up(suite: &Suite) {
    let web =
        suite.service("web").run("exec sleep 1000").control('u', "echo >>asked; sleep 1000").supervised();
    web.eventually_has("asked");
    web.sv("status").says("down: web: Ns, normally up, want up\n", 0);
}

/// SV-21, SV-24.
pub fn every_flag_is_told(suite: &Suite) {
    let web = suite.service("web").run(IGNORES_TERM).down().supervised();
    web.control("u");
    web.eventually_has("ready");
    // The record follows the start, so it may be later than the word of the service.
    web.eventually_stat("run");
    web.sv("status").says("run: web: (pid N) Ns, normally down\n", 0);
    web.control("p");
    web.eventually_stat("run, paused");
    web.sv("status").says("run: web: (pid N) Ns, normally down, paused\n", 0);
    web.control("d");
    web.eventually_stat("run, paused, got TERM, want down");
    web.sv("status").says("run: web: (pid N) Ns, normally down, paused, want down, got TERM\n", 0);
    web.control("k");
    web.eventually_stat("down, paused");
    web.sv("status").says("down: web: Ns\n", 0);
}

/// SV-24.
pub fn a_finishing_service_is_told(suite: &Suite) {
    let web = suite.service("web").run("exit 0").finish("exec sleep 1000").supervised();
    web.eventually_finishes();
    web.sv("status").says("finish: web: (pid N) Ns\n", 0);
    web.control("d");
    web.eventually_stat("finish, want down");
    web.sv("status").says("finish: web: (pid N) Ns, want down\n", 0);
}

/// LAY-1, SV-21.
pub fn normally_follows_the_file_as_it_is_now(suite: &Suite) {
    let web = sleeping(suite);
    web.write("down", "");
    web.sv("status").says("run: web: (pid N) Ns, normally down\n", 0);
    web.remove("down");
    fs::create_dir(web.path("down")).unwrap();
    web.sv("status").says("run: web: (pid N) Ns, normally down\n", 0);
}

/// SV-23.
pub fn a_wanted_exit_looks_like_a_wanted_down(suite: &Suite) {
    let web = suite.service("web").run("exit 0").finish("exec sleep 1000").supervised();
    web.eventually_finishes();
    web.control("x");
    web.eventually_stat("finish, want exit");
    web.sv("status").says("finish: web: (pid N) Ns, want down\n", 0);
}

/// SV-22, SV-24.
pub fn the_log_follows_on_the_same_line(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").log("exec cat").running();
    web.log().eventually_runs();
    web.sv("status").says("run: web: (pid N) Ns; run: log: (pid N) Ns\n", 0);
    web.control("d");
    web.eventually_stat("down");
    web.sv("status").says("down: web: Ns, normally up; run: log: (pid N) Ns\n", 0);
    web.log().control("d");
    web.log().eventually_stat("down");
    web.write("log/down", "");
    web.sv("status").says("down: web: Ns, normally up; down: log: Ns\n", 0);
}

/// SV-22.
pub fn only_status_shows_the_log(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").log("exec cat").running();
    web.log().eventually_runs();
    web.sv("check").says("ok: run: web: (pid N) Ns\n", 0);
    web.sv("-v up").says("ok: run: web: (pid N) Ns\n", 0);
    web.sv("stop").says("ok: down: web: Ns, normally up\n", 0);
}

/// SV-25.
pub fn a_log_whose_runsv_is_gone_is_told(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").log("exec cat").running();
    web.log().eventually_runs();
    fs::remove_file(web.path("log/supervise/ok")).unwrap();
    nix::unistd::mkfifo(&web.path("log/supervise/ok"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    web.sv("status").says("run: web: (pid N) Ns; fail: web/log: runsv not running\n", 1);
}

/// SV-25: a log that was added to a service that runs, one without a record, and one that may not be
/// asked. `instead` is what is said in the place of its status.
pub fn a_log_that_cannot_be_asked_is_told(suite: &Suite, instead: &str) {
    let says = |why: &str| format!("run: web: (pid N) Ns; warning: web/log: unable to open {why}\n{instead}");
    let added = sleeping(suite);
    fs::create_dir(added.path("log")).unwrap();
    added.write_script("log/run", "#!/bin/sh\nexec cat\n");
    added.sv("status").says(&says("supervise/ok: file does not exist"), 1);

    let web = suite.service("web").run("exec sleep 1000").log("exec cat").running();
    web.log().eventually_runs();
    set_mode(&web.path("supervise"), 0o755);
    set_mode(&web.path("supervise/ok"), 0o622);
    let sv = web.tree().command("sv").args(["status", "web"]).as_nobody();
    sv.output().says(&says("supervise/ok: access denied"), 1);
    fs::remove_file(web.path("log/supervise/status")).unwrap();
    web.sv("status").says(&says("supervise/status: file does not exist"), 1);
}

/// SV-25.
fn a_log_that_is_a_file_is_told(suite: &Suite) {
    let web = sleeping(suite);
    web.write("log", "");
    let text = "run: web: (pid N) Ns; warning: web/log: unable to change directory: not a directory\n";
    web.sv("status").says(text, 1);
}

/// Replaces the record of a living runsv.
fn pretend(web: &Supervised, tail: [u8; 8]) {
    let mut record = web.record();
    record[12..20].copy_from_slice(&tail);
    fs::write(web.path("supervise/status"), record).unwrap();
}

/// SV-21, SV-42, REC-4: states and flags that go together only here.
fn a_record_is_told_byte_by_byte(suite: &Suite) {
    let web = sleeping(suite);
    let tells = |tail: [u8; 8], text: &str| {
        pretend(&web, tail);
        web.sv("status").says(&format!("{text}\n"), 0);
    };
    tells([7, 0, 0, 0, 0, b'u', 0, 1], "run: web: (pid N) Ns");
    tells([7, 0, 0, 0, 0, b'u', 0, 2], "finish: web: (pid N) Ns");
    tells([7, 0, 0, 0, 1, b'd', 1, 2], "finish: web: (pid N) Ns, paused, want down, got TERM");
    tells([0, 0, 0, 0, 1, b'd', 1, 0], "down: web: Ns, normally up");
    tells([0, 0, 0, 0, 0, b'u', 1, 0], "down: web: Ns, normally up, want up");
    tells([0, 0, 0, 0, 0, b'u', 0, 2], "finish: web: (pid N) Ns, normally up, want up");
    tells([7, 0, 0, 0, 0, b'u', 0, 9], "web: (pid N) Ns");
    tells([7, 0, 0, 0, 0, b'x', 0, 1], "run: web: (pid N) Ns");
    // What follows the twenty bytes is ignored.
    let mut record = web.record();
    record.extend(b"more");
    fs::write(web.path("supervise/status"), record).unwrap();
    web.sv("status").says("run: web: (pid N) Ns\n", 0);
}

/// REC-5.
fn the_age_is_never_negative(suite: &Suite) {
    let web = sleeping(suite);
    let mut record = web.record();
    record[6] = 0xff;
    record[4] = 0x7f;
    fs::write(web.path("supervise/status"), record).unwrap();
    assert!(web.sv("status").stdout.ends_with(") 0s\n"));
    let mut record = web.record();
    record[..8].copy_from_slice(&(web.status().seconds - 0x7f00_0000).to_be_bytes());
    fs::write(web.path("supervise/status"), &record).unwrap();
    web.sv("status").says("run: web: (pid N) Ns\n", 0);
}

/// SV-40, SV-46: one each.
fn failures_are_told_and_counted(suite: &Suite) {
    let tree = suite.tree();
    let running = tree.service("a").run("exec sleep 1000").running();
    let _down = tree.service("b").run("exec sleep 1000").down().supervised();
    tree.service("nr").run("exec sleep 1000").made();
    fs::write(tree.services().join("file"), "").unwrap();
    running.eventually_runs();
    let text = "run: a: (pid N) Ns
down: b: Ns
fail: nope: unable to change to service directory: file does not exist
warning: nr: unable to open supervise/ok: file does not exist
fail: file: unable to change to service directory: not a directory
";
    tree.sv("status a b nope nr file").says(text, 3);
}

/// SV-33: in the order of the arguments.
fn failures_do_not_stop_the_others(suite: &Suite) {
    let tree = suite.tree();
    let services = ["a", "b"].map(|name| tree.service(name).run("exec sleep 1000").running());
    tree.service("dead").dir("supervise").made();
    let fail = "unable to change to service directory: file does not exist";
    let dead = "warning: dead: unable to open supervise/ok: file does not exist";
    tree.sv("down nope a dead nope b").says(&format!("fail: nope: {fail}\n{dead}\nfail: nope: {fail}\n"), 3);
    for service in services {
        service.eventually_stat("down");
    }
}

/// SV-40, LAY-13.
pub fn a_missing_runsv_is_told(suite: &Suite) {
    let web = sleeping(suite);
    web.control("x");
    web.runsv.finished();
    for command in
        ["status", "up", "-v up", "-v down", "start", "stop", "check", "restart", "force-stop", "-w 1 t"]
    {
        web.sv(command).says("fail: web: runsv not running\n", 1);
    }
}

/// SV-41.
pub fn a_missing_runsv_is_what_exit_wants(suite: &Suite) {
    let web = sleeping(suite);
    web.control("x");
    web.runsv.finished();
    for command in ["exit", "-v exit", "x", "shutdown", "force-shutdown", "X"] {
        web.sv(command).says("ok: web: runsv not running\n", 0);
    }
}

/// SV-43, LAY-4, TST-7.
pub fn rights_are_missed_one_by_one(suite: &Suite) {
    let web = sleeping(suite);
    let asks = |word: &str, text: &str, code: i32| {
        web.tree().command("sv").args([word, "web"]).as_nobody().output().says(text, code);
    };
    asks("status", "warning: web: unable to open supervise/ok: access denied\n", 1);
    set_mode(&web.path("supervise"), 0o711);
    asks("status", "warning: web: unable to open supervise/ok: access denied\n", 1);
    set_mode(&web.path("supervise/ok"), 0o602);
    asks("status", "run: web: (pid N) Ns\n", 0);
    asks("stop", "warning: web: unable to open supervise/control: access denied\n", 1);
    set_mode(&web.path("supervise/control"), 0o602);
    asks("stop", "ok: down: web: Ns, normally up\n", 0);
    set_mode(&web.path("supervise/status"), 0o600);
    asks("status", "warning: web: unable to open supervise/status: access denied\n", 1);
    set_mode(web.dir(), 0o700);
    asks("status", "fail: web: unable to change to service directory: access denied\n", 1);
}

/// SV-42.
fn a_short_record_is_bad_format(suite: &Suite) {
    let web = sleeping(suite);
    for length in [0, 1, 19] {
        let record = vec![0; length];
        fs::write(web.path("supervise/status"), record).unwrap();
        web.sv("status").says("warning: web: unable to read supervise/status: bad format\n", 1);
        web.sv("up").says("warning: web: unable to read supervise/status: bad format\n", 1);
    }
}

/// SV-40.
fn a_missing_record_is_told(suite: &Suite) {
    let web = sleeping(suite);
    web.remove("supervise/status");
    web.sv("status").says("warning: web: unable to open supervise/status: file does not exist\n", 1);
    fs::create_dir(web.path("supervise/status")).unwrap();
    web.sv("status").says("warning: web: unable to read supervise/status: is a directory\n", 1);
}

/// SV-46.
fn more_than_99_failures_are_99(suite: &Suite) {
    let tree = suite.tree();
    for (count, code) in [(98, 98), (99, 99), (100, 99), (150, 99)] {
        let output = tree.command("sv").arg("status").args(vec!["nope"; count]).output();
        assert_eq!((output.stdout.lines().count(), output.code()), (count, Some(code)));
    }
}

/// SV-46.
fn a_service_that_is_down_is_no_failure(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").down().supervised();
    assert_eq!(web.sv("status").code(), Some(0));
}

/// SV-50.
fn a_down_that_cannot_be_looked_at_is_warned_about(suite: &Suite) {
    let web = sleeping(suite);
    std::os::unix::fs::symlink("down", web.path("down")).unwrap();
    let output = web.sv("status");
    assert_eq!(output.stderr, "warning: unable to stat web/down: symbolic link loop\n");
    assert_eq!((output.stdout.trim(), output.code()), ("", Some(0)));
}

/// SV-32.
pub fn a_command_prints_nothing_by_itself(suite: &Suite) {
    let web = sleeping(suite);
    for command in ["down", "up", "pause", "cont", "hup", "term", "once", "2", "exit"] {
        web.sv(command).says("", 0);
    }
    web.runsv.finished();
}

/// SV-14.
fn a_current_directory_that_may_not_be_read_is_fatal(suite: &Suite) {
    let tree = suite.tree();
    let closed = tree.root().join("closed");
    fs::create_dir(&closed).unwrap();
    set_mode(&closed, 0o711);
    let sv = tree.command("sv").args(["status", "web"]).dir(&closed).as_nobody();
    sv.output().is("", "fatal: unable to open current directory: access denied\n", 100);
}

/// SV-31: otherwise the exit would be cancelled.
pub fn u_is_not_sent_to_a_service_that_is_wanted_up(suite: &Suite) {
    let web = sleeping(suite);
    let pid = web.status().pid;
    // A runsv that does not listen just now keeps in its fifo what it is sent.
    web.runsv.signal(Signal::SIGSTOP);
    web.control("d");
    web.sv("up").says("", 0);
    web.runsv.signal(Signal::SIGCONT);
    web.eventually_stat("down");
    web.eventually_gone(pid);
}

/// SV-31: the second `d` is not sent.
pub fn d_is_sent_unless_term_was(suite: &Suite) {
    let web = suite.service("web").run(IGNORES_TERM).control('t', "echo >>asked; exit 1").running();
    web.eventually_has("ready");
    web.sv("o").says("", 0);
    web.eventually_stat("run, want down");
    web.sv("down").says("", 0);
    web.eventually_stat("run, got TERM, want down");
    web.sv("down").says("", 0);
    web.sv("pause").says("", 0);
    web.eventually_stat("run, paused, got TERM, want down");
    assert_eq!(web.lines("asked").len(), 1);
}

/// SV-20: first the directory, then `ok`, then `status`.
fn the_first_trouble_is_the_one_that_is_told(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").made();
    web.sv("status").says("warning: web: unable to open supervise/ok: file does not exist\n", 1);
    fs::create_dir(web.path("supervise")).unwrap();
    web.write("supervise/status", "short");
    web.sv("status").says("warning: web: unable to open supervise/ok: file does not exist\n", 1);
    nix::unistd::mkfifo(&web.path("supervise/ok"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    web.sv("status").says("fail: web: runsv not running\n", 1);
}

/// SV-33: ours asks so many services on several processors.
fn a_crowd_is_told_in_its_order(suite: &Suite) {
    let web = sleeping(suite);
    fs::create_dir(web.tree().services().join("bare")).expect("a directory");
    let told = [
        ("web", "run: web: (pid N) Ns\n"),
        ("nope", "fail: nope: unable to change to service directory: file does not exist\n"),
        ("bare", "warning: bare: unable to open supervise/ok: file does not exist\n"),
    ];
    // Three, so that shares of a power of two that change places show.
    let (names, lines): (Vec<&str>, Vec<&str>) = told.iter().copied().cycle().take(1111).unzip();
    web.tree().sv(&format!("status {}", names.join(" "))).says(&lines.concat(), 99);
}
