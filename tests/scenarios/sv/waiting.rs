//! What sv waits for, and what it says in the end.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;
use tests::process::is_alive;
use tests::{RawStatus, Service, Suite, all_suites, eventually};

use crate::IGNORES_TERM;

all_suites! {
    start_waits_until_it_runs,
    start_waits_for_the_check,
    start_waits_for_finish,
    stop_waits_until_it_is_down,
    stop_waits_for_finish,
    restart_waits_for_another_process,
    restart_starts_what_is_down,
    restart_continues_what_is_paused,
    try_restart_leaves_down_what_is_down,
    try_restart_restarts_what_runs,
    reload_and_other_signals_are_not_waited_for,
    once_is_waited_for_with_v,
    pause_and_cont_are_waited_for_with_v,
    term_and_kill_are_waited_for_with_v,
    shutdown_waits_until_runsv_is_gone,
    exit_waits_until_runsv_is_gone_with_v,
    exit_without_v_does_not_wait,
    check_asks_the_script,
    a_check_is_called_by_its_bare_name_in_its_directory,
    check_is_content_with_what_is_down,
    check_times_out_when_the_script_fails,
    a_stop_that_takes_too_long_is_a_timeout,
    a_start_that_takes_too_long_is_a_timeout,
    a_finish_that_takes_too_long_is_a_timeout,
    a_shutdown_that_takes_too_long_is_a_timeout,
    a_forced_stop_kills_in_the_end,
    a_forced_restart_kills_in_the_end,
    a_forced_reload_kills_in_the_end,
    a_forced_shutdown_kills_in_the_end,
    a_forced_stop_of_a_service_that_obeys_does_not_kill,
    the_limit_is_seven_seconds,
    svwait_sets_the_limit_only,
    w_beats_svwait,
    services_are_told_in_the_order_they_are_done,
    a_failure_does_not_keep_the_others_from_being_waited_for,
    a_check_that_cannot_be_looked_at_does_not_pass,
    the_check_is_asked_again_and_again,
    up_with_v_on_a_running_service_is_ok_at_once,
    the_stamp_of_another_time_delays_nothing;
    not_hosted "a killed runsv":
    a_runsv_that_vanishes_is_a_failure,
}

const SLEEPS: &str = "exec sleep 1000";

/// TST-3: sv compares whole seconds, and a young service rests before it starts again.
#[track_caller]
fn older_than_a_second(service: &Service) -> u32 {
    let status = service.eventually_runs();
    two_seconds_ago(status);
    status.pid
}

/// Waits until the last change is so old that sv sees any other as younger.
#[track_caller]
fn two_seconds_ago(status: RawStatus) {
    eventually("the last change is two seconds old", || {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() >= status.unix_seconds() + 2
    });
}

/// SV-34, SV-35.
pub fn start_waits_until_it_runs(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).control('u', "sleep .5").down().supervised();
    web.sv("start").says("ok: run: web: (pid N) Ns, normally down\n", 0);
    assert_eq!(web.stat(), "run");
}

/// SV-35, SV-44.
pub fn start_waits_for_the_check(suite: &Suite) {
    let run = "sleep .5; echo >ready; exec sleep 1000";
    let web = suite.service("web").run(run).check("test -e ready").down().supervised();
    web.sv("start").says("ok: run: web: (pid N) Ns, normally down\n", 0);
    assert!(web.has("ready"));
}

/// SV-36.
pub fn start_waits_for_finish(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).finish("sleep .5").running();
    older_than_a_second(&web);
    web.control("d");
    web.eventually_finishes();
    web.sv("start").says("ok: run: web: (pid N) Ns\n", 0);
}

/// SV-35, 6.8.
pub fn stop_waits_until_it_is_down(suite: &Suite) {
    let run = "trap 'sleep .3; exit' TERM; echo >ready; sleep 1000 & wait";
    let web = suite.service("web").run(run).running();
    web.eventually_has("ready");
    let pid = web.status().pid;
    web.sv("stop").says("ok: down: web: Ns, normally up\n", 0);
    assert!(!is_alive(pid));
    web.sv("stop").says("ok: down: web: Ns, normally up\n", 0);
}

/// SV-35.
pub fn stop_waits_for_finish(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).finish("sleep .3; echo >finished").running();
    web.sv("-v down").says("ok: down: web: Ns, normally up\n", 0);
    assert!(web.has("finished"));
}

/// SV-35, 6.8.
pub fn restart_waits_for_another_process(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).running();
    let old = older_than_a_second(&web);
    web.sv("restart").says("ok: run: web: (pid N) Ns\n", 0);
    assert_ne!(web.status().pid, old);
    assert!(!is_alive(old));
}

/// SV-4: `tcu`.
pub fn restart_starts_what_is_down(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).down().supervised();
    web.sv("restart").says("ok: run: web: (pid N) Ns, normally down\n", 0);
}

/// SV-4: `tcu`.
pub fn restart_continues_what_is_paused(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).running();
    let old = older_than_a_second(&web);
    web.sv("-v pause").says("ok: run: web: (pid N) Ns, paused\n", 0);
    web.sv("restart").says("ok: run: web: (pid N) Ns\n", 0);
    assert_ne!(web.status().pid, old);
}

/// SV-36, 6.8.
pub fn try_restart_leaves_down_what_is_down(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).down().supervised();
    web.sv("try-restart").says("ok: down: web: Ns\n", 0);
    assert_eq!(web.stat(), "down");
}

/// SV-35.
pub fn try_restart_restarts_what_runs(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).running();
    let old = older_than_a_second(&web);
    web.sv("try-restart").says("ok: run: web: (pid N) Ns\n", 0);
    assert_ne!(web.status().pid, old);
}

/// SV-4, SV-35, 6.8.
pub fn reload_and_other_signals_are_not_waited_for(suite: &Suite) {
    let run = "for s in HUP ALRM INT QUIT USR1 USR2; do trap \"echo $s >>got\" $s; done
        echo >ready; sleep 1000 & while :; do wait; done";
    let web = suite.service("web").run(run).check("exit 1").running();
    web.eventually_has("ready");
    let mut got = String::new();
    let words = [
        ("reload", "HUP"),
        ("-v hup", "HUP"),
        ("-v alarm", "ALRM"),
        ("-v interrupt", "INT"),
        ("-v quit", "QUIT"),
        ("-v 1", "USR1"),
        ("-w 5 2", "USR2"),
    ];
    for (word, signal) in words {
        web.sv(word).says("ok: run: web: (pid N) Ns\n", 0);
        got = got + signal + "\n";
        web.eventually_reads("got", &got);
    }
}

/// SV-35, 6.8.
pub fn once_is_waited_for_with_v(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).down().supervised();
    two_seconds_ago(web.status());
    web.sv("-v once").says("ok: run: web: (pid N) Ns, normally down, want down\n", 0);
}

/// SV-35, 6.8.
pub fn pause_and_cont_are_waited_for_with_v(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).running();
    web.sv("-v pause").says("ok: run: web: (pid N) Ns, paused\n", 0);
    web.sv("-v cont").says("ok: run: web: (pid N) Ns\n", 0);
}

/// SV-35.
pub fn term_and_kill_are_waited_for_with_v(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).running();
    for word in ["-v term", "-v kill"] {
        let old = older_than_a_second(&web);
        web.sv(word).says("ok: run: web: (pid N) Ns\n", 0);
        assert_ne!(web.status().pid, old);
    }
}

/// SV-35, 6.8.
pub fn shutdown_waits_until_runsv_is_gone(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).finish("sleep .3; echo >finished").running();
    web.sv("shutdown").says("ok: web: runsv not running\n", 0);
    assert!(web.has("finished"));
    assert_eq!(web.runsv.finished().code(), Some(0));
}

/// SV-4, SV-35.
pub fn exit_waits_until_runsv_is_gone_with_v(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).log("cat >/dev/null; echo >ended").running();
    web.log().eventually_runs();
    web.sv("-v exit").says("ok: web: runsv not running\n", 0);
    assert!(web.has("log/ended"));
}

/// SV-32.
pub fn exit_without_v_does_not_wait(suite: &Suite) {
    let web = suite.service("web").run(IGNORES_TERM).running();
    web.eventually_has("ready");
    web.sv("exit").says("", 0);
    web.eventually_stat("run, got TERM, want exit");
}

/// SV-4, SV-35.
pub fn check_asks_the_script(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).check("echo >asked").running();
    web.sv("check").says("ok: run: web: (pid N) Ns\n", 0);
    assert!(web.has("asked"));
}

/// SV-44: without `./`, and without arguments.
pub fn a_check_is_called_by_its_bare_name_in_its_directory(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).check("echo $0 $# >asked").running();
    web.sv("check").says("ok: run: web: (pid N) Ns\n", 0);
    assert_eq!(web.read("asked"), "check 0\n");
}

/// SV-36, QRK-8.
pub fn check_is_content_with_what_is_down(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).check("exit 1").down().supervised();
    web.sv("check").says("ok: down: web: Ns\n", 0);
}

/// With a limit of three seconds: a busy machine gets in them as far as the text says.
#[track_caller]
fn times_out(service: &Service, words: &str, text: &str) {
    let output = service.sv(words);
    output.says(text, 1);
    assert!(output.took >= Duration::from_secs(3), "too soon: {:?}", output.took);
}

/// SV-35, SV-37.
pub fn check_times_out_when_the_script_fails(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).check("exit 1").running();
    times_out(&web, "-w 3 check", "timeout: run: web: (pid N) Ns\n");
}

/// SV-37, 6.8.
pub fn a_stop_that_takes_too_long_is_a_timeout(suite: &Suite) {
    let web = suite.service("web").run(IGNORES_TERM).running();
    web.eventually_has("ready");
    times_out(&web, "-w 3 stop", "timeout: run: web: (pid N) Ns, want down, got TERM\n");
    times_out(&web, "-w 3 down", "timeout: run: web: (pid N) Ns, want down, got TERM\n");
    assert_eq!(web.stat(), "run, got TERM, want down");
}

/// SV-37.
pub fn a_start_that_takes_too_long_is_a_timeout(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).check("exit 1").down().supervised();
    times_out(&web, "-w 3 start", "timeout: run: web: (pid N) Ns, normally down\n");
}

/// SV-37, 6.8.
pub fn a_finish_that_takes_too_long_is_a_timeout(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).finish("exec sleep 1000").running();
    times_out(&web, "-w 3 stop", "timeout: finish: web: (pid N) Ns, want down\n");
}

/// SV-37.
pub fn a_shutdown_that_takes_too_long_is_a_timeout(suite: &Suite) {
    let web = suite.service("web").run(IGNORES_TERM).running();
    web.eventually_has("ready");
    times_out(&web, "-w 3 shutdown", "timeout: run: web: (pid N) Ns, want down, got TERM\n");
    assert!(web.is_supervised());
}

/// SV-37, QRK-8.
pub fn a_forced_stop_kills_in_the_end(suite: &Suite) {
    let web = suite.service("web").run(IGNORES_TERM).finish("echo $* >told").running();
    web.eventually_has("ready");
    times_out(&web, "-w 3 force-stop", "kill: run: web: (pid N) Ns, want down, got TERM\n");
    web.eventually_stat("down");
    web.eventually_reads("told", "-1 9\n");
}

/// SV-37, 6.8.
pub fn a_forced_restart_kills_in_the_end(suite: &Suite) {
    let web = suite.service("web").run(IGNORES_TERM).running();
    web.eventually_has("ready");
    let old = older_than_a_second(&web);
    times_out(&web, "-w 3 force-restart", "kill: run: web: (pid N) Ns, got TERM\n");
    web.eventually_runs_anew(old);
    web.eventually_gone(old);
}

/// SV-37.
pub fn a_forced_reload_kills_in_the_end(suite: &Suite) {
    let web = suite.service("web").run(IGNORES_TERM).running();
    web.eventually_has("ready");
    let old = older_than_a_second(&web);
    times_out(&web, "-w 3 force-reload", "kill: run: web: (pid N) Ns, got TERM\n");
    web.eventually_runs_anew(old);
}

/// SV-37, QRK-4.
pub fn a_forced_shutdown_kills_in_the_end(suite: &Suite) {
    let web = suite.service("web").run(IGNORES_TERM).running();
    web.eventually_has("ready");
    times_out(&web, "-w 3 force-shutdown", "kill: run: web: (pid N) Ns, want down, got TERM\n");
    assert_eq!(web.runsv.finished().code(), Some(0));
}

/// SV-37.
pub fn a_forced_stop_of_a_service_that_obeys_does_not_kill(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).finish("echo $* >told").running();
    web.sv("force-stop").says("ok: down: web: Ns, normally up\n", 0);
    assert_eq!(web.read("told"), "-1 15\n");
}

/// SV-2, SV-34.
pub fn the_limit_is_seven_seconds(suite: &Suite) {
    let web = suite.service("web").run(IGNORES_TERM).running();
    web.eventually_has("ready");
    let output = web.tree().command("sv").args(["stop", "web"]).without_env("SVWAIT").output();
    output.says("timeout: run: web: (pid N) Ns, want down, got TERM\n", 1);
    assert!(output.took >= Duration::from_secs(7), "too soon: {:?}", output.took);
}

/// SV-2: it does not make sv wait.
pub fn svwait_sets_the_limit_only(suite: &Suite) {
    let web = suite.service("web").run(IGNORES_TERM).running();
    web.eventually_has("ready");
    let sv = |word: &str| web.tree().command("sv").args([word, "web"]).env("SVWAIT", "9").output();
    sv("down").says("", 0);
    let output = sv("stop");
    output.says("timeout: run: web: (pid N) Ns, want down, got TERM\n", 1);
    // More than the limit that there is without.
    assert!(output.took >= Duration::from_secs(9), "too soon: {:?}", output.took);
}

/// SV-2.
pub fn w_beats_svwait(suite: &Suite) {
    let web = suite.service("web").run(IGNORES_TERM).running();
    web.eventually_has("ready");
    let sv = |wait: &str, word: &str| {
        let output = web.tree().command("sv").args(["-w", wait, word, "web"]).env("SVWAIT", "2").output();
        output.says("timeout: run: web: (pid N) Ns, want down, got TERM\n", 1);
        output.took
    };
    assert!(sv("4", "down") >= Duration::from_secs(4));
    assert!(sv("1", "down") >= Duration::from_secs(1));
}

/// SV-33, SV-34.
pub fn services_are_told_in_the_order_they_are_done(suite: &Suite) {
    let tree = suite.tree();
    let services = [("slow", "sleep 2"), ("quick", ":"), ("slower", "sleep 4")];
    let services = services.map(|(name, finish)| tree.service(name).run(SLEEPS).finish(finish).running());
    let text = "ok: down: quick: Ns, normally up\nok: down: slow: Ns, normally up\nok: down: slower: Ns, normally up\n";
    tree.sv("stop slow quick slower").says(text, 0);
    drop(services);
}

/// 6.8.
pub fn a_failure_does_not_keep_the_others_from_being_waited_for(suite: &Suite) {
    let tree = suite.tree();
    let a = tree.service("a").run(SLEEPS).running();
    let b = tree.service("b").run(IGNORES_TERM).running();
    let d = tree.service("d").run(SLEEPS).running();
    b.eventually_has("ready");
    d.control("x");
    d.runsv.finished();
    older_than_a_second(&a);
    older_than_a_second(&b);
    let text = "fail: nope: unable to change to service directory: file does not exist
fail: ./d: runsv not running
ok: run: a: (pid N) Ns
timeout: run: b: (pid N) Ns, got TERM
";
    tree.sv("-w 5 restart b nope a ./d").says(text, 3);
}

/// SV-38.
pub fn a_runsv_that_vanishes_is_a_failure(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).check("echo >>asked; exit 1").running();
    let sv = web.tree().command("sv").args(["-w", "20", "check", "web"]).start();
    web.eventually_has("asked");
    web.runsv.signal(Signal::SIGKILL);
    sv.finished().says("fail: web: runsv not running\n", 1);
}

/// SV-44.
pub fn the_check_is_called_in_its_directory_without_output(suite: &Suite) {
    let check = "test ! -e /proc/$$/fd/1 || echo >open; echo \"$0 $#\" >called; pwd -P >here; echo aside >&2";
    let web = suite.service("web").run(SLEEPS).check(check).running();
    let output = web.sv("check");
    assert_eq!((output.normal().as_str(), output.code()), ("ok: run: web: (pid N) Ns\n", Some(0)));
    assert!(output.stderr.contains("aside\n"), "{output:?}");
    assert_eq!(web.read("called"), "check 0\n");
    assert_eq!(web.read("here"), format!("{}\n", web.dir().display()));
    assert!(!web.has("open"));
}

/// SV-45, 6.8.
pub fn a_check_that_cannot_be_executed_passes(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).file("check", "").running();
    let text = "ok: run: web: (pid N) Ns\n";
    web.sv("check").is(text, "warning: unable to run web/check: access denied\n", 0);
    web.remove("check");
    web.write_script("check", "#!/nonexistent/sh\n");
    web.sv("start").is(text, "warning: unable to run web/check: file does not exist\n", 0);
}

/// SV-45, SV-50.
pub fn a_check_that_cannot_be_looked_at_does_not_pass(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).link("check", "check").running();
    let output = web.sv("-w 1 check");
    assert_eq!((output.normal().as_str(), output.code()), ("timeout: run: web: (pid N) Ns\n", Some(1)));
    assert!(output.stderr.starts_with("warning: unable to stat web/check: symbolic link loop\n"));
}

/// SV-34.
pub fn the_check_is_asked_again_and_again(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).check("echo >>asked; test $(wc -l <asked) -ge 4").running();
    web.sv("check").says("ok: run: web: (pid N) Ns\n", 0);
    assert_eq!(web.lines("asked").len(), 4);
}

/// 6.8.
pub fn up_with_v_on_a_running_service_is_ok_at_once(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).running();
    let before = web.record();
    web.sv("-v up").says("ok: run: web: (pid N) Ns\n", 0);
    assert_eq!(web.record(), before);
}

/// SV-35: a clock that was set gives a process the stamp of a time to come, or of one long ago.
fn the_stamp_of_another_time_delays_nothing(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).running();
    let good = web.record();
    for seconds in [0, 1 << 62, (1 << 62) + 10, web.status().seconds + 1_000_000, u64::MAX] {
        let mut record = good.clone();
        record[..8].copy_from_slice(&seconds.to_be_bytes());
        fs_err::write(web.path("supervise/status"), &record).unwrap();
        for word in ["check", "start", "-v up"] {
            let output = web.sv(word);
            assert!(output.stdout.starts_with("ok: run: web: (pid "), "{seconds}: {output:?}");
            assert_eq!(output.code(), Some(0), "{seconds}: {output:?}");
        }
    }
}
