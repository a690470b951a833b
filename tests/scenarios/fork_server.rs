//! The runsv that goes on as many: when it is used, and that nobody can tell.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use fs_err as fs;
use nix::sys::signal::Signal;
use tests::process::{Process, is_alive, send};
use tests::{Program, Service, Suite, Tree, eventually, eventually_some};

use crate::runsvdir::{eventually_runsv_of, watched};

const SLEEPS: &str = "exec sleep 1000";

/// What others see of a runsv, without what differs between any two processes.
fn looks(runsv: &Process, tree: &Tree) -> Vec<String> {
    let root = tree.root().to_str().expect("a plain path");
    let plain = |text: String| text.replace(root, "TREE");
    let proc = PathBuf::from(format!("/proc/{}", runsv.pid));
    let numbers = |text: &String| {
        let kind = text.split_once(":[").map_or(text.as_str(), |(kind, _)| kind);
        kind.to_owned()
    };
    let mut looks: Vec<String> = ["cmdline", "comm", "environ", "limits", "cgroup", "oom_score_adj"]
        .map(|file| plain(fs::read_to_string(proc.join(file)).expect("a process")))
        .into();
    looks.push(plain(fs::read_link(proc.join("cwd")).expect("a directory").display().to_string()));
    let facts = [
        "Umask", "Uid", "Gid", "Groups", "SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt", "CapEff",
        "Threads",
    ];
    looks.extend(facts.map(|fact| format!("{fact} {}", runsv.fact(fact).expect("a fact"))));
    looks.push(format!("leads a session: {}", runsv.session == runsv.pid));
    // Which number a program gives to what it opens for itself is its own business.
    let mut open: Vec<String> = runsv
        .descriptors()
        .iter()
        .map(|(number, target)| {
            let number = if *number > 2 { "more".to_owned() } else { number.to_string() };
            format!("{number} {}", plain(numbers(target)))
        })
        .collect();
    open.sort();
    looks.extend(open);
    looks
}

/// The file that a process executes.
fn executable(pid: u32) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/exe")).expect("a process")
}

/// The random bytes that the kernel gave a process when it was executed; its copies have the same.
fn origin(pid: u32) -> [u8; 16] {
    const AT_RANDOM: u64 = 25;
    let auxiliary = fs::read(format!("/proc/{pid}/auxv")).expect("a process");
    let words: Vec<u64> = auxiliary
        .chunks_exact(size_of::<u64>())
        .map(|word| u64::from_ne_bytes(word.try_into().expect("a word")))
        .collect();
    let pair = words.chunks_exact(2).find(|pair| pair[0] == AT_RANDOM).expect("random bytes");
    let mut bytes = [0; 16];
    let memory = fs::File::open(format!("/proc/{pid}/mem")).expect("a process");
    memory.file().read_exact_at(&mut bytes, pair[1]).expect("its memory");
    bytes
}

fn are_copies(runsvs: &[u32]) -> bool {
    runsvs.iter().all(|pid| origin(*pid) == origin(runsvs[0]))
}

/// Two services, which are started together.
fn two_services(tree: &Tree) -> [Service; 2] {
    ["web", "db"].map(|name| tree.service(name).run(SLEEPS).made())
}

/// Their runsvs, when they are at work.
fn runsvs_of(runsvdir: &Program, services: &[Service]) -> Vec<u32> {
    services
        .iter()
        .map(|service| {
            service.eventually_runs();
            eventually_runsv_of(runsvdir, service.name())
        })
        .collect()
}

/// Our runsvdir with this file beside it that is called runsv.
fn beside(tree: &Tree, runsv: &Path) -> Program {
    let place = tree.root().join("programs");
    fs::create_dir(&place).expect("a new directory");
    let real = fs::canonicalize(tree.bin().join("runsvdir")).expect("our runsvdir");
    tree.copy_program(&real, &place.join("runsvdir"));
    tree.copy_program(runsv, &place.join("runsv"));
    tree.command(place.join("runsvdir")).arg(tree.services()).start()
}

fn our_runsv(tree: &Tree) -> PathBuf {
    fs::canonicalize(tree.bin().join("runsv")).expect("our runsv")
}

const MARK: &[u8] = b" of sources ";

/// Where our runsv has its mark.
fn places_of_mark(program: &[u8]) -> Vec<usize> {
    let places: Vec<usize> = (0..program.len()).filter(|place| program[*place..].starts_with(MARK)).collect();
    assert!(!places.is_empty(), "there is no mark");
    places
}

/// A program of this content.
fn program(tree: &Tree, content: &[u8]) -> PathBuf {
    let place = tree.root().join("changed");
    fs::write(&place, content).expect("a file");
    tests::tree::set_mode(&place, 0o755);
    place
}

/// Our runsv, but for a byte of its mark.
fn with_another_mark(tree: &Tree) -> PathBuf {
    let mut content = fs::read(our_runsv(tree)).expect("our runsv");
    for place in places_of_mark(&content) {
        content[place + MARK.len()] ^= 1;
    }
    program(tree, &content)
}

/// A program with the mark of our runsv, which it executes as whatever it is asked for: it is no fork
/// server.
fn with_the_mark_alone(tree: &Tree) -> PathBuf {
    let content = fs::read(our_runsv(tree)).expect("our runsv");
    let place = places_of_mark(&content)[0];
    // A version in front of it, the sum of all sources behind.
    let mark = &content[place - 20..place + MARK.len() + 16];
    let mut script = format!("#!/bin/sh\nexec {} \"$@\"\n# ", our_runsv(tree).display()).into_bytes();
    script.extend_from_slice(mark);
    script.push(b'\n');
    program(tree, &script)
}

/// The other one is executed by the original's runsvdir.
#[test]
fn a_copy_looks_like_a_runsv_that_was_executed() {
    for words in [&[][..], &["-P"]] {
        let [copied, executed] = [Suite::ours(), Suite::their_runsvdir_on_our_runsv()].map(|suite| {
            let tree = suite.tree();
            let web = tree.service("web").run(SLEEPS).log(SLEEPS).made();
            let db = tree.service("db").run(SLEEPS).made();
            let runsvdir = watched(&tree, words);
            let runsvs = runsvs_of(&runsvdir, &[web, db]);
            tree.at("web/log").eventually_runs();
            let runsv = Process::find(runsvs[0]).expect("a runsv");
            (are_copies(&runsvs), executable(runsv.pid), looks(&runsv, &tree))
        });
        assert!(copied.0 && !executed.0);
        assert_eq!((copied.1, copied.2), (executed.1, executed.2));
    }
}

/// Some programs look for the file that is executed, as busybox does beside the name.
#[test]
fn programs_are_found_by_their_files_and_names() {
    let tree = Suite::ours().tree();
    let services = two_services(&tree);
    let runsvdir = watched(&tree, &["-P"]);
    let runsvs = runsvs_of(&runsvdir, &services);
    assert!(are_copies(&runsvs));
    let found = |name: &str| {
        let output = tree.command("busybox").args(["pidof", name]).output();
        output.stdout.split_whitespace().map(|pid| pid.parse().expect("a number")).collect::<Vec<u32>>()
    };
    let (scanners, supervisors) = (found("runsvdir"), found("runsv"));
    assert!(scanners.contains(&runsvdir.pid()) && !supervisors.contains(&runsvdir.pid()));
    for runsv in &runsvs {
        assert!(supervisors.contains(runsv) && !scanners.contains(runsv), "{supervisors:?} {scanners:?}");
    }
    eventually("nobody else is left", || {
        Process::all().into_iter().filter(|process| process.parent == runsvdir.pid()).count() == runsvs.len()
    });
}

#[test]
fn a_runsv_of_other_sources_is_executed() {
    let tree = Suite::ours().tree();
    let services = two_services(&tree);
    let runsvdir = beside(&tree, &with_another_mark(&tree));
    let runsvs = runsvs_of(&runsvdir, &services);
    assert!(!are_copies(&runsvs));
    assert_eq!(executable(runsvs[0]), tree.root().join("programs/runsv"));
}

#[test]
fn the_originals_runsv_is_executed() {
    let tree = Suite::ours().tree();
    let services = two_services(&tree);
    let runsvdir = beside(&tree, Path::new("/usr/bin/runsv"));
    assert!(!are_copies(&runsvs_of(&runsvdir, &services)));
}

#[test]
fn what_a_fork_server_did_not_start_is_executed() {
    let tree = Suite::ours().tree();
    let services = two_services(&tree);
    let runsvdir = beside(&tree, &with_the_mark_alone(&tree));
    for service in &services {
        service.eventually_runs();
    }
    // It was asked to be one, with the number of its socket.
    runsvdir.eventually_says(": fatal: unable to change to directory: file does not exist\n");
}

/// It dies when it has done its work, and before it can say so.
#[test]
fn what_a_lost_fork_server_has_started_is_taken_over() {
    let tree = Suite::ours().tree();
    let services = two_services(&tree);
    let slowly = ["strace", "-D", "-f", "-o", "/dev/null", "-e", "trace=sendto"];
    let delay = ["-e", "inject=sendto:delay_enter=700000:when=1"];
    let runsvdir = tree.command("runsvdir").through(&slowly).through(&delay).arg(tree.services()).start();
    let server = eventually_some("it has copies, and has not said so", || {
        let children: Vec<Process> =
            Process::all().into_iter().filter(|process| process.parent == runsvdir.pid()).collect();
        let called =
            |name: &str| children.iter().filter(|child| child.command_line().starts_with(name)).count();
        let server = children.iter().find(|child| child.command_line().starts_with("runsv-fork-server "))?;
        (called("runsv ") == services.len() && called("runsv-fork-server ") == 1).then_some(server.pid)
    });
    send(server, Signal::SIGKILL);
    let runsvs = runsvs_of(&runsvdir, &services);
    assert!(are_copies(&runsvs));
    let said = runsvdir.stderr();
    assert!(!said.lines().any(|line| line.starts_with("runsv")), "{said}");
    runsvdir.signal(Signal::SIGHUP);
    assert_eq!(runsvdir.finished().code(), Some(111));
    eventually("they were told", || runsvs.iter().all(|runsv| !is_alive(*runsv)));
}

/// An upgrade of runsv counts from the next start on, and so does the way back.
#[test]
fn a_runsv_that_is_exchanged_is_noticed() {
    let tree = Suite::ours().tree();
    let services = two_services(&tree);
    let runsvdir = beside(&tree, &our_runsv(&tree));
    assert!(are_copies(&runsvs_of(&runsvdir, &services)));
    let place = tree.root().join("programs/runsv");
    for (number, (program, is_copied)) in
        [(with_another_mark(&tree), false), (our_runsv(&tree), true)].into_iter().enumerate()
    {
        let fresh = tree.root().join("programs/fresh");
        tree.copy_program(&program, &fresh);
        fs::rename(&fresh, &place).expect("another runsv");
        // Both are there when it looks.
        runsvdir.signal(Signal::SIGSTOP);
        let more = ["a", "b"].map(|name| {
            let (name, made) = (format!("{name}{number}"), tree.root().join(name));
            fs::create_dir(&made).expect("a directory");
            tree.write_script(&made.join("run"), SLEEPS);
            fs::rename(&made, tree.services().join(&name)).expect("a place for it");
            tree.at(&name)
        });
        runsvdir.signal(Signal::SIGCONT);
        assert_eq!(are_copies(&runsvs_of(&runsvdir, &more)), is_copied);
    }
}

/// One that cannot be executed is not there.
#[test]
fn a_runsv_that_may_not_be_executed_is_not_used() {
    let tree = Suite::ours().tree();
    let services = two_services(&tree);
    let plain = tree.root().join("plain");
    tree.copy_program(&our_runsv(&tree), &plain);
    tests::tree::set_mode(&plain, 0o644);
    let runsvdir = beside(&tree, &plain);
    // The next one is found along PATH, and executed.
    let runsvs = runsvs_of(&runsvdir, &services);
    assert!(!are_copies(&runsvs));
    assert_ne!(executable(runsvs[0]), tree.root().join("programs/runsv"));
}

/// What is sent to a copy before it listens is not lost.
#[test]
fn a_term_to_a_copy_that_was_just_made_ends_it() {
    let tree = Suite::ours().tree();
    let services: Vec<_> =
        (0..20).map(|number| tree.service(&format!("s{number}")).run(SLEEPS).made()).collect();
    let runsvdir = watched(&tree, &[]);
    let first: Vec<u32> = services
        .iter()
        .map(|service| {
            let pid = eventually_runsv_of(&runsvdir, service.name());
            send(pid, Signal::SIGTERM);
            pid
        })
        .collect();
    for (service, first) in services.iter().zip(first) {
        eventually_some("its successor", || {
            let pid = eventually_runsv_of(&runsvdir, service.name());
            (pid != first).then_some(pid)
        });
        service.eventually_runs();
    }
    assert!(runsvdir.process().is_alive());
}
