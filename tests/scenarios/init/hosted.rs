//! How a service that init supervises differs from one with a runsv of its own; and what no service can show
//! that has one.

use std::time::Duration;

use fs_err as fs;
use nix::fcntl::{Flock, FlockArg};
use tests::process::Process;
use tests::{Service, Suite, eventually, nothing_happens_for, on_suites};

use crate::property::random_walk::whatever_happens_to_the_program_the_invariants_hold;
use crate::runsv::deaths::a_process_that_cannot_be_had_is_said;
use crate::runsvdir::scanning::{eventually_up, watched};

on_suites! {
    hosted:
    a_process_that_cannot_be_had_is_said,
    whatever_happens_to_the_program_the_invariants_hold,
    after_x_a_service_is_taken_up_again,
    there_is_no_process_but_init_and_its_services,
    each_process_of_a_service_is_a_child_of_init_and_leads_a_session,
    a_service_of_another_supervisor_is_named_once_and_taken_over,
}

const SLEEPS: &str = "exec sleep 1000";

/// As under runsvdir with a new runsv: for a second `supervise/ok` has no reader, and the lock is free.
fn after_x_a_service_is_taken_up_again(suite: &Suite) {
    let tree = suite.tree();
    let [web, other] = ["web", "other"].map(|name| tree.service(name).run(SLEEPS).log("exec cat").made());
    let init = watched(&tree, &[]);
    let [old, of_other] = [&web, &other].map(eventually_up);
    for byte in ["x", "xk"] {
        let old = web.status().pid;
        web.control(byte);
        web.eventually("it is let go", |web| !web.is_supervised());
        for lock in ["supervise/lock", "log/supervise/lock"] {
            let file = fs::File::open(web.path(lock)).expect("a lock");
            Flock::lock(std::fs::File::from(file), FlockArg::LockExclusiveNonblock).expect("it is free");
        }
        assert_eq!(web.status().pid, 0);
        web.eventually_gone(old);
        web.eventually("it is taken up again", Service::is_supervised);
        web.eventually_runs_anew(old);
        web.log().eventually_runs();
    }
    assert!(init.is_alive() && old != web.status().pid && of_other == other.status().pid);
}

fn there_is_no_process_but_init_and_its_services(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).log(SLEEPS).running();
    let log = web.log().eventually_runs().pid;
    let mut wanted = [web.runsv.pid(), web.status().pid, log];
    wanted.sort_unstable();
    let processes = || {
        let mut pids: Vec<u32> = web.tree().processes().iter().map(|process| process.pid).collect();
        pids.sort_unstable();
        pids
    };
    eventually("just these are there", || processes() == wanted);
}

/// There is no process between init and a service, and each process leads a session of its own.
fn each_process_of_a_service_is_a_child_of_init_and_leads_a_session(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).finish(SLEEPS).log(SLEEPS);
    let web = web.control('h', "echo $$ >script.new; mv script.new script; exec sleep 1000").running();
    let is_child_and_leader = |pid: u32| {
        eventually("a child that leads its session", || {
            Process::find(pid)
                .is_some_and(|it| (it.parent, it.session, it.group) == (web.runsv.pid(), pid, pid))
        });
    };
    is_child_and_leader(web.status().pid);
    is_child_and_leader(web.log().eventually_runs().pid);
    web.control("h");
    let script = web.eventually_lines("script", 1)[0].parse().expect("a number");
    is_child_and_leader(script);
    tests::process::send(script, nix::sys::signal::Signal::SIGKILL);
    web.control("d");
    is_child_and_leader(web.eventually_finishes().pid);
}

/// What init says of itself is heard in this suite.
fn a_service_of_another_supervisor_is_named_once_and_taken_over(_: &Suite) {
    let tree = Suite::ours().tree();
    let web = tree.service("web").run(SLEEPS).running();
    let old = web.status().pid;
    let other = tree.service("other").run(SLEEPS).made();
    let init = tree.command("init").arg(tree.services()).start();
    eventually_up(&other);
    let named = || init.stderr().lines().filter(|line| line.starts_with("init: web: ")).count();
    eventually("it is named", || named() > 0);
    nothing_happens_for(Duration::from_millis(1500), "it is left alone", || {
        (named(), web.status().pid) == (1, old)
    });
    web.control("x");
    web.runsv.finished();
    let new = web.eventually_runs_anew(old).pid;
    assert_eq!(Process::find(new).expect("it runs").parent, init.pid());
}
