//! COMMAND's terminal, and the job that init is for a shell.

use nix::sys::signal::Signal;
use tests::process::send;
use tests::{Suite, TestTree, eventually};

use crate::init::command::Terminal;
use crate::init::stop::{PATIENT, saves_for};
use crate::runsv::hanging_files::free_terminal;

const CTRL_Z: &str = "\x1a";

/// An interactive shell on a terminal.
fn shell(tree: &TestTree) -> Terminal {
    let mut terminal = Terminal::running(tree, "bash --norc -i");
    terminal.typed("PS1='ready> '\n");
    terminal.shows("ready> ");
    terminal
}

/// Ctrl-Z; the shell has told so often then that its job is stopped. What is typed earlier may be lost.
fn stops(terminal: &mut Terminal, times: usize) {
    terminal.typed(CTRL_Z);
    eventually("the shell is back", || terminal.script.stdout().matches("+  Stopped").count() == times);
}

/// A command that continues the job.
fn continues(terminal: &mut Terminal, tree: &TestTree, command: &str) {
    terminal.typed(&format!("{command}\n"));
    eventually("the job goes on", || tree.processes().iter().all(|process| process.state != 'T'));
}

/// As without init, again and again.
#[test]
fn ctrl_z_gives_the_shell_back_and_fg_continues_the_command() {
    let tree = Suite::ours().tree();
    let web = tree.service("web").run("exec sleep 1000").made();
    let mut terminal = shell(&tree);
    let services = tree.services();
    let body = "echo here; while read word; do echo got $word; done; exit 6";
    let init = format!("init --grace {PATIENT} {} -- sh -c '{body}'", services.display());
    terminal.typed(&format!("{init}\n"));
    terminal.shows("\r\nhere");
    for (times, turn) in [(1, "one"), (2, "two")] {
        stops(&mut terminal, times);
        terminal.typed(&format!("echo alive-$((40+2))-{turn}\n"));
        terminal.shows(&format!("alive-42-{turn}"));
        assert_eq!(web.stat(), "run", "services go on");
        continues(&mut terminal, &tree, "fg");
        terminal.typed(&format!("{turn}\n"));
        terminal.shows(&format!("got {turn}"));
    }
    terminal.typed("\x04");
    terminal.shows("COMMAND: ended with exit 6");
    terminal.typed("exit\n");
    terminal.script.finished();
}

/// It ignores TERM, as every interactive shell, and ends of HUP, as when its terminal closes.
#[test]
fn an_interactive_shell_as_command_ends_with_the_container() {
    for shell in ["bash --norc -i", "busybox sh -i", "dash -i"] {
        let tree = Suite::ours().tree();
        let saver = tree.service("saver").run(&saves_for("0.2")).made();
        let mut terminal = Terminal::of(&tree, &format!("-- {shell}"));
        saver.eventually_has("ready");
        terminal.typed("PS1='ready> '\n");
        terminal.shows("ready> ");
        let all = tree.processes();
        let init = all.iter().find(|process| process.command_line().starts_with("init --grace"));
        send(init.expect("init").pid, Signal::SIGTERM);
        let end = terminal.script.finished();
        assert!(!end.stdout.contains("killed after") && !end.stdout.contains(" killed:"), "{}", end.stdout);
        assert_eq!((saver.read("saved").as_str(), saver.read("cut").as_str()), ("saved\n", ""));
    }
}

/// Without a COMMAND, init itself is in the foreground.
#[test]
fn ctrl_z_stops_an_init_without_a_command() {
    let tree = Suite::ours().tree();
    let saver = tree.service("saver").run(&saves_for("0")).made();
    let mut terminal = shell(&tree);
    terminal.typed(&format!("init --grace {PATIENT} {}\n", tree.services().display()));
    saver.eventually_has("ready");
    stops(&mut terminal, 1);
    continues(&mut terminal, &tree, "fg");
    terminal.typed("\x03");
    terminal.shows("none killed; exit 0");
    assert_eq!((saver.read("saved").as_str(), saver.read("cut").as_str()), ("saved\n", ""));
    terminal.typed("exit\n");
    terminal.script.finished();
}

/// No shell could continue it.
#[test]
fn a_command_that_nothing_could_continue_is_continued_at_once() {
    let tree = Suite::ours().tree();
    // A signal ends a `read` that has no word yet.
    let body = "trap \"echo on again\" CONT; echo here; \
                until [ \"$word\" = end ]; do read word && echo got $word; done; exit 6";
    let words = format!(
        "exec unshare --pid --fork --kill-child --mount-proc setsid -c init --grace {PATIENT} {} -- sh -c '{body}'",
        tree.services().display()
    );
    for words in
        [words, format!("exec init --grace {PATIENT} {} -- sh -c '{body}'", tree.services().display())]
    {
        let _ = fs_err::remove_file(tree.root().join("keyboard"));
        let mut terminal = Terminal::running(&tree, &words);
        terminal.shows("\r\nhere");
        terminal.typed(CTRL_Z);
        terminal.shows("on again");
        terminal.typed("one\n");
        terminal.shows("got one");
        terminal.typed("end\n");
        assert_eq!(terminal.script.finished().code(), Some(6), "{}", terminal.script.stdout());
    }
}

/// An ssh connection that breaks, a pane that is closed: nothing runs on that no user sees.
#[test]
fn the_end_of_the_terminal_ends_everything_also_with_a_command() {
    for command in ["", "-- sh -c 'trap \"\" HUP; sleep 1000; sleep 1000'"] {
        let tree = Suite::ours().tree();
        let saver = tree.service("saver").run(&saves_for("0")).made();
        let terminal = Terminal::of(&tree, command);
        saver.eventually_has("ready");
        eventually("all is there", || command.is_empty() || !tree.processes_called("sleep 1000").is_empty());
        send(terminal.script.pid(), Signal::SIGKILL);
        eventually("all is gone", || tree.processes().is_empty());
        assert_eq!((saver.read("saved").as_str(), saver.read("cut").as_str()), ("saved\n", ""));
    }
}

/// No supervisor opens one as its own, whatever a service's owner puts into the directory.
#[test]
fn a_terminal_in_the_place_of_a_file_is_no_controlling_one() {
    let tree = Suite::ours().tree();
    let (_master, terminal) = free_terminal();
    let names = ["down-signal", "timeout-kill", "timeout-finish", "notification-fd", "critical"];
    let service = tree.service("web").run("exec sleep 1000").finish("");
    let web = names.iter().fold(service, |service, name| service.link(name, &terminal)).made();
    let init = tree.command("init").args(["--grace", PATIENT]).arg(tree.services());
    let init = init.through(&["setsid"]).start();
    web.eventually_runs();
    web.control("d");
    web.eventually_down();
    let leads = init.process();
    assert_eq!(leads.session, leads.pid);
    let with_terminal = || tree.processes().into_iter().find(|process| process.terminal != 0);
    assert_eq!(with_terminal(), None);
    init.signal(Signal::SIGTERM);
    assert_eq!(init.finished().code(), Some(0));
}
