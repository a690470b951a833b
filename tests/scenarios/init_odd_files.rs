//! Whatever stands in the place of a file holds init up for no moment: a FIFO that nobody writes to, a
//! device without end, a link to itself.

use std::os::unix::fs::symlink;
use std::path::Path;

use fs_err as fs;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tests::process::send;
use tests::{Suite, Tree};

use crate::init::{begun, said, saves_for, stopped_in_order};

/// What a trap waits for ends long before this.
const GRACE: &str = "28";

/// Puts each odd thing in its turn in the place of a file of the service `odd`, and ends the tree.
#[track_caller]
fn nothing_odd_holds_up(place: &str, at_the_stop: impl Fn(&Tree, &tests::namespace::Namespace)) {
    let fifo = |path: &Path| mkfifo(path, Mode::S_IRWXU).expect("a FIFO");
    let endless = |path: &Path| symlink("/dev/zero", path).expect("a link");
    let knot = |path: &Path| symlink(path, path).expect("a link");
    let directory = |path: &Path| fs::create_dir(path).expect("a directory");
    for (name, put) in [
        ("a FIFO", &fifo as &dyn Fn(&Path)),
        ("no end", &endless),
        ("a knot", &knot),
        ("a directory", &directory),
    ] {
        let tree = Suite::ours().tree();
        let odd = tree.service("odd").run(&saves_for("0")).made();
        if place != "critical" {
            // So that init looks at its history.
            fs::write(odd.dir().join("critical"), "").expect("a file");
        }
        let path = odd.dir().join(place);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        put(&path);
        let container = begun(&tree, GRACE);
        odd.eventually_has("ready");
        odd.eventually_runs();
        at_the_stop(&tree, &container);
        let end = stopped_in_order(&container);
        assert_eq!(odd.read("saved"), "saved\n", "{name} in the place of {place}:\n{}", end.stderr);
        said(&end, "init: odd: stopped after ");
    }
}

#[test]
fn nothing_odd_in_the_place_of_down_signal_holds_up_an_orphan() {
    nothing_odd_holds_up("down-signal", |tree, container| {
        send(container.eventually_has("runsvdir -P").outside.pid, Signal::SIGSTOP);
        send(container.eventually_has("runsv odd").outside.pid, Signal::SIGKILL);
        tree.at("odd").eventually("has lost its runsv", |odd| !odd.is_supervised());
    });
}

#[test]
fn nothing_odd_in_the_place_of_a_timeout_holds_init_up() {
    for place in ["timeout-kill", "timeout-finish"] {
        nothing_odd_holds_up(place, |_, _| {});
    }
}

#[test]
fn nothing_odd_among_the_dependencies_holds_init_up() {
    nothing_odd_holds_up("dependencies.d/other", |_, _| {});
    nothing_odd_holds_up("dependencies.d", |_, _| {});
}

/// It marks the service all the same: only its name counts.
#[test]
fn nothing_odd_in_the_place_of_critical_holds_init_up() {
    nothing_odd_holds_up("critical", |_, _| {});
}

#[test]
fn nothing_odd_in_the_place_of_the_history_holds_init_up() {
    nothing_odd_holds_up("supervise/.history", |_, _| {});
}
