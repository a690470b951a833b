//! A file system that hangs under one service, a hook or COMMAND: the grace is kept.
//!
//! init has one thread, and a look into a directory that hangs holds it: then its watchdog leaves in time. An
//! execution that hangs holds a child and nothing else.

use std::path::Path;
use std::time::Duration;

use fs_err as fs;
use nix::sys::signal::Signal;
use tests::hung_fs::{Hang, HungFs};
use tests::namespace::PidNamespace;
use tests::{CommandLine, Output, Service, Suite, TestTree, eventually};

use crate::init::stop::{saves_for, with_grace};

/// The grace in these tests, in seconds.
const GRACE: u64 = 5;

/// What init says when it has to leave while a file system holds it.
const IS_HELD: &str = "a file system hangs";

/// A service that hangs, and services that have nothing to do with it, around it in the order of names.
struct Neighbours {
    tree: TestTree,
    healthy: Vec<Service>,
    hung: Service,
}

impl Neighbours {
    fn made() -> Self {
        let tree = Suite::ours().tree();
        let healthy =
            ["a", "b", "y", "z"].map(|name| tree.service(name).run(&saves_for("0")).log("exec cat").made());
        let runs = "echo >ready; exec sleep 1000";
        let hung =
            tree.service("hung").run(runs).log("exec cat").dir("supervise").dir("log/supervise").made();
        Self { tree, healthy: healthy.into(), hung }
    }

    fn init(&self) -> CommandLine {
        with_grace(&self.tree, &GRACE.to_string(), &[])
    }

    /// They are started, and one that ends is started again.
    #[track_caller]
    fn are_kept_running(&self) {
        for service in &self.healthy {
            service.eventually_has("ready");
            service.log().eventually_runs();
        }
        let first = self.healthy[0].eventually_runs().pid;
        self.healthy[0].control("k");
        self.healthy[0].eventually_runs_anew(first);
        self.healthy[0].eventually_lines("ready", 2);
    }

    /// TERM: they have saved, and init has left within the grace.
    #[track_caller]
    fn stop_in_order(&self, container: &PidNamespace) -> Output {
        self.have_saved(stopped_unheld(container))
    }

    #[track_caller]
    fn have_saved(&self, end: Output) -> Output {
        for service in &self.healthy {
            assert_eq!(service.read("saved"), "saved\n", "{}: {}", service.name(), end.stderr);
        }
        end
    }
}

/// TERM: init has left within the grace by itself.
#[track_caller]
fn stopped_unheld(container: &PidNamespace) -> Output {
    let end = container.stopped_within(Duration::from_secs(GRACE));
    assert!(!end.stderr.contains(IS_HELD), "{}", end.stderr);
    end
}

/// TERM: the watchdog has left within the grace, and says why.
#[track_caller]
fn stopped_while_held(container: &PidNamespace) -> Output {
    let end = container.stopped_within(Duration::from_secs(GRACE));
    assert_eq!(end.code(), Some(99), "{}", end.stderr);
    assert!(end.stderr.contains(IS_HELD), "{}", end.stderr);
    end
}

/// Before the boot: there is no first look at it that returns. TERM comes while init is held.
#[track_caller]
fn hangs_from_the_start(place: &str) {
    let all = Neighbours::made();
    let mount = HungFs::over(&all.tree, &all.hung.path(place));
    mount.hang(Hang::Everything);
    let container = all.init().start_as_process_1();
    eventually("init looks at it", || mount.held() > 0);
    stopped_while_held(&container);
}

/// When everything runs: all services are told before init looks at a directory.
#[track_caller]
fn hangs_later(place: &str) {
    let all = Neighbours::made();
    let mount = HungFs::over(&all.tree, &all.hung.path(place));
    let container = all.init().start_as_process_1();
    all.hung.eventually_has("ready");
    all.hung.eventually_runs();
    all.hung.log().eventually_runs();
    all.are_kept_running();
    mount.hang(Hang::Everything);
    all.have_saved(stopped_while_held(&container));
}

#[test]
fn a_service_directory_that_hangs_from_the_start_does_not_hold_the_end() {
    hangs_from_the_start("");
}

#[test]
fn a_supervise_directory_that_hangs_from_the_start_does_not_hold_the_end() {
    hangs_from_the_start("supervise");
}

#[test]
fn a_loggers_directory_that_hangs_from_the_start_does_not_hold_the_end() {
    hangs_from_the_start("log");
}

#[test]
fn a_service_directory_that_hangs_later_does_not_hold_the_stop() {
    hangs_later("");
}

#[test]
fn a_supervise_directory_that_hangs_later_does_not_hold_the_stop() {
    hangs_later("supervise");
}

#[test]
fn a_loggers_supervise_directory_that_hangs_later_does_not_hold_the_stop() {
    hangs_later("log/supervise");
}

/// The end of a service is something to write down, where it hangs. TERM comes while init is held.
#[test]
fn the_end_of_a_service_whose_directory_hangs_does_not_hold_the_end() {
    let all = Neighbours::made();
    let mount = HungFs::over(&all.tree, all.hung.dir());
    let container = all.init().start_as_process_1();
    let hung = all.hung.eventually_runs();
    mount.hang(Hang::Everything);
    let inmates = container.processes();
    let process = inmates.iter().find(|inmate| inmate.pid_inside == hung.pid).expect("its process");
    tests::process::send(process.outside.pid, Signal::SIGKILL);
    eventually("init looks at it", || mount.held() > 0);
    stopped_while_held(&container);
}

/// When it answers again, init goes on: the service runs like any other, and nothing is killed at the end.
#[test]
fn a_service_directory_that_answers_again_is_supervised() {
    let all = Neighbours::made();
    let mount = HungFs::over(&all.tree, all.hung.dir());
    mount.hang(Hang::Everything);
    let container = all.init().start_as_process_1();
    eventually("init looks at it", || mount.held() > 0);
    mount.hang(Hang::Nothing);
    all.are_kept_running();
    all.hung.eventually_has("ready");
    all.hung.eventually_runs();
    let end = all.stop_in_order(&container);
    assert_eq!(end.code(), Some(0), "{}", end.stderr);
}

/// The opening of one file of a service hangs, its `./run`, when it is executed.
#[track_caller]
fn exec_hangs(program: &str) {
    let all = Neighbours::made();
    let mount = HungFs::over(&all.tree, all.hung.dir());
    mount.hang(Hang::File(program.into()));
    let container = all.init().start_as_process_1();
    eventually("something is about to execute it", || mount.held() > 0);
    all.are_kept_running();
    all.stop_in_order(&container);
}

#[test]
fn a_run_whose_exec_hangs_delays_nothing_else() {
    exec_hangs("run");
}

#[test]
fn a_loggers_run_whose_exec_hangs_delays_nothing_else() {
    exec_hangs("log/run");
}

#[test]
fn a_finish_whose_exec_hangs_does_not_hold_the_stop() {
    let tree = Suite::ours().tree();
    let runs = "echo >ready; exec sleep 1000";
    let hung = tree.service("hung").run(runs).finish("exit 0").made();
    let saver = tree.service("saver").run(&saves_for("0")).made();
    let mount = HungFs::over(&tree, hung.dir());
    let container = with_grace(&tree, &GRACE.to_string(), &[]).start_as_process_1();
    hung.eventually_has("ready");
    saver.eventually_has("ready");
    mount.hang(Hang::File("finish".into()));
    let end = stopped_unheld(&container);
    assert!(mount.held() > 0, "{}", end.stderr);
    assert_eq!(saver.read("saved"), "saved\n", "{}", end.stderr);
}

/// A program alone in a file system of its own, so that its execution hangs, and nothing else does.
struct HungProgram {
    tree: TestTree,
    saver: Service,
    mount: HungFs,
}

impl HungProgram {
    fn made(directory: &str) -> Self {
        let tree = Suite::ours().tree();
        let saver = tree.service("saver").run(&saves_for("0")).made();
        let place = tree.root().join(directory);
        fs::create_dir_all(&place).expect("a directory");
        tree.write_script(&place.join("program"), "exec sleep 1000");
        let mount = HungFs::over(&tree, &place);
        Self { tree, saver, mount }
    }

    fn hangs(&self) {
        self.mount.hang(Hang::File("program".into()));
    }

    fn init(&self) -> CommandLine {
        let hooks = self.tree.root().join("hooks");
        with_grace(&self.tree, &GRACE.to_string(), &["--hooks", hooks.to_str().expect("a plain name")])
    }

    /// init leaves in time, and what could save has.
    #[track_caller]
    fn holds_no_stop(&self, container: &PidNamespace, saved: &str) {
        let end = stopped_unheld(container);
        assert!(self.mount.held() > 0, "its execution was never tried:\n{}", end.stderr);
        assert_eq!(self.saver.read("saved"), saved, "{}", end.stderr);
    }
}

#[test]
fn a_command_whose_exec_hangs_delays_no_service_and_not_the_end() {
    let hung = HungProgram::made("programs");
    hung.hangs();
    let program = hung.mount.place().join("program");
    let container = hung.init().arg("--").arg(program).start_as_process_1();
    hung.saver.eventually_has("ready");
    eventually("something is about to execute it", || hung.mount.held() > 0);
    hung.holds_no_stop(&container, "saved\n");
}

/// No service is started before the start hooks have ended; but a stop is heard.
#[test]
fn a_start_hook_whose_exec_hangs_does_not_hold_the_end() {
    let hung = HungProgram::made("hooks/start.d");
    hung.hangs();
    let container = hung.init().start_as_process_1();
    eventually("something is about to execute it", || hung.mount.held() > 0);
    hung.holds_no_stop(&container, "");
}

#[track_caller]
fn hook_of_the_stop_hangs(hooks: &str) {
    let hung = HungProgram::made(hooks);
    let container = hung.init().start_as_process_1();
    hung.saver.eventually_has("ready");
    hung.hangs();
    hung.holds_no_stop(&container, "saved\n");
}

#[test]
fn a_drain_hook_whose_exec_hangs_does_not_hold_the_end() {
    hook_of_the_stop_hangs("hooks/drain.d");
}

#[test]
fn a_finish_hook_whose_exec_hangs_does_not_hold_the_end() {
    hook_of_the_stop_hangs("hooks/finish.d");
}

/// The file system of the harness itself: it passes everything through, hangs, and answers again.
#[test]
fn a_file_system_hangs_on_demand() {
    let tree = Suite::ours().tree();
    let web = tree.service("web").run("exec sleep 1000").file("note", "seen\n").made();
    let mount = HungFs::over(&tree, web.dir());
    let looks = |file: &str| tree.command("cat").arg(web.path(file)).start();
    looks("note").finished().says("seen\n", 0);
    mount.hang(Hang::File("note".into()));
    looks("run").finished().says("#!/bin/sh\nexec sleep 1000\n", 0);
    let late = looks("note");
    eventually("it is asked", || mount.held() == 1);
    mount.hang(Hang::Everything);
    let later = looks("run");
    // What was kept back, and the first look of another process.
    eventually("it is asked again", || mount.held() == 2);
    assert!(late.is_alive() && later.is_alive());
    assert!(mount.behind().join("note").exists() && mount.place() != Path::new("/"));
    mount.hang(Hang::Nothing);
    late.finished().says("seen\n", 0);
    later.finished().says("#!/bin/sh\nexec sleep 1000\n", 0);
    // All that runsv needs of a file system.
    let web = web.supervised();
    web.eventually_runs();
    web.control("d");
    web.eventually_down();
    assert_eq!(web.runsv.stderr(), "");
}
