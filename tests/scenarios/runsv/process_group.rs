//! The file `process-group`: a group counts while a member of it lives (B16), and what a killed runsv has
//! left of it is ended by the next one (QRK-14).

use std::io::Write;

use fs_err as fs;
use nix::sys::signal::Signal;
use nix::unistd::{Uid, chown, geteuid};
use tests::process::{Process, is_alive, send};
use tests::tree::set_mode;
use tests::{Builder, Service, Suite, Supervised, eventually_some, our_suites};

our_suites! {
    b16_a_zombie_does_not_keep_runsv_from_leaving,
    add_10_the_session_is_recorded_while_it_lives;
    not_hosted "which service has left a process in a session of its own is not known there":
    b16_a_zombie_does_not_keep_a_service_from_going_down,
    b16_a_zombie_does_not_keep_a_service_from_being_started_again;
    not_hosted "a killed runsv":
    qrk_14_what_works_elsewhere_is_ended_first,
    qrk_14_what_has_lost_its_leader_is_ended_first,
    qrk_14_what_was_about_to_end_is_ended_first,
    qrk_14_what_is_no_group_any_more_is_left_alone,
    qrk_14_a_record_that_others_can_write_ends_no_process,
    qrk_14_a_status_that_names_a_process_ends_none,
    add_10_the_session_is_recorded_again,
}

fn grouped(suite: &Suite) -> Builder {
    suite.service("web").file("process-group", "")
}

/// A number that the service has written.
fn number(web: &Service, file: &str) -> u32 {
    eventually_some(file, || web.lines(file).first()?.parse().ok())
}

/// Lets a script write its number at once.
fn writes_its_number(file: &str) -> String {
    format!("echo $$ >{file}.new; mv {file}.new {file}")
}

/// A service with a zombie in its group, beside `./run`: the zombie's parent has left the group, and never
/// reaps.
fn with_a_zombie(suite: &Suite) -> (Supervised, u32) {
    let member = format!("sh -c '{}; until test -e go; do sleep .02; done'", writes_its_number("member"));
    let web = grouped(suite).run(&format!("({member} & exec setsid sleep 1000) & exec sleep 1000")).running();
    let member = number(&web, "member");
    let find = || Process::find(member).expect("it is never reaped");
    let parent = find().parent;
    web.eventually("its parent has left the group", |_| {
        Process::find(parent).is_some_and(|it| it.session == parent && it.command_line() == "sleep 1000")
    });
    web.write("go", "");
    web.eventually("it is a zombie", |_| !find().is_alive());
    assert_eq!(find().group, web.status().pid);
    (web, parent)
}

fn b16_a_zombie_does_not_keep_a_service_from_going_down(suite: &Suite) {
    for bytes in ["d", "dk"] {
        let (web, parent) = with_a_zombie(suite);
        web.control(bytes);
        web.eventually_down();
        web.eventually_gone(parent);
    }
}

fn b16_a_zombie_does_not_keep_runsv_from_leaving(suite: &Suite) {
    let (web, _) = with_a_zombie(suite);
    web.control("x");
    assert_eq!(web.runsv.finished().code(), Some(0));
    let (web, _) = with_a_zombie(suite);
    web.runsv.told_to_exit();
    assert_eq!(web.runsv.finished().code(), Some(0));
}

fn b16_a_zombie_does_not_keep_a_service_from_being_started_again(suite: &Suite) {
    for byte in ["t", "k"] {
        let (web, parent) = with_a_zombie(suite);
        let old = web.status().pid;
        web.control(byte);
        web.eventually_runs_anew(old);
        web.eventually_gone(parent);
    }
}

/// Kills the runsv of a service, and lets something happen before the next one comes.
fn with_another_runsv(web: &Supervised, meanwhile: impl FnOnce(&Service)) -> Supervised {
    web.runsv.signal(Signal::SIGKILL);
    web.runsv.finished();
    let service = web.tree().at("web");
    meanwhile(&service);
    service.supervised()
}

#[track_caller]
fn says(web: &Supervised, pid: u32, still: &str, what_becomes: &str) {
    let text = format!("runsv web: warning: an earlier ./run {still} (pid {pid}){what_becomes}\n");
    web.runsv.eventually_says(&text);
}

const ENDED: &str = ", and is ended first";
const ALONE: &str = ", unsupervised";

/// A daemon in another directory than its service's.
fn qrk_14_what_works_elsewhere_is_ended_first(suite: &Suite) {
    let web = grouped(suite).run("cd /; exec sleep 1000").running();
    let old = web.status().pid;
    let web = with_another_runsv(&web, |_| {});
    says(&web, old, "still runs", ENDED);
    web.eventually_runs_anew(old);
    assert!(!is_alive(old));
}

/// A leader with two workers, one of which has made itself a group.
fn with_workers(suite: &Suite) -> (Supervised, u32, [u32; 2]) {
    let web = grouped(suite)
        .script("worker", &format!("{}; exec sleep 1000", writes_its_number("worker.pid")))
        .script("loner", &format!("{}; exec sleep 1000", writes_its_number("loner.pid")))
        .run("./worker & /usr/bin/perl -e 'setpgrp; exec \"./loner\"' & wait; exec sleep 1000")
        .running();
    let workers = ["worker.pid", "loner.pid"].map(|file| number(&web, file));
    let leader = web.status().pid;
    (web, leader, workers)
}

fn qrk_14_what_has_lost_its_leader_is_ended_first(suite: &Suite) {
    let (web, leader, workers) = with_workers(suite);
    let groups = workers.map(|pid| Process::find(pid).expect("a worker").group);
    assert_eq!(groups, [leader, workers[1]]);
    let web = with_another_runsv(&web, |web| {
        send(leader, Signal::SIGKILL);
        // The parent of the orphans, which this leader was, may take its time to reap.
        tests::eventually("the leader is gone", || !is_alive(leader));
        web.remove("worker.pid");
    });
    let first = workers.into_iter().min().expect("two");
    if fs::metadata("/proc/self/autogroup").is_ok() || Process::find(leader).is_some() {
        says(&web, first, "still runs", ENDED);
        web.eventually_runs_anew(leader);
        assert!(!is_alive(workers[0]));
        web.eventually_gone(workers[1]);
        number(&web, "worker.pid");
    } else {
        // This kernel has no number for the session that is surely no other's.
        says(&web, first, "may still run", ALONE);
    }
}

/// A runsv that was killed while it waited for the rest of a group.
fn qrk_14_what_was_about_to_end_is_ended_first(suite: &Suite) {
    let worker = format!("trap \"\" TERM; {}; exec sleep 1000", writes_its_number("worker"));
    let web = grouped(suite)
        .run(&format!("sh -c '{worker}' & until test -e worker; do sleep .02; done"))
        .supervised();
    let worker = number(&web, "worker");
    let leader = Process::find(worker).expect("a worker").group;
    web.eventually("runsv has reaped the leader", |_| Process::find(leader).is_none());
    web.remove("worker");
    web.write("timeout-kill", "200\n");
    let web = with_another_runsv(&web, |_| {});
    if fs::metadata("/proc/self/autogroup").is_ok() {
        says(&web, worker, "still runs", ENDED);
        number(&web, "worker");
        assert!(!is_alive(worker));
    } else {
        says(&web, worker, "may still run", ALONE);
    }
}

/// Without `process-group`, by now, nothing is signalled.
fn qrk_14_what_is_no_group_any_more_is_left_alone(suite: &Suite) {
    let web = grouped(suite).run("cd /; exec sleep 1000").running();
    let old = web.status().pid;
    let web = with_another_runsv(&web, |web| web.remove("process-group"));
    says(&web, old, "still runs", ALONE);
    web.eventually_runs_anew(old);
    assert!(is_alive(old));
}

/// What another user can have written is a reason to say something, and for no signal.
fn qrk_14_a_record_that_others_can_write_ends_no_process(suite: &Suite) {
    let others: [fn(&Service); 3] = [
        |web| set_mode(&web.path("supervise"), 0o770),
        |web| set_mode(&web.path("supervise/.session"), 0o606),
        |web| {
            let file = web.path("supervise/.session");
            if geteuid().is_root() {
                chown(&file, Some(Uid::from_raw(65534)), None).expect("root may");
            } else {
                set_mode(&file, 0o660);
            }
        },
    ];
    for give in others {
        let web = grouped(suite).run("cd /; exec sleep 1000").running();
        let old = web.status().pid;
        let web = with_another_runsv(&web, give);
        says(&web, old, "still runs", ALONE);
        web.eventually_runs_anew(old);
        assert!(is_alive(old));
    }
}

/// The status of one service names the process of another one, which leads a session and works there.
fn qrk_14_a_status_that_names_a_process_ends_none(suite: &Suite) {
    let tree = suite.tree();
    let other = tree.service("other").file("process-group", "").run("cd ../web; exec sleep 1000");
    let web = tree.service("web").file("process-group", "").run("exec sleep 1000").running();
    let other = other.running();
    let victim = other.status().pid;
    web.control("d");
    web.eventually_down();
    let web = with_another_runsv(&web, |web| {
        fs::copy(other.path("supervise/status"), web.path("supervise/status")).expect("a record");
        fs::copy(other.path("supervise/.session"), web.path("supervise/.session")).expect("a record");
        tests::eventually("it works there", || {
            fs::read_link(format!("/proc/{victim}/cwd")).is_ok_and(|dir| dir == web.dir())
        });
    });
    says(&web, victim, "still runs", ALONE);
    web.eventually_runs_anew(victim);
    assert!(is_alive(victim));
    assert_eq!(other.status().pid, victim);
}

/// The record is there while the group may live, and for nothing else.
fn add_10_the_session_is_recorded_while_it_lives(suite: &Suite) {
    let web = grouped(suite).run("exec sleep 1000").running();
    web.eventually("a record", |web| web.has("supervise/.session"));
    let record = web.read("supervise/.session");
    let pid = web.status().pid.to_string();
    assert_eq!(record.split(' ').nth(4), Some(pid.as_str()), "{record}");
    web.control("d");
    web.eventually_down();
    assert!(!web.has("supervise/.session") && !web.has("supervise/.session.new"));
    let plain = suite.service("web").run("exec sleep 1000").running();
    assert!(!plain.has("supervise/.session"));
}

/// A `supervise/` that was removed is made anew, with the record.
fn add_10_the_session_is_recorded_again(suite: &Suite) {
    let web = grouped(suite).run("exec sleep 1000").running();
    web.eventually("a record", |web| web.has("supervise/.session"));
    let mut control = fs::OpenOptions::new().write(true).open(web.path("supervise/control")).expect("a fifo");
    fs::remove_dir_all(web.path("supervise")).expect("removed");
    // The next status cannot be written.
    control.write_all(b"p").expect("a runsv that reads");
    web.eventually("a record", |web| web.has("supervise/.session"));
    let old = web.status().pid;
    let web = with_another_runsv(&web, |_| {});
    says(&web, old, "still runs", ENDED);
    web.eventually_runs_anew(old);
}
