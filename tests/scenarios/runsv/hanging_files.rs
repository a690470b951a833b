//! Files that hang or never end in the place of files that runsv reads and writes; a full file system.

use nix::fcntl::OFlag;
use nix::pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tests::process::{Process, send};
use tests::{Service, StartedProgram, Suite, all_suites, eventually};

all_suites! {
    a_fifo_in_the_place_of_finish_is_tried,
    an_exec_that_hangs_keeps_runsv_from_nothing,
}

fn put_fifo(service: &Service, name: &str) {
    mkfifo(&service.path(name), Mode::S_IRWXU).expect("a FIFO");
}

/// RSV-43: it can be opened for reading, but not be executed.
fn a_fifo_in_the_place_of_finish_is_tried(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").made();
    put_fifo(&web, "finish");
    let web = web.supervised();
    web.eventually_runs();
    web.control("d");
    web.runsv.eventually_says("runsv web: fatal: unable to start ./finish: access denied\n");
    web.eventually_down();
}

/// Makes every execution of a file of the service hang, as on a file system that does not answer: its
/// other openings wait for the end of a lease. That is when this program ends.
pub fn make_exec_hang(service: &Service, file: &str) -> StartedProgram {
    let script = r#"$SIG{IO} = "IGNORE"; open(my $file, "<", $ARGV[0]) or die;
        my ($set_lease, $for_writing) = (1024, 1);
        until (fcntl($file, $set_lease, $for_writing)) { select(undef, undef, undef, 0.001) }
        syswrite(STDOUT, "held\n"); sleep 1000"#;
    let holder = service.tree().command("perl").args(["-e", script]).arg(service.path(file)).start();
    eventually("the lease is held", || holder.stdout() == "held\n");
    holder
}

/// A terminal that is no session's: an end to keep, and its path.
pub fn free_terminal() -> (PtyMaster, String) {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY).expect("a terminal");
    grantpt(&master).and_then(|()| unlockpt(&master)).expect("a terminal to open");
    let path = ptsname_r(&master).expect("its path");
    (master, path)
}

/// The child is forked, and is the service's process; it is not its program yet.
fn an_exec_that_hangs_keeps_runsv_from_nothing(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").log("exec cat").down().supervised();
    let holder = make_exec_hang(&web, "run");
    web.control("u");
    let hung = web.eventually_runs().pid;
    let log = web.log().eventually_runs().pid;
    send(log, Signal::SIGKILL);
    web.log().eventually_runs_anew(log);
    // A signal reaches it.
    web.control("k");
    let second = web.eventually_runs_anew(hung).pid;
    web.control("d");
    web.eventually_down();
    web.eventually_gone(second);
    web.control("u");
    let third = web.eventually_runs().pid;
    holder.signal(Signal::SIGKILL);
    eventually("it is its program", || {
        Process::find(third).is_some_and(|process| process.command_line() == "sleep 1000")
    });
    web.runsv.told_to_exit();
    assert_eq!(web.runsv.finished().code(), Some(0));
}

/// What only our runsv reads (ADD-1, ADD-3) delays it no more than what runit reads.
mod ours_alone {
    use std::io::Write as _;
    use std::path::Path;
    use std::time::Duration;

    use fs_err as fs;
    use tests::nothing_happens_for;
    use tests::status::{DOWN, RUN};

    use super::*;

    /// Nor does a file without end, which is no short line either.
    #[test]
    fn nothing_in_the_place_of_an_order_is_waited_for() {
        let names = ["down-signal", "timeout-kill", "timeout-finish"];
        let tree = Suite::ours().tree();
        let fifos = tree.service("fifos").run("exec sleep 1000").finish("").made();
        for name in names {
            put_fifo(&fifos, name);
        }
        let endless = names
            .iter()
            .fold(tree.service("endless").run("exec sleep 1000").finish(""), |service, name| {
                service.link(name, "/dev/zero")
            })
            .made();
        for service in [fifos, endless] {
            let web = service.supervised();
            web.eventually_runs();
            web.control("d");
            web.eventually_down();
            let warnings = web.runsv.stderr();
            for name in names {
                let text = format!("warning: bad content of {name}: expected ");
                assert!(warnings.contains(&text), "{name}: {warnings}");
            }
            assert_eq!(warnings.lines().count(), names.len(), "{warnings}");
        }
    }

    /// A session leader that has none gets the one that it opens.
    #[test]
    fn a_terminal_in_the_place_of_an_order_is_no_controlling_one() {
        let names = ["down-signal", "timeout-kill", "timeout-finish", "notification-fd"];
        let (_master, terminal) = free_terminal();
        let service = Suite::ours().service("web").run("exec sleep 1000").finish("");
        let web = names.iter().fold(service, |service, name| service.link(name, &terminal)).made();
        let runsv = web.runsv().through(&["setsid"]);
        let web = web.supervised_by(runsv);
        web.eventually_runs();
        web.control("d");
        web.eventually_down();
        let said = web.runsv.stderr();
        assert!(names.iter().all(|name| said.contains(name)), "each is opened: {said}");
        let runsv = web.runsv.process();
        assert_eq!((runsv.session, runsv.terminal), (runsv.pid, 0));
        let opener = web.tree().command("sh").args(["-c", "exec <$0; sleep 1000", &terminal]);
        let opener = opener.through(&["setsid"]).start();
        eventually("another one gets it", || opener.process().terminal != 0);
    }

    #[test]
    fn a_fifo_in_the_place_of_the_history_is_not_waited_for() {
        let web = Suite::ours().service("web").run("exec sleep 1000").dir("supervise").made();
        put_fifo(&web, "supervise/.history");
        let web = web.supervised();
        let first = web.eventually_runs().pid;
        web.control("k");
        web.eventually_runs_anew(first);
        web.sv("stop").says("ok: down: web: Ns, normally up\n", 0);
        assert!(web.sv("why").stdout.starts_with("web: down"));
        nothing_happens_for(Duration::from_millis(50), "nothing is said", || web.runsv.stderr().is_empty());
    }

    /// B20: where there is no room for another file the records are overwritten.
    #[test]
    fn the_records_are_true_on_a_full_file_system() {
        let web = Suite::ours().service("web").run("exec sleep 1000").dir("supervise").made();
        let mut small = vec!["unshare", "--mount"];
        if !nix::unistd::geteuid().is_root() {
            small.extend(["--user", "--map-root-user"]);
        }
        small.extend(["sh", "-c", "mount -t tmpfs -o size=64k none web/supervise && exec \"$@\"", "sh"]);
        let runsv = web.runsv().through(&small).start();
        // What is mounted is visible outside only by way of a process inside.
        let place = Path::new("/proc").join(format!("{}/root", runsv.pid()));
        let supervise = place.join(web.path("supervise").strip_prefix("/").expect("a path from the root"));
        let read = |name: &str| fs::read(supervise.join(name)).unwrap_or_default();
        let tell = |byte: &str| fs::write(supervise.join("control"), byte).expect("a runsv that listens");
        let says = |stat: &str, flags: [u8; 4]| {
            eventually(stat, || {
                read("stat") == format!("{stat}\n").into_bytes() && read("status").get(16..) == Some(&flags)
            });
        };
        says("run", [0, b'u', 0, RUN]);
        eventually("everything is written", || !supervise.join("status.new").exists());

        let mut filling = fs::File::create(supervise.join("filling")).expect("a file");
        while filling.write_all(&[b'x'; 512]).is_ok() {}
        tell("p");
        says("run, paused", [1, b'u', 0, RUN]);
        tell("d");
        says("down, paused", [1, b'd', 0, DOWN]);
        tell("u");
        says("run", [0, b'u', 0, RUN]);
        assert!(runsv.stderr().contains("warning: unable to write supervise/stat.new: out of disk space\n"));
        fs::remove_file(supervise.join("filling")).expect("the file can be removed");
        drop(filling);
        eventually("all three agree", || {
            let pid =
                read("status").get(12..16).and_then(|pid| Some(u32::from_le_bytes(pid.try_into().ok()?)));
            pid.is_some_and(|pid| read("pid") == format!("{pid}\n").into_bytes())
        });
    }
}
