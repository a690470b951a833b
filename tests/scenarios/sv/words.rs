//! The command line of sv: options, commands and their abbreviations, names.

use std::os::unix::fs::symlink;
use std::thread;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tests::{Output, Suite, Supervised, TestTree, all_suites};

all_suites! {
    usage_is_told,
    an_unknown_option_is_told,
    a_missing_option_argument_is_told,
    an_unknown_command_is_usage,
    a_version_is_followed_by_usage,
    options_end_at_the_command,
    options_may_be_joined,
    two_dashes_end_the_options,
    a_lone_dash_is_a_command,
    every_word_sends_its_bytes,
    words_that_start_with_s_are_status,
    a_name_is_looked_up_below_svdir,
    a_name_with_a_dot_or_a_slash_is_a_path,
    a_relative_svdir_starts_at_the_current_directory,
    an_empty_svdir_fails,
    names_are_printed_as_typed,
    a_log_can_be_addressed,
    a_name_with_an_inner_slash_is_below_svdir,
    svwait_and_w_may_be_no_numbers,
    nothing_is_sent_to_a_service_that_cannot_be_read,
    without_svdir_the_place_is_fixed,
}

pub const USAGE: &str = "usage: sv [-v] [-w sec] command service ...\n\n";

/// SV-1, GEN-2.
fn usage_is_told(suite: &Suite) {
    let tree = suite.tree();
    for words in ["", "status", "-v", "-v up", "-w 3", "-w 3 up"] {
        tree.sv(words).is("", USAGE, 100);
    }
}

/// SV-1, GEN-4.
fn an_unknown_option_is_told(suite: &Suite) {
    let tree = suite.tree();
    for words in ["-x status a", "-vx status a", "-xv status a"] {
        tree.sv(words).is("", &format!("sv: illegal option -- x\n{USAGE}"), 100);
    }
}

/// GEN-4.
fn a_missing_option_argument_is_told(suite: &Suite) {
    let tree = suite.tree();
    for words in ["-w", "-vw"] {
        tree.sv(words).is("", &format!("sv: option requires an argument -- w\n{USAGE}"), 100);
    }
}

/// SV-1, SV-4: last row.
fn an_unknown_command_is_usage(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").running();
    for word in [
        "restar",
        "reloa",
        "r",
        "f",
        "force",
        "force-sto",
        "foo",
        "g",
        "USR1",
        "9",
        "0",
        "3",
        "STOP",
        "Up",
        "K",
    ] {
        web.sv(word).is("", USAGE, 100);
    }
    web.tree().command("sv").args(["", "web"]).output().is("", USAGE, 100);
}

/// GEN-6.
fn a_version_is_followed_by_usage(suite: &Suite) {
    let output = suite.tree().sv("-V");
    assert_eq!((output.stdout.as_str(), output.code()), ("", Some(100)));
    let (version, usage) = output.stderr.split_once('\n').unwrap();
    assert!(!version.is_empty());
    assert_eq!(usage, USAGE);
}

/// SV-1, GEN-4.
fn options_end_at_the_command(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").running();
    let text = "fail: -v: unable to change to service directory: file does not exist\nrun: web: (pid N) Ns\n";
    web.tree().sv("status -v web").says(text, 1);
}

/// GEN-4.
fn options_may_be_joined(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").running();
    for options in ["-v", "-w3", "-w 3", "-vw3", "-vw 3", "-v -w 3", "-vv"] {
        web.sv(&format!("{options} up")).says("ok: run: web: (pid N) Ns\n", 0);
    }
}

/// GEN-4.
fn two_dashes_end_the_options(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").running();
    web.sv("-- status").says("run: web: (pid N) Ns\n", 0);
    web.sv("-v -- up").says("ok: run: web: (pid N) Ns\n", 0);
    // Whatever follows the two dashes is not looked at.
    web.sv("--help status").says("run: web: (pid N) Ns\n", 0);
    web.tree().sv("--help").is("", USAGE, 100);
}

/// GEN-4.
fn a_lone_dash_is_a_command(suite: &Suite) {
    suite.tree().sv("- web").is("", USAGE, 100);
}

/// A directory that looks supervised. The test reads its fifos, which show what sv wrote.
pub struct Fake(TestTree);

impl Fake {
    pub fn new(suite: &Suite) -> Self {
        let tree = suite.tree();
        let web = tree.service("web").dir("supervise").made();
        for name in ["supervise/ok", "supervise/control"] {
            mkfifo(&web.path(name), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        }
        Self(tree)
    }

    /// What `sv WORD web` writes to `supervise/control` of a service that is in this state.
    pub fn sent(&self, word: &str, record: &[u8]) -> (String, Output) {
        let web = self.0.at("web");
        std::fs::write(web.path("supervise/status"), record).unwrap();
        // sv has ended by then: one look takes all that is in the fifo, and waits for nothing.
        let script = "exec 3<>supervise/ok 4<>supervise/control; sv -w 0 \"$0\" web 3>&- 4>&- >>said
            dd iflag=nonblock bs=64 count=1 <&4 2>/dev/null | tr -d '\\n'";
        let output = self.0.command("sh").args(["-c", script, word]).dir(web.dir()).output();
        (output.stdout.clone(), output)
    }
}

/// Up and running for long, so that nothing is held back and nothing waited for.
pub const RUNNING: &[u8] = b"\x40\0\0\0\x6b\0\xf7\x38\0\0\0\0\x07\0\0\0\0d\0\x01";

/// SV-4, SV-32: by the first letter, with some whole words. With a limit of 0 the words that
/// have to be forced send a `k` as well.
fn every_word_sends_its_bytes(suite: &Suite) {
    let words = [
        ("up", "u"),
        ("u", "u"),
        ("upgrade", "u"),
        ("down", "d"),
        ("d", "d"),
        ("once", "o"),
        ("pause", "p"),
        ("hup", "h"),
        ("alarm", "a"),
        ("interrupt", "i"),
        ("kill", "k"),
        ("quit", "q"),
        ("1", "1"),
        ("1anything", "1"),
        ("2", "2"),
        ("cont", "c"),
        ("c", "c"),
        ("checks", "c"),
        ("term", "t"),
        ("try", "t"),
        ("exit", "x"),
        ("e", "x"),
        ("enabl", "x"),
        ("x", "x"),
        ("start", "u"),
        ("stop", "d"),
        ("restart", "tcu"),
        ("try-restart", "tc"),
        ("reload", "h"),
        ("shutdown", "x"),
        ("check", ""),
        ("status", ""),
        ("force-stop", "dk"),
        ("D", "dk"),
        ("Down", "dk"),
        ("force-reload", "tck"),
        ("T", "tck"),
        ("force-restart", "tcuk"),
        ("force-shutdown", "xk"),
        ("X", "xk"),
        ("E", "xk"),
        ("Exit", "xk"),
    ];
    // The words that wait take the original most of a second each.
    thread::scope(|scope| {
        for some in words.chunks(6) {
            scope.spawn(move || {
                let fake = Fake::new(suite);
                for (word, bytes) in some {
                    let (sent, output) = fake.sent(word, RUNNING);
                    assert_eq!(sent, *bytes, "sv {word}: {output:?}");
                }
            });
        }
    });
}

/// SV-4, first row: even `sx`, even with -v.
fn words_that_start_with_s_are_status(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").running();
    for word in ["s", "st", "stat", "status", "starting", "sx", "stopp", "-v status", "-w 1 status"] {
        web.sv(word).says("run: web: (pid N) Ns\n", 0);
    }
}

fn two(suite: &Suite) -> (TestTree, [Supervised; 2]) {
    let tree = suite.tree();
    let services = ["a", "b"].map(|name| tree.service(name).run("exec sleep 1000").running());
    (tree, services)
}

/// SV-10.
fn a_name_is_looked_up_below_svdir(suite: &Suite) {
    let (tree, _services) = two(suite);
    let sv = tree.command("sv").args(["status", "a", "b"]).dir("/");
    sv.output().says("run: a: (pid N) Ns\nrun: b: (pid N) Ns\n", 0);
    let sv = tree.command("sv").args(["status", "a"]).env("SVDIR", "/nonexistent");
    sv.output().says("fail: a: unable to change to service directory: file does not exist\n", 1);
}

/// SV-10.
fn a_name_with_a_dot_or_a_slash_is_a_path(suite: &Suite) {
    let (tree, [a, _b]) = two(suite);
    let dir = a.dir().display();
    for name in ["./a", "../service/a", "a/", &dir.to_string(), &format!("{dir}/")] {
        let sv = tree.command("sv").args(["status", name]).env("SVDIR", "/nonexistent");
        sv.output().says(&format!("run: {name}: (pid N) Ns\n"), 0);
    }
    tree.command("sv").args(["status", "."]).dir("a").output().says("run: .: (pid N) Ns\n", 0);
    let text = "fail: : unable to change to service directory: file does not exist\n";
    tree.command("sv").args(["status", ""]).dir("a").output().says(text, 1);
}

/// SV-10.
fn a_relative_svdir_starts_at_the_current_directory(suite: &Suite) {
    let (tree, _services) = two(suite);
    let sv = tree.command("sv").args(["status", "a", "b"]).env("SVDIR", "service").dir(tree.root());
    sv.output().says("run: a: (pid N) Ns\nrun: b: (pid N) Ns\n", 0);
}

/// SV-10.
fn an_empty_svdir_fails(suite: &Suite) {
    let (tree, _services) = two(suite);
    let output = tree.command("sv").args(["status", "a"]).env("SVDIR", "").output();
    output.says("fail: a: unable to change to service directory: file does not exist\n", 1);
}

/// SV-12.
fn names_are_printed_as_typed(suite: &Suite) {
    let (tree, _services) = two(suite);
    tree.sv("status ./a//. ../service/b").says("run: ./a//.: (pid N) Ns\nrun: ../service/b: (pid N) Ns\n", 0);
}

/// SV-13.
pub fn a_log_can_be_addressed(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").log("exec cat").running();
    web.log().eventually_runs();
    web.tree().sv("status web/log").says("run: web/log: (pid N) Ns\n", 0);
    web.tree().sv("stop web/log").says("ok: down: web/log: Ns, normally up\n", 0);
    web.tree().sv("status web").says("run: web: (pid N) Ns; down: log: Ns, normally up\n", 0);
}

/// SV-10.
fn a_name_with_an_inner_slash_is_below_svdir(suite: &Suite) {
    let (tree, [a, _b]) = two(suite);
    std::fs::create_dir(tree.services().join("group")).unwrap();
    symlink(a.dir(), tree.services().join("group/a")).unwrap();
    let sv = tree.command("sv").args(["status", "group/a"]).dir("/");
    sv.output().says("run: group/a: (pid N) Ns\n", 0);
}

/// SV-2, GEN-7: what follows the digits is ignored, no digits are 0.
fn svwait_and_w_may_be_no_numbers(suite: &Suite) {
    let web = suite.service("web").run(crate::IGNORES_TERM).running();
    web.eventually_has("ready");
    // With no time to wait, sv may be done before runsv has read what it was sent.
    web.control("d");
    web.eventually_stat("run, got TERM, want down");
    let text = "timeout: run: web: (pid N) Ns, want down, got TERM\n";
    for limit in ["x", "0", "0x", "-1", ""] {
        web.tree().command("sv").args(["-w", limit, "down", "web"]).output().says(text, 1);
        let sv = web.tree().command("sv").args(["-v", "down", "web"]).env("SVWAIT", limit);
        sv.output().says(text, 1);
    }
}

/// SV-30.
fn nothing_is_sent_to_a_service_that_cannot_be_read(suite: &Suite) {
    let fake = Fake::new(suite);
    assert_eq!(fake.sent("up", RUNNING).0, "u");
    assert_eq!(fake.sent("up", &RUNNING[..19]).0, "");
}

/// GEN-10: `/etc/service/`, here in a mount namespace where it can be made to be our directory.
fn without_svdir_the_place_is_fixed(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").running();
    let script = "mount -t tmpfs none /etc && ln -s \"$1\" /etc/service && exec sv status web";
    let sh = web.tree().command("sh").args(["-c", script, "sh"]).arg(web.tree().services());
    sh.without_env("SVDIR").through(&["unshare", "--mount"]).output().says("run: web: (pid N) Ns\n", 0);
}
