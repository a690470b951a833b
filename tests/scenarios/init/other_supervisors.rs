//! What other supervisors have, or have left: an init that was killed, a runsvdir that is a service, a runsv.

use nix::sys::signal::Signal;
use tests::process::is_alive;
use tests::{Output, StartedProgram, Suite, TestTree};

use crate::init::stop::{PATIENT, begun, patient, said, saves_for, stopped_in_order};

#[track_caller]
fn ended(init: &StartedProgram) -> Output {
    init.signal(Signal::SIGTERM);
    let end = init.finished();
    assert_eq!(end.code(), Some(0), "{}", end.stderr);
    end
}

/// An init that is not process 1 is killed; returns its service's process, and the next init.
#[track_caller]
fn after_a_killed_init(tree: &TestTree) -> (u32, StartedProgram) {
    let saver = tree.at("saver");
    let init = patient(tree, &[]).start();
    saver.eventually_has("ready");
    // The record is what the next init goes by.
    let old = saver.eventually_runs().pid;
    init.signal(Signal::SIGKILL);
    init.finished();
    assert!(is_alive(old));
    (old, patient(tree, &[]).start())
}

/// With `process-group` it is certain what is left, and no second copy is started beside it.
#[test]
fn what_a_killed_init_has_left_is_ended_first_if_it_has_a_group() {
    let tree = Suite::ours().tree();
    let saver = tree.service("saver").run(&saves_for("0")).file("process-group", "").made();
    let (old, init) = after_a_killed_init(&tree);
    saver.eventually_lines("ready", 2);
    init.eventually_says(&format!(
        "runsv saver: warning: an earlier ./run still runs (pid {old}), and is ended first\n"
    ));
    assert_eq!(saver.read("saved"), "saved\n", "the first one was told to end");
    saver.eventually_gone(old);
    ended(&init);
    assert_eq!(saver.read("saved"), "saved\nsaved\n");
}

/// Without `process-group` a second copy is started, as in runit, but not in silence. What is no child of init
/// gets no signal from it.
#[test]
fn what_a_killed_init_has_left_is_said() {
    let tree = Suite::ours().tree();
    let saver = tree.service("saver").run(&saves_for("0")).made();
    let (old, init) = after_a_killed_init(&tree);
    saver.eventually_lines("ready", 2);
    init.eventually_says(&format!(
        "runsv saver: warning: an earlier ./run still runs (pid {old}), unsupervised\n"
    ));
    ended(&init);
    assert_eq!(saver.read("saved"), "saved\n");
    assert!(is_alive(old));
}

/// runsvdir leaves at once, on HUP after it has told its services to stop; on TERM they are told by init.
#[test]
fn a_runsvdir_that_is_a_service_is_stopped_with_its_services() {
    for signal in ["HUP", "TERM"] {
        let tree = Suite::ours().tree();
        let outer = tree.service("outer").run("exec runsvdir -P inner").file("down-signal", signal);
        let outer = ["one", "two"]
            .into_iter()
            .fold(outer, |outer, name| outer.script(&format!("inner/{name}/run"), &saves_for("1")));
        let outer = outer.made();
        let container = begun(&tree, PATIENT);
        outer.eventually_has("inner/one/ready");
        outer.eventually_has("inner/two/ready");
        let end = stopped_in_order(&container);
        for name in ["one", "two"] {
            let saved = outer.read(&format!("inner/{name}/saved"));
            assert_eq!(saved, "saved\n", "{signal}: {}", end.stderr);
        }
    }
}

#[test]
fn a_service_of_a_runsv_is_not_stopped_and_that_is_said() {
    let tree = Suite::ours().tree();
    let theirs = tree.service("theirs").run(&saves_for("0")).running();
    let ours = tree.service("ours").run(&saves_for("0")).made();
    theirs.eventually_has("ready");
    let pid = theirs.status().pid;
    let init = patient(&tree, &[]).start();
    ours.eventually_has("ready");
    init.eventually_says("init: theirs: another process supervises it: init leaves it alone\n");
    let end = ended(&init);
    said(&end, "init: 1 service stopped in ");
    said(&end, ", none killed; not stopped, since another process supervises it: theirs; exit 0\n");
    assert_eq!((theirs.eventually_runs().pid, theirs.has("stopping")), (pid, false));
}

/// What needs it does not wait for it, in either direction.
#[test]
fn a_service_of_a_runsv_is_not_waited_for() {
    let tree = Suite::ours().tree();
    let theirs = tree.service("theirs").run("exec sleep 1000").check("exit 1").running();
    let ours = tree.service("ours").run(&saves_for("0")).file("dependencies.d/theirs", "").made();
    let init = patient(&tree, &[]).start();
    ours.eventually_has("ready");
    let end = ended(&init);
    said(&end, "init: warning: ours depends on theirs, which has another supervisor; ignored\n");
    theirs.eventually_runs();
}
