//! Services that resist a stop: they ignore TERM, fork without end, hold pipes, stop other processes. init
//! leaves before the grace is over all the same, and names what it had to kill.

use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use tests::namespace::PidNamespace;
use tests::process::send;
use tests::{Builder, Output, Suite, TestTree, time_until};

use crate::IGNORES_TERM;
use crate::init::stop::{PATIENT, begun, said, saves_for, signal_inmate};

/// The grace in these tests, in seconds.
const GRACE: u64 = 8;

/// TERM, and then the end within the grace.
#[track_caller]
fn stopped_in_time(container: &PidNamespace) -> Output {
    container.stopped_within(Duration::from_secs(GRACE))
}

/// A hostile service beside one that saves: the hostile one is killed and named, the other is not.
#[track_caller]
fn is_killed_in_time(hostile: Builder, tree: &TestTree) -> Output {
    let hostile = hostile.made();
    let saver = tree.service("saver").run(&saves_for("1")).made();
    let container = begun(tree, &GRACE.to_string());
    hostile.eventually_has("ready");
    saver.eventually_has("ready");
    let end = stopped_in_time(&container);
    assert_eq!(end.code(), Some(99), "{}", end.stderr);
    said(&end, &format!("1 killed: {}; exit 99\n", hostile.name()));
    assert_eq!(saver.read("saved"), "saved\n", "{}", end.stderr);
    said(&end, "init: saver: stopped after ");
    end
}

/// The same, but it can be stopped without a KILL.
#[track_caller]
fn is_stopped_in_time(difficult: Builder, tree: &TestTree) -> Output {
    let difficult = difficult.made();
    let container = begun(tree, &GRACE.to_string());
    difficult.eventually_has("ready");
    let end = stopped_in_time(&container);
    assert_eq!(end.code(), Some(0), "{}", end.stderr);
    end
}

#[test]
fn a_service_that_ignores_term_is_killed() {
    let tree = Suite::ours().tree();
    let end = is_killed_in_time(tree.service("deaf").run(IGNORES_TERM), &tree);
    said(&end, "waiting for deaf\n");
    said(&end, "init: deaf: does not stop: killed ");
}

/// What it has started is killed with it, also what is in a session of its own.
#[test]
fn a_service_that_ignores_term_with_all_its_children_is_killed() {
    let tree = Suite::ours().tree();
    let body = "trap '' TERM\nsleep 1001 &\nsetsid sh -c 'sleep 1002; :' &\necho >ready\nwhile :; do sleep 1000; done";
    is_killed_in_time(tree.service("deaf").run(body), &tree);
}

#[test]
fn the_finish_of_a_killed_service_is_run() {
    let tree = Suite::ours().tree();
    let deaf = tree.service("deaf").run(IGNORES_TERM).finish("echo $* >told").made();
    // A machine that is busy needs a moment to start it, and there is one twelfth of the grace for that.
    let container = begun(&tree, PATIENT);
    deaf.eventually_has("ready");
    container.signal(Signal::SIGTERM);
    let end = container.finished();
    assert_eq!(end.code(), Some(99), "{}", end.stderr);
    assert_eq!(deaf.read("told"), "-1 9\n");
}

/// `./run` is killed first where it still lives; `./finish` and control scripts have more time.
#[test]
fn finish_and_control_scripts_outlive_the_kill_of_a_run() {
    const HANGS: &str = "trap '' TERM; echo >begun; exec sleep 1000";
    let tree = Suite::ours().tree();
    let deaf = tree.service("deaf").run(IGNORES_TERM).made();
    let runs = "echo >ready; exec sleep 1000";
    let finishing = tree.service("finishing").run(runs).finish(HANGS).made();
    let controlled = tree.service("controlled").run(runs).control('t', HANGS).made();
    let container = begun(&tree, &GRACE.to_string());
    for service in [&deaf, &finishing, &controlled] {
        service.eventually_has("ready");
    }
    finishing.eventually_runs();
    let end = stopped_in_time(&container);
    let killed_after = |name: &str| -> f64 {
        let start = format!("init: {name}: killed after ");
        let time = end.stderr.lines().find_map(|line| line.strip_prefix(&start)?.strip_suffix(" s"));
        time.and_then(|time| time.parse().ok()).unwrap_or_else(|| panic!("{name}: {}", end.stderr))
    };
    // Of eight seconds one is kept in reserve. Of the rest 80 % are for ./run, and 88 % for the others.
    assert!(killed_after("deaf") > 5.0, "{}", end.stderr);
    for service in [&finishing, &controlled] {
        let is_later = killed_after(service.name()) > killed_after("deaf");
        assert!(service.has("begun") && is_later, "{}", end.stderr);
    }
}

#[test]
fn a_finish_that_hangs_is_killed() {
    let tree = Suite::ours().tree();
    let service =
        tree.service("hung").run("echo >ready; exec sleep 1000").finish("trap '' TERM; exec sleep 1000");
    is_killed_in_time(service, &tree);
}

#[test]
fn a_control_t_that_hangs_is_killed() {
    let tree = Suite::ours().tree();
    let service = tree.service("hung").run("echo >ready; exec sleep 1000").control('t', "exec sleep 1000");
    is_killed_in_time(service, &tree);
}

#[test]
fn a_control_d_that_hangs_is_killed() {
    let tree = Suite::ours().tree();
    let service = tree.service("hung").run("echo >ready; exec sleep 1000").control('d', "exec sleep 1000");
    let hung = service.made();
    let container = begun(&tree, &GRACE.to_string());
    hung.eventually_has("ready");
    // The service itself ends of its TERM; whether its script has to be killed is for its supervisor to say.
    stopped_in_time(&container);
}

/// It has begun no work, and TERM ends it.
#[test]
fn a_control_t_that_does_nothing_is_not_enough() {
    let tree = Suite::ours().tree();
    let service = tree.service("mute").run("echo >ready; exec sleep 1000").control('t', "exit 0");
    is_killed_in_time(service, &tree);
}

/// What a service has left behind holds the pipe that its logger reads.
#[test]
fn a_stray_that_holds_the_log_pipe_is_ended() {
    let tree = Suite::ours().tree();
    let body = "setsid sleep 1001 & echo line; echo >ready; exec sleep 1000";
    is_stopped_in_time(tree.service("web").run(body).log("exec cat >>../log.txt"), &tree);
    assert_eq!(tree.at("web").read("log.txt"), "line\n");
}

#[test]
fn a_deaf_stray_that_holds_the_log_pipe_is_killed() {
    let tree = Suite::ours().tree();
    let body = "setsid sh -c 'trap \"\" TERM; echo >ready; exec sleep 1001' & echo line; exec sleep 1000";
    let web = tree.service("web").run(body).log("exec cat >>../log.txt").made();
    let container = begun(&tree, &GRACE.to_string());
    web.eventually_has("ready");
    web.eventually_reads("log.txt", "line\n");
    let end = stopped_in_time(&container);
    assert_eq!(end.code(), Some(99), "{}", end.stderr);
}

#[test]
fn a_logger_that_does_not_leave_is_told_to() {
    let tree = Suite::ours().tree();
    let service = tree.service("web").run("echo >ready; exec sleep 1000").log("exec sleep 1000");
    let end = is_stopped_in_time(service, &tree);
    // At a stop, or before that by its own supervisor.
    let is_said =
        ["logger does not leave at the end of its input: TERM to ", "log/./run does not end with its input"]
            .into_iter()
            .any(|text| end.stderr.contains(text));
    assert!(is_said, "{}", end.stderr);
}

#[test]
fn a_logger_that_does_not_leave_when_told_is_killed() {
    let tree = Suite::ours().tree();
    let service =
        tree.service("web").run("echo >ready; exec sleep 1000").log("trap '' TERM; exec sleep 1000");
    is_killed_in_time(service, &tree);
}

#[test]
fn a_stray_that_ignores_term_is_killed_and_named() {
    let tree = Suite::ours().tree();
    let body = "setsid sh -c 'trap \"\" TERM; echo >ready; exec sleep 1001' & exec sleep 1000";
    let parent = tree.service("parent").run(body).made();
    let container = begun(&tree, &GRACE.to_string());
    parent.eventually_has("ready");
    let end = stopped_in_time(&container);
    assert_eq!(end.code(), Some(99), "{}", end.stderr);
    said(&end, "left behind, killed: sleep (pid ");
}

/// A process that is always another one by the time it is looked for: a chain of short lives, with so many
/// links and no more, so that the machine survives.
#[test]
fn a_service_that_forks_without_end_is_killed() {
    let tree = Suite::ours().tree();
    let body = "cd ..; for link in 1 2 3 4; do ./chain/hop & done; echo >chain/ready; exec sleep 1000";
    let chain = tree.service("chain").run(body).script("hop", "trap '' TERM\n./chain/hop &\nexit 0").made();
    let container = begun(&tree, &GRACE.to_string());
    chain.eventually_has("ready");
    let end = stopped_in_time(&container);
    assert_eq!(end.code(), Some(99), "{}", end.stderr);
}

/// Each one has two children and goes: hundreds of strays at once.
#[test]
fn a_crowd_of_strays_is_killed() {
    let tree = Suite::ours().tree();
    let body = "./spread 8; echo >ready; exec sleep 1000";
    let spread =
        "trap '' TERM\n[ $1 -gt 0 ] || exec sleep 1000\n./spread $(($1-1)) &\n./spread $(($1-1)) &\nexit 0";
    let crowd = tree.service("crowd").run(body).script("spread", spread).made();
    let container = begun(&tree, &GRACE.to_string());
    crowd.eventually_has("ready");
    crowd.eventually("a crowd is there", |_| {
        container.processes().iter().filter(|inmate| inmate.command_line == "sleep 1000").count() == 257
    });
    let end = stopped_in_time(&container);
    assert_eq!(end.code(), Some(99), "{}", end.stderr);
}

/// Neither a stopped service, nor a stopped worker that a service waits for delays the end.
#[test]
fn processes_stopped_with_stop_do_not_delay_the_end() {
    let tree = Suite::ours().tree();
    let services: Vec<_> = (0..4)
        .map(|number| tree.service(&format!("s{number}")).run(&saves_for("0")).log("exec cat").made())
        .collect();
    let container = begun(&tree, &GRACE.to_string());
    for service in &services {
        service.eventually_has("ready");
    }
    for inmate in container.processes() {
        if inmate.pid_inside != 1 {
            send(inmate.outside.pid, Signal::SIGSTOP);
        }
    }
    let end = stopped_in_time(&container);
    assert!(services.iter().all(|service| service.has("saved")), "{}", end.stderr);
}

/// As a subreaper, init has no kernel that ends the rest for it.
#[test]
fn a_subreaper_leaves_no_process_alive() {
    let tree = Suite::ours().tree();
    let services: Vec<_> = Behaviour::ALL
        .iter()
        .enumerate()
        .map(|(number, behaviour)| behaviour.describe(tree.service(&format!("s{number}"))).made())
        .collect();
    let grace = GRACE.to_string();
    let init = tree.command("init").args(["--grace", &grace]).arg(tree.services()).start();
    for service in &services {
        service.eventually_has("ready");
    }
    init.signal(Signal::SIGTERM);
    let took = time_until("init leaves", || init.process().is_leaving());
    let end = init.finished();
    assert!(took < Duration::from_secs(GRACE), "{took:?}\n{}", end.stderr);
    assert_eq!(end.code(), Some(99), "{}", end.stderr);
    let left: Vec<String> = tree.processes().iter().map(tests::process::Process::command_line).collect();
    assert_eq!(left, Vec::<String>::new(), "{}", end.stderr);
}

/// All of these services in one tree.
#[test]
fn a_whole_tree_of_the_hostile_is_ended_in_time() {
    let mut seed = Chances(42);
    hostile_tree(&mut seed, Behaviour::ALL.len());
}

/// Trees of random mixes, as many as `HOSTILE_TREES` says; the same ones each time.
#[test]
fn random_trees_of_the_hostile_are_ended_in_time() {
    // Some of them keep a core busy by themselves, and the time matters here.
    const AT_ONCE: u64 = 2;
    let count: u64 = std::env::var("HOSTILE_TREES").ok().and_then(|count| count.parse().ok()).unwrap_or(20);
    let threads: Vec<_> = (0..AT_ONCE)
        .map(|first| {
            thread::spawn(move || {
                for seed in (first..count).step_by(usize::try_from(AT_ONCE).expect("a small number")) {
                    eprintln!("the tree of seed {seed}");
                    hostile_tree(&mut Chances(seed * 2 + 1), 5);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("every tree is ended in time");
    }
}

/// What a service of a hostile tree does.
#[derive(Clone, Copy, Debug)]
enum Behaviour {
    Orderly,
    Deaf,
    Crashing,
    HangsInFinish,
    HangsInControl,
    DeafStray,
    DeafLogger,
    Chain,
    Paused,
    Stopped,
    Runsvdir,
}

impl Behaviour {
    const ALL: [Self; 11] = [
        Self::Orderly,
        Self::Deaf,
        Self::Crashing,
        Self::HangsInFinish,
        Self::HangsInControl,
        Self::DeafStray,
        Self::DeafLogger,
        Self::Chain,
        Self::Paused,
        Self::Stopped,
        Self::Runsvdir,
    ];

    fn describe(self, service: Builder) -> Builder {
        const SLEEPS: &str = "echo >ready; exec sleep 1000";
        match self {
            Self::Orderly | Self::Paused | Self::Stopped => service.run(&saves_for("0")),
            Self::Deaf => service.run(IGNORES_TERM).log("exec cat >>../log.txt"),
            Self::Crashing => service.run("echo >ready; exit 1").finish("exit 0"),
            Self::HangsInFinish => service.run(SLEEPS).finish("trap '' TERM; exec sleep 1000"),
            Self::HangsInControl => service.run(SLEEPS).control('t', "trap '' TERM; exec sleep 1000"),
            Self::DeafStray => service
                .run("setsid sh -c 'trap \"\" TERM; exec sleep 1001' & echo >ready; exec sleep 1000")
                .log("exec cat >>../log.txt"),
            Self::DeafLogger => service.run(SLEEPS).log("trap '' TERM; exec sleep 1000"),
            Self::Chain => service
                .run("./hop & echo >ready; exec sleep 1000")
                .script("hop", "trap '' TERM\nsleep .02\n./hop &\nexit 0"),
            Self::Runsvdir => service
                .run("exec runsvdir tree")
                .script("tree/deaf/run", "trap '' TERM; echo >../../ready; exec sleep 1000"),
        }
    }
}

#[track_caller]
fn hostile_tree(dice: &mut Chances, size: usize) {
    let tree = Suite::ours().tree();
    let mut services = Vec::new();
    for number in 0..size {
        let behaviour = if size == Behaviour::ALL.len() {
            Behaviour::ALL[number]
        } else {
            Behaviour::ALL[dice.below(Behaviour::ALL.len())]
        };
        let service = behaviour.describe(tree.service(&format!("s{number}"))).made();
        services.push((behaviour, service));
    }
    let container = begun(&tree, &GRACE.to_string());
    for (behaviour, service) in &services {
        service.eventually_has("ready");
        match behaviour {
            Behaviour::Paused => service.control("p"),
            Behaviour::Stopped => {
                signal_inmate(&container, service.eventually_runs().pid, Signal::SIGSTOP);
            }
            _ => {}
        }
    }
    if dice.below(4) == 0 {
        container.signal(Signal::SIGSTOP);
        container.signal(Signal::SIGCONT);
    }
    let end = stopped_in_time(&container);
    assert!(matches!(end.code(), Some(0 | 99)), "{:?}: {}", end.ended, end.stderr);
    let left: Vec<String> = tree.processes().iter().map(tests::process::Process::command_line).collect();
    assert_eq!(left, Vec::<String>::new(), "{}", end.stderr);
    for (behaviour, service) in &services {
        if matches!(behaviour, Behaviour::Orderly | Behaviour::Paused | Behaviour::Stopped) {
            assert_eq!(service.read("saved"), "saved\n", "{}\n{}", service.name(), end.stderr);
        }
    }
}

/// Numbers that look random and are the same each time.
struct Chances(u64);

impl Chances {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit).expect("a small limit")).expect("a small number")
    }
}
