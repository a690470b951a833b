//! The harness itself: what it removes, what it hands to programs, how it reads a record.

use nix::sys::signal::Signal;
use tests::process::is_alive;
use tests::{Suite, eventually, status};

/// Nothing is left when a tree is dropped, be it orphaned or in a session of its own.
#[test]
fn a_dropped_tree_leaves_no_process() {
    let web =
        Suite::theirs().service("web").run("setsid sleep 1001 & sleep 1002 & exec sleep 1003").running();
    eventually("three sleeping processes", || {
        web.tree()
            .processes()
            .iter()
            .filter(|process| process.command_line().starts_with("sleep 100"))
            .count()
            == 3
    });
    let processes = web.tree().processes();
    assert_eq!(processes.len(), 4);
    web.runsv.signal(Signal::SIGKILL);
    let root = web.tree().root().to_owned();
    drop(web);
    assert!(!processes.iter().any(|process| is_alive(process.pid)));
    assert!(!root.exists());
}

/// TST-1: what a program starts with does not depend on the user and shell that run the tests.
#[test]
fn a_program_starts_with_a_clean_slate() {
    let tree = Suite::theirs().tree();
    let sleep = tree.command("sleep").arg("1001").start();
    eventually("sleep has been executed", || sleep.process().command_line() == "sleep 1001");
    let sleep = sleep.process();
    for set in ["SigBlk", "SigIgn", "SigCgt"] {
        assert_eq!(sleep.signals(set), [0; 0], "{set}");
    }
    assert_eq!(sleep.fact("Umask").as_deref(), Some("0022"));
    assert_eq!(sleep.environment().len(), 4, "{:?}", sleep.environment());
}

/// The decoder reads the contract's worked example.
#[test]
fn a_record_is_read_in_its_parts() {
    let bytes = b"\x40\0\0\0\x6b\0\xf7\x38\x38\x56\xc4\x84\xe4\x4f\0\0\x01\x75\x01\x01";
    let status = status::RawStatus::read(bytes).expect("a record");
    assert_eq!((status.unix_seconds(), status.nanos), (1_795_225_390, 945_210_500));
    assert_eq!((status.pid, status.flags()), (20452, [1, b'u', 1, status::RUN]));
    assert!(status::RawStatus::read(&bytes[..19]).is_none());
}

/// A program can be process 1, is signalled from outside, and its end is seen.
#[test]
fn a_program_can_be_process_1() {
    let tree = Suite::theirs().tree();
    let script = "trap 'exit 7' TERM; echo $$; sleep 1001 & wait";
    let namespace = tree.command("sh").args(["-c", script]).start_as_process_1();
    eventually("process 1 prints its pid", || namespace.stdout() == "1\n");
    eventually("a child of process 1", || namespace.processes().len() == 2);
    let inmates = namespace.processes();
    assert_eq!((inmates[0].pid_inside, inmates[0].outside.pid), (1, namespace.pid()));
    namespace.signal(Signal::SIGTERM);
    assert_eq!(namespace.finished().code(), Some(7));
    eventually("the namespace is empty", || !is_alive(inmates[1].outside.pid));
}
