//! Service directories that come, change and are exchanged while runsvdir watches.

use std::os::unix::fs::symlink;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use fs_err as fs;
use nix::sys::signal::Signal;
use tests::process::Process;
use tests::{Service, StartedProgram, Suite, TestTree, all_suites, eventually, nothing_happens_for};

use crate::runsvdir::scanning::{eventually_runsv_of, eventually_up, watched, watching};

all_suites! {
    a_directory_made_in_its_place_has_its_log,
    a_down_that_is_made_last_is_honoured,
    a_directory_that_is_copied_slowly_is_started_whole,
    a_directory_that_is_renamed_half_made_is_started_whole,
    a_link_that_is_switched_again_and_again_ends_at_its_last_target,
    a_link_through_many_links_holds_up_no_other_service;
    not_hosted "without a services directory, init ends at once":
    what_is_made_in_a_services_directory_that_is_made_is_started_whole;
    not_theirs "DEV-17: the original starts what is half made, and warns between two renames":
    a_directory_that_is_made_slowly_is_not_started_before_its_last_change,
    a_directory_that_is_made_during_a_scan_is_made_in_its_place,
    a_link_whose_target_is_made_in_its_place_is_started_whole,
    a_services_directory_that_is_exchanged_by_two_renames_gives_no_warning;
    only_ours "B34, and it looks at the processes of runsv":
    a_link_that_is_switched_never_has_two_runsvs,
}

const SLEEPS: &str = "exec sleep 1000";

/// Between two steps of a program that makes a directory.
const STEP: Duration = Duration::from_millis(50);

/// A tree with a service that is up, so that the directory has been scanned.
fn scanned(suite: &Suite) -> (TestTree, StartedProgram) {
    let tree = suite.tree();
    let first = tree.service("first").run(SLEEPS).made();
    let runsvdir = watched(&tree, &[]);
    first.eventually("it is supervised", Service::is_supervised);
    first.eventually_runs();
    (tree, runsvdir)
}

/// The original compares whole seconds: what is made around the end of one it may find half made.
fn await_the_begin_of_a_second() {
    let is_begin = || {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time after 1970");
        now.subsec_millis() < 200
    };
    eventually("the begin of a second", is_begin);
}

/// Makes a service in its place, one step after the other.
fn make(web: &Service, steps: &[&str]) {
    for step in steps {
        if let Some(parent) = web.path(step).parent() {
            fs::create_dir_all(parent).unwrap();
        }
        match *step {
            "down" => web.write(step, ""),
            "finish" | "check" => web.write_script(step, "exit 0"),
            _ => web.write_script(step, SLEEPS),
        }
        thread::sleep(STEP);
    }
}

/// RSD-10: it is found whole.
fn a_directory_made_in_its_place_has_its_log(suite: &Suite) {
    let (tree, runsvdir) = scanned(suite);
    let web = tree.at("web");
    await_the_begin_of_a_second();
    make(&web, &["run", "log/run"]);
    web.eventually("it is supervised", Service::is_supervised);
    web.eventually_runs();
    web.log().eventually_runs();
    assert_eq!(runsvdir.stderr(), "");
}

/// RSD-10, LAY-1.
fn a_down_that_is_made_last_is_honoured(suite: &Suite) {
    let (tree, _runsvdir) = scanned(suite);
    let web = tree.at("web");
    await_the_begin_of_a_second();
    make(&web, &["run", "down"]);
    web.eventually("it is supervised", Service::is_supervised);
    tree.sv("status web").says("down: web: Ns\n", 0);
}

/// RSD-10: a program that copies does so in any order.
fn a_directory_that_is_copied_slowly_is_started_whole(suite: &Suite) {
    let (tree, runsvdir) = scanned(suite);
    let web = tree.at("web");
    await_the_begin_of_a_second();
    make(&web, &["check", "control/t", "run", "finish", "log/finish", "log/run", "down"]);
    web.eventually("it is supervised", Service::is_supervised);
    web.log().eventually_runs();
    tree.sv("status web").says("down: web: Ns; run: log: (pid N) Ns\n", 0);
    assert_eq!(runsvdir.stderr(), "");
}

/// RSD-10: a directory that has another name now is as incomplete as before.
fn a_directory_that_is_renamed_half_made_is_started_whole(suite: &Suite) {
    let (tree, _runsvdir) = scanned(suite);
    await_the_begin_of_a_second();
    let web = tree.at("web");
    let half = tree.at("half");
    fs::create_dir(half.dir()).unwrap();
    half.write_script("run", SLEEPS);
    fs::rename(half.dir(), web.dir()).unwrap();
    thread::sleep(STEP);
    make(&web, &["log/run", "down"]);
    web.eventually("it is supervised", Service::is_supervised);
    web.log().eventually_runs();
    tree.sv("status web").says("down: web: Ns; run: log: (pid N) Ns\n", 0);
}

/// RSD-3, RSD-10.
fn what_is_made_in_a_services_directory_that_is_made_is_started_whole(suite: &Suite) {
    let tree = suite.tree();
    fs::remove_dir(tree.services()).unwrap();
    let runsvdir = tree.command("runsvdir").arg(tree.services()).dir(tree.root()).start();
    runsvdir.eventually_says("file does not exist\n");
    let web = tree.at("web");
    await_the_begin_of_a_second();
    make(&web, &["run", "log/run"]);
    web.eventually("it is supervised", Service::is_supervised);
    web.eventually_runs();
    web.log().eventually_runs();
}

/// A directory beside the services directory, with a `./run`.
fn version(tree: &TestTree, name: &str) {
    fs::create_dir(tree.root().join(name)).unwrap();
    tree.write_script(&tree.root().join(name).join("run"), &format!("echo x >>../runs.{name}; {SLEEPS}"));
}

/// Exchanges a link as `ln -sfn` does; how long it was there under its temporary name.
fn switch(tree: &TestTree, name: &str, target: &str) -> Duration {
    let temporary = tree.services().join("CuXqz3Yb");
    let begin = Instant::now();
    symlink(target, &temporary).unwrap();
    fs::rename(&temporary, tree.services().join(name)).unwrap();
    begin.elapsed()
}

/// RSD-5.
fn a_link_that_is_switched_again_and_again_ends_at_its_last_target(suite: &Suite) {
    let (tree, _runsvdir) = scanned(suite);
    for name in ["v1", "v2"] {
        version(&tree, name);
    }
    for target in ["../v1", "../v2", "../v1", "../v2"] {
        switch(&tree, "web", target);
        thread::sleep(STEP);
    }
    let web = tree.at("web");
    web.eventually("it is supervised", Service::is_supervised);
    let pid = web.eventually_runs().pid;
    assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), tree.root().join("v2"));
}

/// RSD-4: the kernel follows up to 40 links, once each.
fn a_link_through_many_links_holds_up_no_other_service(suite: &Suite) {
    let (tree, runsvdir) = scanned(suite);
    version(&tree, "real");
    symlink(".", tree.root().join("l")).unwrap();
    symlink(format!("../{}real", "l/".repeat(38)), tree.services().join("maze")).unwrap();
    let web = tree.service("web").run(SLEEPS).made();
    for service in [&tree.at("maze"), &web] {
        service.eventually("it is supervised", Service::is_supervised);
        service.eventually_runs();
    }
    assert_eq!(runsvdir.stderr(), "");
    runsvdir.signal(Signal::SIGTERM);
    assert_eq!(runsvdir.finished().code(), Some(0));
}

/// DEV-17: the original would start it as soon as the second is over in which its name was made.
fn a_directory_that_is_made_slowly_is_not_started_before_its_last_change(suite: &Suite) {
    let (tree, runsvdir) = scanned(suite);
    let web = tree.at("web");
    for _ in 0..2 {
        for step in ["run", "log/run", "control/t"] {
            make(&web, &[step]);
            nothing_happens_for(Duration::from_millis(400), "it is not started", || !web.has("supervise"));
        }
    }
    web.eventually("it is supervised", Service::is_supervised);
    web.log().eventually_runs();
    assert_eq!(runsvdir.stderr(), "");
}

/// DEV-17: a directory may be made while a scan is under way, which has seen all names by then.
fn a_directory_that_is_made_during_a_scan_is_made_in_its_place(suite: &Suite) {
    let (tree, _runsvdir) = scanned(suite);
    version(&tree, "base");
    // Each of them is looked at in every scan.
    for number in 0..300 {
        symlink("../base", tree.services().join(format!("link{number}"))).unwrap();
    }
    for number in 0..100 {
        let service = tree.at(&format!("new{number}"));
        let begin = Instant::now();
        fs::create_dir(service.dir()).unwrap();
        let is_early = || begin.elapsed() < Duration::from_millis(900);
        while begin.elapsed() < Duration::from_millis(30) {
            assert!(!(service.has("supervise") && is_early()), "{}", service.name());
        }
    }
}

/// DEV-17: where a link leads is made by `mkdir -p`, and then filled.
fn a_link_whose_target_is_made_in_its_place_is_started_whole(suite: &Suite) {
    let (tree, runsvdir) = scanned(suite);
    symlink("../opt/app/web", tree.services().join("web")).unwrap();
    symlink("inner", tree.root().join("outer")).unwrap();
    symlink("../outer", tree.services().join("db")).unwrap();
    for (name, target) in [("web", "opt/app/web"), ("db", "inner")] {
        runsvdir.eventually_says(&format!("unable to stat {name}: file does not exist\n"));
        fs::create_dir_all(tree.root().join(target)).unwrap();
        let service = tree.at(name);
        thread::sleep(STEP);
        make(&service, &["run", "log/run", "down"]);
        service.eventually("it is supervised", Service::is_supervised);
        service.log().eventually_runs();
        tree.sv(&format!("status {name}")).says(&format!("down: {name}: Ns; run: log: (pid N) Ns\n"), 0);
    }
}

/// B34: neither does a temporary name have a runsv, nor do two versions run at a time.
fn a_link_that_is_switched_never_has_two_runsvs(suite: &Suite) {
    let (tree, runsvdir) = scanned(suite);
    for name in ["v1", "v2"] {
        version(&tree, name);
    }
    symlink("../v1", tree.services().join("web")).unwrap();
    eventually_runsv_of(&runsvdir, "web");
    let web = tree.at("web");
    web.eventually_runs();
    let is_of_web = |process: &Process| {
        let words = process.command_line();
        process.parent == runsvdir.pid() && words.starts_with("runsv ") && words != "runsv first"
    };
    for target in ["../v2", "../v1", "../v2"] {
        // On a busy machine a temporary name may be there for long enough to count.
        let was_quick = switch(&tree, "web", target) < Duration::from_millis(10);
        let is_there = || {
            web.pid().is_some_and(|pid| {
                let runs_in = fs::read_link(format!("/proc/{pid}/cwd")).ok();
                runs_in == Some(tree.root().join(target.trim_start_matches("../")))
            })
        };
        eventually("the new one runs", || {
            let runsvs: Vec<_> = Process::all().into_iter().filter(is_of_web).collect();
            assert!(!was_quick || runsvs.len() <= 1, "{runsvs:?}");
            assert!(!was_quick || runsvs.iter().all(|it| it.command_line() == "runsv web"), "{runsvs:?}");
            is_there()
        });
    }
}

/// RSD-16, RCD-7: the moment between the two renames of runsvchdir, as long as a busy machine makes it.
fn a_services_directory_that_is_exchanged_by_two_renames_gives_no_warning(suite: &Suite) {
    let tree = suite.tree();
    tree.service("web").run(SLEEPS).made();
    let at = |name: &str| tree.root().join(name);
    fs::rename(tree.services(), at("one")).unwrap();
    fs::create_dir_all(at("two/db")).unwrap();
    tree.write_script(&at("two/db/run"), SLEEPS);
    symlink("one", at("current")).unwrap();
    symlink("current", tree.services()).unwrap();
    let runsvdir = watching(&tree).arg(tree.services()).dir(tree.root()).start();
    eventually_up(&tree.at("web"));
    for (next, service) in [("two", "db"), ("one", "web"), ("two", "db")] {
        symlink(next, at("current.new")).unwrap();
        fs::rename(at("current"), at("previous")).unwrap();
        thread::sleep(STEP);
        fs::rename(at("current.new"), at("current")).unwrap();
        eventually_up(&tree.at(service));
    }
    assert_eq!(runsvdir.stderr(), "");
    // One that is gone for good is spoken of.
    fs::remove_file(at("current")).unwrap();
    runsvdir.eventually_says("file does not exist\n");
}
