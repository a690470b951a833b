//! Hooks: start.d runs before the first service, drain.d before the stop, finish.d after the last service.

use std::path::PathBuf;
use std::time::Duration;

use fs_err as fs;
use nix::sys::signal::Signal;
use tests::namespace::PidNamespace;
use tests::wait::eventually_same;
use tests::{CommandLine, Output, Suite, TestTree};

use crate::init::stop::{PATIENT, WAITS, said, saves_for};

/// A tree with a directory of hooks, which all run in the root of the tree.
struct Hooked {
    tree: TestTree,
}

impl Hooked {
    fn new() -> Self {
        Self { tree: Suite::ours().tree() }
    }

    fn path(&self, hook: &str) -> PathBuf {
        self.tree.root().join("hooks").join(hook)
    }

    fn hook(&self, hook: &str, body: &str) {
        let path = self.path(hook);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory of hooks");
        self.tree.write_script(&path, &format!("cd {}\n{body}", self.tree.root().display()));
    }

    fn init(&self) -> CommandLine {
        let hooks = self.tree.root().join("hooks");
        self.tree.command("init").args(["--grace", PATIENT, "--hooks"]).arg(hooks).arg(self.tree.services())
    }

    #[track_caller]
    fn begun(&self) -> PidNamespace {
        self.init().start_as_process_1()
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.tree.root().join(file)).unwrap_or_default()
    }

    #[track_caller]
    fn eventually_reads(&self, file: &str, content: &str) {
        eventually_same(file, content, || self.read(file));
    }
}

#[track_caller]
fn ends_with(container: &PidNamespace, code: i32) -> Output {
    exited(container.finished(), code)
}

#[track_caller]
fn exited(end: Output, code: i32) -> Output {
    assert_eq!(end.code(), Some(code), "{}", end.stderr);
    end
}

/// Start hooks run in the order of their names, one after another, and the services start only after them.
#[test]
fn start_hooks_run_in_name_order_before_the_services() {
    let hooked = Hooked::new();
    hooked.hook("start.d/20-second", "echo second >>order");
    hooked.hook("start.d/10-first", "sleep .5; echo first >>order");
    hooked.hook("start.d/30-third", "test -e service/web/started || echo third >>order");
    hooked.hook("start.d/.hidden", "echo hidden >>order");
    let web = hooked.tree.service("web").run("echo >>started; exec sleep 1000").made();
    let container = hooked.begun();
    web.eventually_has("started");
    assert_eq!(hooked.read("order"), "first\nsecond\nthird\n");
    container.signal(Signal::SIGTERM);
    ends_with(&container, 0);
}

#[test]
fn a_start_hook_that_fails_ends_the_container_with_its_code_and_name() {
    let hooked = Hooked::new();
    hooked.hook("start.d/10-migrate", "echo >ran; exit 7");
    hooked.hook("start.d/20-never", "echo >never");
    hooked.hook("finish.d/10-tidy", "echo >tidied");
    let web = hooked.tree.service("web").run("echo >>started; exec sleep 1000").made();
    let end = exited(hooked.init().output_as_process_1(), 7);
    said(&end, "start.d/10-migrate: failed with exit 7");
    assert_eq!((hooked.read("ran").as_str(), hooked.read("never").as_str()), ("\n", ""));
    assert!(!web.has("started"));
}

#[test]
fn a_start_hook_that_dies_of_a_signal_ends_the_container_with_128_and_its_number() {
    let hooked = Hooked::new();
    hooked.hook("start.d/10-crash", "kill -KILL $$");
    exited(hooked.init().output_as_process_1(), 137);
}

/// A start hook that cannot be executed is reported before anything is started.
#[test]
fn a_start_hook_that_is_not_executable_is_said_in_one_line() {
    let hooked = Hooked::new();
    hooked.hook("start.d/10-first", "echo >ran");
    hooked.hook("start.d/20-plain", "echo >ran");
    tests::tree::set_mode(&hooked.path("start.d/20-plain"), 0o644);
    let web = hooked.tree.service("web").run("echo >>started; exec sleep 1000").made();
    let end = exited(hooked.init().output_as_process_1(), 126);
    let path = hooked.path("start.d/20-plain").display().to_string();
    assert_eq!(end.stderr, format!("init: fatal: unable to run hook {path}: access denied\n"));
    assert!(hooked.read("ran").is_empty() && !web.has("started"));
}

/// A long drain, for connections that end by themselves, and a short one.
#[test]
fn a_drain_has_as_long_as_its_option_says() {
    let hooked = Hooked::new();
    hooked.hook("drain.d/10-look", "echo $INIT_REMAINING_MS >remaining");
    let container = hooked.init().args(["--drain", "26"]).start_as_process_1();
    container.eventually_says("drain until 26.00 s, ");
    container.signal(Signal::SIGTERM);
    ends_with(&container, 0);
    // Half of the time would be 13.25 s.
    let remaining: u64 = hooked.read("remaining").trim().parse().expect("a number");
    assert!((13_300..=26_000).contains(&remaining), "{remaining}");

    hooked.hook("drain.d/10-look", "exec sleep 1000");
    let container = hooked.init().args(["--drain=.1"]).start_as_process_1();
    container.eventually_says("drain until 0.10 s, ");
    container.signal(Signal::SIGTERM);
    said(&ends_with(&container, 99), "drain.d/10-look: its share of the grace is over: killed\n");

    let end = exited(hooked.init().args(["--drain", "26.5"]).output(), 100);
    let said = "--drain: not below 26.5 s, which is what the grace has for it (see init --help)\n";
    assert_eq!(end.stderr, format!("init: fatal: {said}"));
}

#[test]
fn drain_and_finish_hooks_that_are_not_executable_are_said_at_the_start() {
    let hooked = Hooked::new();
    for hook in ["drain.d/10-plain", "finish.d/10-plain"] {
        hooked.hook(hook, "echo >ran");
        tests::tree::set_mode(&hooked.path(hook), 0o644);
    }
    let container = hooked.begun();
    for hook in ["drain.d/10-plain", "finish.d/10-plain"] {
        let path = hooked.path(hook).display().to_string();
        container.eventually_says(&format!("unable to run hook {path}: access denied"));
    }
    container.signal(Signal::SIGTERM);
    ends_with(&container, 0);
    assert_eq!(hooked.read("ran"), "");
}

#[test]
fn a_stop_during_the_start_hooks_starts_nothing() {
    let hooked = Hooked::new();
    let slow = format!("trap 'echo >told; exit 1' TERM; echo >begun; {WAITS}");
    hooked.hook("start.d/10-slow", &slow);
    hooked.hook("start.d/20-never", "echo >never");
    let web = hooked.tree.service("web").run("echo >>started; exec sleep 1000").made();
    let container = hooked.begun();
    hooked.eventually_reads("begun", "\n");
    container.signal(Signal::SIGTERM);
    let end = container.finished();
    assert!(!web.has("started") && hooked.read("never").is_empty(), "{}", end.stderr);
    assert_eq!(hooked.read("told"), "\n", "{}", end.stderr);
}

/// Drain hooks run while every service still does, with the reason and their time in the environment.
#[test]
fn drain_hooks_run_in_name_order_while_the_services_run() {
    let hooked = Hooked::new();
    hooked.hook("drain.d/20-wait", "sleep 1; test -e service/web/stopping || echo still up >>order");
    hooked.hook("drain.d/10-leave", "echo $INIT_REASON >>order; echo $INIT_REMAINING_MS >remaining");
    let web = hooked.tree.service("web").run(&saves_for("0")).made();
    let container = hooked.begun();
    web.eventually_has("ready");
    container.signal(Signal::SIGINT);
    ends_with(&container, 0);
    assert_eq!(hooked.read("order"), "INT\nstill up\n");
    let remaining: u64 = hooked.read("remaining").trim().parse().expect("milliseconds");
    assert!((5_000..28_000).contains(&remaining), "{remaining} ms of a grace of {PATIENT} s");
    assert_eq!(web.read("saved"), "saved\n");
}

#[test]
fn a_drain_hook_that_fails_is_said_and_no_more() {
    let hooked = Hooked::new();
    hooked.hook("drain.d/10-fails", "exit 3");
    hooked.hook("drain.d/20-runs", "echo >ran");
    let web = hooked.tree.service("web").run(&saves_for("0")).made();
    let container = hooked.begun();
    web.eventually_has("ready");
    container.signal(Signal::SIGTERM);
    let end = ends_with(&container, 0);
    said(&end, "drain.d/10-fails: failed with exit 3");
    assert_eq!((hooked.read("ran").as_str(), web.read("saved").as_str()), ("\n", "saved\n"));
}

#[test]
fn a_second_request_skips_the_rest_of_the_drain() {
    let hooked = Hooked::new();
    hooked.hook("drain.d/10-long", "echo >begun; exec sleep 1000");
    hooked.hook("drain.d/20-never", "echo >never");
    let web = hooked.tree.service("web").run(&saves_for("0")).made();
    let container = hooked.begun();
    web.eventually_has("ready");
    container.signal(Signal::SIGTERM);
    hooked.eventually_reads("begun", "\n");
    // The drain would last for thirteen seconds.
    let end = exited(container.stopped_within(Duration::from_secs(10)), 0);
    said(&end, "the rest of the drain is skipped");
    assert_eq!((hooked.read("never").as_str(), web.read("saved").as_str()), ("", "saved\n"));
}

/// A drain hook gets its share of the grace and no more; the services keep theirs.
#[test]
fn a_drain_hook_that_hangs_is_ended_in_time() {
    let hooked = Hooked::new();
    hooked.hook("drain.d/10-hung", "trap '' TERM INT; exec sleep 1000");
    let web = hooked.tree.service("web").run(&saves_for("1")).made();
    let container = hooked.init().args(["--grace", "16"]).start_as_process_1();
    web.eventually_has("ready");
    let end = exited(container.stopped_within(Duration::from_secs(16)), 99);
    said(&end, "drain.d/10-hung: ");
    said(&end, "no service killed, but others were; exit 99");
    assert_eq!(web.read("saved"), "saved\n");
}

/// The end of a COMMAND is drained too, and the hooks are told that reason.
#[test]
fn the_commands_end_is_a_reason_to_drain() {
    let hooked = Hooked::new();
    hooked.hook("drain.d/10-leave", "echo $INIT_REASON >reason");
    exited(hooked.init().args(["--", "sh", "-c", "exit 5"]).output_as_process_1(), 5);
    assert_eq!(hooked.read("reason"), "COMMAND\n");
}

#[test]
fn finish_hooks_run_in_name_order_after_the_last_service() {
    let hooked = Hooked::new();
    hooked.hook(
        "finish.d/10-first",
        "cat service/web/saved service/web/log.txt >>order; echo $INIT_REASON >>order",
    );
    hooked.hook("finish.d/20-second", "echo second >>order; exit 1");
    hooked.hook("finish.d/30-third", "echo third >>order");
    let web = hooked
        .tree
        .service("web")
        .run(&format!("trap 'echo bye' EXIT\n{}", saves_for("1")))
        .log("cat >>../log.txt; sleep .3; echo logged >>../log.txt")
        .made();
    let container = hooked.begun();
    web.eventually_has("ready");
    container.signal(Signal::SIGTERM);
    let end = container.finished();
    assert_eq!(hooked.read("order"), "saved\nbye\nlogged\nTERM\nsecond\nthird\n", "{}", end.stderr);
    said(&end, "finish.d/20-second: failed with exit 1");
}

#[test]
fn a_finish_hook_that_hangs_is_ended_in_time() {
    let hooked = Hooked::new();
    hooked.hook("finish.d/10-hung", "trap '' TERM; exec sleep 1000");
    let web = hooked.tree.service("web").run(&saves_for("0")).made();
    let container = hooked.init().args(["--grace", "10"]).start_as_process_1();
    web.eventually_has("ready");
    let end = exited(container.stopped_within(Duration::from_secs(10)), 99);
    said(&end, "finish.d/10-hung: ");
    assert_eq!(web.read("saved"), "saved\n");
}

/// Hooks are looked up when they are due: a service may install one.
#[test]
fn a_drain_hook_that_came_later_is_run() {
    let hooked = Hooked::new();
    let web = hooked.tree.service("web").run(&saves_for("0")).made();
    let container = hooked.begun();
    web.eventually_has("ready");
    hooked.hook("drain.d/10-late", "echo >ran");
    container.signal(Signal::SIGTERM);
    ends_with(&container, 0);
    assert_eq!(hooked.read("ran"), "\n");
}

/// A hook does not have init's input: it would wait for the terminal, or read what is meant for COMMAND.
#[test]
fn hooks_read_nothing() {
    let hooked = Hooked::new();
    let fifo = hooked.tree.root().join("input");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    for hook in ["start.d/10-reads", "drain.d/10-reads", "finish.d/10-reads"] {
        hooked.hook(hook, "cat >>read; echo >>ended");
    }
    let web = hooked.tree.service("web").run("echo >ready; exec sleep 1000").made();
    let container = hooked.init().redirected(&format!("0<>{}", fifo.display())).start_as_process_1();
    web.eventually_has("ready");
    container.signal(Signal::SIGTERM);
    ends_with(&container, 0);
    assert_eq!((hooked.read("read"), hooked.read("ended")), (String::new(), "\n\n\n".to_owned()));
}

/// A start hook that does not end uses the time of the services, not that of the finish hooks.
#[test]
fn finish_hooks_run_when_a_start_hook_had_to_be_killed() {
    let hooked = Hooked::new();
    hooked.hook("start.d/10-hangs", "trap '' TERM; echo >hangs; while :; do sleep 1; done");
    hooked.hook("finish.d/10-tidy", "echo >>tidied");
    let container = hooked.begun();
    hooked.eventually_reads("hangs", "\n");
    container.signal(Signal::SIGTERM);
    ends_with(&container, 99);
    assert_eq!(hooked.read("tidied"), "\n");
}

/// What a hook leaves behind gets TERM first, like what a service leaves behind.
#[test]
fn what_a_finish_hook_leaves_behind_is_asked_to_end() {
    let hooked = Hooked::new();
    let stray = "trap 'echo saved >>saved; exit 0' TERM; echo >ready; while :; do sleep .05; done";
    hooked.hook("finish.d/10-leaves", &format!("({stray}) & while ! test -e ready; do sleep .05; done"));
    let container = hooked.begun();
    container.eventually_says("init: ");
    container.signal(Signal::SIGTERM);
    ends_with(&container, 0);
    assert_eq!(hooked.read("saved"), "saved\n");
}

/// A COMMAND that cannot be started leaves nothing to drain.
#[test]
fn a_command_that_is_not_there_is_not_drained() {
    let hooked = Hooked::new();
    hooked.hook("drain.d/10-waits", "echo >drained; sleep 1000");
    hooked.hook("finish.d/10-tidy", "echo >>tidied");
    let end = exited(hooked.init().args(["--", "no-such-command"]).output_as_process_1(), 127);
    assert_eq!(
        (hooked.read("drained"), hooked.read("tidied")),
        (String::new(), "\n".to_owned()),
        "{}",
        end.stderr
    );
}
