//! The files that runsv reads and makes in a service directory and in `supervise/`.

use std::fs::File;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::time::Duration;

use fs_err as fs;
use nix::sys::signal::Signal;
use tests::tree::set_mode;
use tests::{Service, Suite, all_suites, eventually, nothing_happens_for};

all_suites! {
    supervise_has_its_files_and_modes,
    modes_follow_the_umask,
    the_status_files_are_replaced,
    the_pid_file_is_replaced_only_when_the_process_changed,
    signals_alone_do_not_touch_the_record,
    lock_and_fifos_keep_what_an_administrator_made_of_them,
    run_finds_every_file_in_place,
    a_log_service_never_started_has_no_pid_file,
    supervise_may_be_a_link,
    supervise_may_be_a_relative_link,
    log_supervise_may_be_a_link,
    a_supervise_link_of_255_bytes_is_accepted,
    a_supervise_link_of_256_bytes_is_refused,
    a_log_supervise_link_of_256_bytes_is_refused,
    log_may_be_a_link_to_a_directory,
    a_dangling_log_is_no_log,
    a_log_that_is_a_file_is_warned_about,
    a_log_that_cannot_be_looked_at_is_warned_about,
    the_files_stay_when_runsv_is_gone,
    a_full_supervise_does_not_end_runsv,
    down_may_be_anything,
    a_dangling_down_does_not_count,
    down_counts_at_the_start_only,
    a_log_may_be_down,
    the_log_service_has_no_finish_and_no_control_scripts;
    not_hosted "a killed runsv":
    the_lock_is_held_by_runsv_alone;
    not_hosted "a directory that is removed is no service of init any more (RSD-9)":
    a_deleted_service_is_still_supervised,
}

/// What is in `supervise`, with types and modes.
fn listing(service: &Service) -> Vec<String> {
    let dir = service.path("supervise");
    let mode = |name: &str| fs::symlink_metadata(dir.join(name)).unwrap();
    let mut names: Vec<_> =
        fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names.push(".".to_owned());
    let kind = |name: &str| match mode(name).file_type() {
        kind if kind.is_fifo() => "fifo",
        kind if kind.is_dir() => "dir",
        kind if kind.is_file() => "file",
        _ => "?",
    };
    let mine = fs::metadata("/proc/self").unwrap().uid();
    names
        .iter()
        .map(|name| {
            assert_eq!(mode(name).uid(), mine, "the owner of {name}");
            format!("{name} {} {:03o}", kind(name), mode(name).mode() & 0o7777)
        })
        .collect()
}

/// Keeps the file that is there now, so that its inode is not used again; tells whether it was replaced.
struct Kept(File, Service, &'static str);

impl Kept {
    fn new(service: &Service, name: &'static str) -> Self {
        Self(fs::File::open(service.path(name)).unwrap().into(), service.clone(), name)
    }

    fn was_replaced(&self) -> bool {
        fs::metadata(self.1.path(self.2)).map(|now| now.ino()).ok() != Some(self.0.metadata().unwrap().ino())
    }
}

/// LAY-3: for the service and its log alike.
fn supervise_has_its_files_and_modes(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").log("exec cat").running();
    web.log().eventually_runs();
    let wanted = [
        "control fifo 600",
        "lock file 600",
        "ok fifo 600",
        "pid file 644",
        "stat file 644",
        "status file 644",
        ". dir 700",
    ];
    // A file may still be about to be renamed.
    web.eventually("supervise has its files", |web| listing(web) == wanted);
    web.eventually("log/supervise has its files", |web| listing(&web.log()) == wanted);
    assert_eq!(web.read("supervise/lock"), "");
}

/// LAY-3, TST-7.
fn modes_follow_the_umask(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").log("exec cat").made();
    let runsv = web.runsv().umask(0o077);
    let web = web.supervised_by(runsv);
    web.eventually_runs();
    web.log().eventually_runs();
    let wanted = [
        "control fifo 600",
        "lock file 600",
        "ok fifo 600",
        "pid file 600",
        "stat file 600",
        "status file 600",
        ". dir 700",
    ];
    web.eventually("supervise has its files", |web| listing(web) == wanted);
    web.eventually("log/supervise has its files", |web| listing(&web.log()) == wanted);
}

/// LAY-4: a reader that has one open keeps a whole, old one.
fn the_status_files_are_replaced(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").running();
    web.eventually_stat("run");
    let files = ["supervise/pid", "supervise/stat", "supervise/status"].map(|name| Kept::new(&web, name));
    // Another mode does not last, either.
    set_mode(&web.path("supervise/status"), 0o600);
    web.control("d");
    web.eventually_stat("down");
    assert!(files.iter().all(Kept::was_replaced));
    assert_eq!(fs::metadata(web.path("supervise/status")).unwrap().mode() & 0o777, 0o644);
    // The old one may be about to be removed, under the name of the new one.
    web.eventually("nothing else is left", |web| {
        !web.has("supervise/status.new") && !web.has("supervise/stat.new") && !web.has("supervise/pid.new")
    });
}

/// LAY-5.
fn the_pid_file_is_replaced_only_when_the_process_changed(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").running();
    web.eventually_stat("run");
    let [pid, stat, status] =
        ["supervise/pid", "supervise/stat", "supervise/status"].map(|name| Kept::new(&web, name));
    web.control("u");
    eventually("u rewrites", || stat.was_replaced() && status.was_replaced());
    let [stat, status] = ["supervise/stat", "supervise/status"].map(|name| Kept::new(&web, name));
    web.control("p");
    eventually("p rewrites", || stat.was_replaced() && status.was_replaced());
    assert!(!pid.was_replaced());
}

/// LAY-6: neither do unknown bytes, nor a `t` that its script suppresses.
fn signals_alone_do_not_touch_the_record(suite: &Suite) {
    let run = "for s in HUP ALRM INT QUIT USR1; do trap \"echo $s >>got\" $s; done
        trap 'echo last >>got' USR2; echo >ready; sleep 1000 & while :; do wait; done";
    let web = suite.service("web").run(run).control('t', "echo t >>got").running();
    web.eventually_has("ready");
    web.eventually_stat("run");
    let files = ["supervise/pid", "supervise/stat", "supervise/status"].map(|name| Kept::new(&web, name));
    web.control("hZ\na0i!qtU12");
    web.eventually("the last signal has arrived", |web| web.read("got").contains("last"));
    web.eventually("the script was run", |web| web.read("got").contains('t'));
    assert!(!files.iter().any(Kept::was_replaced));
}

/// LAY-4: modes given to lock, control and ok survive everything, a new runsv included.
fn lock_and_fifos_keep_what_an_administrator_made_of_them(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").running();
    let names = ["supervise/lock", "supervise/control", "supervise/ok", "supervise"];
    let look = || {
        names.map(|name| {
            fs::metadata(web.path(name)).map(|data| (data.ino(), data.mode(), data.gid())).unwrap()
        })
    };
    for name in names {
        set_mode(&web.path(name), 0o775);
        std::os::unix::fs::chown(web.path(name), None, Some(12)).unwrap();
    }
    let before = look();
    web.control("x");
    assert_eq!(web.runsv.finished().code(), Some(0));
    assert_eq!(look(), before);
    let anew = web.tree().at("web").supervised();
    anew.eventually_runs();
    assert_eq!(look(), before);
}

/// LAY-7: when the service is seen to run, every file can be read.
fn run_finds_every_file_in_place(suite: &Suite) {
    let web =
        suite.service("web").run("ls supervise log/supervise >&2; exec sleep 1000").log("exec cat").running();
    let files = "control\nlock\nok\npid\nstat\nstatus\n";
    web.eventually("run has listed", |_| web.runsv.stderr().matches("status\n").count() >= 2);
    let listed = web.runsv.stderr();
    // A file may be in the middle of its replacement.
    let listed: Vec<_> = listed.lines().filter(|line| !line.contains(".new")).collect();
    let wanted = format!("log/supervise:\n{files}\nsupervise:\n{files}");
    assert_eq!(listed, wanted.lines().collect::<Vec<_>>());
}

/// LAY-8.
fn a_log_service_never_started_has_no_pid_file(suite: &Suite) {
    let web =
        suite.service("web").run("exec sleep 1000").down().log("exec cat").file("log/down", "").supervised();
    assert_eq!(web.read("supervise/pid"), "");
    assert!(web.has("supervise/pid") && !web.has("log/supervise/pid"));
    assert_eq!((web.stat(), web.log().stat()), ("down".to_owned(), "down".to_owned()));
    web.log().control("u");
    web.log().eventually_runs();
    web.log().eventually("pid is written", |log| log.pid() == Some(log.status().pid));
}

/// LAY-9: the target is made, nothing beyond.
fn supervise_may_be_a_link(suite: &Suite) {
    let tree = suite.tree();
    let target = tree.root().join("elsewhere");
    let web = tree.service("web").run("exec sleep 1000").link("supervise", &target).running();
    assert!(target.join("status").exists());
    assert_eq!(fs::metadata(&target).unwrap().mode() & 0o777, 0o700);
    web.sv("status").says("run: web: (pid N) Ns\n", 0);
}

/// LAY-9: relative to the directory that holds the link.
fn supervise_may_be_a_relative_link(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").link("supervise", "../../elsewhere").running();
    assert!(web.tree().root().join("elsewhere/status").exists());
}

/// LAY-9.
fn log_supervise_may_be_a_link(suite: &Suite) {
    let tree = suite.tree();
    let web = tree
        .service("web")
        .run("exec sleep 1000")
        .log("exec cat")
        .link("log/supervise", "../../web.log")
        .running();
    web.log().eventually_runs();
    assert!(tree.services().join("web.log/status").exists());
}

/// A target in the tree with a path of exactly this length.
fn long_target(root: &std::path::Path, length: usize) -> String {
    let mut target = format!("{}/", root.display());
    while target.len() < length - 1 {
        target.push_str("./");
    }
    let rest = length - target.len();
    target + &"x".repeat(rest)
}

/// LAY-10.
fn a_supervise_link_of_255_bytes_is_accepted(suite: &Suite) {
    let tree = suite.tree();
    let target = long_target(tree.root(), 255);
    tree.service("web").run("exec sleep 1000").link("supervise", &target).running();
}

/// LAY-10.
fn a_supervise_link_of_256_bytes_is_refused(suite: &Suite) {
    let tree = suite.tree();
    let target = long_target(tree.root(), 256);
    let web = tree.service("web").link("supervise", &target).made();
    web.is_refused(web.runsv(), "runsv web: fatal: unable to readlink ./supervise: name too long\n");
}

/// LAY-10.
fn a_log_supervise_link_of_256_bytes_is_refused(suite: &Suite) {
    let tree = suite.tree();
    let target = long_target(tree.root(), 256);
    let web = tree.service("web").log("exec cat").link("log/supervise", &target).made();
    web.is_refused(web.runsv(), "runsv web: fatal: unable to readlink ./log/supervise: name too long\n");
}

/// LAY-11: the log service works in the real directory.
fn log_may_be_a_link_to_a_directory(suite: &Suite) {
    let tree = suite.tree();
    let log = tree.service("common").run("pwd -P >here; exec cat").made();
    let web = tree.service("web").run("exec sleep 1000").link("log", "../common").running();
    log.eventually_reads("here", &format!("{}\n", log.dir().display()));
    assert!(log.has("supervise/status"));
    web.sv("status").says("run: web: (pid N) Ns; run: log: (pid N) Ns\n", 0);
}

/// LAY-11.
fn a_dangling_log_is_no_log(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").link("log", "nowhere").running();
    assert_eq!(web.runsv.stderr(), "");
}

/// LAY-11.
fn a_log_that_is_a_file_is_warned_about(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").file("log", "").running();
    assert_eq!(web.runsv.stderr(), "runsv web: warning: ./log: not a directory.\n");
}

/// LAY-11: with the doubled colon.
fn a_log_that_cannot_be_looked_at_is_warned_about(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").link("log", "log").running();
    assert_eq!(web.runsv.stderr(), "runsv web: warning: unable to stat() ./log: : symbolic link loop\n");
}

/// LAY-12: a flock, as long as runsv lives, whatever its services do.
fn the_lock_is_held_by_runsv_alone(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").log("exec sleep 1000").running();
    web.log().eventually_runs();
    let is_free = |name: &str| {
        let free = web.tree().command("flock").args(["-n", name, "true"]).dir(web.dir()).output();
        free.code() == Some(0)
    };
    assert!(!is_free("supervise/lock") && !is_free("log/supervise/lock"));
    web.runsv.signal(Signal::SIGKILL);
    web.runsv.finished();
    assert!(tests::process::is_alive(web.status().pid));
    // A child that was not executed yet still has everything of its parent.
    eventually("the locks are free", || is_free("supervise/lock") && is_free("log/supervise/lock"));
}

/// LAY-13: only the reader of `supervise/ok` is gone.
fn the_files_stay_when_runsv_is_gone(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").running();
    web.control("x");
    web.runsv.finished();
    assert!(!web.is_supervised());
    let wanted = [
        "control fifo 600",
        "lock file 600",
        "ok fifo 600",
        "pid file 644",
        "stat file 644",
        "status file 644",
        ". dir 700",
    ];
    assert_eq!(listing(&web), wanted);
}

/// LAY-15.
fn a_deleted_service_is_still_supervised(suite: &Suite) {
    let web = suite.service("web").run(crate::IGNORES_TERM).running();
    web.eventually_has("ready");
    let pid = web.status().pid;
    fs::remove_dir_all(web.dir()).unwrap();
    web.runsv.told_to_exit();
    web.runsv.eventually_says("runsv web: warning: unable to open supervise/stat.new: file does not exist\n");
    assert!(web.runsv.is_alive());
    tests::process::send(pid, Signal::SIGKILL);
    assert_eq!(web.runsv.finished().code(), Some(0));
}

/// LAY-15, RSV-71: what cannot be written is warned about, and the rest goes on.
fn a_full_supervise_does_not_end_runsv(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").running();
    // The record is written last, and then its old one is gone from the name the new one had.
    web.eventually("everything is written", |web| web.status().pid != 0 && !web.has("supervise/status.new"));
    fs::create_dir(web.path("supervise/status.new")).unwrap();
    web.control("p");
    web.runsv.eventually_says("runsv web: warning: unable to open supervise/status.new: is a directory\n");
    fs::remove_dir(web.path("supervise/status.new")).unwrap();
    web.control("c");
    web.eventually_stat("run");
    fs::remove_file(web.path("supervise/stat")).unwrap();
    fs::create_dir(web.path("supervise/stat")).unwrap();
    web.control("p");
    web.runsv
        .eventually_says("runsv web: warning: unable to rename stat.new to supervise/stat: is a directory\n");
    web.control("d");
    web.eventually_down();
}

/// LAY-1.
fn down_may_be_anything(suite: &Suite) {
    let tree = suite.tree();
    let services = [
        tree.service("file").down(),
        tree.service("dir").dir("down"),
        tree.service("link").link("down", "/"),
    ];
    let services = services.map(|service| service.run("echo >started; exec sleep 1000").supervised());
    nothing_happens_for(Duration::from_millis(500), "they are down", || {
        services.iter().all(|service| !service.has("started"))
    });
    for service in services {
        assert_eq!((service.stat().as_str(), service.status().flags()), ("down", [0, b'd', 0, 0]));
    }
}

/// LAY-1.
fn a_dangling_down_does_not_count(suite: &Suite) {
    suite.service("web").run("exec sleep 1000").link("down", "nowhere").running();
}

/// LAY-1: `down` made later changes nothing for runsv.
fn down_counts_at_the_start_only(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").running();
    let first = web.status().pid;
    web.write("down", "");
    web.control("k");
    web.eventually_runs_anew(first);
}

/// LAY-1: each has its own `down`.
fn a_log_may_be_down(suite: &Suite) {
    let web = suite
        .service("web")
        .run("exec sleep 1000")
        .log("echo >started; exec cat")
        .file("log/down", "")
        .running();
    nothing_happens_for(Duration::from_millis(300), "the log is down", || !web.has("log/started"));
    assert_eq!(web.log().status().flags(), [0, b'd', 0, 0]);
}

/// LAY-2, RSV-35.
fn the_log_service_has_no_finish_and_no_control_scripts(suite: &Suite) {
    let web = suite
        .service("web")
        .run("exec sleep 1000")
        .log("echo $$ >>../logs; exec sleep 1000")
        .script("log/finish", "echo finish >>../wrong")
        .script("log/control/t", "echo t >>../wrong")
        .script("log/control/u", "echo u >>../wrong")
        .script("log/control/d", "echo d >>../wrong")
        .running();
    web.eventually_lines("logs", 1);
    web.log().control("t");
    web.eventually_lines("logs", 2);
    web.log().control("d");
    web.log().eventually_down();
    web.log().control("u");
    web.eventually_lines("logs", 3);
    assert!(!web.has("wrong"));
}
