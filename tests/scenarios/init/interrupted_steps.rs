//! A stop that begins in the middle of a step: a start, a rest, a restart, a removal.
//! The service is stopped like the rest, and never started again.

use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use tests::process::{Process, send};
use tests::status::FINISH;
use tests::{Output, Service, Suite, TestTree, nothing_happens_for};

use crate::init::stop::{
    PATIENT, WAITS, begun, ended_in_order, patient, said, saves_for, saves_when_let, stopped_in_order,
};

/// Asserts that each service that had set its trap got its TERM, and has saved.
#[track_caller]
fn no_service_is_lost(services: &[Service], end: &Output) {
    let lost: Vec<&str> = services
        .iter()
        .filter(|service| service.lines("saved").len() != service.lines("ready").len())
        .map(Service::name)
        .collect();
    assert!(lost.is_empty(), "not told to stop: {lost:?}\n{}", end.stderr);
}

/// A `./run` that has saved its work at once.
fn saves_soon() -> String {
    format!("trap 'echo saved >>saved; exit 0' TERM; echo >>ready; {WAITS}")
}

fn savers(tree: &TestTree, count: usize) -> Vec<Service> {
    (0..count).map(|number| tree.service(&format!("s{number}")).run(&saves_soon()).made()).collect()
}

#[test]
fn a_stop_while_half_of_the_services_have_started_loses_none() {
    let tree = Suite::ours().tree();
    let services = savers(&tree, 50);
    let container = begun(&tree, PATIENT);
    let begin = &services[0];
    begin.eventually("half of them are ready", |_| {
        services.iter().filter(|service| service.has("ready")).count() >= 25
    });
    let end = stopped_in_order(&container);
    no_service_is_lost(&services, &end);
}

/// At moments spread over the start: before the scan, between fork and exec, before the handlers.
#[test]
fn a_stop_at_any_moment_of_the_start_loses_none() {
    for round in 0..12 {
        let tree = Suite::ours().tree();
        let services = savers(&tree, 6);
        let container = begun(&tree, PATIENT);
        thread::sleep(Duration::from_millis(round));
        let end = stopped_in_order(&container);
        no_service_is_lost(&services, &end);
    }
}

/// The kernel drops a signal for a process 1 that has no handler for it yet.
#[test]
fn a_stop_before_init_has_come_to_its_handlers_is_heard() {
    const TERM: u32 = Signal::SIGTERM as u32;
    let tree = Suite::ours().tree();
    // As on a slow disk: the last step before the handlers takes half a second.
    let slowly = ["-D", "-f", "-o", "/dev/null", "-e", "trace=epoll_create1"];
    let delay = ["-e", "inject=epoll_create1:delay_enter=500000:when=1", "init", "--grace", "4"];
    let container = tree.command("strace").args(slowly).args(delay).arg(tree.services()).start_as_process_1();
    // Before its first instruction init cannot keep the kernel from dropping a signal.
    tests::eventually("process 1 is init, and holds back or hears what it is told", || {
        let first = Process::find(container.pid()).expect("process 1");
        first.command_line().starts_with("init ")
            && ["SigBlk", "SigCgt"].iter().any(|set| first.signals(set).contains(&TERM))
    });
    container.signal(Signal::SIGTERM);
    container.eventually_says("init: TERM: stopping within 4.00 s");
    container.finished();
}

/// The shell's own TERM ends it before it has set its trap: that is no loss, but it must not be
/// started again either.
#[test]
fn a_service_that_is_just_starting_is_not_started_again() {
    let tree = Suite::ours().tree();
    let slow = tree.service("slow").run(&saves_for("2")).made();
    let container = begun(&tree, PATIENT);
    slow.eventually_has("ready");
    let new = tree.service("new").run("echo >>started; exec sleep 1000").made();
    let end = stopped_in_order(&container);
    assert!(new.lines("started").len() <= 1, "{}", end.stderr);
    assert_eq!(slow.read("saved"), "saved\n");
}

#[test]
fn a_service_that_rests_after_a_crash_is_not_started_again() {
    let tree = Suite::ours().tree();
    let crashing = tree.service("crashing").run("echo >>started; exit 1").made();
    let slow = tree.service("slow").run(&saves_for("3")).made();
    let container = begun(&tree, PATIENT);
    slow.eventually_has("ready");
    crashing.eventually_lines("started", 2);
    container.signal(Signal::SIGTERM);
    slow.eventually_has("stopping");
    container.eventually_says("init: crashing: stopped after ");
    let starts = crashing.lines("started").len();
    nothing_happens_for(Duration::from_millis(1500), "it stays down", || {
        crashing.lines("started").len() == starts
    });
    ended_in_order(&container);
}

#[test]
fn a_finish_that_runs_is_let_finish() {
    let tree = Suite::ours().tree();
    let web = tree
        .service("web")
        .run("echo >>started; exit 1")
        .finish("echo >>begun; sleep 3; echo >>finished")
        .made();
    let container = begun(&tree, PATIENT);
    web.eventually_has("begun");
    web.eventually_in(FINISH);
    stopped_in_order(&container);
    assert_eq!(web.lines("begun").len(), web.lines("finished").len());
    assert_eq!(web.lines("started").len(), web.lines("begun").len());
}

#[test]
fn finish_is_run_once_for_each_service_with_how_it_ended() {
    let tree = Suite::ours().tree();
    let web = tree.service("web").run("echo >ready; exec sleep 1000").finish("echo $* >>told").made();
    let container = begun(&tree, PATIENT);
    web.eventually_has("ready");
    web.eventually("is the program", |_| {
        container.processes().iter().any(|inmate| inmate.command_line == "sleep 1000")
    });
    stopped_in_order(&container);
    assert_eq!(web.read("told"), "-1 15\n");
}

#[test]
fn a_paused_service_is_continued_and_stopped() {
    let tree = Suite::ours().tree();
    let saver = tree.service("saver").run(&saves_for("0")).made();
    let container = begun(&tree, PATIENT);
    saver.eventually_has("ready");
    saver.sv("pause");
    saver.eventually_stat("run, paused");
    stopped_in_order(&container);
    assert_eq!(saver.read("saved"), "saved\n");
}

#[test]
fn a_service_that_another_process_has_stopped_is_continued_and_stopped() {
    let tree = Suite::ours().tree();
    let saver = tree.service("saver").run(&saves_for("0")).made();
    let container = begun(&tree, PATIENT);
    saver.eventually_has("ready");
    for inmate in container.processes() {
        if inmate.command_line.ends_with("./run") {
            send(inmate.outside.pid, Signal::SIGSTOP);
        }
    }
    stopped_in_order(&container);
    assert_eq!(saver.read("saved"), "saved\n");
}

#[test]
fn an_init_that_is_stopped_and_continued_loses_nothing() {
    let tree = Suite::ours().tree();
    let saver = tree.service("saver").run(&saves_for("0")).made();
    let container = begun(&tree, PATIENT);
    saver.eventually_has("ready");
    container.signal(Signal::SIGSTOP);
    container.signal(Signal::SIGTERM);
    container.signal(Signal::SIGCONT);
    ended_in_order(&container);
    assert_eq!(saver.read("saved"), "saved\n");
}

/// The same in the middle of the stop.
#[test]
fn an_init_that_is_stopped_during_the_stop_goes_on() {
    let tree = Suite::ours().tree();
    let saver = tree.service("saver").run(&saves_when_let()).made();
    let container = begun(&tree, "3600");
    saver.eventually_has("ready");
    container.signal(Signal::SIGTERM);
    saver.eventually_has("stopping");
    container.signal(Signal::SIGSTOP);
    saver.write("let", "");
    saver.eventually_has("saved");
    container.signal(Signal::SIGCONT);
    ended_in_order(&container);
}

/// Just before and just after the start: either it is not started at all, or it is stopped in order.
#[test]
fn a_service_added_around_the_stop_is_not_lost() {
    for round in 0..8 {
        let tree = Suite::ours().tree();
        let old = tree.service("old").run(&saves_for("1")).made();
        let container = begun(&tree, PATIENT);
        old.eventually_has("ready");
        if round % 2 == 0 {
            container.signal(Signal::SIGTERM);
        }
        let new = tree.service("new").run(&saves_soon()).made();
        thread::sleep(Duration::from_millis(round));
        if round % 2 == 1 {
            container.signal(Signal::SIGTERM);
        }
        let end = ended_in_order(&container);
        no_service_is_lost(&[old, new], &end);
    }
}

#[test]
fn a_service_added_during_the_stop_is_not_started() {
    let tree = Suite::ours().tree();
    let old = tree.service("old").run(&saves_when_let()).made();
    let container = begun(&tree, PATIENT);
    old.eventually_has("ready");
    container.signal(Signal::SIGTERM);
    old.eventually_has("stopping");
    let new = tree.service("new").run("echo >>started; exec sleep 1000").made();
    old.write("let", "");
    ended_in_order(&container);
    assert!(!new.has("started"));
}

/// `sv up`, at the wrong moment.
#[test]
fn a_service_that_a_client_starts_during_the_stop_stays_down() {
    let tree = Suite::ours().tree();
    let slow = tree.service("slow").run(&saves_when_let()).made();
    let container = begun(&tree, PATIENT);
    slow.eventually_has("ready");
    container.signal(Signal::SIGTERM);
    slow.eventually_has("stopping");
    slow.control("u");
    slow.write("let", "");
    ended_in_order(&container);
    assert_eq!(slow.lines("ready").len(), 1);
}

#[test]
fn a_service_that_is_down_stays_down_and_one_that_runs_once_is_stopped() {
    let tree = Suite::ours().tree();
    let down = tree.service("down").run("echo >>started; exec sleep 1000").down().made();
    let once = tree.service("once").run(&saves_for("0")).down().made();
    let container = begun(&tree, PATIENT);
    once.eventually("is supervised", Service::is_supervised);
    down.eventually("is supervised", Service::is_supervised);
    once.control("o");
    once.eventually_has("ready");
    let end = stopped_in_order(&container);
    assert!(!down.has("started"));
    assert_eq!(once.read("saved"), "saved\n");
    said(&end, "init: 2 services stopped in ");
}

/// Removed from the directory a moment ago: it is stopped already, and is waited for.
#[test]
fn a_service_that_was_just_removed_is_waited_for() {
    let tree = Suite::ours().tree();
    let gone = tree.service("gone").run(&saves_for("2")).made();
    let container = begun(&tree, PATIENT);
    gone.eventually_has("ready");
    let away = tree.root().join("away");
    fs_err::rename(gone.dir(), &away).expect("the service can be moved away");
    tests::eventually("it is told to stop", || away.join("stopping").exists());
    stopped_in_order(&container);
    assert_eq!(fs_err::read_to_string(away.join("saved")).unwrap_or_default(), "saved\n");
}

/// The numbers in another pid namespace's `/proc` mean other processes: such a `/proc` counts as missing.
#[test]
fn a_foreign_proc_is_not_believed() {
    let tree = Suite::ours().tree();
    let services = savers(&tree, 5);
    let logged = tree.service("logged").run("exec sleep 1000").log("exec cat >>../log.txt").made();
    let init = patient(&tree, &[]);
    let container = init.start_as_process_1_with_a_foreign_proc();
    for service in &services {
        service.eventually_has("ready");
    }
    logged.eventually_runs();
    container.signal(Signal::SIGTERM);
    let end = container.finished();
    no_service_is_lost(&services, &end);
    assert_eq!(end.code(), Some(0), "{}", end.stderr);
}

/// Its entry was renamed, and a client sends `u` under the new name.
#[test]
fn a_service_that_is_renamed_and_told_up_during_the_stop_stays_down() {
    let tree = Suite::ours().tree();
    let old = tree.service("old").run(&saves_when_let()).made();
    let container = begun(&tree, PATIENT);
    old.eventually_has("ready");
    container.signal(Signal::SIGTERM);
    old.eventually_has("stopping");
    let new = tree.at("new");
    fs_err::rename(old.dir(), new.dir()).expect("it can be renamed");
    new.control("u");
    new.write("let", "");
    ended_in_order(&container);
    assert_eq!(new.lines("ready").len(), 1);
}

/// A message says how a service ended if that was not in order.
#[test]
fn the_line_of_a_service_says_what_was_not_in_order() {
    let tree = Suite::ours().tree();
    let ends = |how: &str| format!("trap '{how}' TERM\necho >ready\n{WAITS}");
    let good = tree.service("good").run("echo >ready; exec sleep 1000").made();
    let code = tree.service("code").run(&ends("exit 3")).made();
    let crash = tree.service("crash").run(&ends("kill -SEGV $$")).made();
    let finish = tree.service("finish").run("echo >ready; exec sleep 1000").finish("exit 4").made();
    let own = tree.service("own").run(&ends("trap - INT; kill -INT $$")).file("down-signal", "INT").made();
    let container = begun(&tree, PATIENT);
    for service in [&good, &code, &crash, &finish, &own] {
        service.eventually_has("ready");
    }
    let end = stopped_in_order(&container);
    let line = |name: &str| {
        let start = format!("init: {name}: stopped after ");
        let line = end.stderr.lines().find_map(|line| line.strip_prefix(&start));
        line.and_then(|line| line.split_once(" s")).map(|(_, rest)| rest.to_owned())
    };
    assert_eq!(line("good").as_deref(), Some(""), "{}", end.stderr);
    assert_eq!(line("code").as_deref(), Some(", ./run ended with exit 3"), "{}", end.stderr);
    assert!(
        line("crash").is_some_and(|rest| rest.starts_with(", ./run ended with SIGSEGV")),
        "{}",
        end.stderr
    );
    assert_eq!(line("finish").as_deref(), Some(", ./finish ended with exit 4"), "{}", end.stderr);
    assert_eq!(line("own").as_deref(), Some(""), "{}", end.stderr);
}

/// Its own `timeout-kill` was shorter than init's share: it counts as killed all the same.
#[test]
fn a_service_that_its_own_supervisor_has_to_kill_counts_as_killed() {
    let tree = Suite::ours().tree();
    let deaf = tree.service("deaf").run(crate::IGNORES_TERM).file("timeout-kill", "200").made();
    let container = begun(&tree, PATIENT);
    deaf.eventually_has("ready");
    container.signal(Signal::SIGTERM);
    let end = container.finished();
    assert_eq!(end.code(), Some(99), "{}", end.stderr);
    said(&end, "init: deaf: killed by its supervisor after ");
    said(&end, ", ./run ended with SIGKILL\n");
    said(&end, ", 1 killed: deaf; exit 99\n");
}

/// Exit code 99 has its reason in the summary.
#[test]
fn a_killed_leftover_is_named_as_the_reason_for_exit_code_99() {
    let tree = Suite::ours().tree();
    let body = "setsid sh -c \"trap '' TERM; echo >ready; exec sleep 1000\" & exec sleep 1000";
    let parent = tree.service("parent").run(body).made();
    let container = begun(&tree, "10");
    parent.eventually_has("ready");
    container.signal(Signal::SIGTERM);
    let end = container.finished();
    assert_eq!(end.code(), Some(99), "{}", end.stderr);
    said(&end, ", no service killed, but others were; exit 99\n");
}
