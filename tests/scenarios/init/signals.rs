//! What each signal does: to stop, to look again, or for COMMAND.

use std::fmt::Write as _;

use fs_err as fs;
use nix::sys::signal::Signal;
use tests::{Suite, eventually};

use crate::init::stop::{PATIENT, begun, ended_in_order, patient, said, saves_for};

/// Images set STOPSIGNAL to QUIT (nginx, php-fpm) or HUP.
#[test]
fn without_a_command_quit_and_hup_stop_everything() {
    for (signal, name) in [(Signal::SIGQUIT, "QUIT"), (Signal::SIGHUP, "HUP")] {
        let tree = Suite::ours().tree();
        let saver = tree.service("saver").run(&saves_for("0")).made();
        let container = begun(&tree, PATIENT);
        saver.eventually_has("ready");
        container.signal(signal);
        let end = ended_in_order(&container);
        said(&end, &format!("init: {name}: stopping within "));
        assert_eq!(saver.read("saved"), "saved\n");
    }
}

#[test]
fn a_signal_that_reaches_no_process_is_said_once() {
    let tree = Suite::ours().tree();
    let web = tree.service("web").run("exec sleep 1000").made();
    let container = begun(&tree, PATIENT);
    web.eventually_runs();
    let line = |signal: &str| format!("init: warning: {signal}: ignored: there is no COMMAND");
    for (signal, name) in [(Signal::SIGWINCH, "SIGWINCH"), (Signal::SIGUSR1, "SIGUSR1")] {
        container.signal(signal);
        container.eventually_says(&line(name));
        container.signal(signal);
    }
    container.signal(Signal::SIGTERM);
    let end = ended_in_order(&container);
    said(&end, "needs STOPSIGNAL SIGTERM\n");
    for name in ["SIGWINCH", "SIGUSR1"] {
        assert_eq!(end.stderr.matches(&line(name)).count(), 1, "{}", end.stderr);
    }
}

/// All but those that stop init, that no process can take, and SIGCHLD, which tells of children.
#[test]
fn every_other_signal_reaches_the_command() {
    let tree = Suite::ours().tree();
    // Two are kept by the C library for itself.
    let never = [Signal::SIGKILL, Signal::SIGSTOP, Signal::SIGTERM, Signal::SIGINT, Signal::SIGPWR];
    let never = never.map(|signal| signal as i32);
    let passed =
        |number: &i32| !never.contains(number) && ![Signal::SIGCHLD as i32, 32, 33, 34 + 3].contains(number);
    let mut body = "use POSIX;\n".to_owned();
    for number in (1..=64).filter(passed) {
        let note = format!("open my $file, '>>', 'got'; print $file \"{number}\\n\"");
        let _ = writeln!(body, "sigaction({number}, POSIX::SigAction->new(sub {{ {note} }}));");
    }
    let file = tree.root().join("command");
    fs::write(&file, body + "open my $file, '>', 'ready'; select undef, undef, undef, .02 while 1;")
        .expect("a script");
    let container = patient(&tree, &[]).args(["--", "perl"]).arg(file).start_as_process_1();
    eventually("it is ready", || tree.root().join("ready").exists());
    for number in (1..=64).filter(passed) {
        container.signal_number(number);
        let has_it = || {
            let got = fs::read_to_string(tree.root().join("got")).unwrap_or_default();
            got.lines().any(|line| line == number.to_string())
        };
        eventually(&format!("it gets {number}"), has_it);
    }
    container.signal(Signal::SIGTERM);
    assert_eq!(container.finished().code(), Some(0));
}

/// nohup makes init ignore it, also when the terminal is gone.
#[test]
fn a_hup_that_is_ignored_from_the_start_stops_nothing() {
    let tree = Suite::ours().tree();
    let web = tree.service("web").run("exec sleep 1000").made();
    let init = tree.command("init").through(&["env", "--ignore-signal=HUP"]).args(["--grace", PATIENT]);
    let init = init.arg(tree.services()).start();
    web.eventually_runs();
    init.signal(Signal::SIGHUP);
    init.signal(Signal::SIGUSR1);
    init.eventually_says("SIGUSR1: ignored");
    init.signal(Signal::SIGTERM);
    let end = init.finished();
    assert_eq!(end.code(), Some(0), "{}", end.stderr);
    said(&end, "init: TERM: stopping");
    assert!(!end.stderr.contains("HUP"), "{}", end.stderr);
}
