//! The command lines of runsv and runsvdir, and what keeps them from starting.

use std::os::unix::fs::symlink;

use fs_err as fs;
use nix::sys::signal::Signal;
use tests::tree::set_mode;
use tests::{Suite, all_suites};

all_suites! {
    runsv_refuses_a_directory_that_it_may_not_enter,
    a_directory_that_is_not_writable_is_refused,
    a_supervise_that_may_not_be_entered_is_refused,
    a_supervise_that_is_a_file_is_refused,
    a_supervise_that_is_a_link_loop_is_refused,
    a_supervise_link_to_nowhere_is_refused,
    a_log_supervise_link_to_nowhere_is_refused,
    a_control_that_is_no_fifo_is_refused;
    not_hosted "the command line of runsv":
    runsv_wants_exactly_one_argument,
    runsv_names_itself_as_it_was_called,
    runsv_has_no_options,
    runsv_refuses_what_it_cannot_enter,
    runsv_names_the_directory_as_typed;
    not_hosted "init waits for the other supervisor and says so in its own words":
    a_second_runsv_is_refused_and_the_first_not_disturbed;
    not_hosted "a killed runsv":
    a_dead_runsv_leaves_no_lock;
    not_hosted "the command line of runsvdir":
    runsvdir_wants_a_directory,
    runsvdir_takes_other_options_for_a_directory,
    runsvdir_names_itself_as_it_was_called,
}

/// RSV-1, RSV-3, GEN-1, GEN-2: none or two are a usage error.
fn runsv_wants_exactly_one_argument(suite: &Suite) {
    let tree = suite.tree();
    tree.command("runsv").output().is("", "usage: runsv dir\n\n", 1);
    tree.command("runsv").args(["a", "b"]).output().is("", "usage: runsv dir\n\n", 1);
    tree.command("runsv").args(["-V", "b"]).output().is("", "usage: runsv dir\n\n", 1);
}

/// GEN-5: the usage text has argv[0], path included.
fn runsv_names_itself_as_it_was_called(suite: &Suite) {
    let tree = suite.tree();
    let output = tree.command("./bin/runsv").dir(tree.root()).output();
    output.is("", "usage: ./bin/runsv dir\n\n", 1);
}

/// RSV-1, GEN-6: what looks like an option is a directory.
fn runsv_has_no_options(suite: &Suite) {
    let tree = suite.tree();
    for name in ["--", "-V", "-h", "--help", "--version", "-"] {
        let text = format!("runsv {name}: fatal: unable to change to directory: file does not exist\n");
        tree.command("runsv").arg(name).output().is("", &text, 111);
    }
}

/// RSV-2, RSV-3, GEN-3.
fn runsv_refuses_what_it_cannot_enter(suite: &Suite) {
    let tree = suite.tree();
    let refused = |name: &str, why: &str| {
        let text = format!("runsv {name}: fatal: unable to change to directory: {why}\n");
        tree.command("runsv").arg(name).output().is("", &text, 111);
    };
    fs::write(tree.services().join("file"), "").unwrap();
    symlink("loop", tree.services().join("loop")).unwrap();
    refused("missing", "file does not exist");
    refused("", "file does not exist");
    refused("file", "not a directory");
    refused("file/web", "not a directory");
    refused("loop", "symbolic link loop");
    refused(&"x".repeat(300), "file name too long");
}

/// RSV-2, GEN-3.
fn runsv_refuses_a_directory_that_it_may_not_enter(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").made();
    set_mode(web.dir(), 0o700);
    let text = "runsv web: fatal: unable to change to directory: access denied\n";
    web.is_refused(web.runsv().as_nobody(), text);
}

/// RSV-2: messages have the directory as typed.
fn runsv_names_the_directory_as_typed(suite: &Suite) {
    let web = suite.service("web").dir("supervise").file("supervise/control", "").made();
    for name in ["./web", "../service//web/", &web.dir().display().to_string()] {
        let text = format!("runsv {name}: fatal: supervise/control exists but is not a fifo\n");
        web.tree().command("runsv").arg(name).output().is("", &text, 111);
    }
}

/// RSV-4: one runsv for a directory.
fn a_second_runsv_is_refused_and_the_first_not_disturbed(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").running();
    let before = web.record();
    let text = "runsv web: fatal: unable to lock supervise/lock: temporary failure\n";
    web.is_refused(web.runsv(), text);
    assert_eq!(web.record(), before);
    web.control("d");
    web.eventually_down();
    assert!(web.runsv.is_alive());
}

/// RSV-65, LAY-12: the lock goes with its holder, and no service holds it.
fn a_dead_runsv_leaves_no_lock(suite: &Suite) {
    let web = suite.service("web").run("echo $$ >>pids; exec sleep 1000").running();
    web.eventually_lines("pids", 1);
    web.runsv.signal(Signal::SIGKILL);
    web.runsv.finished();
    let anew = web.tree().at("web").supervised();
    anew.eventually_lines("pids", 2);
}

/// RSV-6.
fn a_directory_that_is_not_writable_is_refused(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").made();
    let text = "runsv web: fatal: unable to open supervise/lock: file does not exist\n";
    web.is_refused(web.runsv().as_nobody(), text);
}

/// RSV-6.
fn a_supervise_that_may_not_be_entered_is_refused(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").dir("supervise").made();
    set_mode(&web.path("supervise"), 0o700);
    let text = "runsv web: fatal: unable to open supervise/lock: access denied\n";
    web.is_refused(web.runsv().as_nobody(), text);
}

/// RSV-6.
fn a_supervise_that_is_a_file_is_refused(suite: &Suite) {
    let web = suite.service("web").file("supervise", "").made();
    let text = "runsv web: fatal: unable to open supervise/lock: not a directory\n";
    web.is_refused(web.runsv(), text);
}

/// RSV-6.
fn a_supervise_that_is_a_link_loop_is_refused(suite: &Suite) {
    let web = suite.service("web").link("supervise", "supervise").made();
    let text = "runsv web: fatal: unable to open supervise/lock: symbolic link loop\n";
    web.is_refused(web.runsv(), text);
}

/// LAY-9: only the last part of a link's target is made.
fn a_supervise_link_to_nowhere_is_refused(suite: &Suite) {
    let web = suite.service("web").link("supervise", "/nonexistent/web").made();
    let text = "runsv web: fatal: unable to open supervise/lock: file does not exist\n";
    web.is_refused(web.runsv(), text);
}

/// LAY-9, RSV-5.
fn a_log_supervise_link_to_nowhere_is_refused(suite: &Suite) {
    let web = suite.service("web").log("exec cat").link("log/supervise", "/nonexistent/web").made();
    let text = "runsv web: fatal: unable to open log/supervise/lock: file does not exist\n";
    web.is_refused(web.runsv(), text);
}

/// LAY-14: and what was there stays.
fn a_control_that_is_no_fifo_is_refused(suite: &Suite) {
    let web = suite.service("web").file("supervise/control", "precious").made();
    let text = "runsv web: fatal: supervise/control exists but is not a fifo\n";
    web.is_refused(web.runsv(), text);
    assert_eq!(web.read("supervise/control"), "precious");
    assert!(web.has("supervise/lock"));
}

/// RSD-1, GEN-2.
fn runsvdir_wants_a_directory(suite: &Suite) {
    let tree = suite.tree();
    for args in [&[][..], &["-P"], &["--"], &["-Pxyz"]] {
        tree.command("runsvdir").args(args).output().is("", "usage: runsvdir [-P] dir\n\n", 1);
    }
}

/// RSD-1, GEN-6: only `-P` and `--` are looked for, and nothing is a name, too.
fn runsvdir_takes_other_options_for_a_directory(suite: &Suite) {
    let tree = suite.tree();
    for name in ["-x", "-V", "-p", ""] {
        let runsvdir = tree.command("runsvdir").arg(name).start();
        runsvdir.eventually_says(&format!(
            "runsvdir {name}: warning: unable to stat {name}: file does not exist\n"
        ));
    }
}

/// GEN-5.
fn runsvdir_names_itself_as_it_was_called(suite: &Suite) {
    let tree = suite.tree();
    let output = tree.command("./bin/runsvdir").dir(tree.root()).output();
    output.is("", "usage: ./bin/runsvdir [-P] dir\n\n", 1);
}
