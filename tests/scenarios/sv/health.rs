//! `sv health`: which services are not well, at once and with an exit code.

use tests::{Suite, eventually, our_suites};

our_suites! {
    a_tree_that_is_well_has_nothing_to_say,
    a_crash_loop_is_caught_each_time,
    each_service_that_is_not_well_has_a_line,
    a_log_service_counts,
    a_service_that_gave_up_is_not_well,
    what_a_client_asked_for_is_well,
    a_services_directory_that_cannot_be_read_is_not_well,
}

fn a_tree_that_is_well_has_nothing_to_say(suite: &Suite) {
    let tree = suite.tree();
    let web = tree.service("web").run("exec sleep 1000").check("echo noise").log("exec cat").running();
    web.log().eventually_runs();
    let job = tree.service("job").run("exec sleep 1000").down().supervised();
    job.eventually_down();
    tree.sv("health").is("", "", 0);
    tree.sv("health web job web/log").is("", "", 0);
}

/// It is up most of the time; `sv status` and `sv check` take it for well then.
fn a_crash_loop_is_caught_each_time(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1.3").supervised();
    web.eventually("an end", |web| web.read("supervise/.history").contains("./run ended"));
    let ends = || web.read("supervise/.history").matches("./run ended").count();
    while ends() < 3 {
        let output = web.tree().sv("health");
        assert_eq!(output.code(), Some(1), "{output:?}");
        let line = output.stdout.strip_prefix("fail: web: ./run ended with exit code 0 ");
        assert!(line.is_some_and(|rest| rest.ends_with("s ago, unasked\n")), "{output:?}");
    }
}

fn each_service_that_is_not_well_has_a_line(suite: &Suite) {
    let tree = suite.tree();
    tree.service("absent").run("exec sleep 1000").made();
    let _bad = tree.service("bad").run("exec sleep 1000").check("exit 1").running();
    let _good = tree.service("good").run("exec sleep 1000").running();
    let hangs = tree.service("hangs").run("exec sleep 1000").check("exec sleep 1234").running();
    let absent = "fail: absent: unable to open supervise/ok: file does not exist\n";
    let checks =
        ["bad", "hangs"].map(|name| format!("fail: {name}: its check fails, or takes too long\n")).concat();
    tree.sv("-w 1 health").is(&format!("{absent}{checks}"), "", 1);
    eventually("the check is ended", || tree.processes_called("sleep 1234").is_empty());
    drop(hangs);
    tree.sv("health good").is("", "", 0);
    tree.sv("health good absent").is(absent, "", 1);
    let none = "fail: none: unable to change to service directory: file does not exist\n";
    tree.sv("health none").is(none, "", 1);
}

fn a_log_service_counts(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").log("exit 3").running();
    web.log().eventually("an end", |log| log.read("supervise/.history").contains("./run ended"));
    let output = web.tree().sv("health");
    assert_eq!(output.code(), Some(1), "{output:?}");
    assert!(output.stdout.starts_with("fail: web/log: ./run ended with exit code 3 "), "{output:?}");
    assert_eq!(output.stdout.lines().count(), 1, "{output:?}");
}

/// ADD-20: no client wants it to be down.
fn a_service_that_gave_up_is_not_well(suite: &Suite) {
    let web = suite.service("web").run("exit 3").finish("exit 125").supervised();
    eventually("it has given up", || {
        let output = web.sv("health");
        // It is well for the moment in which it runs.
        output.code() == Some(1) && output.stdout.starts_with("fail: web: down since ./finish exited 125 ")
    });
    web.sv("down").says("", 0);
    eventually("a client wants it down", || web.sv("health").code() == Some(0));
}

fn what_a_client_asked_for_is_well(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").running();
    web.sv("restart").says("ok: run: web: (pid N) Ns\n", 0);
    web.sv("health").is("", "", 0);
    web.sv("stop").says("ok: down: web: Ns, normally up\n", 0);
    web.sv("health").is("", "", 0);
}

fn a_services_directory_that_cannot_be_read_is_not_well(suite: &Suite) {
    let tree = suite.tree();
    for (place, why) in [
        (tree.root().join("gone"), "unable to open GONE: file does not exist"),
        ("".into(), "SVDIR is empty: name a services directory in it, or unset it"),
    ] {
        let text = format!("fatal: {}\n", why.replace("GONE", &place.to_string_lossy()));
        tree.command("sv").arg("health").env("SVDIR", &place).output().is("", &text, 1);
    }
}
