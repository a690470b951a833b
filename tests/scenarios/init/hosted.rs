//! How a service that init supervises differs from one with a runsv of its own.

use tests::process::Process;
use tests::{Service, Suite, eventually};

/// As under runsvdir with a new runsv: `supervise/ok` has no reader for a second.
#[test]
fn after_x_a_service_is_taken_up_again() {
    let web = Suite::hosted().service("web").run("echo $$ >>pids; exec sleep 1000").running();
    let old = web.status().pid;
    web.control("x");
    web.eventually("it is let go", |web| !web.is_supervised());
    web.eventually_gone(old);
    web.eventually("it is taken up again", Service::is_supervised);
    web.eventually_runs_anew(old);
    web.eventually_lines("pids", 2);
    assert!(web.runsv.is_alive());
}

/// There is no process between init and a service, and each process leads a session of its own.
#[test]
fn each_process_of_a_service_is_a_child_of_init_and_leads_a_session() {
    let body = "exec sleep 1000";
    let web = Suite::hosted().service("web").run(body).finish(body).log(body).running();
    let is_child_and_leader = |pid: u32| {
        eventually("a child that leads its session", || {
            Process::find(pid)
                .is_some_and(|it| (it.parent, it.session, it.group) == (web.runsv.pid(), pid, pid))
        });
    };
    is_child_and_leader(web.status().pid);
    is_child_and_leader(web.log().eventually_runs().pid);
    web.control("d");
    is_child_and_leader(web.eventually_finishes().pid);
}
