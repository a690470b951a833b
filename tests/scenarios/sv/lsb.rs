//! sv by another name: the LSB mode.

use std::os::unix::fs::symlink;

use fs_err as fs;
use tests::tree::set_mode;
use tests::{Output, Suite, TestTree, all_suites};

use crate::IGNORES_TERM;

all_suites! {
    usage_is_told_with_the_name,
    words_that_start_with_s_must_be_whole,
    status_of_a_running_service_is_0,
    status_of_a_finishing_service_is_0,
    status_of_a_service_that_is_down_is_3,
    status_without_runsv_is_1,
    status_that_cannot_be_read_is_4,
    commands_that_work_are_0,
    commands_that_fail_are_1,
    a_timeout_is_1,
    further_arguments_are_ignored,
    a_fatal_error_is_151,
}

const USAGE: &str = "usage: ssh [-w sec] command\n\n";

fn tree(suite: &Suite) -> TestTree {
    let tree = suite.tree();
    symlink("sv", tree.bin().join("ssh")).unwrap();
    tree
}

#[track_caller]
fn ssh(tree: &TestTree, words: &str) -> Output {
    tree.command("ssh").args(words.split_whitespace()).output()
}

/// SV-3, SV-60.
fn usage_is_told_with_the_name(suite: &Suite) {
    let tree = tree(suite);
    for words in ["", "foo", "restar", "-w 3"] {
        ssh(&tree, words).is("", USAGE, 2);
    }
    ssh(&tree, "-x status").is("", &format!("ssh: illegal option -- x\n{USAGE}"), 2);
    // The base name counts.
    let output = tree.command("./bin/ssh").dir(tree.root()).output();
    output.is("", USAGE, 2);
}

/// SV-61, 6.8.
fn words_that_start_with_s_must_be_whole(suite: &Suite) {
    let tree = tree(suite);
    let _ssh = tree.service("ssh").run("exec sleep 1000").running();
    for word in ["s", "stat", "starting", "stopp", "shutdow"] {
        ssh(&tree, word).is("", USAGE, 2);
    }
}

/// SV-62.
pub fn status_of_a_running_service_is_0(suite: &Suite) {
    let tree = tree(suite);
    let _ssh = tree.service("ssh").run("exec sleep 1000").running();
    ssh(&tree, "status").says("run: ssh: (pid N) Ns\n", 0);
}

/// SV-62.
pub fn status_of_a_finishing_service_is_0(suite: &Suite) {
    let tree = tree(suite);
    let service = tree.service("ssh").run("exit 0").finish("exec sleep 1000").supervised();
    service.eventually_finishes();
    ssh(&tree, "status").says("finish: ssh: (pid N) Ns\n", 0);
}

/// SV-62, 6.8.
pub fn status_of_a_service_that_is_down_is_3(suite: &Suite) {
    let tree = tree(suite);
    let service = tree.service("ssh").run("exec sleep 1000").running();
    service.control("d");
    service.eventually_stat("down");
    ssh(&tree, "status").says("down: ssh: Ns, normally up\n", 3);
}

/// SV-62, QRK-9.
pub fn status_without_runsv_is_1(suite: &Suite) {
    let tree = tree(suite);
    let text = "fail: ssh: unable to change to service directory: file does not exist\n";
    ssh(&tree, "status").says(text, 1);
    let service = tree.service("ssh").run("exec sleep 1000").running();
    service.control("x");
    service.runsv.finished();
    ssh(&tree, "status").says("fail: ssh: runsv not running\n", 1);
}

/// SV-62.
pub fn status_that_cannot_be_read_is_4(suite: &Suite) {
    let tree = tree(suite);
    let service = tree.service("ssh").run("exec sleep 1000").running();
    service.write("supervise/status", "short");
    ssh(&tree, "status").says("warning: ssh: unable to read supervise/status: bad format\n", 4);
    service.remove("supervise/status");
    ssh(&tree, "status").says("warning: ssh: unable to open supervise/status: file does not exist\n", 4);
}

/// SV-61, SV-62.
pub fn commands_that_work_are_0(suite: &Suite) {
    let tree = tree(suite);
    let run = "trap '' HUP; echo >ready; exec sleep 1000";
    let service = tree.service("ssh").run(run).check("test -e ready").down().supervised();
    ssh(&tree, "start").says("ok: run: ssh: (pid N) Ns, normally down\n", 0);
    ssh(&tree, "reload").says("ok: run: ssh: (pid N) Ns, normally down\n", 0);
    service.eventually_runs();
    ssh(&tree, "-w 50 stop").says("ok: down: ssh: Ns\n", 0);
    ssh(&tree, "up").says("", 0);
    service.eventually_runs();
    ssh(&tree, "shutdown").says("ok: ssh: runsv not running\n", 0);
}

/// SV-62.
pub fn commands_that_fail_are_1(suite: &Suite) {
    let tree = tree(suite);
    let text = "fail: ssh: unable to change to service directory: file does not exist\n";
    for word in ["start", "up", "force-stop"] {
        ssh(&tree, word).says(text, 1);
    }
}

/// SV-62.
pub fn a_timeout_is_1(suite: &Suite) {
    let tree = tree(suite);
    let service = tree.service("ssh").run(IGNORES_TERM).running();
    service.eventually_has("ready");
    ssh(&tree, "-w 3 stop").says("timeout: run: ssh: (pid N) Ns, want down, got TERM\n", 1);
}

/// SV-60.
fn further_arguments_are_ignored(suite: &Suite) {
    let tree = tree(suite);
    let _ssh = tree.service("ssh").run("exec sleep 1000").running();
    ssh(&tree, "status a b").says("run: ssh: (pid N) Ns\n", 0);
}

/// SV-14, SV-62.
fn a_fatal_error_is_151(suite: &Suite) {
    let tree = tree(suite);
    let closed = tree.root().join("closed");
    fs::create_dir(&closed).unwrap();
    set_mode(&closed, 0o711);
    let output = tree.command("ssh").arg("status").dir(&closed).as_nobody().output();
    output.is("", "fatal: unable to open current directory: access denied\n", 151);
}
