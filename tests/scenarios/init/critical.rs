//! A service that must not end: what is its end, and what is not.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime};

use fs_err as fs;
use nix::sys::signal::Signal;
use tests::namespace::PidNamespace;
use tests::process::send;
use tests::{Output, Service, Suite, TestTree, nothing_happens_for};

use crate::init::stop::{PATIENT, WAITS, begun, patient, said, signal_inmate, stopped_in_order};

/// How long nothing happens that would happen in a part of this.
const CALM: Duration = Duration::from_millis(700);

/// A `./run` that ends with code 5 of USR1, and of TERM without a word.
fn beats() -> String {
    format!("trap 'exit 5' USR1\ntrap 'exit 0' TERM\necho $$ >>ready\n{WAITS}")
}

fn heart(tree: &TestTree) -> Service {
    tree.service("heart").run(&beats()).file("critical", "").made()
}

/// Its own end, which was not requested, stops everything at once, with its exit code.
#[track_caller]
fn its_end_is_the_containers(container: &PidNamespace, heart: &Service) -> Output {
    let runs = heart.eventually_runs().pid;
    signal_inmate(container, runs, Signal::SIGUSR1);
    let end = container.finished();
    assert_eq!(end.code(), Some(5), "{}", end.stderr);
    said(&end, "init: heart: critical, ended with exit 5: stopping");
    end
}

#[track_caller]
fn the_container_goes_on(container: &PidNamespace) {
    nothing_happens_for(CALM, "the container goes on", || {
        assert!(container.is_alive(), "{}", container.stderr());
        !container.stderr().contains("critical")
    });
}

#[track_caller]
fn beating(tree: &TestTree) -> (Service, PidNamespace) {
    let heart = heart(tree);
    let container = begun(tree, PATIENT);
    heart.eventually_has("ready");
    heart.eventually_runs();
    (heart, container)
}

/// Whatever sv has asked for is none of its own.
#[test]
fn an_end_that_was_asked_for_through_sv_is_none() {
    let tree = Suite::ours().tree();
    let (heart, container) = beating(&tree);
    for (round, word) in (2..).zip(["restart", "term", "kill", "interrupt"]) {
        heart.sv(word);
        heart.eventually_lines("ready", round);
        // It may be ready before its record is written.
        heart.eventually_runs();
    }
    for (round, word) in [(6, "down"), (7, "once")] {
        heart.sv(word);
        if word == "once" {
            heart.eventually_lines("ready", 6);
            heart.eventually_runs();
            heart.sv("term");
        }
        heart.eventually_down();
        if round == 7 {
            heart.sv("up");
            heart.eventually_lines("ready", round);
        }
    }
    the_container_goes_on(&container);
    its_end_is_the_containers(&container, &heart);
}

/// A package that is upgraded: the old one is told to end, and the new one is critical.
#[test]
fn an_exchanged_directory_is_critical_and_the_old_one_no_more() {
    let tree = Suite::ours().tree();
    let (heart, container) = beating(&tree);
    let new = tree.root().join("new");
    fs::create_dir(&new).expect("a directory");
    tree.write_script(&new.join("run"), &beats());
    fs::write(new.join("critical"), "").expect("a file");
    fs::rename(heart.dir(), tree.root().join("old")).expect("the old one can be moved away");
    fs::rename(&new, heart.dir()).expect("the new one can be put in its place");
    heart.eventually_has("ready");
    the_container_goes_on(&container);
    its_end_is_the_containers(&container, &heart);
}

#[test]
fn a_directory_that_was_removed_and_made_again_is_critical() {
    let tree = Suite::ours().tree();
    let (old, container) = beating(&tree);
    let away = tree.root().join("away");
    fs::rename(old.dir(), &away).expect("it can be moved away");
    tree.at("../away").eventually("its supervisor leaves", |away| !away.is_supervised());
    fs::remove_dir_all(&away).expect("it can be removed");
    let new = heart(&tree);
    new.eventually_has("ready");
    the_container_goes_on(&container);
    its_end_is_the_containers(&container, &new);
}

/// Its files are made anew where they are gone, and its end counts.
#[test]
fn a_service_whose_supervise_was_removed_is_critical() {
    let tree = Suite::ours().tree();
    let (heart, container) = beating(&tree);
    fs::remove_dir_all(heart.path("supervise")).expect("it can be removed");
    the_container_goes_on(&container);
    let runs = heart.read("ready").trim().parse().expect("a process");
    signal_inmate(&container, runs, Signal::SIGUSR1);
    assert_eq!(container.finished().code(), Some(5));
}

/// What is left of an earlier boot is no news, even if that was in the future.
#[test]
fn what_an_earlier_boot_has_left_is_over() {
    let tree = Suite::ours().tree();
    let heart = heart(&tree);
    let later = SystemTime::now() + Duration::from_secs(3600);
    let later = later.duration_since(SystemTime::UNIX_EPOCH).expect("a time").as_secs();
    let label = format!("@{:016x}{:08x}", (1_u64 << 62) + 10 + later, 500);
    fs::create_dir(heart.path("supervise")).expect("a directory");
    let history = format!("{label} started ./run, pid 7\n{label} ./run ended: exit 3, after 1.000 s\n");
    heart.write("supervise/.history", &history);
    let container = begun(&tree, PATIENT);
    heart.eventually_has("ready");
    the_container_goes_on(&container);
    // As does a record of a service that was killed with the container.
    heart.eventually_runs();
    send(container.pid(), Signal::SIGKILL);
    container.finished();
    let container = begun(&tree, PATIENT);
    heart.eventually_lines("ready", 2);
    heart.eventually_runs();
    the_container_goes_on(&container);
    stopped_in_order(&container);
}

/// Where the kernel tells of no changes they are looked for.
#[test]
fn its_end_is_seen_without_inotify() {
    for limit in ["instances", "watches"] {
        let tree = Suite::ours().tree();
        let heart = heart(&tree);
        let script = format!("echo 0 >/proc/sys/user/max_inotify_{limit} && exec \"$@\"");
        let container = tree
            .command("unshare")
            .args(["--user", "--map-root-user", "sh", "-c", &script, "sh"])
            .args(["init", "--grace", PATIENT])
            .arg(tree.services())
            .start_as_process_1();
        heart.eventually_has("ready");
        heart.eventually_runs();
        the_container_goes_on(&container);
        its_end_is_the_containers(&container, &heart);
    }
}

#[test]
fn a_name_that_is_no_text_can_be_critical() {
    let tree = Suite::ours().tree();
    let dir = tree.services().join(OsStr::from_bytes(b"he\xffrt"));
    fs::create_dir(&dir).expect("a directory");
    fs::write(dir.join("critical"), "").expect("a file");
    tree.write_script(&dir.join("run"), "exit 5");
    let end = tree.command("init").arg(tree.services()).output_as_process_1();
    assert_eq!(end.code(), Some(5), "{}", end.stderr);
    said(&end, "init: he\u{fffd}rt: critical, ended with exit 5: stopping");
}

/// The file is looked for again, in both directions.
#[test]
fn alrm_takes_the_file_at_its_word() {
    let tree = Suite::ours().tree();
    let (heart, container) = beating(&tree);
    heart.remove("critical");
    let other = tree.service("other").run(&beats()).made();
    other.eventually_runs();
    container.signal(Signal::SIGALRM);
    // What came with the same ALRM has been seen when this has.
    let seen = tree.service("seen").run("echo >ready; exec sleep 1000").made();
    seen.eventually_has("ready");
    the_container_goes_on(&container);
    signal_inmate(&container, heart.eventually_runs().pid, Signal::SIGUSR1);
    heart.eventually_lines("ready", 2);
    the_container_goes_on(&container);

    heart.write("critical", "");
    container.signal(Signal::SIGALRM);
    the_container_goes_on(&container);
    its_end_is_the_containers(&container, &heart);
}

/// What was requested before the last stop, or before `x`, is no request to the service that runs now.
#[test]
fn its_end_is_seen_after_it_was_taken_up_anew() {
    let tree = Suite::ours().tree();
    let (heart, container) = beating(&tree);
    heart.sv("restart");
    heart.eventually_lines("ready", 2);
    stopped_in_order(&container);
    let container = begun(&tree, PATIENT);
    heart.eventually_lines("ready", 3);
    heart.sv("exit");
    heart.eventually_lines("ready", 4);
    the_container_goes_on(&container);
    its_end_is_the_containers(&container, &heart);
}

/// Where there is no room for a new record, the old one is overwritten, and the history goes on in its block.
#[test]
fn its_end_is_seen_on_a_full_file_system() {
    let tree = Suite::ours().tree();
    // A pid that is no more would leave room for one record.
    let body = format!(
        "trap 'rm supervise/pid; cat /dev/zero >supervise/filling; exit 5' USR1\n\
         echo >ready\n{WAITS}"
    );
    let heart = tree.service("heart").run(&body).file("critical", "").dir("supervise").made();
    let mount = format!("mount -t tmpfs -o size=64k none {}", heart.path("supervise").display());
    let container = patient(&tree, &[])
        .through(&["sh", "-c", &format!("{mount} && exec \"$@\""), "sh"])
        .start_as_process_1();
    heart.eventually_has("ready");
    send(container.eventually_has("/bin/sh ./run").outside.pid, Signal::SIGUSR1);
    let end = container.finished();
    assert_eq!(end.code(), Some(5), "{}", end.stderr);
    said(&end, "init: heart: critical, ended with exit 5: stopping");
}

/// Its first start may fail now and then, without an end of everything.
#[test]
fn a_number_is_how_many_ends_in_a_row_are_the_containers() {
    let tree = Suite::ours().tree();
    let heart = tree.service("heart").run("echo >>starts; exit 5").file("critical", "3\n").made();
    let end = tree.command("init").arg(tree.services()).output_as_process_1();
    assert_eq!(end.code(), Some(5), "{}", end.stderr);
    for count in [1, 2] {
        let text = format!("init: heart: critical, ended with exit 5: {count} of 3 times in a row\n");
        assert_eq!(end.stderr.matches(&text).count(), 1, "{}", end.stderr);
    }
    said(&end, "init: heart: critical, ended with exit 5: stopping\n");
    assert_eq!(heart.lines("starts").len(), 3);
}

/// An end that a client has requested is none in the row.
#[test]
fn a_requested_end_starts_the_count_anew() {
    let tree = Suite::ours().tree();
    let heart = tree.service("heart").run(&beats()).file("critical", "2").made();
    let container = begun(&tree, PATIENT);
    let first = "init: heart: critical, ended with exit 5: 1 of 2 times in a row\n";
    for round in [1, 2] {
        heart.eventually_lines("ready", round * 2 - 1);
        signal_inmate(&container, heart.eventually_runs().pid, Signal::SIGUSR1);
        heart.eventually_lines("ready", round * 2);
        heart.eventually_runs();
        tests::eventually("it is said", || container.stderr().matches(first).count() == round);
        if round == 1 {
            heart.sv("restart");
        }
    }
    its_end_is_the_containers(&container, &heart);
}

#[test]
fn what_is_no_number_in_critical_is_said_and_counts_as_one() {
    for content in ["often\n", "0", "-1", "1000000000000"] {
        let tree = Suite::ours().tree();
        tree.service("heart").run("exit 5").file("critical", content).made();
        let end = tree.command("init").arg(tree.services()).output_as_process_1();
        assert_eq!(end.code(), Some(5), "{}", end.stderr);
        said(&end, "init: warning: bad content of heart/critical: expected a number of ends\n");
        said(&end, "init: heart: critical, ended with exit 5: stopping\n");
    }
}
