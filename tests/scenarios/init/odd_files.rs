//! Odd things in the place of files that init reads: a FIFO without a writer, a device without end, a link to
//! itself, a terminal. None of them delays init, and no terminal becomes init's own.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use fs_err as fs;
use nix::pty::openpty;
use nix::sys::stat::Mode;
use nix::unistd::{mkfifo, ttyname};
use tests::namespace::{Inmate, PidNamespace};
use tests::{Service, Suite, TestTree, nothing_happens_for};

use crate::init::stop::{said, saves_for, stopped_in_order, with_grace};

/// What a trap waits for ends long before this.
const GRACE: &str = "28";

/// When something is new, init looks at it long before this.
const LOOK: Duration = Duration::from_millis(50);

/// Puts each odd thing in its turn in the place of a file of the service `odd`, before it is started, and
/// ends the tree.
#[track_caller]
fn nothing_odd_holds_up(place: &str) {
    for_each_odd_thing(place, |tree, odd, put| {
        put();
        let container = begun(tree);
        odd.eventually_has("ready");
        odd.eventually_runs();
        container
    });
}

/// The same, but while the service runs.
#[track_caller]
fn nothing_odd_comes_amiss(place: &str) {
    for_each_odd_thing(place, |tree, odd, put| {
        let container = begun(tree);
        odd.eventually_has("ready");
        odd.eventually_stat("run");
        odd.remove(place);
        put();
        container
    });
}

#[track_caller]
fn for_each_odd_thing(place: &str, begin: impl Fn(&TestTree, &Service, &dyn Fn()) -> PidNamespace) {
    let terminal = openpty(None, None).expect("a terminal");
    let name_of_terminal = ttyname(&terminal.slave).expect("its name");
    let fifo = |path: &Path| mkfifo(path, Mode::S_IRWXU).expect("a FIFO");
    let endless = |path: &Path| symlink("/dev/zero", path).expect("a link");
    let terminal = |path: &Path| symlink(&name_of_terminal, path).expect("a link");
    let knot = |path: &Path| symlink(Path::new(place).file_name().expect("a name"), path).expect("a link");
    let directory = |path: &Path| fs::create_dir(path).expect("a directory");
    for (name, put) in [
        ("a FIFO", &fifo as &dyn Fn(&Path)),
        ("no end", &endless),
        ("a terminal", &terminal),
        ("a knot", &knot),
        ("a directory", &directory),
    ] {
        let tree = Suite::ours().tree();
        let odd = tree.service("odd").run(&saves_for("0")).made();
        if place != "critical" {
            // So that it has a history.
            fs::write(odd.dir().join("critical"), "").expect("a file");
        }
        let (path, aside) = (odd.dir().join(place), tree.root().join("odd"));
        let container = begin(&tree, &odd, &|| {
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            // What is new comes whole.
            put(&aside);
            fs::rename(&aside, &path).expect("a rename");
        });
        let has_none = |inmate: &Inmate| inmate.outside.terminal == 0;
        nothing_happens_for(LOOK, "there is no terminal", || container.processes().iter().all(has_none));
        let end = stopped_in_order(&container);
        assert_eq!(odd.read("saved"), "saved\n", "{name} in the place of {place}:\n{}", end.stderr);
        said(&end, "init: odd: stopped after ");
    }
}

/// An init that leads a session without a terminal, as an engine starts it.
#[track_caller]
fn begun(tree: &TestTree) -> PidNamespace {
    let container = with_grace(tree, GRACE, &[]).through(&["setsid"]).start_as_process_1();
    container.eventually_says("init: ");
    container
}

#[test]
fn nothing_odd_in_the_place_of_down_signal_holds_init_up() {
    nothing_odd_holds_up("down-signal");
}

#[test]
fn nothing_odd_in_the_place_of_a_timeout_holds_init_up() {
    for place in ["timeout-kill", "timeout-finish"] {
        nothing_odd_holds_up(place);
    }
}

#[test]
fn nothing_odd_among_the_dependencies_holds_init_up() {
    nothing_odd_holds_up("dependencies.d/other");
    nothing_odd_holds_up("dependencies.d");
}

/// It marks the service all the same: only its name counts.
#[test]
fn nothing_odd_in_the_place_of_critical_holds_init_up() {
    nothing_odd_holds_up("critical");
}

#[test]
fn nothing_odd_in_the_place_of_the_history_holds_init_up() {
    nothing_odd_holds_up("supervise/.history");
}

#[test]
fn nothing_odd_in_the_place_of_a_status_file_comes_amiss() {
    for name in ["status", "stat", "pid"] {
        nothing_odd_comes_amiss(&format!("supervise/{name}"));
    }
}

#[test]
fn nothing_odd_in_the_place_of_a_fifo_or_a_lock_comes_amiss() {
    for name in ["control", "ok", "lock"] {
        nothing_odd_comes_amiss(&format!("supervise/{name}"));
    }
}
