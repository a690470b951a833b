//! Statements (A1 to A16) that init must fulfil to work better than what is used in containers today, each
//! with the shortcoming of another program that it answers.

use std::fmt::Write as _;
use std::thread;
use std::time::Duration;

use fs_err as fs;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use tests::process::send;
use tests::wait::eventually_same;
use tests::{Service, Suite, TestTree, eventually};

use crate::IGNORES_TERM;
use crate::init::stop::{
    PATIENT, WAITS, begun, ended_in_order, patient, said, saves_for, signal_inmate, stopped_in_order,
    with_command,
};

/// How often something is repeated that must never fail: a few times, or what the variable says.
fn rounds(variable: &str, few: usize) -> usize {
    std::env::var(variable).ok().and_then(|count| count.parse().ok()).unwrap_or(few)
}

/// A script in a directory of hooks, working in the root of the tree.
fn hook(tree: &TestTree, name: &str, body: &str) {
    let path = tree.root().join("hooks").join(name);
    fs::create_dir_all(path.parent().expect("a directory")).expect("a directory of hooks");
    tree.write_script(&path, &format!("cd {}\n{body}", tree.root().display()));
}

fn read(tree: &TestTree, file: &str) -> String {
    fs::read_to_string(tree.root().join(file)).unwrap_or_default()
}

/// A1: runsvdir as process 1 leaves at once. `STOP_ROUNDS` says how often this is tried.
#[test]
fn a1_a_service_that_needs_three_seconds_has_saved_in_every_run() {
    let (count, at_once) = (rounds("STOP_ROUNDS", 4), 4);
    let lives: Vec<_> = (0..at_once)
        .map(|first| {
            thread::spawn(move || {
                for _ in (first..count).step_by(at_once) {
                    let tree = Suite::ours().tree();
                    let saver = tree.service("saver").run(&saves_for("3")).made();
                    let container = begun(&tree, PATIENT);
                    saver.eventually_has("ready");
                    stopped_in_order(&container);
                    assert_eq!(saver.read("saved"), "saved\n");
                }
            })
        })
        .collect();
    for life in lives {
        life.join().expect("it has saved in every run");
    }
}

/// A2: a shell that traps TERM stops one service after the other.
#[test]
fn a2_twenty_services_that_need_two_seconds_stop_together() {
    let tree = Suite::ours().tree();
    let log = tree.root().join("order").display().to_string();
    let services: Vec<Service> = (0..20)
        .map(|number| {
            let body = format!(
                "trap 'kill $!; echo told >>{log}; sleep 2; echo ended >>{log}; exit 0' TERM
                 echo >ready; while :; do sleep 1000 & wait; done"
            );
            tree.service(&format!("s{number}")).run(&body).made()
        })
        .collect();
    let container = begun(&tree, PATIENT);
    for service in &services {
        service.eventually_has("ready");
    }
    container.signal(Signal::SIGTERM);
    // Two seconds and a half on a machine that has nothing else to do; forty, one after the other.
    ended_in_order(&container);
    let order = read(&tree, "order");
    let (told, ended) = order.split_once("ended").expect("a service has ended");
    assert_eq!(told.lines().count(), 20, "all were told before the first had ended:\n{order}");
    assert_eq!(ended.matches("ended").count(), 19, "{order}");
}

/// A2: and it reaps nothing.
#[test]
fn a2_a_thousand_orphans_leave_no_zombie() {
    let tree = Suite::ours().tree();
    let thousand =
        |each: &str| format!("i=0; while [ $i -lt 1000 ]; do {each} i=$((i+1)); done; echo >spawned");
    // Its children outlive theirs; and a shell that has become sleep reaps none of its own.
    let forgetful = tree.service("forgetful").run(&thousand("(sleep .01 & exit 0);")).down().made();
    let lazy = tree.service("lazy").run(&(thousand("true &") + "; exec sleep 1000")).down().made();
    let container = begun(&tree, PATIENT);
    forgetful.eventually("is supervised", Service::is_supervised);
    forgetful.control("o");
    forgetful.eventually_has("spawned");
    eventually("no zombie is left", || container.zombies().is_empty());
    lazy.eventually("is supervised", Service::is_supervised);
    lazy.control("o");
    lazy.eventually_has("spawned");
    // What a service does not reap is init's when the service is gone.
    lazy.control("d");
    lazy.eventually_down();
    eventually("no zombie is left", || container.zombies().is_empty());
    stopped_in_order(&container);
}

/// A3: `my_init` loses the code of a main program that a signal has killed, and some others.
#[test]
fn a3_a_killed_command_is_137_and_a_failing_start_hook_stops_the_boot() {
    let tree = Suite::ours().tree();
    let killed = with_command(&tree, &[], "kill -KILL $$").output_as_process_1();
    assert_eq!(killed.code(), Some(137), "{}", killed.stderr);
    let web = tree.service("web").run("echo >>started; exec sleep 1000").made();
    hook(&tree, "start.d/10-migrate", "exit 7");
    let failed = with_command(&tree, &["--hooks", "hooks"], "touch ran").output_as_process_1();
    assert_eq!(failed.code(), Some(7), "{}", failed.stderr);
    assert!(!web.has("started") && !tree.root().join("ran").exists());
}

/// A3: every phase, in its order.
#[test]
fn a3_all_phases_come_in_their_order() {
    let tree = Suite::ours().tree();
    let log = tree.root().join("order").display().to_string();
    hook(&tree, "start.d/hook", "echo start >>order");
    hook(&tree, "drain.d/hook", "echo drain >>order");
    hook(&tree, "finish.d/hook", "echo finish >>order");
    tree.service("web")
        .run(&format!(
            "trap 'kill $!; echo service ends >>{log}; exit 0' TERM; echo service >>{log}; echo >ready; \
             while :; do sleep 1000 & wait; done"
        ))
        .made();
    let ready = tree.at("web").path("ready").display().to_string();
    let body = format!(
        "trap 'kill $!; echo command ends >>{log}; exit 0' TERM
         until [ -e {ready} ]; do sleep .01; done; echo command >>{log}; while :; do sleep 1000 & wait; done"
    );
    let container =
        patient(&tree, &["--hooks", "hooks"]).args(["--", "sh", "-c", &body]).start_as_process_1();
    eventually_same("the start", "start\nservice\ncommand\n", || read(&tree, "order"));
    container.signal(Signal::SIGTERM);
    ended_in_order(&container);
    let stop = "drain\ncommand ends\nservice ends\nfinish\n";
    assert_eq!(read(&tree, "order"), format!("start\nservice\ncommand\n{stop}"));
}

/// A4: runsvinit abandons a late service.
#[test]
fn a4_a_service_that_is_up_after_its_deadline_is_killed_finished_and_named() {
    let tree = Suite::ours().tree();
    let late = tree.service("late").run(IGNORES_TERM).finish("echo $* >told").made();
    // A busy machine needs a moment to start ./finish, and has a twelfth of the grace for that.
    let container = begun(&tree, PATIENT);
    late.eventually_has("ready");
    container.signal(Signal::SIGTERM);
    let end = container.finished();
    assert_eq!(end.code(), Some(99), "{}", end.stderr);
    said(&end, "init: late: killed after ");
    assert_eq!(late.read("told"), "-1 9\n");
}

/// A5: `docker stop` waits for so long, and then kills.
#[test]
fn a5_init_has_left_before_the_grace_is_over_whatever_the_services_do() {
    let tree = Suite::ours().tree();
    let services = [
        tree.service("deaf").run(IGNORES_TERM).made(),
        tree.service("unfinished")
            .run("echo >ready; exec sleep 1000")
            .finish("trap '' TERM; exec sleep 1000")
            .made(),
        tree.service("holder")
            .run("setsid sh -c 'trap \"\" TERM; exec sleep 1001' & echo >ready; exec sleep 1000")
            .log("exec cat >../log.txt")
            .made(),
        tree.service("stopped").run("echo >ready; exec sleep 1000").made(),
    ];
    let container = begun(&tree, "10");
    for service in &services {
        service.eventually_has("ready");
    }
    signal_inmate(&container, services[3].eventually_runs().pid, Signal::SIGSTOP);
    let end = container.stopped_within(Duration::from_secs(10));
    assert_eq!(end.code(), Some(99), "{}", end.stderr);
}

/// A5: and the next start is a clean one.
#[test]
fn a5_after_a_kill_the_next_start_is_clean() {
    let tree = Suite::ours().tree();
    let saver = tree.service("saver").run(&saves_for("0")).log("exec cat >>../log.txt").made();
    let crashing = tree.service("crashing").run("exit 1").finish("exec sleep 1000").made();
    let container = begun(&tree, PATIENT);
    saver.eventually_has("ready");
    crashing.eventually_finishes();
    saver.control("p");
    saver.eventually_stat("run, paused");
    send(container.pid(), Signal::SIGKILL);
    container.finished();
    crashing.write_script("finish", "exit 0");
    let container = begun(&tree, PATIENT);
    saver.eventually_lines("ready", 2);
    saver.eventually_stat("run");
    let end = stopped_in_order(&container);
    assert_eq!(saver.read("saved"), "saved\n");
    for word in ["warning", "fatal", "unable"] {
        assert!(!end.stderr.contains(word), "{}", end.stderr);
    }
}

/// A6: a `run` that is a shell without exec swallows TERM.
#[test]
fn a6_the_real_child_of_a_shell_is_ended_too() {
    let tree = Suite::ours().tree();
    let service = tree.service("wrapped");
    let wrapped = service
        .run("./program\necho swallowed >>swallowed")
        .script("program", &saves_for("1"))
        .file("process-group", "")
        .made();
    let container = begun(&tree, PATIENT);
    wrapped.eventually_has("ready");
    stopped_in_order(&container);
    assert_eq!(wrapped.read("saved"), "saved\n");
}

/// A6: init itself starts COMMAND without a shell.
#[test]
fn a6_init_interposes_no_shell() {
    let tree = Suite::ours().tree();
    let web = tree.service("web").run("exec sleep 1000").log("exec cat").made();
    let container = begun(&tree, PATIENT);
    web.eventually_runs();
    eventually("only what has to be there is there", || {
        let mut lines: Vec<String> =
            container.processes().into_iter().map(|inmate| inmate.command_line).collect();
        lines.sort();
        let expected = ["cat", "init --grace", "sleep 1000"];
        lines.len() == expected.len()
            && lines.iter().zip(expected).all(|(line, start)| line.starts_with(start))
    });
    stopped_in_order(&container);
}

/// A7: a program that handles TERM, and has its own limit.
#[test]
fn a7_exit_codes_reach_finish_and_the_container() {
    let tree = Suite::ours().tree();
    let body = |code: u8| {
        format!("trap 'kill $!; exit {code}' TERM; echo >ready; while :; do sleep 1000 & wait; done")
    };
    let good = tree.service("good").run(&body(0)).finish("echo $* >told").made();
    let bad = tree.service("bad").run(&body(1)).finish("echo $* >told").made();
    let container = begun(&tree, PATIENT);
    good.eventually_has("ready");
    bad.eventually_has("ready");
    stopped_in_order(&container);
    assert_eq!((good.read("told").as_str(), bad.read("told").as_str()), ("0 0\n", "1 0\n"));

    let tree = Suite::ours().tree();
    tree.service("heart").run("exit 1").file("critical", "").made();
    let end = tree.command("init").arg(tree.services()).output_as_process_1();
    assert_eq!(end.code(), Some(1), "{}", end.stderr);
}

/// A8: tini leaves as soon as its first child is dead, whatever other processes are at work.
#[test]
fn a8_every_worker_of_the_commands_group_is_waited_for() {
    let tree = Suite::ours().tree();
    let worker = format!(
        "trap \"sleep 3; echo saved >>saved; exit 0\" TERM
         echo >ready; {WAITS}"
    );
    let body = format!("sh -c '{worker}' & while :; do sleep 1; done");
    let container = with_command(&tree, &["-g"], &body).start_as_process_1();
    eventually("the worker is ready", || tree.root().join("ready").exists());
    container.signal(Signal::SIGTERM);
    let end = container.finished();
    assert_eq!(read(&tree, "saved"), "saved\n", "{}", end.stderr);
    assert_eq!(end.code(), Some(0), "{}", end.stderr);
}

/// A9: supervisord's stopsignal, stopwaitsecs and stopasgroup are files here, and services are stopped at the
/// same time.
#[test]
fn a9_each_service_has_its_own_signal_and_patience() {
    let tree = Suite::ours().tree();
    let body = |signal: &str| {
        format!(
            "trap 'kill $!; echo {signal} >>got; sleep 1; echo saved >>saved; exit 0' {signal}
             echo >ready; while :; do sleep 1000 & wait; done"
        )
    };
    let quits = tree.service("quits").run(&body("QUIT")).file("down-signal", "QUIT\n").made();
    let numbered = tree.service("numbered").run(&body("USR1")).file("down-signal", "10\n").made();
    let deaf = tree.service("deaf").run(IGNORES_TERM).file("timeout-kill", "1000\n").made();
    let container = begun(&tree, PATIENT);
    for service in [&quits, &numbered, &deaf] {
        service.eventually_has("ready");
    }
    // init itself would kill a service that ignores TERM after twenty-one seconds.
    container.stopped_within(Duration::from_secs(15));
    assert_eq!((quits.read("got").as_str(), quits.read("saved").as_str()), ("QUIT\n", "saved\n"));
    assert_eq!((numbered.read("got").as_str(), numbered.read("saved").as_str()), ("USR1\n", "saved\n"));
}

/// A10: the stop hook of circus is `control/t`: it gets the process, and 0 means that it was enough.
#[test]
fn a10_control_t_stops_the_service_its_own_way() {
    let tree = Suite::ours().tree();
    let web = tree
        .service("web")
        .run("trap 'echo term >>got' TERM; trap 'kill $!; echo usr1 >>got; exit 0' USR1; echo $$ >ready; while :; do sleep 1000 & wait; done")
        .control('t', "echo $1 >pid; sleep .5; kill -USR1 $1")
        .made();
    let container = begun(&tree, PATIENT);
    web.eventually_has("ready");
    stopped_in_order(&container);
    assert_eq!(web.read("got"), "usr1\n");
    assert_eq!(web.read("pid"), web.read("ready"));
}

/// A11: pm2 sends INT, and KILL 1.6 s later.
#[test]
fn a11_a_service_can_be_stopped_with_int_and_takes_its_time() {
    let tree = Suite::ours().tree();
    let node = tree
        .service("node")
        .run("trap 'kill $!; sleep 3; echo saved >>saved; exit 0' INT; echo >ready; while :; do sleep 1000 & wait; done")
        .file("down-signal", "INT\n")
        .made();
    let container = begun(&tree, PATIENT);
    node.eventually_has("ready");
    stopped_in_order(&container);
    assert_eq!(node.read("saved"), "saved\n");
}

/// A12: npm as process 1 does not pass signals on.
#[test]
fn a12_term_and_int_reach_the_real_program_and_its_last_words_are_seen() {
    for (signal, name) in [(Signal::SIGTERM, "TERM"), (Signal::SIGINT, "INT")] {
        let tree = Suite::ours().tree();
        let node = tree.root().join("node");
        tree.write_script(
            &node,
            &format!(
                "trap 'echo closing down on {name}; exit 5' {name}
                 echo listening; {WAITS}"
            ),
        );
        // Like npm: waits for its own script in the foreground, and handles no signal.
        let npm = format!("trap : TERM INT; {}; exit $?", node.display());
        let container = with_command(&tree, &["-g"], &npm).start_as_process_1();
        eventually("it listens", || container.stdout().contains("listening\n"));
        container.signal(signal);
        let end = container.finished();
        assert_eq!(end.stdout, format!("listening\nclosing down on {name}\n"), "{}", end.stderr);
        assert_eq!(end.code(), Some(5), "{}", end.stderr);
    }
}

/// A12: a program without a handler is not process 1 here, and dies of the first TERM: orderly, as requested.
#[test]
fn a12_a_command_without_a_handler_dies_of_the_first_term() {
    let tree = Suite::ours().tree();
    let container = patient(&tree, &[]).args(["--", "sleep", "1000"]).start_as_process_1();
    let command = container.eventually_has("sleep 1000").outside;
    assert_eq!((command.signals("SigIgn"), command.signals("SigBlk")), (vec![], vec![]));
    stopped_in_order(&container);
}

/// Ten thousand numbered lines.
fn numbered_lines() -> String {
    (1..=10_000).fold(String::new(), |mut text, number| {
        let _ = writeln!(text, "line {number}");
        text
    })
}

/// A `./run` that says them when it is told to end.
fn says_numbered_lines() -> String {
    format!("trap 'seq -f \"line %.0f\" 10000; exit 0' TERM; echo >ready; {WAITS}")
}

/// A13: the last lines of a log say why a service ended. `LOG_ROUNDS` says how often this is tried.
#[test]
fn a13_ten_thousand_last_lines_are_all_in_the_log() {
    let expected = numbered_lines();
    for round in 0..rounds("LOG_ROUNDS", 5) {
        let tree = Suite::ours().tree();
        let talker = tree.service("talker").run(&says_numbered_lines()).log("exec cat >>../log.txt").made();
        let container = begun(&tree, PATIENT);
        talker.eventually_has("ready");
        talker.log().eventually_runs();
        let end = stopped_in_order(&container);
        let log = talker.read("log.txt");
        assert!(log == expected, "round {round}: {} lines\n{}", log.lines().count(), end.stderr);
    }
}

/// A13: a slow logger has the time to read to the end.
#[test]
fn a13_a_slow_logger_gets_all_lines() {
    let tree = Suite::ours().tree();
    let logger =
        "while read -r line; do echo \"$line\" >>../log.txt; case $line in *000) sleep .1;; esac; done";
    let talker = tree.service("talker").run(&says_numbered_lines()).log(logger).made();
    let container = begun(&tree, PATIENT);
    talker.eventually_has("ready");
    let end = stopped_in_order(&container);
    assert_eq!(talker.lines("log.txt").len(), 10_000, "{}", end.stderr);
}

/// A13: also those that go straight to init's own output.
#[test]
fn a13_ten_thousand_last_lines_are_all_on_standard_output() {
    let expected = numbered_lines();
    for _ in 0..rounds("LOG_ROUNDS", 5) {
        let tree = Suite::ours().tree();
        let talker = tree.service("talker").run(&says_numbered_lines()).made();
        let container = begun(&tree, PATIENT);
        talker.eventually_has("ready");
        let end = stopped_in_order(&container);
        assert!(end.stdout == expected, "{} lines\n{}", end.stdout.lines().count(), end.stderr);
    }
}

/// A14: without drain hooks there is no delay.
#[test]
fn a14_no_drain_is_no_delay() {
    let tree = Suite::ours().tree();
    let web = tree.service("web").run(&saves_for("0")).made();
    fs::create_dir_all(tree.root().join("hooks/drain.d")).expect("an empty drain.d");
    let container = patient(&tree, &["--hooks", "hooks"]).start_as_process_1();
    web.eventually_has("ready");
    // A hundredth of a second on a machine that has nothing else to do; a drain has half of the grace.
    let end = container.stopped_within(Duration::from_secs(10));
    assert_eq!(end.code(), Some(0), "{}", end.stderr);
    assert_eq!(web.read("saved"), "saved\n");
}

/// A15: leave the pool, wait until no request comes any more, and only then stop.
#[test]
fn a15_every_request_during_the_drain_is_answered() {
    let tree = Suite::ours().tree();
    // Stands for a web server: each line that comes is a request, each that goes an answer.
    let server = tree
        .service("server")
        .run("trap 'echo >stopping; exit 0' TERM; echo >ready; while read -r request; do echo \"200 $request\" >>answers; done <>requests")
        .made();
    let requests = server.path("requests");
    nix::unistd::mkfifo(&requests, Mode::S_IRUSR | Mode::S_IWUSR).expect("a FIFO");
    hook(
        &tree,
        "drain.d/10-mark-maintenance",
        "test -e service/server/stopping || echo $INIT_REASON >maintenance",
    );
    hook(
        &tree,
        "drain.d/20-sleep",
        "echo >draining; until [ -e enough ]; do sleep .05; done
         test -e service/server/stopping && echo too early >early; exit 0",
    );
    let container = patient(&tree, &["--hooks", "hooks"]).start_as_process_1();
    // It may have died of the missing FIFO once.
    server.eventually_has("ready");
    container.signal(Signal::SIGTERM);
    eventually("the drain begins", || tree.root().join("draining").exists());
    for asked in 1..=50 {
        let mut pipe = fs::OpenOptions::new().write(true).open(&requests).expect("the server is there");
        std::io::Write::write_all(&mut pipe, format!("request {asked}\n").as_bytes()).expect("a request");
        server.eventually_lines("answers", asked);
        thread::sleep(Duration::from_millis(20));
    }
    fs::write(tree.root().join("enough"), "").expect("a file");
    let end = ended_in_order(&container);
    assert_eq!((read(&tree, "maintenance").as_str(), read(&tree, "early").as_str()), ("TERM\n", ""));
    assert!(server.has("stopping"), "{}", end.stderr);
}

/// A16: restart policies and orchestrators act on exit codes.
#[test]
fn a16_every_exit_code_means_what_is_documented() {
    let code_of = |describe: &dyn Fn(&TestTree) -> Vec<String>, is_stopped: bool| {
        let tree = Suite::ours().tree();
        let words = describe(&tree);
        let container = tree.command("init").args(["--grace", "10"]).args(&words).dir(tree.root());
        if !is_stopped {
            return container.output().code();
        }
        let container = container.start_as_process_1();
        eventually("it is ready", || tree.root().join("ready").exists());
        container.signal(Signal::SIGTERM);
        container.finished().code()
    };
    let dir = |tree: &TestTree| tree.services().display().to_string();
    let words = |tree: &TestTree, command: &[&str]| {
        let mut words = vec![dir(tree), "--".to_owned()];
        words.extend(command.iter().map(|word| (*word).to_owned()));
        words
    };
    let serves = |body: &'static str| {
        move |tree: &TestTree| {
            tree.service("web").run(body).made();
            vec![tree.services().display().to_string()]
        }
    };
    assert_eq!(code_of(&serves("echo >../../ready; exec sleep 1000"), true), Some(0));
    assert_eq!(code_of(&serves("trap '' TERM; echo >../../ready; exec sleep 1000"), true), Some(99));
    assert_eq!(code_of(&|tree| words(tree, &["sh", "-c", "exit 42"]), false), Some(42));
    assert_eq!(code_of(&|tree| words(tree, &["sh", "-c", "kill -ABRT $$"]), false), Some(134));
    assert_eq!(code_of(&|tree| words(tree, &["/no/such"]), false), Some(127));
    assert_eq!(code_of(&|tree| words(tree, &["/"]), false), Some(126));
    assert_eq!(code_of(&|tree| vec!["--grace".into(), "soon".into(), dir(tree)], false), Some(100));
    assert_eq!(code_of(&|_| vec!["/no/such".into()], false), Some(111));
    let critical = |tree: &TestTree| {
        tree.service("heart").run("exit 43").file("critical", "").made();
        vec![tree.services().display().to_string()]
    };
    assert_eq!(code_of(&critical, false), Some(43));
    let with_code = |tree: &TestTree| {
        words(tree, &["sh", "-c", "trap 'exit 44' TERM; echo >ready; while :; do sleep .1; done"])
    };
    assert_eq!(code_of(&with_code, true), Some(44));
}
