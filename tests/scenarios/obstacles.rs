//! What stands in the place of a file, and is no such file.

use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tests::{Service, Suite, both_suites, nothing_happens_for};

both_suites! { a_fifo_in_the_place_of_finish_is_tried }

fn put_fifo(service: &Service, name: &str) {
    mkfifo(&service.path(name), Mode::S_IRWXU).expect("a FIFO");
}

/// RSV-43: it can be opened for reading, but not be executed.
fn a_fifo_in_the_place_of_finish_is_tried(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").made();
    put_fifo(&web, "finish");
    let web = web.supervised();
    web.eventually_runs();
    web.control("d");
    web.runsv.eventually_says("runsv web: fatal: unable to start ./finish: access denied\n");
    web.eventually_down();
}

/// What ours alone reads (ADD-1, ADD-3) holds it up no more than what runit reads.
mod ours_alone {
    use super::*;

    /// Nor does a file without end, which is no short line either.
    #[test]
    fn nothing_in_the_place_of_an_order_is_waited_for() {
        let names = ["down-signal", "timeout-kill", "timeout-finish"];
        let tree = Suite::ours().tree();
        let fifos = tree.service("fifos").run("exec sleep 1000").finish("").made();
        for name in names {
            put_fifo(&fifos, name);
        }
        let endless = names
            .iter()
            .fold(tree.service("endless").run("exec sleep 1000").finish(""), |service, name| {
                service.link(name, "/dev/zero")
            })
            .made();
        for service in [fifos, endless] {
            let web = service.supervised();
            web.eventually_runs();
            web.control("d");
            web.eventually_down();
            let warnings = web.runsv.stderr();
            for name in names {
                let text = format!("warning: bad content of {name}: expected ");
                assert!(warnings.contains(&text), "{name}: {warnings}");
            }
            assert_eq!(warnings.lines().count(), names.len(), "{warnings}");
        }
    }

    #[test]
    fn a_fifo_in_the_place_of_the_history_is_not_waited_for() {
        let web = Suite::ours().service("web").run("exec sleep 1000").dir("supervise").made();
        put_fifo(&web, "supervise/.history");
        let web = web.supervised();
        let first = web.eventually_runs().pid;
        web.control("k");
        web.eventually_runs_anew(first);
        web.sv("stop").says("ok: down: web: Ns, normally up\n", 0);
        assert!(web.sv("why").stdout.starts_with("web: down"));
        nothing_happens_for(Duration::from_millis(50), "nothing is said", || web.runsv.stderr().is_empty());
    }
}
