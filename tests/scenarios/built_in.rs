//! The runsv that is part of our runsvdir: when it is used, and that nobody can tell.

use std::path::{Path, PathBuf};

use fs_err as fs;
use nix::sys::signal::Signal;
use tests::process::{Process, send};
use tests::{Program, Suite, Tree, eventually_some};

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

fn is_copy(pid: u32) -> bool {
    executable(pid).ends_with("runsvdir")
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

/// Our runsv, but for a byte of its mark.
fn with_another_mark(tree: &Tree) -> PathBuf {
    const MARK: &[u8] = b" of sources ";
    let mut program = fs::read(our_runsv(tree)).expect("our runsv");
    let places: Vec<usize> = (0..program.len()).filter(|place| program[*place..].starts_with(MARK)).collect();
    assert!(!places.is_empty(), "there is no mark in {}", our_runsv(tree).display());
    for place in places {
        program[place + MARK.len()] ^= 1;
    }
    let changed = tree.root().join("changed");
    fs::write(&changed, program).expect("a file");
    tests::tree::set_mode(&changed, 0o755);
    changed
}

/// The other one is executed by the original's runsvdir.
#[test]
fn a_copy_looks_like_a_runsv_that_was_executed() {
    for words in [&[][..], &["-P"]] {
        let [copied, executed] = [Suite::ours(), Suite::their_runsvdir_on_our_runsv()].map(|suite| {
            let tree = suite.tree();
            let web = tree.service("web").run(SLEEPS).log(SLEEPS).made();
            let runsvdir = watched(&tree, words);
            web.eventually("it is supervised", tests::Service::is_supervised);
            web.eventually_runs();
            tree.at("web/log").eventually_runs();
            let runsv = Process::find(eventually_runsv_of(&runsvdir, "web")).expect("a runsv");
            (is_copy(runsv.pid), looks(&runsv, &tree))
        });
        assert!(copied.0 && !executed.0);
        assert_eq!(copied.1, executed.1);
    }
}

#[test]
fn a_runsv_of_other_sources_is_executed() {
    let tree = Suite::ours().tree();
    let web = tree.service("web").run(SLEEPS).made();
    let runsvdir = beside(&tree, &with_another_mark(&tree));
    web.eventually_runs();
    let runsv = eventually_runsv_of(&runsvdir, "web");
    assert_eq!(executable(runsv), tree.root().join("programs/runsv"));
}

#[test]
fn the_originals_runsv_is_executed() {
    let tree = Suite::ours().tree();
    let web = tree.service("web").run(SLEEPS).made();
    let runsvdir = beside(&tree, Path::new("/usr/bin/runsv"));
    web.eventually_runs();
    assert!(!is_copy(eventually_runsv_of(&runsvdir, "web")));
}

/// An upgrade of runsv counts from the next start on, and so does the way back.
#[test]
fn a_runsv_that_is_exchanged_is_noticed() {
    let tree = Suite::ours().tree();
    let web = tree.service("web").run(SLEEPS).made();
    let runsvdir = beside(&tree, &our_runsv(&tree));
    web.eventually_runs();
    let place = tree.root().join("programs/runsv");
    let mut runsv = eventually_runsv_of(&runsvdir, "web");
    assert!(is_copy(runsv));
    for (program, is_copied) in [(with_another_mark(&tree), false), (our_runsv(&tree), true)] {
        let fresh = tree.root().join("programs/fresh");
        tree.copy_program(&program, &fresh);
        fs::rename(&fresh, &place).expect("another runsv");
        let before = runsv;
        send(before, Signal::SIGTERM);
        runsv = eventually_some("another runsv", || {
            let pid = eventually_runsv_of(&runsvdir, "web");
            (pid != before).then_some(pid)
        });
        web.eventually_runs();
        assert_eq!(is_copy(runsv), is_copied);
    }
}

/// One that cannot be executed is not there.
#[test]
fn a_runsv_that_may_not_be_executed_is_not_used() {
    let tree = Suite::ours().tree();
    let web = tree.service("web").run(SLEEPS).made();
    let plain = tree.root().join("plain");
    tree.copy_program(&our_runsv(&tree), &plain);
    tests::tree::set_mode(&plain, 0o644);
    let runsvdir = beside(&tree, &plain);
    web.eventually_runs();
    // The next one is found along PATH, and executed.
    assert!(!is_copy(eventually_runsv_of(&runsvdir, "web")));
}

/// What runsvdir has been told and has not seen to yet is none of its copy's business, and what is
/// sent to the copy before it listens is not lost.
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
