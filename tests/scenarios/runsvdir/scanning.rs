//! runsvdir: what it starts, restarts and stops, and how it ends.

use std::fs::FileTimes;
use std::os::unix::fs::{MetadataExt, symlink};
use std::time::{Duration, SystemTime};

use fs_err as fs;
use nix::sys::signal::Signal;
use tests::process::{Process, is_alive};
use tests::tree::set_mode;
use tests::{
    CommandLine, Service, StartedProgram, Suite, TestTree, all_suites, eventually, eventually_some,
    nothing_happens_for,
};

use crate::runsv::environment::has_just;

all_suites! {
    every_directory_is_a_service,
    what_is_no_directory_or_hidden_is_ignored,
    a_dangling_link_is_warned_about,
    a_link_to_a_directory_is_a_service,
    several_links_to_a_directory_are_one_service,
    a_directory_that_vanished_leaves_its_services,
    a_new_directory_is_started,
    a_removed_directory_is_stopped,
    every_removed_directory_is_stopped,
    a_renamed_directory_keeps_its_runsv,
    a_replaced_directory_is_stopped_and_its_successor_started,
    a_switched_link_changes_all_services,
    a_dead_runsv_is_restarted,
    a_runsv_that_cannot_start_is_tried_again,
    dozens_of_services_are_started;
    not_hosted "without a services directory that it can read, init ends at once":
    a_missing_directory_is_awaited,
    what_is_no_directory_is_refused_and_awaited,
    a_directory_that_cannot_be_read_is_said;
    not_hosted "runsvdir has to find and start a runsv":
    a_runsv_that_is_not_found_is_reported,
    runsv_is_looked_for_in_every_part_of_path,
    runsv_starts_clean,
    a_process_that_cannot_be_had_is_said;
    not_hosted "how runsvdir ends; init stops its services":
    term_leaves_everything_running,
    hup_stops_every_runsv,
    what_it_is_told_while_it_leaves_makes_no_difference,
    a_second_runsvdir_takes_over_when_the_old_runsv_goes;
    not_hosted "each process leads a session of its own under init":
    option_p_makes_each_runsv_a_leader,
    without_option_p_everything_shares_a_group;
    not_hosted "signals to the process runsvdir":
    signals_that_were_ignored_are_obeyed_and_not_ignored_by_runsv,
    signals_that_were_blocked_stay_blocked,
    a_forced_scan_leaves_its_time,
    a_forced_scan_that_cannot_leave_its_time_warns;
    not_hosted "the command line of runsvdir":
    an_option_may_be_two_dashes,
    arguments_after_the_log_are_ignored,
    a_short_log_is_refused,
    the_log_shows_the_last_of_what_is_said,
    the_log_begins_with_a_dot;
    not_theirs "B29, DEV-17":
    where_nothing_can_be_watched_a_look_comes_every_few_seconds;
    only_ours "ADD-8; and init has words of its own for it":
    services_with_one_supervise_directory_are_named,
}

/// runsvdir on the tree, or the init that supervises there.
pub fn watching(tree: &TestTree) -> CommandLine {
    tree.command(if tree.is_hosted() { "init" } else { "runsvdir" })
}

/// It is started, with this in front of the directory.
pub fn watched(tree: &TestTree, words: &[&str]) -> StartedProgram {
    watching(tree).args(words).arg(tree.services()).start()
}

const SLEEPS: &str = "exec sleep 1000";

/// The runsv of a service among the children of runsvdir.
fn runsv_of(runsvdir: &StartedProgram, name: &str) -> Option<Process> {
    let mine = |process: &Process| {
        process.parent == runsvdir.pid() && process.command_line() == format!("runsv {name}")
    };
    Process::all().into_iter().find(mine)
}

#[track_caller]
pub fn eventually_runsv_of(runsvdir: &StartedProgram, name: &str) -> u32 {
    eventually_some(&format!("a runsv {name}"), || runsv_of(runsvdir, name)).pid
}

/// Shows that a service has a runsv of its own; none has where init supervises.
#[track_caller]
fn has_a_runsv(tree: &TestTree, runsvdir: &StartedProgram, name: &str) {
    if !tree.is_hosted() {
        eventually_runsv_of(runsvdir, name);
    }
}

/// Waits for a service that may not have been scanned yet.
#[track_caller]
pub fn eventually_up(service: &Service) -> u32 {
    service.eventually("it is supervised", Service::is_supervised);
    service.eventually_runs().pid
}

/// RSD-4, RSD-6.
pub fn every_directory_is_a_service(suite: &Suite) {
    let tree = suite.tree();
    let services = ["a", "b", "with blank"].map(|name| tree.service(name).run(SLEEPS).made());
    let runsvdir = watched(&tree, &[]);
    for service in &services {
        eventually_up(service);
        has_a_runsv(&tree, &runsvdir, service.name());
    }
    assert_eq!(runsvdir.stderr(), "");
}

/// RSD-4.
fn what_is_no_directory_or_hidden_is_ignored(suite: &Suite) {
    let tree = suite.tree();
    let hidden = tree.service(".hidden").run(SLEEPS).made();
    fs::write(tree.services().join("file"), "").unwrap();
    let web = tree.service("web").run(SLEEPS).made();
    let runsvdir = watched(&tree, &[]);
    eventually_up(&web);
    nothing_happens_for(Duration::from_millis(300), "nothing else is started", || !hidden.has("supervise"));
    assert_eq!(runsvdir.stderr(), "");
}

/// RSD-4.
pub fn a_dangling_link_is_warned_about(suite: &Suite) {
    let tree = suite.tree();
    symlink("nowhere", tree.services().join("dangling")).unwrap();
    let web = tree.service("web").run(SLEEPS).made();
    let runsvdir = watched(&tree, &[]);
    let text = "unable to stat dangling: file does not exist\n";
    runsvdir.eventually_says(&format!("runsvdir {}: warning: {text}", tree.services().display()));
    eventually_up(&web);
}

/// RSD-4: the runsv has the name of the link.
pub fn a_link_to_a_directory_is_a_service(suite: &Suite) {
    let tree = suite.tree();
    fs::create_dir(tree.root().join("real")).unwrap();
    tree.write_script(&tree.root().join("real/run"), SLEEPS);
    symlink("../real", tree.services().join("web")).unwrap();
    let runsvdir = watched(&tree, &[]);
    eventually_up(&tree.at("web"));
    has_a_runsv(&tree, &runsvdir, "web");
}

/// RSD-5.
pub fn several_links_to_a_directory_are_one_service(suite: &Suite) {
    let tree = suite.tree();
    fs::create_dir(tree.root().join("real")).unwrap();
    tree.write_script(&tree.root().join("real/run"), SLEEPS);
    for name in ["one", "two", "three"] {
        symlink("../real", tree.services().join(name)).unwrap();
    }
    let runsvdir = watched(&tree, &[]);
    eventually_up(&tree.at("one"));
    let count = || Process::all().iter().filter(|process| process.parent == runsvdir.pid()).count();
    nothing_happens_for(Duration::from_millis(300), "there is one child", || count() == 1);
    assert_eq!(runsvdir.stderr(), "");
}

/// RSD-3.
fn a_missing_directory_is_awaited(suite: &Suite) {
    let tree = suite.tree();
    let web = tree.service("web").run(SLEEPS).made();
    let away = tree.root().join("away");
    fs::rename(tree.services(), &away).unwrap();
    let runsvdir = tree.command("runsvdir").arg(tree.services()).dir(tree.root()).start();
    let warning = format!(
        "runsvdir {0}: warning: unable to stat {0}: file does not exist\n",
        tree.services().display()
    );
    runsvdir.eventually_says(&warning);
    fs::rename(&away, tree.services()).unwrap();
    eventually_up(&web);
}

/// RSD-3: and is scanned when it is back.
fn a_directory_that_vanished_leaves_its_services(suite: &Suite) {
    let tree = suite.tree();
    let web = tree.service("web").run(SLEEPS).made();
    let runsvdir = watching(&tree).arg(tree.services()).dir(tree.root()).start();
    let pid = eventually_up(&web);
    let away = tree.root().join("away");
    fs::rename(tree.services(), &away).unwrap();
    runsvdir.eventually_says("file does not exist\n");
    assert!(is_alive(pid));
    fs::rename(&away, tree.services()).unwrap();
    eventually_up(&tree.service("new").run(SLEEPS).made());
    assert_eq!(web.status().pid, pid);
}

/// RSD-3.
fn what_is_no_directory_is_refused_and_awaited(suite: &Suite) {
    let tree = suite.tree();
    fs::write(tree.root().join("file"), "").unwrap();
    let runsvdir = tree.command("runsvdir").arg("../file").start();
    runsvdir.eventually_says(
        "runsvdir ../file: warning: unable to change directory to ../file: not a directory\n",
    );
    assert!(runsvdir.is_alive());
}

/// RSD-10.
pub fn a_new_directory_is_started(suite: &Suite) {
    let tree = suite.tree();
    let first = tree.service("first").run(SLEEPS).made();
    let _runsvdir = watched(&tree, &[]);
    let pid = eventually_up(&first);
    eventually_up(&tree.service("second").run(SLEEPS).made());
    assert_eq!(first.status().pid, pid);
}

/// RSD-9: it still works in its moved directory, and is not restarted.
pub fn a_removed_directory_is_stopped(suite: &Suite) {
    let tree = suite.tree();
    let [web, other] =
        ["web", "other"].map(|name| tree.service(name).run(SLEEPS).finish("echo $* >told").made());
    let runsvdir = watched(&tree, &[]);
    let [web_pid, other_pid] = [&web, &other].map(eventually_up);
    fs::rename(web.dir(), tree.root().join("away")).unwrap();
    eventually("the service is gone", || !is_alive(web_pid));
    eventually("its runsv is gone", || runsv_of(&runsvdir, "web").is_none());
    assert_eq!(fs::read_to_string(tree.root().join("away/told")).unwrap(), "-1 15\n");
    assert_eq!(other.status().pid, other_pid);
}

/// RSD-9.
pub fn every_removed_directory_is_stopped(suite: &Suite) {
    let tree = suite.tree();
    let services = ["a", "b", "c", "d", "e", "f"].map(|name| tree.service(name).run(SLEEPS).made());
    let runsvdir = watched(&tree, &[]);
    let pids = services.each_ref().map(eventually_up);
    for service in &services[..5] {
        fs::rename(service.dir(), tree.root().join(service.name())).unwrap();
    }
    eventually("five are gone", || !pids[..5].iter().any(|pid| is_alive(*pid)));
    assert!(is_alive(pids[5]) && runsvdir.is_alive());
}

/// RSD-5, QRK-11.
pub fn a_renamed_directory_keeps_its_runsv(suite: &Suite) {
    let tree = suite.tree();
    let web = tree.service("web").run(SLEEPS).made();
    let runsvdir = watched(&tree, &[]);
    let pid = eventually_up(&web);
    fs::rename(web.dir(), tree.services().join("renamed")).unwrap();
    // The start of another service shows that a scan has seen the new name.
    eventually_up(&tree.service("other").run(SLEEPS).made());
    assert_eq!(tree.at("renamed").status().pid, pid);
    has_a_runsv(&tree, &runsvdir, "web");
    assert!(runsv_of(&runsvdir, "renamed").is_none());
}

/// RSD-5.
pub fn a_replaced_directory_is_stopped_and_its_successor_started(suite: &Suite) {
    let tree = suite.tree();
    let web = tree.service("web").run(SLEEPS).made();
    let _runsvdir = watched(&tree, &[]);
    let pid = eventually_up(&web);
    fs::rename(web.dir(), tree.root().join("away")).unwrap();
    let successor = tree.service("web").run(SLEEPS).made();
    assert_ne!(eventually_up(&successor), pid);
    eventually("the old one is gone", || !is_alive(pid));
}

/// RSD-16, RCD-7.
pub fn a_switched_link_changes_all_services(suite: &Suite) {
    let tree = suite.tree();
    let old = tree.service("web").run(SLEEPS).made();
    let (one, two) = (tree.root().join("one"), tree.root().join("two"));
    fs::rename(tree.services(), &one).unwrap();
    fs::create_dir_all(two.join("web")).unwrap();
    tree.write_script(&two.join("web/run"), SLEEPS);
    symlink("one", tree.services()).unwrap();
    let _runsvdir = watching(&tree).arg(tree.services()).dir(tree.root()).start();
    let pid = eventually_up(&old);
    symlink("two", tree.root().join("switch")).unwrap();
    fs::rename(tree.root().join("switch"), tree.services()).unwrap();
    assert_ne!(eventually_up(&tree.at("web")), pid);
    eventually("the old one is gone", || !is_alive(pid));
}

/// RSD-12.
pub fn a_dead_runsv_is_restarted(suite: &Suite) {
    let tree = suite.tree();
    let web = tree.service("web").run(SLEEPS).made();
    let runsvdir = watched(&tree, &[]);
    let pid = eventually_up(&web);
    let old = (!tree.is_hosted()).then(|| eventually_runsv_of(&runsvdir, "web"));
    web.control("x");
    web.eventually_runs_anew(pid);
    has_a_runsv(&tree, &runsvdir, "web");
    // A zombie would still be a child.
    eventually("the old one is reaped", || old.is_none_or(|old| Process::find(old).is_none()));
}

/// RSD-12.
pub fn a_runsv_that_cannot_start_is_tried_again(suite: &Suite) {
    let tree = suite.tree();
    let web = tree.service("web").run(SLEEPS).file("supervise", "").made();
    let runsvdir = watched(&tree, &[]);
    let text = "runsv web: fatal: unable to open supervise/lock: not a directory\n";
    // init need not say it again.
    let count = if tree.is_hosted() { 1 } else { 2 };
    eventually("a try, or a second one", || runsvdir.stderr().matches(text).count() >= count);
    web.remove("supervise");
    eventually_up(&web);
}

/// RSD-2, RSD-6, GEN-9: neither on PATH nor beside runsvdir, which is alone in its directory.
pub fn a_runsv_that_is_not_found_is_reported(suite: &Suite) {
    let tree = suite.tree();
    tree.service("web").run(SLEEPS).made();
    let alone = tree.root().join("alone");
    fs::create_dir(&alone).unwrap();
    tree.copy_program(&tree.bin().join("runsvdir"), &alone.join("runsvdir"));
    let words = ["-c", "PATH=/nonexistent exec \"$@\"", "sh"];
    let runsvdir = tree.command("sh").args(words).arg(alone.join("runsvdir")).arg(tree.services()).start();
    runsvdir.eventually_says(&format!(
        "runsvdir {}: fatal: unable to start runsv web: file does not exist\n",
        tree.services().display()
    ));
    assert!(runsvdir.is_alive());
}

/// RSD-13, QRK-15.
pub fn term_leaves_everything_running(suite: &Suite) {
    let tree = suite.tree();
    let web = tree.service("web").run(SLEEPS).made();
    let runsvdir = watched(&tree, &[]);
    let pid = eventually_up(&web);
    let runsv = eventually_runsv_of(&runsvdir, "web");
    runsvdir.signal(Signal::SIGTERM);
    assert_eq!(runsvdir.finished().code(), Some(0));
    nothing_happens_for(Duration::from_millis(300), "both run", || is_alive(pid) && is_alive(runsv));
}

/// RSD-13, DEV-3.
fn what_it_is_told_while_it_leaves_makes_no_difference(suite: &Suite) {
    for (signal, code) in [(Signal::SIGHUP, 111), (Signal::SIGTERM, 0)] {
        let tree = suite.tree();
        let web = tree.service("web").run(SLEEPS).made();
        let runsvdir = tree.command("runsvdir").through(crate::CLOSES_SLOWLY).arg(tree.services()).start();
        eventually_up(&web);
        crate::tell_until_it_has_left(&runsvdir, signal);
        assert_eq!(runsvdir.finished().code(), Some(code));
    }
}

/// RSD-13: one that is slow is not waited for.
pub fn hup_stops_every_runsv(suite: &Suite) {
    let tree = suite.tree();
    let slow = tree.service("slow").run(crate::IGNORES_TERM).made();
    let quick = tree.service("quick").run(SLEEPS).finish("echo $* >told").made();
    let runsvdir = watched(&tree, &[]);
    eventually_up(&quick);
    let pid = eventually_up(&slow);
    slow.eventually_has("ready");
    let runsvs = ["slow", "quick"].map(|name| eventually_runsv_of(&runsvdir, name));
    runsvdir.signal(Signal::SIGHUP);
    assert_eq!(runsvdir.finished().code(), Some(111));
    quick.eventually_reads("told", "-1 15\n");
    eventually("the quick one is gone", || !is_alive(runsvs[1]));
    slow.eventually_stat("run, got TERM, want exit");
    assert!(is_alive(pid) && is_alive(runsvs[0]));
}

/// RSD-15.
pub fn a_second_runsvdir_takes_over_when_the_old_runsv_goes(suite: &Suite) {
    let tree = suite.tree();
    let web = tree.service("web").run(SLEEPS).made();
    let first = watched(&tree, &[]);
    let pid = eventually_up(&web);
    first.signal(Signal::SIGTERM);
    first.finished();
    let second = watched(&tree, &[]);
    nothing_happens_for(Duration::from_millis(1500), "the old runsv supervises", || web.status().pid == pid);
    tree.sv("status web").says("run: web: (pid N) Ns\n", 0);
    web.control("x");
    eventually("the old service is gone", || !is_alive(pid));
    eventually("the new runsvdir has a runsv", || {
        web.is_supervised() && runsv_of(&second, "web").is_some_and(|runsv| runsv.is_alive())
    });
    assert_ne!(eventually_up(&web), pid);
}

/// RSD-7.
pub fn option_p_makes_each_runsv_a_leader(suite: &Suite) {
    let tree = suite.tree();
    let web = tree.service("web").run(SLEEPS).log("exec cat").made();
    let runsvdir = watched(&tree, &["-P"]);
    let pids = [eventually_up(&web), web.log().eventually_runs().pid];
    let runsv = eventually_runsv_of(&runsvdir, "web");
    for pid in pids.into_iter().chain([runsv]) {
        let process = Process::find(pid).unwrap();
        assert_eq!((process.group, process.session), (runsv, runsv));
    }
}

/// RSD-7.
pub fn without_option_p_everything_shares_a_group(suite: &Suite) {
    let tree = suite.tree();
    let web = tree.service("web").run(SLEEPS).made();
    let runsvdir = watched(&tree, &[]);
    let pid = eventually_up(&web);
    let (process, wanted) = (Process::find(pid).unwrap(), runsvdir.process());
    assert_eq!((process.group, process.session), (wanted.group, wanted.session));
}

/// RSD-6, RSD-19, RSV-15: signals, descriptors, environment and directory.
pub fn runsv_starts_clean(suite: &Suite) {
    let tree = suite.tree();
    let web = tree.service("web").run(SLEEPS).made();
    let runsvdir = watched(&tree, &[]);
    let pid = eventually_up(&web);
    web.eventually("run is sleep", |_| {
        Process::find(pid).is_some_and(|process| process.command_line() == "sleep 1000")
    });
    let run = Process::find(pid).unwrap();
    for set in ["SigBlk", "SigIgn", "SigCgt"] {
        assert_eq!(run.signals(set), [0; 0], "{set}");
    }
    has_just(&run, &[0, 1, 2]);
    let runsv = Process::find(eventually_runsv_of(&runsvdir, "web")).unwrap();
    assert_eq!(runsv.signals("SigCgt"), [15, 17]);
    assert_eq!(runsv.environment(), runsvdir.process().environment());
}

/// RSD-6, RSD-19: runsvdir catches them itself, and runsv does not know what was before.
pub fn signals_that_were_ignored_are_obeyed_and_not_ignored_by_runsv(suite: &Suite) {
    let tree = suite.tree();
    let web = tree.service("web").run(SLEEPS).made();
    let words = ["env", "--ignore-signal=HUP,TERM,ALRM,USR1"];
    let runsvdir = tree.command("runsvdir").arg(tree.services()).through(&words).start();
    eventually_up(&web);
    let runsv = Process::find(eventually_runsv_of(&runsvdir, "web")).unwrap();
    assert_eq!(runsv.signals("SigIgn"), [10]);
    assert_eq!(runsv.signals("SigCgt"), [15, 17]);
    runsvdir.signal(Signal::SIGHUP);
    assert_eq!(runsvdir.finished().code(), Some(111));
}

/// RSD-6, RSD-19: runsvdir unblocks none of them, and hands all of them on. TERM and CHLD are runsv's
/// own business.
pub fn signals_that_were_blocked_stay_blocked(suite: &Suite) {
    let tree = suite.tree();
    let web = tree.service("web").run(SLEEPS).made();
    let words = ["env", "--block-signal=HUP,TERM,ALRM,USR1"];
    let runsvdir = tree.command("runsvdir").arg(tree.services()).through(&words).start();
    eventually_up(&web);
    let without_child = |process: &Process| {
        let blocked = process.signals("SigBlk").into_iter();
        blocked.filter(|signal| *signal != Signal::SIGCHLD as u32).collect::<Vec<_>>()
    };
    eventually("runsvdir waits", || without_child(&runsvdir.process()) == [1, 10, 14, 15]);
    let runsv = Process::find(eventually_runsv_of(&runsvdir, "web")).unwrap();
    eventually("runsv waits", || runsv.signals("SigBlk") == [1, 10, 14]);
    runsvdir.signal(Signal::SIGHUP);
    eventually("HUP waits", || runsvdir.process().signals("ShdPnd").contains(&1));
    assert!(runsvdir.is_alive());
}

/// RSD-1.
fn an_option_may_be_two_dashes(suite: &Suite) {
    let tree = suite.tree();
    let web = tree.service("web").run(SLEEPS).made();
    let _runsvdir = watched(&tree, &["--"]);
    eventually_up(&web);
}

/// RSD-1.
fn arguments_after_the_log_are_ignored(suite: &Suite) {
    let tree = suite.tree();
    let web = tree.service("web").run(SLEEPS).made();
    let _runsvdir =
        tree.command("runsvdir").arg(tree.services()).args(["log: ....", "more", "words"]).start();
    eventually_up(&web);
}

/// RSD-17.
fn a_short_log_is_refused(suite: &Suite) {
    let tree = suite.tree();
    let web = tree.service("web").run(SLEEPS).made();
    let runsvdir = tree.command("runsvdir").arg(tree.services()).arg("log: .").start();
    eventually_up(&web);
    let dir = tree.services().display().to_string();
    let wanted = format!(
        "runsvdir {dir}: warning: log must have at least seven characters.\nrunsvdir {dir}: warning: log service disabled.\n"
    );
    assert_eq!(runsvdir.stderr(), wanted);
}

/// RSD-17: in place, so that the length stays.
pub fn the_log_shows_the_last_of_what_is_said(suite: &Suite) {
    let tree = suite.tree();
    let web = tree.service("web").run("echo 'something went wrong' >&2; exec sleep 1000").made();
    let room = ".".repeat(40);
    let log = format!("log: {room}");
    let runsvdir = tree.command("runsvdir").arg(tree.services()).arg(&log).start();
    eventually_up(&web);
    let title = || fs::read(format!("/proc/{}/cmdline", runsvdir.pid())).unwrap_or_default();
    // The first dot of all, which comes at the start, may be behind it.
    let ends = ["something went wrong\n\0", "something went wrong\n.\0"];
    eventually("the title ends with what was said", || {
        ends.iter().any(|end| title().ends_with(end.as_bytes()))
    });
    let shown = title();
    let words: Vec<_> = shown.split(|&byte| byte == 0).collect();
    assert_eq!(words[2].len(), log.len());
    assert!(words[2].starts_with(b"log: ...."), "{:?}", String::from_utf8_lossy(words[2]));
    assert_eq!(runsvdir.stderr(), "");
}

/// RSD-14: what it does at once, and the file.
fn a_forced_scan_leaves_its_time(suite: &Suite) {
    let tree = suite.tree();
    let web = tree.service("web").run(SLEEPS).made();
    let runsvdir = watched(&tree, &[]);
    eventually_up(&web);
    runsvdir.signal(Signal::SIGALRM);
    let file = tree.services().join(".forced-rescan");
    let text = eventually_some("the time of the scan", || {
        let text = fs::read_to_string(&file).ok()?;
        (text.len() == 25).then_some(text)
    });
    assert!(text.starts_with("@400000006") || text.starts_with("@40000000"), "{text:?}");
    assert!(
        text[1..].chars().all(|digit| digit.is_ascii_hexdigit() && !digit.is_ascii_uppercase()),
        "{text:?}"
    );
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o644);
    assert!(runsvdir.is_alive());
}

/// RSD-14: its texts run together.
fn a_forced_scan_that_cannot_leave_its_time_warns(suite: &Suite) {
    let tree = suite.tree();
    let web = tree.service("web").run(SLEEPS).made();
    fs::create_dir(tree.services().join(".forced-rescan")).unwrap();
    let runsvdir = watched(&tree, &[]);
    eventually_up(&web);
    runsvdir.signal(Signal::SIGALRM);
    let dir = tree.services().display().to_string();
    runsvdir.eventually_says(&format!("runsvdir {dir}: warning: failed to open./.forced-rescan@4"));
}

/// RSD-8 from below, and RSD-10: a directory without a recent change is scanned at once.
pub fn dozens_of_services_are_started(suite: &Suite) {
    let tree = suite.tree();
    let services: Vec<_> =
        (0..60).map(|number| tree.service(&number.to_string()).run(SLEEPS).made()).collect();
    let old = SystemTime::now() - Duration::from_secs(100);
    let dir = fs::File::open(tree.services()).unwrap();
    std::fs::File::from(dir).set_times(FileTimes::new().set_modified(old)).unwrap();
    let runsvdir = watched(&tree, &[]);
    for service in &services {
        eventually_up(service);
    }
    assert_eq!(runsvdir.stderr(), "");
}

/// GEN-9: a runsv that may not be executed is remembered while the search goes on, and an empty part
/// of `PATH` is the working directory. runsvdir is alone in its directory.
fn runsv_is_looked_for_in_every_part_of_path(suite: &Suite) {
    let tree = suite.tree();
    tree.service("web").run(SLEEPS).made();
    let (alone, denied) = (tree.root().join("alone"), tree.root().join("denied"));
    for dir in [&alone, &denied] {
        fs::create_dir(dir).unwrap();
    }
    tree.copy_program(&tree.bin().join("runsvdir"), &alone.join("runsvdir"));
    fs::write(denied.join("runsv"), "").unwrap();
    let script = "PATH=$0 exec \"$@\"";
    let with_path = |path: &str| {
        let sh = tree.command("sh").args(["-c", script, path]);
        sh.arg(alone.join("runsvdir")).arg(tree.services()).start()
    };
    let denied = denied.display();
    let runsvdir = with_path(&format!("{denied}:/nonexistent"));
    runsvdir.eventually_says(": fatal: unable to start runsv web: access denied\n");
    tree.write_script(&tree.services().join("runsv"), "echo $1 >../found; exec /bin/sleep 1000");
    let found = tree.root().join("found");
    let _runsvdir = with_path(&format!("{denied}::/nonexistent"));
    eventually("the one in the working directory", || fs::read(&found).is_ok_and(|name| name == b"web\n"));
}

/// RSD-18.
fn a_process_that_cannot_be_had_is_said(suite: &Suite) {
    let tree = suite.tree();
    tree.service("web").run(SLEEPS).made();
    let runsvdir = tree.command("runsvdir").arg(tree.services()).as_nobody();
    let runsvdir = runsvdir.through(&["prlimit", "--nproc=1"]).start();
    let dir = tree.services().display().to_string();
    let text = "unable to fork for web: temporary failure\n";
    runsvdir.eventually_says(&format!("runsvdir {dir}: warning: {text}"));
    assert!(runsvdir.is_alive());
}

/// RSD-18: it may be entered, and that is all.
fn a_directory_that_cannot_be_read_is_said(suite: &Suite) {
    let tree = suite.tree();
    tree.service("web").run(SLEEPS).made();
    set_mode(&tree.services(), 0o711);
    let runsvdir = tree.command("runsvdir").arg(tree.services()).dir("/").as_nobody().start();
    let dir = tree.services().display().to_string();
    let text = format!("unable to open directory {dir}: access denied\n");
    runsvdir.eventually_says(&format!("runsvdir {dir}: warning: {text}"));
    assert!(runsvdir.is_alive());
}

/// RSD-17: it shows that the log works.
fn the_log_begins_with_a_dot(suite: &Suite) {
    let tree = suite.tree();
    let runsvdir = tree.command("runsvdir").arg(tree.services()).arg("log: abcd").start();
    eventually("a dot at the end", || runsvdir.process().command_line().ends_with(" log: bcd."));
}

/// ADD-8: the second is left alone, and both are named once.
fn services_with_one_supervise_directory_are_named(suite: &Suite) {
    let tree = suite.tree();
    let state = tree.root().join("state");
    let services = ["one", "other"].map(|name| {
        let service = tree.service(name).run(SLEEPS).made();
        symlink(&state, service.path("supervise")).unwrap();
        service
    });
    let runsvdir = watched(&tree, &[]);
    let sharing = |name: &str, owner: &str| {
        format!(
            "runsvdir {}: warning: unable to start runsv {name}: it has the supervise directory of {owner}\n",
            tree.services().display()
        )
    };
    let lines = [sharing("one", "other"), sharing("other", "one")];
    let count = || lines.iter().map(|line| runsvdir.stderr().matches(line).count()).sum::<usize>();
    eventually("it is said", || count() > 0);
    // Which of them it is depends on which was first.
    let is_first_late = runsvdir.stderr().contains(&lines[0]);
    let [first, second] =
        if is_first_late { [&services[1], &services[0]] } else { [&services[0], &services[1]] };
    eventually_runsv_of(&runsvdir, first.name());
    runsvdir.signal(Signal::SIGALRM);
    eventually("it has looked again", || tree.services().join(".forced-rescan").exists());
    nothing_happens_for(Duration::from_millis(300), "nothing more is said", || count() == 1);
    // It has its turn when the other one goes.
    fs::rename(first.dir(), tree.root().join("gone")).unwrap();
    eventually_runsv_of(&runsvdir, second.name());
}

/// B29, DEV-17: without watches the scan comes every few seconds.
fn where_nothing_can_be_watched_a_look_comes_every_few_seconds(suite: &Suite) {
    for limit in ["max_inotify_instances", "max_inotify_watches"] {
        let tree = suite.tree();
        let old = tree.service("old").run(SLEEPS).made();
        let script = format!("echo 0 >/proc/sys/user/{limit} && exec \"$@\"");
        let words = ["unshare", "--user", "--map-root-user", "sh", "-c", &script, "sh"];
        let runsvdir = watching(&tree).arg(tree.services()).through(&words).start();
        eventually_up(&old);
        let new = tree.service("new").run(SLEEPS).made();
        eventually_up(&new);
        assert_eq!(runsvdir.stderr(), "", "{limit}");
    }
}
