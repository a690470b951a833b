//! A service that says itself when it is ready (`notification-fd`, `notify-socket`), and what sv makes of it
//! (ADD-22).

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

use fs_err as fs;
use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use tests::process::{Process, inherited_descriptors};
use tests::{Builder, Service, Suite, eventually, eventually_some, nothing_happens_for, on_suites};

/// How long a process has to live to count as up, where it does not say so.
const LIFE: Duration = Duration::from_millis(420);

const SLEEPS: &str = "exec sleep 1000";

/// Waits for a file, and then writes a line to descriptor 3.
const READY_AT_GO: &str = "until test -e go; do sleep .02; done; echo >&3; exec sleep 1000";

/// Lets a shell send a message from a process of its own. perl-base is part of every Debian.
const SAYS: &str = r#"says() { perl -MSocket -e 'socket(S, AF_UNIX, SOCK_DGRAM, 0) and send(S, $ARGV[0], 0,
    pack_sockaddr_un("\0" . substr($ENV{NOTIFY_SOCKET}, 1))) or die "$!"' -- "$1"; }
"#;

fn with_a_descriptor(run: &str) -> Builder {
    Suite::ours().service("web").run(run).file("notification-fd", "3\n")
}

fn with_a_socket(run: &str) -> Builder {
    Suite::ours().service("web").run(&format!("{SAYS}{run}")).file("notify-socket", "")
}

const READY: &str = "supervise/ready";

#[track_caller]
fn eventually_ready(web: &Service) {
    web.eventually_has(READY);
    assert_eq!(fs::read(web.path(READY)).expect("a label").len(), 12);
    web.sv("status").says("run: web: (pid N) Ns\n", 0);
}

#[track_caller]
fn eventually_unready(web: &Service) {
    web.eventually("it is not ready", |web| !web.has(READY));
    web.sv("status").says("run: web: (pid N) Ns, not ready\n", 0);
}

#[track_caller]
fn eventually_says(web: &Service, text: &str) {
    web.eventually(text, |web| web.sv("why").stdout.contains(&format!("; says: {text}\n")));
}

/// Sends messages to the service's socket from this process.
struct Sender(UnixDatagram, SocketAddr);

impl Sender {
    #[track_caller]
    fn to(web: &Service) -> Self {
        let pid = web.eventually_runs().pid;
        let name = eventually_some("a socket", || {
            let environment = Process::find(pid)?.environment();
            environment.iter().find_map(|it| it.strip_prefix("NOTIFY_SOCKET=@")).map(str::to_owned)
        });
        let address = SocketAddr::from_abstract_name(name).expect("a name");
        Self(UnixDatagram::unbound().expect("a socket"), address)
    }

    fn says(&self, message: &str) {
        self.0.send_to_addr(message.as_bytes(), &self.1).expect("a message is sent");
    }
}

#[test]
fn add_22_a_line_on_the_descriptor_makes_a_service_ready() {
    let web = with_a_descriptor(READY_AT_GO).running();
    eventually_unready(&web);
    let why = web.sv("why").stdout;
    assert!(why.starts_with("web: running") && why.contains("; has not said that it is ready\n"), "{why}");
    web.sv("-w 0 check").says("timeout: run: web: (pid N) Ns, not ready\n", 1);
    web.sv("health").says("fail: web: not ready\n", 1);
    web.write("go", "");
    eventually_ready(&web);
    web.sv("check").says("ok: run: web: (pid N) Ns\n", 0);
    web.control("d");
    web.eventually_down();
    assert!(!web.has(READY));
}

#[test]
fn add_22_each_process_says_it_anew() {
    let web = with_a_descriptor(READY_AT_GO).file("go", "").running();
    eventually_ready(&web);
    web.remove("go");
    let old = web.status().pid;
    web.control("t");
    web.eventually_runs_anew(old);
    eventually_unready(&web);
    web.remove("notification-fd");
    let old = web.status().pid;
    web.control("k");
    web.eventually_runs_anew(old);
    web.sv("status").says("run: web: (pid N) Ns\n", 0);
    assert!(!web.has(READY));
}

#[test]
fn add_22_a_descriptor_that_ends_without_a_line_never_makes_ready() {
    let web = with_a_descriptor("printf ready >&3; exec 3>&-; echo >closed; exec sleep 1000").running();
    web.eventually_has("closed");
    web.sv("-w 1 start").says("timeout: run: web: (pid N) Ns, not ready\n", 1);
    assert!(!web.has(READY));
}

#[test]
fn add_22_only_run_has_the_descriptor_and_it_is_a_pipe() {
    let list = "ls -l /proc/$$/fd";
    let web = with_a_descriptor(&format!("{list} >run-has; exec sleep 1000"))
        .finish(&format!("{list} >finish-has"))
        .control('t', &format!("{list} >control-has; exit 1"))
        .log(&format!("{list} >log-has; exec cat >/dev/null"))
        .running();
    let has = |file: &str| {
        web.eventually_has(file);
        web.eventually(file, |web| !web.read(file).is_empty());
        web.read(file).lines().filter(|line| line.contains(" 3 -> pipe:")).count()
    };
    let inherited = usize::from(inherited_descriptors().contains(&3));
    assert_eq!((has("run-has"), has("log/log-has")), (1, inherited));
    web.control("d");
    web.eventually_down();
    assert_eq!((has("control-has"), has("finish-has")), (inherited, inherited));
}

#[test]
fn add_22_the_messages_of_sd_notify_are_taken() {
    let web = with_a_socket(SLEEPS).running();
    let sender = Sender::to(&web);
    eventually_unready(&web);
    sender.says("STATUS=reads \u{1b}[2J its data\nMAINPID=1\nWATCHDOG=1");
    eventually_says(&web, "reads ?[2J its data");
    eventually_unready(&web);
    sender.says("READY=1\nSTATUS=serves");
    eventually_ready(&web);
    assert!(
        web.sv("--json status")
            .stdout
            .contains(r#""ready":true,"log":null,"error":null,"status_text":"serves""#)
    );
    sender.says("STOPPING=1");
    eventually_unready(&web);
    assert!(web.sv("--json status").stdout.contains(r#""ready":false"#));
    assert!(web.sv("list").stdout.ends_with("not ready\n"), "{}", web.sv("list").stdout);
}

/// A process of the service, whichever user it is, is heard; another user's is not.
#[test]
fn add_22_only_the_users_of_the_service_are_heard() {
    if !geteuid().is_root() {
        return;
    }
    let nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups";
    let script = format!("{SAYS} says READY=1; exec sleep 1000");
    let web = Suite::ours().service("web").script("inner", &script).file("notify-socket", "");
    let web = web.run(&format!("exec {nobody} ./inner")).running();
    eventually_ready(&web);

    let web = with_a_socket(SLEEPS).script("says", &format!("{SAYS} says READY=1")).running();
    let sender = Sender::to(&web);
    let name = Process::find(web.status().pid).expect("a process").environment();
    let name = name.iter().find_map(|it| it.strip_prefix("NOTIFY_SOCKET=")).expect("a socket").to_owned();
    let foreign = web.tree().command("sh").arg(web.path("says")).env("NOTIFY_SOCKET", name).as_nobody();
    let foreign = foreign.output();
    assert_eq!(foreign.code(), Some(0), "{foreign:?}");
    // Messages come in their order.
    sender.says("STATUS=after the other");
    eventually_says(&web, "after the other");
    eventually_unready(&web);
}

/// A long path, a directory that other users cannot enter, and a root directory of its own matter to no
/// abstract name.
#[test]
fn add_22_a_directory_with_a_long_name_is_no_obstacle() {
    let name = "w".repeat(200);
    let web = Suite::ours().service(&name).run(&format!("{SAYS} says READY=1; exec sleep 1000"));
    web.file("notify-socket", "").running().eventually_has(READY);
}

#[test]
fn add_22_a_stop_waits_for_a_service_that_asks_for_time() {
    let saves = "trap 'says EXTEND_TIMEOUT_USEC=60000000; sleep 1; echo >saved; exit' TERM; echo >begun
        while :; do sleep .02; done";
    let web = with_a_socket(saves).file("timeout-kill", "500\n").running();
    web.eventually_has("begun");
    web.control("d");
    web.eventually_down();
    assert!(web.has("saved"));
}

/// What says something all the time delays no command, to itself or to another service.
#[test]
fn add_22_a_flood_delays_no_command() {
    let floods = r#"exec perl -MSocket -e 'socket(S, AF_UNIX, SOCK_DGRAM, 0);
        $to = pack_sockaddr_un("\0" . substr($ENV{NOTIFY_SOCKET}, 1));
        for (;;) { send(S, "STATUS=" . $i++, 0, $to) }'"#;
    for (file, content, run) in
        [("notify-socket", "", floods), ("notification-fd", "3\n", "exec cat /dev/zero >&3")]
    {
        let web = Suite::ours().service("web").run(run).file(file, content).log("exec cat >/dev/null");
        let web = web.running();
        for _ in 0..5 {
            let old = web.status().pid;
            web.control("k");
            web.eventually_runs_anew(old);
        }
        web.log().control("d");
        web.log().eventually_down();
        web.control("d");
        web.eventually_down();
    }
}

#[test]
fn add_22_what_is_no_number_counts_as_missing() {
    let web = Suite::ours().service("web").run(SLEEPS).file("notification-fd", "stdout\n").running();
    web.runsv.eventually_says(
        "warning: bad content of notification-fd: expected the number of a descriptor above 2\n",
    );
    web.sv("status").says("run: web: (pid N) Ns\n", 0);
    let lint = web.tree().command("sv").arg("lint").arg(web.dir()).output();
    assert!(lint.stdout.contains("notification-fd: bad content"), "{lint:?}");
}

/// A runsv that was killed cannot remove what it has published.
#[test]
fn add_22_what_a_killed_runsv_has_left_is_about_no_other_process() {
    let web = with_a_descriptor("echo >&3; exec sleep 1000").running();
    eventually_ready(&web);
    web.runsv.signal(Signal::SIGKILL);
    web.runsv.finished();
    let web = web.tree().at("web");
    assert!(web.has(READY));
    web.write("notification-fd", "4\n");
    let web = web.supervised();
    web.eventually_runs();
    eventually_unready(&web);
}

#[test]
fn add_22_supervise_is_made_anew_with_what_was_said() {
    let web = with_a_socket(SLEEPS).running();
    let sender = Sender::to(&web);
    sender.says("READY=1");
    eventually_ready(&web);
    fs::remove_dir_all(web.path("supervise")).expect("it is removed");
    sender.says("STATUS=still there");
    eventually("it is made anew", || web.has("supervise/ok") && web.has(READY));
    eventually_says(&web, "still there");
    eventually_ready(&web);
}

#[test]
fn add_22_a_start_is_reported_as_soon_as_the_service_is_ready() {
    let web = with_a_descriptor("echo >&3; exec sleep 1000").down().supervised();
    for word in ["start", "restart", "try-restart"] {
        eventually(word, || {
            if word == "start" {
                web.sv("stop");
            } else {
                // A younger one rests before it is started again.
                nothing_happens_for(Duration::from_millis(1100), "it lives", || web.pid().is_some());
            }
            let output = web.sv(word);
            output.says("ok: run: web: (pid N) Ns, normally down\n", 0);
            output.took < LIFE
        });
    }
}

#[test]
fn add_22_a_start_waits_for_a_service_that_is_not_ready_however_old_it_is() {
    let web = with_a_descriptor(READY_AT_GO).running();
    nothing_happens_for(LIFE, "it is not ready", || !web.has(READY));
    let start = web.tree().command("sv").args(["start", "web"]).start();
    nothing_happens_for(LIFE, "it is waited for", || start.is_alive());
    web.write("go", "");
    start.finished().says("ok: run: web: (pid N) Ns\n", 0);
}

/// A check has the last word.
#[test]
fn add_22_with_a_check_a_start_waits_for_that() {
    let web = with_a_descriptor(SLEEPS).check("exit 0").running();
    web.sv("start").says("ok: run: web: (pid N) Ns, not ready\n", 0);
    let web = with_a_descriptor("echo >&3; exec sleep 1000").check("exit 1").running();
    eventually_ready(&web);
    web.sv("-w 0 start").says("timeout: run: web: (pid N) Ns\n", 1);
}

on_suites! {
    our_sv_on_their_runsv:
    add_22_a_runsv_that_gives_nothing_is_not_waited_for,
}

/// A process that was not given a descriptor counts by its age.
fn add_22_a_runsv_that_gives_nothing_is_not_waited_for(suite: &Suite) {
    let web = suite.service("web").run(SLEEPS).file("notification-fd", "3\n").file("notify-socket", "");
    let web = web.running();
    web.sv("start").says("ok: run: web: (pid N) Ns\n", 0);
    web.sv("status").says("run: web: (pid N) Ns\n", 0);
    // What a runsv of ours has left, by chance about the same process id.
    web.write("supervise/.notification", &format!("@400000006b00f7383856c484 {}\n", web.status().pid));
    web.sv("check").says("ok: run: web: (pid N) Ns\n", 0);
}

/// A program that is missing is an error, never a skip.
#[track_caller]
fn installed(program: &str) {
    assert!(Path::new(program).exists(), "{program} is missing: install Debian's packages");
}

/// redis speaks `sd_notify(3)`.
#[test]
fn add_22_redis_is_ready_when_it_accepts_connections() {
    installed("/usr/bin/redis-server");
    let web = Suite::ours().service("web").file("notify-socket", "");
    let web = web
        .run("exec redis-server --supervised systemd --port 0 --unixsocket sock --dir . --save ''")
        .down()
        .supervised();
    web.sv("-w 60 start").says("ok: run: web: (pid N) Ns, normally down\n", 0);
    assert!(web.has("sock"));
    eventually_says(&web, "Ready to accept connections");
}

/// s6-svscan writes to a descriptor.
#[test]
fn add_22_s6_svscan_is_ready_when_it_has_begun() {
    installed("/usr/bin/s6-svscan");
    let web = Suite::ours().service("web").file("notification-fd", "17\n").dir("scandir");
    let web = web.run("exec s6-svscan -d 17 scandir").down().supervised();
    web.sv("-w 60 start").says("ok: run: web: (pid N) Ns, normally down\n", 0);
    assert!(web.has("scandir/.s6-svscan/control") && web.has(READY));
}
