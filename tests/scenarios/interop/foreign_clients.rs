//! Programs that are neither ours nor the original's, and read or write the same files: daemontools,
//! s6, chpst, monitoring, configuration management, and the plain shell.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fs_err as fs;
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::time::{ClockId, clock_gettime};
use tests::process::is_alive;
use tests::status::DOWN;
use tests::wait::eventually_same;
use tests::{
    CommandLine, Output, RawStatus, Service, Suite, Supervised, TestTree, all_suites, nothing_happens_for,
};

use crate::IGNORES_TERM;
use crate::runsv::control::{is_stopped, reporter};

all_suites! {
    svok_tells_whether_runsv_listens,
    svstat_tells_a_running_service,
    svstat_tells_a_service_that_is_down,
    svstat_takes_finish_for_the_service,
    svstat_sees_no_more_than_18_bytes,
    svstat_tells_the_log,
    svstat_tells_what_it_cannot_read,
    svc_commands_a_service,
    svc_commands_a_log,
    svc_sends_several_letters_in_order,
    svc_ends_a_service_and_its_log,
    svc_warns_without_a_supervisor,
    s6_svc_commands_a_service,
    s6_svc_commands_a_log,
    s6_svc_ends_runsv,
    s6_svc_fails_without_a_supervisor,
    s6_takes_it_for_no_service_of_its_own,
    another_program_sees_runsv_s_lock,
    a_program_that_waits_for_the_lock_gets_it_after_runsv,
    node_exporter_reads_every_state,
    a_reader_never_sees_half_a_record,
    the_text_and_its_age_tell_the_state,
    ansible_reads_every_state,
    ansible_commands_a_service,
    a_shell_reads_the_files,
    a_shell_commands_a_service,
    a_shell_that_waits_for_a_runsv_is_heard,
    a_writer_that_does_not_wait_learns_that_there_is_no_reader;
    not_hosted "a killed runsv":
    svstat_tells_that_runsv_is_gone,
    node_exporter_reads_what_is_left_when_runsv_is_gone;
    not_hosted "init waits for the other supervisor and says so in its own words":
    runsv_sees_the_lock_of_others,
}

const SLEEPS: &str = "exec sleep 1000";

/// A program of one of Debian's packages. A missing one is an error, never a skip.
#[track_caller]
fn foreign(tree: &TestTree, package: &str, program: &str) -> CommandLine {
    let place = Path::new("/usr/bin").join(program);
    assert!(place.exists(), "{} is missing: install Debian's {package}", place.display());
    tree.command(place)
}

/// The directory of a service or a log, as the programs are given it here.
fn path(service: &Service) -> String {
    let services = service.tree().services();
    service.dir().strip_prefix(services).expect("a directory of the tree").display().to_string()
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// A service that was told to exit, after its runsv has left.
fn left(suite: &Suite) -> Supervised {
    let web = suite.service("web").run(SLEEPS).running();
    web.control("x");
    assert_eq!(web.runsv.finished().code(), Some(0));
    web
}

// daemontools: svok and svstat.

/// LAY-3, LAY-13: 0, or 100, or 111 when even that cannot be told.
fn svok_tells_whether_runsv_listens(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).log("exec cat").running();
    let tree = web.tree();
    let never = tree.service("never").run(SLEEPS).made();
    let svok = |name: &str| foreign(tree, "daemontools", "svok").arg(name);
    svok("web").output().says("", 0);
    svok("web/log").output().says("", 0);
    svok(&path(&never)).output().says("", 100);
    svok("absent").output().is("", "svok: fatal: unable to chdir to absent: file does not exist\n", 111);
    let text = "svok: fatal: unable to open web/supervise/ok: access denied\n";
    svok("web").as_nobody().output().is("", text, 111);
    web.control("d");
    web.eventually_down();
    svok("web").output().says("", 0);
    web.control("x");
    web.runsv.finished();
    svok("web").output().says("", 100);
    svok("web/log").output().says("", 100);
}

#[track_caller]
fn svstat(tree: &TestTree, name: &str) -> Output {
    foreign(tree, "daemontools", "svstat").arg(name).output()
}

/// The clock as programs read it that ask for whole seconds only: the kernel answers with its last tick.
fn second() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_REALTIME_COARSE).unwrap();
    u64::try_from(time.tv_sec()).unwrap()
}

/// What svstat says of a service, with `N` for the process and the age, which are those of the record.
/// Nothing if the record changed meanwhile.
fn told(service: &Service) -> Option<String> {
    let (before, status) = (second(), service.status());
    let output = svstat(service.tree(), &path(service));
    if service.status() != status {
        return None;
    }
    assert_eq!((output.stderr.as_str(), output.code()), ("", Some(0)));
    let possible = before.saturating_sub(status.unix_seconds())..=now().as_secs() - status.unix_seconds();

    let line = output.stdout.strip_prefix(&format!("{}: ", path(service)))?.strip_suffix('\n')?;
    let (head, tail) = line.split_once(" seconds")?;
    let (head, age) = head.rsplit_once(' ')?;
    assert!(possible.contains(&age.parse().ok()?), "{age} is not within {possible:?}");
    let head = head.replace(&format!("(pid {})", status.pid), "(pid N)");
    Some(format!("{head} N seconds{tail}"))
}

#[track_caller]
fn svstat_says(service: &Service, text: &str) {
    eventually_same("svstat", text, || told(service).unwrap_or_default());
}

/// REC-1, REC-5, REC-7: the process, the age, the paused flag, and what is wanted.
fn svstat_tells_a_running_service(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).running();
    svstat_says(&web, "up (pid N) N seconds");
    web.control("p");
    svstat_says(&web, "up (pid N) N seconds, paused");
    web.control("o");
    svstat_says(&web, "up (pid N) N seconds, paused, want down");
    web.control("c");
    svstat_says(&web, "up (pid N) N seconds, want down");
    web.write("down", "");
    svstat_says(&web, "up (pid N) N seconds, normally down, want down");
    web.control("u");
    svstat_says(&web, "up (pid N) N seconds, normally down");
}

/// REC-1, REC-7.
fn svstat_tells_a_service_that_is_down(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).down().supervised();
    svstat_says(&web, "down N seconds");
    web.remove("down");
    svstat_says(&web, "down N seconds, normally up");
    // The flag means nothing without a process.
    web.control("p");
    web.eventually_stat("down, paused");
    svstat_says(&web, "down N seconds, normally up");
    let rests = web.tree().service("rests").run("exit 1").supervised();
    svstat_says(&rests, "down N seconds, normally up, want up");
    rests.write("down", "");
    svstat_says(&rests, "down N seconds, want up");
}

/// REC-7: whatever has a process is up.
fn svstat_takes_finish_for_the_service(suite: &Suite) {
    let web = suite.service("web").run("exit 0").finish(SLEEPS).supervised();
    web.eventually_finishes();
    svstat_says(&web, "up (pid N) N seconds");
    web.control("d");
    svstat_says(&web, "up (pid N) N seconds, want down");
}

/// REC-1: what runit has added behind them, that a TERM was sent, is for others.
fn svstat_sees_no_more_than_18_bytes(suite: &Suite) {
    let web = suite.service("web").run(IGNORES_TERM).running();
    web.eventually_has("ready");
    web.control("t");
    web.eventually_stat("run, got TERM");
    svstat_says(&web, "up (pid N) N seconds");
    web.control("x");
    web.eventually_stat("run, got TERM, want exit");
    svstat_says(&web, "up (pid N) N seconds, want down");
}

/// REC-1, LAY-3: a service like any other, and several are told in the order of the arguments.
fn svstat_tells_the_log(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).log("exec cat").running();
    let log = web.log();
    log.eventually_runs();
    svstat_says(&log, "up (pid N) N seconds");
    log.control("p");
    svstat_says(&log, "up (pid N) N seconds, paused");
    log.control("cd");
    svstat_says(&log, "down N seconds, normally up");
    let both = foreign(web.tree(), "daemontools", "svstat").args(["web/log", "web"]).output();
    let lines: Vec<&str> =
        both.stdout.lines().map(|line| line.split_whitespace().next().unwrap_or_default()).collect();
    assert_eq!((lines, both.code()), (vec!["web/log:", "web:"], Some(0)));
}

/// REC-4, LAY-3: each trouble has its own words, and none is a failure.
fn svstat_tells_what_it_cannot_read(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).running();
    let tree = web.tree();
    tree.service("never").run(SLEEPS).made();
    svstat(tree, "never").says("never: unable to open supervise/ok: file does not exist\n", 0);
    svstat(tree, "absent").says("absent: unable to chdir: file does not exist\n", 0);
    foreign(tree, "daemontools", "svstat")
        .arg("web")
        .as_nobody()
        .output()
        .says("web: unable to open supervise/ok: access denied\n", 0);
    web.write("supervise/status", "short");
    svstat(tree, "web").says("web: unable to read supervise/status: bad format\n", 0);
    web.remove("supervise/status");
    svstat(tree, "web").says("web: unable to open supervise/status: file does not exist\n", 0);
    // The next change brings it back.
    web.control("p");
    web.eventually_has("supervise/status");
    svstat_says(&web, "up (pid N) N seconds, paused");
}

/// LAY-13, RSV-65: a record that says something else is not looked at.
fn svstat_tells_that_runsv_is_gone(suite: &Suite) {
    let web = left(suite);
    svstat(web.tree(), "web").says("web: supervise not running\n", 0);
    let killed = suite.service("killed").run(SLEEPS).running();
    killed.runsv.signal(Signal::SIGKILL);
    killed.runsv.finished();
    assert!(is_alive(killed.status().pid));
    // What was just forked has a copy of its descriptors until it is executed.
    killed.eventually("no runsv supervises it", |killed| !killed.is_supervised());
    svstat(killed.tree(), "killed").says("killed: supervise not running\n", 0);
}

// Commands: svc of daemontools, and s6-svc.

#[track_caller]
fn svc(service: &Service, letters: &str) {
    let svc = foreign(service.tree(), "daemontools", "svc").arg(format!("-{letters}")).arg(path(service));
    svc.output().says("", 0);
}

#[track_caller]
fn s6_svc(service: &Service, letters: &str) {
    let svc = foreign(service.tree(), "s6", "s6-svc").arg(format!("-{letters}")).arg(path(service));
    svc.output().says("", 0);
}

/// A service that runs a reporter does what it is told: each letter for a signal, and the others.
#[track_caller]
fn obeys(service: &Service, send: fn(&Service, &str), signals: &[(&str, &str)]) {
    let pid = service.eventually_runs().pid;
    service.eventually_has("ready");
    let mut got = String::new();
    for (letter, signal) in signals {
        send(service, letter);
        got = got + signal + "\n";
        service.eventually_reads("got", &got);
    }
    send(service, "t");
    service.eventually_reads("got", &(got + "TERM\n"));
    let stat_of_first = |text: &str| assert_eq!(service.eventually_stat(text).pid, pid);
    stat_of_first("run, got TERM");
    send(service, "p");
    stat_of_first("run, paused, got TERM");
    service.eventually("it is stopped", |_| is_stopped(pid));
    send(service, "c");
    stat_of_first("run, got TERM");
    service.eventually("it goes on", |_| !is_stopped(pid));
    send(service, "o");
    stat_of_first("run, got TERM, want down");
    send(service, "u");
    stat_of_first("run, got TERM");

    service.remove("ready");
    send(service, "k");
    let second = service.eventually_runs_anew(pid).pid;
    service.eventually_has("ready");
    send(service, "d");
    assert_eq!(service.eventually_stat("run, got TERM, want down").pid, second);
    send(service, "k");
    service.eventually_down();
    send(service, "o");
    service.eventually_runs();
    service.eventually_stat("run, want down");
    send(service, "k");
    service.eventually_down();
    send(service, "u");
    service.eventually_runs();
    service.eventually_stat("run");
}

/// `x` is not for a log.
#[track_caller]
fn ignores_x(web: &Supervised, send: fn(&Service, &str)) {
    let (log, pid) = (web.log(), web.log().status().pid);
    send(&log, "x");
    send(&log, "p");
    assert_eq!(log.eventually_stat("run, paused").pid, pid);
    assert!(web.runsv.is_alive());
}

const SVC_SIGNALS: [(&str, &str); 4] = [("h", "HUP"), ("a", "ALRM"), ("i", "INT"), ("c", "CONT")];
const S6_SIGNALS: [(&str, &str); 7] =
    [("h", "HUP"), ("a", "ALRM"), ("i", "INT"), ("q", "QUIT"), ("1", "USR1"), ("2", "USR2"), ("c", "CONT")];

/// RSV-30, RSV-34: every letter but `x`.
fn svc_commands_a_service(suite: &Suite) {
    let web = suite.service("web").run(&reporter("got")).running();
    obeys(&web, svc, &SVC_SIGNALS);
}

/// RSV-35: every letter.
fn svc_commands_a_log(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).log(&reporter("got")).running();
    obeys(&web.log(), svc, &SVC_SIGNALS);
    ignores_x(&web, svc);
}

/// RSV-26.
fn svc_sends_several_letters_in_order(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).finish("echo $* >>ends").running();
    let pid = web.status().pid;
    svc(&web, "du");
    web.eventually_runs_anew(pid);
    assert_eq!(web.read("ends"), "-1 15\n");
    svc(&web, "ud");
    web.eventually_down();
    web.eventually_stat("down");
}

/// RSV-60: as daemontools removes a service; the log first, for its FIFO has no reader once runsv is gone.
fn svc_ends_a_service_and_its_log(suite: &Suite) {
    let web = suite.service("web").run("echo last; exec sleep 1000").log("exec cat >lines").running();
    web.log().eventually_reads("lines", "last\n");
    let svc = foreign(web.tree(), "daemontools", "svc").args(["-dx", "web/log", "web"]);
    svc.output().says("", 0);
    assert_eq!(web.runsv.finished().code(), Some(0));
    assert_eq!((web.stat().as_str(), web.log().stat().as_str()), ("down", "down"));
}

/// LAY-3, LAY-13: warnings only.
fn svc_warns_without_a_supervisor(suite: &Suite) {
    let gone = left(suite);
    let tree = gone.tree();
    tree.service("never").run(SLEEPS).made();
    let _lives = tree.service("lives").run(SLEEPS).running();
    let svc = |name: &str| foreign(tree, "daemontools", "svc").args(["-u", name]);
    svc("web").output().is("", "svc: warning: unable to control web: supervise not running\n", 0);
    svc("never").output().is("", "svc: warning: unable to control never: file does not exist\n", 0);
    svc("absent").output().is("", "svc: warning: unable to chdir to absent: file does not exist\n", 0);
    let text = "svc: warning: unable to control lives: access denied\n";
    svc("lives").as_nobody().output().is("", text, 0);
    assert_eq!(gone.stat(), "down");
}

/// RSV-30, RSV-34: every letter that runit has, but `x`.
fn s6_svc_commands_a_service(suite: &Suite) {
    let web = suite.service("web").run(&reporter("got")).running();
    obeys(&web, s6_svc, &S6_SIGNALS);
    // Those that only s6 knows do nothing.
    let before = web.record();
    s6_svc(&web, "O");
    s6_svc(&web, "Q");
    s6_svc(&web, "p");
    web.eventually_stat("run, paused");
    assert_eq!((web.record()[..16]).to_vec(), before[..16]);
}

/// RSV-35: every letter that runit has.
fn s6_svc_commands_a_log(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).log(&reporter("got")).running();
    obeys(&web.log(), s6_svc, &S6_SIGNALS);
    ignores_x(&web, s6_svc);
}

/// RSV-60.
fn s6_svc_ends_runsv(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).running();
    s6_svc(&web, "x");
    assert_eq!(web.runsv.finished().code(), Some(0));
    assert_eq!(web.stat(), "down");
}

/// LAY-13: 100 means that no supervisor reads, 111 any other trouble. The words are those of its version.
fn s6_svc_fails_without_a_supervisor(suite: &Suite) {
    let gone = left(suite);
    let code = |name: &str| {
        let output = foreign(gone.tree(), "s6", "s6-svc").args(["-u", name]).output();
        assert!(output.stderr.contains("unable to control"), "{output:?}");
        output.code()
    };
    assert_eq!((code("web"), code("absent")), (Some(100), Some(111)));
}

/// REC-1, LAY-12: its readers want another lock and a longer record, and say so of every runsv.
fn s6_takes_it_for_no_service_of_its_own(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).running();
    let record = web.record();
    let s6 = |program: &str, words: &[&str]| foreign(web.tree(), "s6", program).args(words).output();
    assert_eq!(s6("s6-svok", &["web"]).code(), Some(1));
    assert_eq!(s6("s6-svstat", &["web"]).code(), Some(1));
    assert_eq!(s6("s6-svstat", &["-o", "up,pid", "web"]).code(), Some(1));
    assert_eq!(s6("s6-svwait", &["-u", "-t", "20000", "web"]).code(), Some(111));
    // Its lock is of a kind of its own, which excludes no flock, and is not excluded by one.
    s6("s6-setlock", &["-n", "web/supervise/lock", "echo", "taken"]).says("taken\n", 0);
    assert_eq!(web.record(), record);
    web.control("p");
    web.eventually_stat("run, paused");
}

// The lock.

/// LAY-12: for chpst and for setlock of daemontools, which ask for the same kind.
fn another_program_sees_runsv_s_lock(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).log("exec cat").running();
    for lock in ["web/supervise/lock", "web/log/supervise/lock"] {
        let chpst = foreign(web.tree(), "runit", "chpst").args(["-L", lock, "echo", "taken"]);
        let text = format!("chpst: fatal: unable to lock: {lock}: temporary failure\n");
        chpst.output().is("", &text, 111);
        let setlock = foreign(web.tree(), "daemontools", "setlock").args(["-n", lock, "echo", "taken"]);
        let text = format!("setlock: fatal: unable to lock {lock}: temporary failure\n");
        setlock.output().is("", &text, 111);
    }
    web.control("x");
    web.runsv.finished();
    for lock in ["web/supervise/lock", "web/log/supervise/lock"] {
        let chpst = foreign(web.tree(), "runit", "chpst").args(["-L", lock, "echo", "taken"]);
        chpst.output().says("taken\n", 0);
        let setlock = foreign(web.tree(), "daemontools", "setlock").args(["-n", lock, "echo", "taken"]);
        setlock.output().says("taken\n", 0);
    }
}

/// LAY-12.
fn a_program_that_waits_for_the_lock_gets_it_after_runsv(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).running();
    let lock = "web/supervise/lock";
    let chpst = foreign(web.tree(), "runit", "chpst").args(["-l", lock, "echo", "taken"]).start();
    nothing_happens_for(Duration::from_millis(300), "it waits", || chpst.is_alive());
    web.control("x");
    web.runsv.finished();
    chpst.finished().says("taken\n", 0);
}

/// LAY-12.
fn runsv_sees_the_lock_of_others(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).dir("supervise").made();
    let hold = ["-L", "supervise/lock", "sh", "-c", "echo >held; exec sleep 1000"];
    let holder = foreign(web.tree(), "runit", "chpst").args(hold).dir("web").start();
    web.eventually_has("held");
    let text = "runsv web: fatal: unable to lock supervise/lock: temporary failure\n";
    web.runsv().output().is("", text, 111);
    holder.signal(Signal::SIGKILL);
    holder.finished();
    web.supervised().eventually_runs();
}

// Monitoring: node_exporter, which reads the record, and vsv, which reads the text.

/// What `node_exporter`'s runit collector makes of a service: its four metrics.
#[derive(Debug, PartialEq)]
struct Metrics {
    state: u8,
    desired_state: u8,
    normal_state: u8,
    state_last_change_timestamp_seconds: u64,
}

/// As the collector does it: one read of 20 bytes without a check of the length, and no look whether runsv
/// lives. It looks for `down` in `supervise`, where there never is one.
fn collected(service: &Service) -> Metrics {
    let mut record = [0; 20];
    let _ = File::open(service.path("supervise/status")).unwrap().read(&mut record).unwrap();
    let seconds = record.iter().take(8).fold(0, |seconds, byte| seconds << 8 | u64::from(*byte));
    Metrics {
        state: record[19],
        desired_state: u8::from(record[17] == b'u'),
        normal_state: u8::from(!service.has("supervise/down")),
        state_last_change_timestamp_seconds: seconds - 4_611_686_018_427_387_914,
    }
}

/// The collector shows this state, this wish, and a change in this time.
#[track_caller]
fn shows(service: &Service, state: u8, desired_state: u8, since: u64) -> u64 {
    let metrics = collected(service);
    let changed = metrics.state_last_change_timestamp_seconds;
    assert!((since..=now().as_secs()).contains(&changed), "{metrics:?} is not since {since}");
    let wanted =
        Metrics { state, desired_state, normal_state: 1, state_last_change_timestamp_seconds: changed };
    assert_eq!(metrics, wanted);
    changed
}

/// REC-1, REC-2, REC-7.
fn node_exporter_reads_every_state(suite: &Suite) {
    let start = now().as_secs();
    let web = suite
        .service("web")
        .run(IGNORES_TERM)
        .finish("until test -e go; do sleep .02; done")
        .down()
        .supervised();
    web.eventually_stat("down");
    let supervised = shows(&web, 0, 0, start);
    web.control("u");
    web.eventually_has("ready");
    let pid = web.eventually_stat("run").pid;
    let started = shows(&web, 1, 1, supervised);
    for (byte, stat, desired_state) in [
        ("p", "run, paused", 1),
        ("t", "run, paused, got TERM", 1),
        ("c", "run, got TERM", 1),
        ("d", "run, got TERM, want down", 0),
        ("u", "run, got TERM", 1),
        ("o", "run, got TERM, want down", 0),
    ] {
        web.control(byte);
        web.eventually_stat(stat);
        assert_eq!(shows(&web, 1, desired_state, started), started);
    }
    tests::process::send(pid, Signal::SIGKILL);
    web.eventually_finishes();
    assert_eq!(shows(&web, 2, 0, started), started);
    web.control("u");
    web.eventually_stat("finish");
    assert_eq!(shows(&web, 2, 1, started), started);
    web.control("d");
    web.eventually_stat("finish, want down");
    let before_end = now().as_secs();
    web.write("go", "");
    web.eventually_stat("down");
    shows(&web, 0, 0, before_end);

    let log = web.tree().service("logged").run(SLEEPS).log("exec cat").running().log();
    log.eventually_runs();
    shows(&log, 1, 1, started);
}

/// LAY-13, RSV-64, RSV-65: it does not ask whether there is a runsv.
fn node_exporter_reads_what_is_left_when_runsv_is_gone(suite: &Suite) {
    let start = now().as_secs();
    shows(&left(suite), 0, 0, start);
    let killed = suite.service("killed").run(SLEEPS).running();
    let before = collected(&killed);
    killed.runsv.signal(Signal::SIGKILL);
    killed.runsv.finished();
    assert_eq!(collected(&killed), before);
    shows(&killed, 1, 1, start);
}

/// REC-4, LAY-4: nor an empty or a missing file, at any time.
fn a_reader_never_sees_half_a_record(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).running();
    let pid = web.eventually_stat("run").pid;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = [0, 0];
            while !is_over.load(Ordering::Relaxed) {
                let record = fs::read(web.path("supervise/status")).expect("a record");
                assert_eq!(record.len(), 20);
                let status = RawStatus::read(&record).expect("a record");
                assert_eq!((status.pid, status.want, status.got_term, status.state), (pid, b'u', 0, 1));
                seen[usize::from(status.paused)] += 1;
                let text = fs::read_to_string(web.path("supervise/stat")).expect("a text");
                assert!(["run\n", "run, paused\n"].contains(&text.as_str()), "{text:?}");
                let text = fs::read_to_string(web.path("supervise/pid")).expect("a number");
                assert_eq!(text, format!("{pid}\n"));
            }
            seen
        });
        for _ in 0..100 {
            web.control(&"pc".repeat(20));
            web.control("p");
            web.eventually_stat("run, paused");
            web.control("c");
            web.eventually_stat("run");
        }
        is_over.store(true, Ordering::Relaxed);
        let [going, paused] = reader.join().expect("the reader found nothing wrong");
        assert!(going > 0 && paused > 0, "{going} and {paused}");
    });
}

/// LAY-3, REC-6: for vsv the whole text is the state, its file is as old as the state, and `pid` is a
/// number or nothing.
fn the_text_and_its_age_tell_the_state(suite: &Suite) {
    // The clock of a file system may be a tick behind.
    let before = now().saturating_sub(Duration::from_secs(1));
    let web = suite.service("web").run("echo >>runs; exec sleep 1000").finish(SLEEPS).down().supervised();
    let read = |text: &str| {
        web.eventually_reads("supervise/stat", &format!("{text}\n"));
        let changed = fs::metadata(web.path("supervise/stat")).unwrap().modified().unwrap();
        let changed = changed.duration_since(UNIX_EPOCH).unwrap();
        assert!((before..=now()).contains(&changed));
        let pid = web.read("supervise/pid");
        (changed, pid.trim().parse().unwrap_or(0))
    };
    let (supervised, pid) = read("down");
    assert_eq!(pid, 0);
    web.control("u");
    web.eventually_lines("runs", 1);
    let (started, pid) = read("run");
    assert!(started >= supervised && is_alive(pid));
    web.control("k");
    let finish = web.eventually_finishes().pid;
    let (ended, pid) = read("finish");
    assert!(ended >= started);
    assert_eq!(pid, finish);
}

// Configuration management: Ansible's module for runit, which reads the words of `sv status`.

/// What the module knows about a service.
#[derive(Debug, PartialEq)]
struct Facts {
    state: &'static str,
    pid: Option<u64>,
    duration: Option<u64>,
}

/// As the module does it: by its whole path; only what stands before the log counts; whatever is on
/// standard error is a state of its own.
#[track_caller]
fn facts(service: &Service) -> Facts {
    let output = service.tree().command("sv").arg("status").arg(service.dir()).output();
    assert_eq!(output.stderr, "");
    let text = output.stdout.split("; ").next().unwrap_or_default();
    let number = |before: &str, after: char| {
        text.split(before).skip(1).find_map(|rest| rest.split_once(after)?.0.parse().ok())
    };
    let state = match text.split_once(':') {
        Some(("run", _)) => "started",
        Some(("down", _)) => "stopped",
        _ => "unknown",
    };
    Facts { state, pid: number("(pid ", ')'), duration: number(" ", 's') }
}

/// The facts are these, and those of the record.
#[track_caller]
fn are_facts(service: &Service, state: &'static str) {
    let facts = facts(service);
    let status = service.status();
    let pid = (status.pid != 0).then_some(status.pid.into());
    assert_eq!((facts.state, facts.pid), (state, pid), "{facts:?}");
    assert!(
        facts.duration.is_some_and(|age| age <= 1 + now().as_secs() - status.unix_seconds()),
        "{facts:?}"
    );
}

/// SV-20, SV-21, SV-24: with and without a log, which does not count.
pub fn ansible_reads_every_state(suite: &Suite) {
    let tree = suite.tree();
    for web in [tree.service("plain"), tree.service("logged").log("exec cat")] {
        let web = web.run(IGNORES_TERM).finish("until test -e go; do sleep .02; done").down().supervised();
        web.eventually_stat("down");
        are_facts(&web, "stopped");
        web.control("u");
        web.eventually_has("ready");
        let pid = web.eventually_stat("run").pid;
        are_facts(&web, "started");
        web.control("ptd");
        web.eventually_stat("run, paused, got TERM, want down");
        are_facts(&web, "started");
        tests::process::send(pid, Signal::SIGKILL);
        web.eventually_finishes();
        web.eventually_stat("finish, want down");
        are_facts(&web, "unknown");
        web.write("go", "");
        web.eventually_stat("down");
        are_facts(&web, "stopped");
        web.control("x");
        web.runsv.finished();
        assert_eq!(facts(&web), Facts { state: "unknown", pid: None, duration: None });
    }
}

/// SV-4, SV-10: the module's six states, and its question after each.
pub fn ansible_commands_a_service(suite: &Suite) {
    let run = "trap 'echo HUP >>got' HUP; echo $$ >>ready; sleep 1000 & while :; do wait; done";
    let web = suite.service("web").run(run).log("exec cat").down().supervised();
    let sv = |word: &str| {
        let output = web.tree().command("sv").arg(word).arg(web.dir()).output();
        assert_eq!((output.stderr.as_str(), output.code()), ("", Some(0)), "sv {word}: {output:?}");
    };
    sv("start");
    are_facts(&web, "started");
    web.eventually_lines("ready", 1);
    sv("reload");
    web.eventually_reads("got", "HUP\n");
    // TST-3: the original compares whole seconds, and may take what it restarts for restarted.
    web.eventually("it is older than a second", |_| facts(&web).duration >= Some(2));
    sv("restart");
    are_facts(&web, "started");
    sv("stop");
    are_facts(&web, "stopped");
    sv("once");
    web.eventually_runs();
    web.eventually_stat("run, want down");
    are_facts(&web, "started");
    sv("force-stop");
    are_facts(&web, "stopped");
}

// The plain shell.

/// What a shell says in the directory of the service.
#[track_caller]
fn shell(web: &Service, script: &str) -> Output {
    web.tree().command("sh").args(["-c", script]).dir(web.dir()).output()
}

/// LAY-3, REC-6, REC-7.
fn a_shell_reads_the_files(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).running();
    let pid = web.eventually_stat("run").pid;
    shell(&web, "kill -0 $(cat supervise/pid) && cat supervise/stat").says("run\n", 0);
    assert_eq!(shell(&web, "cat supervise/pid").stdout, format!("{pid}\n"));
    assert_eq!(shell(&web, "read -r pid <supervise/pid && echo $pid").stdout, format!("{pid}\n"));
    shell(&web, "test -p supervise/ok && test -p supervise/control && test -s supervise/pid").says("", 0);
    shell(&web, "case $(cat supervise/stat) in run*) echo up;; esac").says("up\n", 0);
    shell(&web, "wc -c <supervise/status | tr -d ' '").says("20\n", 0);
    assert_eq!(shell(&web, "od -An -tu4 -j12 -N4 supervise/status").stdout.trim(), pid.to_string());
    web.control("d");
    web.eventually_stat("down");
    shell(&web, "test -e supervise/pid && test ! -s supervise/pid && cat supervise/stat").says("down\n", 0);
}

/// RSV-26, RSV-27: bytes with a line end or without, one writer after the other, and one that stays.
fn a_shell_commands_a_service(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).log(SLEEPS).running();
    let pid = web.status().pid;
    shell(&web, "printf d >supervise/control").says("", 0);
    web.eventually_down();
    shell(&web, "echo -n u >supervise/control").says("", 0);
    web.eventually_runs_anew(pid);
    shell(&web, "echo p >>supervise/control").says("", 0);
    web.eventually_stat("run, paused");
    let stays = "exec 3>supervise/control; printf c >&3
        until test run = \"$(cat supervise/stat)\"; do sleep .02; done; printf d >&3";
    shell(&web, stays).says("", 0);
    web.eventually_down();
    web.log().eventually_runs();
    shell(&web, "printf d >log/supervise/control").says("", 0);
    web.log().eventually_down();
    shell(&web, "printf x >supervise/control").says("", 0);
    assert_eq!(web.runsv.finished().code(), Some(0));
}

/// RSV-26, LAY-7: an open that may block waits until a runsv comes.
fn a_shell_that_waits_for_a_runsv_is_heard(suite: &Suite) {
    let web = left(suite);
    let waits = ["-c", "printf d >supervise/control"];
    let shell = web.tree().command("sh").args(waits).dir(web.dir()).start();
    nothing_happens_for(Duration::from_millis(300), "it waits", || shell.is_alive());
    let anew = (*web).clone().supervised();
    shell.finished().says("", 0);
    anew.eventually_exactly("down", 0, [0, b'd', 0, DOWN]);
}

/// LAY-13: of both FIFOs; and they are open again with the next runsv.
fn a_writer_that_does_not_wait_learns_that_there_is_no_reader(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).log("exec cat").running();
    let write = "dd of=$0 oflag=nonblock conv=notrunc,nocreat status=none </dev/null";
    let fifos = ["supervise/control", "supervise/ok", "log/supervise/control", "log/supervise/ok"];
    let told = || {
        fifos.map(|fifo| {
            let output = web.tree().command("sh").args(["-c", write, fifo]).dir(web.dir()).output();
            (output.stderr.clone(), output.code())
        })
    };
    let listens = fifos.map(|_| (String::new(), Some(0)));
    let refused = |fifo| (format!("dd: failed to open '{fifo}': {}\n", Errno::ENXIO.desc()), Some(1));
    assert_eq!(told(), listens);
    web.control("x");
    web.runsv.finished();
    assert_eq!(told(), fifos.map(refused));
    let anew = (*web).clone().supervised();
    anew.eventually_runs();
    assert_eq!(told(), listens);
}
