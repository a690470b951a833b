//! The file `process-group`: a group counts while a member of it lives (B16).

use nix::sys::signal::Signal;
use tests::process::Process;
use tests::{Builder, Service, Suite, Supervised, eventually_some};

fn grouped() -> Builder {
    Suite::ours().service("web").file("process-group", "")
}

/// A number that the service has written.
fn number(web: &Service, file: &str) -> u32 {
    eventually_some(file, || web.lines(file).first()?.parse().ok())
}

/// Lets a script write its number at once.
fn writes_its_number(file: &str) -> String {
    format!("echo $$ >{file}.new; mv {file}.new {file}")
}

/// A service in whose group there is, beside its `./run`, a zombie: its parent has left the group, and
/// never reaps.
fn with_a_zombie() -> (Supervised, u32) {
    let member = format!("sh -c '{}; until test -e go; do sleep .02; done'", writes_its_number("member"));
    let web = grouped().run(&format!("({member} & exec setsid sleep 1000) & exec sleep 1000")).running();
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

#[test]
fn b16_a_zombie_does_not_keep_a_service_from_going_down() {
    for bytes in ["d", "dk"] {
        let (web, parent) = with_a_zombie();
        web.control(bytes);
        web.eventually_down();
        web.eventually_gone(parent);
    }
}

#[test]
fn b16_a_zombie_does_not_keep_runsv_from_leaving() {
    let (web, _) = with_a_zombie();
    web.control("x");
    assert_eq!(web.runsv.finished().code(), Some(0));
    let (web, _) = with_a_zombie();
    web.runsv.signal(Signal::SIGTERM);
    assert_eq!(web.runsv.finished().code(), Some(0));
}

#[test]
fn b16_a_zombie_does_not_keep_a_service_from_being_started_again() {
    for byte in ["t", "k"] {
        let (web, parent) = with_a_zombie();
        let old = web.status().pid;
        web.control(byte);
        web.eventually_runs_anew(old);
        web.eventually_gone(parent);
    }
}
