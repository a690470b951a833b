//! Twenty services in one process, with one event loop, and the main scenarios of the contract on them.
//!
//! The working directory, the children and the signals of a process are its own, so this is one test, in
//! a program of its own.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use supervise::{EventPort, Hosting, LOCK_RETRY_INTERVAL, Startup, Supervisor};
use sys::{Logger, Now, Pid, Poller, Signal, reap_next};

const CAUGHT: &[Signal] = &[Signal::CHLD];

/// How long a condition may take on a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);

/// What a host watches; the place of each is part of its token.
const PORTS: [EventPort; 3] = [EventPort::Main, EventPort::Log, EventPort::Notification];

/// The services, and what hosts them.
struct Host {
    poller: Poller,
    services: Vec<Hosted>,
    /// Where the process works before each call of a supervisor.
    elsewhere: PathBuf,
}

struct Hosted {
    name: String,
    dir: PathBuf,
    supervisor: Option<Box<Supervisor>>,
}

impl Host {
    fn new(elsewhere: &Path) -> Self {
        let poller = Poller::new(CAUGHT).expect("a poller");
        Self { poller, services: Vec::new(), elsewhere: elsewhere.to_owned() }
    }

    /// Opens a service and starts it.
    fn take_up(&mut self, dir: &Path) {
        let name = dir.file_name().expect("a name").to_string_lossy().into_owned();
        let logger = Logger::new(format!("host {name}"));
        let opening = Supervisor::open(dir.as_os_str(), logger, Hosting { caught: CAUGHT, is_shared: true });
        let Startup::Ready(mut supervisor) = opening.expect("a service") else { panic!("a locked log") };
        self.leave();
        supervisor.start(Now::read());
        self.services.push(Hosted { name, dir: dir.to_owned(), supervisor: Some(supervisor) });
    }

    /// Makes sure that no supervisor relies on where the last one was.
    fn leave(&self) {
        std::env::set_current_dir(&self.elsewhere).expect("another directory");
    }

    /// Reaps, and tells each death to the supervisor that has started the child.
    fn reap(&mut self) {
        while let Some((pid, exit_status)) = reap_next() {
            for hosted in self.services.iter_mut().filter_map(|hosted| hosted.supervisor.as_mut()) {
                std::env::set_current_dir(&self.elsewhere).expect("another directory");
                if hosted.child_exited(pid, exit_status, Now::read()) {
                    break;
                }
            }
        }
    }

    fn take_turn(&mut self, index: usize) {
        let elsewhere = self.elsewhere.clone();
        let leave = || std::env::set_current_dir(&elsewhere).expect("another directory");
        leave();
        self.supervisor(index).begin_turn();
        loop {
            self.reap();
            leave();
            if !self.supervisor(index).step(Now::read()) {
                break;
            }
        }
        leave();
        self.supervisor(index).end_turn(Now::read());
        if self.supervisor(index).is_finished() {
            self.services[index].supervisor = None;
        }
    }

    fn supervisor(&mut self, index: usize) -> &mut Supervisor {
        self.services[index].supervisor.as_mut().expect("a supervisor that lives")
    }

    /// Runs the event loop until something is so.
    #[track_caller]
    fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "{what}: not within {LIMIT:?}\n{}", self.statuses());
            self.run_once();
        }
    }

    fn run_once(&mut self) {
        for (index, hosted) in self.services.iter_mut().enumerate() {
            for (port, descriptor) in hosted.supervisor.iter_mut().flat_map(|it| it.new_descriptors()) {
                let place = PORTS.iter().position(|it| *it == port).expect("a port");
                self.poller.watch(descriptor, PORTS.len() * index + place).expect("a watch");
            }
        }
        // The conditions are in files, which have no events here.
        let look = Instant::now() + Duration::from_millis(20);
        let next = self.living().filter_map(Supervisor::next_deadline).chain([look]).min();
        for token in self.poller.wait(next).ready {
            if let Some(supervisor) = &mut self.services[token / PORTS.len()].supervisor {
                supervisor.readable(PORTS[token % PORTS.len()]);
            }
        }
        self.reap();
        for index in 0..self.services.len() {
            let deadline = self.services[index].supervisor.as_ref().and_then(|it| it.next_deadline());
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                self.take_turn(index);
            }
        }
    }

    fn living(&self) -> impl Iterator<Item = &Supervisor> {
        self.services.iter().filter_map(|hosted| hosted.supervisor.as_deref())
    }

    fn of(&self, name: &str) -> &Hosted {
        self.services.iter().find(|hosted| hosted.name == name).expect("a service of that name")
    }

    /// Writes control bytes.
    fn control(&self, name: &str, bytes: &str) {
        let path = self.of(name).dir.join("supervise/control");
        write_to_fifo(&path, bytes);
    }

    fn stat(&self, name: &str) -> String {
        read(&self.of(name).dir.join("supervise/stat"))
    }

    fn is_ready(&self, name: &str) -> Option<bool> {
        self.of(name).supervisor.as_ref().and_then(|supervisor| supervisor.is_ready())
    }

    fn pid(&self, name: &str) -> Option<Pid> {
        read(&self.of(name).dir.join("supervise/pid")).trim().parse().ok().map(Pid::from_raw)
    }

    fn reads(&self, name: &str, file: &str) -> String {
        read(&self.of(name).dir.join(file))
    }

    fn is_left(&self, name: &str) -> bool {
        self.of(name).supervisor.is_none()
    }

    /// Writes control bytes and runs until the `stat` file says this.
    #[track_caller]
    fn control_until(&mut self, name: &str, bytes: &str, stat: &str) {
        self.control(name, bytes);
        self.until(&format!("{name}: {bytes}"), |host| host.stat(name) == stat);
    }

    /// Writes control bytes and runs until another process is `./run`.
    #[track_caller]
    fn restarts(&mut self, name: &str, bytes: &str) {
        let before = self.pid(name).expect("a process");
        self.control(name, bytes);
        self.until(&format!("{name}: a restart by {bytes}"), |host| {
            host.stat(name) == "run\n" && host.pid(name).is_some_and(|pid| pid != before)
        });
    }

    /// Tells all services to leave and waits until they have.
    fn drop_all(&mut self) {
        for supervisor in self.services.iter_mut().filter_map(|hosted| hosted.supervisor.as_mut()) {
            supervisor.told_to_leave();
        }
        self.until("the end of all", |host| host.living().next().is_none());
        assert!(!sys::has_children(), "a child without a supervisor");
        self.services.clear();
    }

    fn statuses(&self) -> String {
        let status = |hosted: &Hosted| format!("{}: {:?}", hosted.name, self.stat(&hosted.name));
        self.services.iter().map(status).collect::<Vec<_>>().join("\n")
    }
}

/// A test that fails leaves no processes.
impl Drop for Host {
    fn drop(&mut self) {
        for child in sys::procfs::own_children() {
            let _ = Signal::KILL.send_to_group(child);
            let _ = Signal::KILL.send(child);
        }
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn write_to_fifo(path: &Path, bytes: &str) {
    let flags = nix::fcntl::OFlag::O_NONBLOCK.bits();
    let mut fifo: File =
        OpenOptions::new().write(true).custom_flags(flags).open(path).expect("a FIFO that is read");
    fifo.write_all(bytes.as_bytes()).expect("room in the FIFO");
}

fn write_script(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
    // Beside its place: a script that is just being executed cannot be written to.
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, format!("#!/bin/sh\n{text}\n")).expect("a script");
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o755)).expect("a script");
    std::fs::rename(&fresh, path).expect("a script");
}

const SERVICES: [&str; 20] = [
    "plain", "down", "once", "term", "kill", "exit", "signals", "finish", "told", "logged", "control",
    "short", "renamed", "group", "removed", "pipe", "many", "slow", "other", "last",
];

/// Makes the directories.
fn make_services(tree: &Path) -> Vec<PathBuf> {
    for name in SERVICES {
        // Each one writes down where it works: its own directory.
        let run = match name {
            "short" => "cut -d' ' -f1 /proc/uptime >>starts; exit 1",
            "told" => "exit 3",
            "logged" => "echo hello; exec sleep 1000",
            "signals" => {
                "trap 'echo hup >>got' HUP; trap 'echo usr1 >>got' USR1; echo >ready\nwhile :; do sleep 0.05; done"
            }
            "group" => "sleep 1000 & echo $! >member; exec sleep 1000",
            _ => "exec sleep 1000",
        };
        write_script(&tree.join(name).join("run"), &format!("pwd -P >where\n{run}"));
    }
    for (script, text) in [
        ("finish/finish", "echo \"$*\" >>told"),
        ("told/finish", "echo \"$*\" >told\nwhile [ ! -e go ]; do sleep 0.05; done"),
        ("logged/log/run", "exec cat >out"),
        ("control/control/t", "echo \"$1\" >asked"),
    ] {
        write_script(&tree.join(script), text);
    }
    for file in ["down/down", "once/down", "group/process-group"] {
        std::fs::write(tree.join(file), "").expect("a file");
    }
    SERVICES.map(|name| tree.join(name)).into()
}

fn descriptors() -> BTreeSet<OsString> {
    let own = std::fs::read_dir("/proc/self/fd").expect("a list");
    own.map(|entry| entry.expect("a descriptor").file_name()).collect()
}

#[test]
fn twenty_services_in_one_process_do_what_runsv_does() {
    let root = tempfile::tempdir().expect("a directory");
    let tree = root.path().canonicalize().expect("a path");
    let elsewhere = tree.join("elsewhere");
    std::fs::create_dir(&elsewhere).expect("a directory");
    let dirs = make_services(&tree);
    let mut host = Host::new(&elsewhere);
    for dir in &dirs {
        host.leave();
        host.take_up(dir);
    }

    all_start_in_their_directories(&mut host, &tree);
    commands_do_what_they_mean(&mut host);
    finish_is_told_how_run_ended(&mut host);
    a_log_service_reads_to_the_end(&mut host);
    a_control_script_takes_over(&mut host);
    a_short_life_is_followed_by_a_second(&mut host);
    a_directory_may_be_moved_or_made_again(&mut host, &tree);
    a_group_ends_with_its_leader(&mut host);
    a_client_that_writes_without_end_holds_up_no_other(&mut host);
    a_service_says_when_it_is_ready_and_one_that_floods_holds_up_no_other(&mut host);
    a_directory_that_cannot_be_entered_is_left_alone(&mut host);
    host.drop_all();
    assert_eq!(std::fs::read_dir(&elsewhere).expect("a list").count(), 0, "a file in a wrong place");

    let mut before = None;
    for round in 0..3 {
        for dir in dirs.iter().filter(|dir| dir.exists()) {
            host.leave();
            host.take_up(dir);
        }
        host.until("all up again", |host| {
            let states = SERVICES.iter().filter(|name| **name != "renamed").map(|name| host.stat(name));
            states.filter(|stat| stat == "run\n").count() >= 15
        });
        host.drop_all();
        let open = descriptors().len();
        assert_eq!(*before.get_or_insert(open), open, "descriptors after round {round}");
    }
    a_locked_log_service_is_tried_again(&mut host, &tree);
}

fn all_start_in_their_directories(host: &mut Host, tree: &Path) {
    for name in SERVICES.iter().filter(|name| !["down", "once", "short", "told"].contains(name)) {
        host.until(name, |host| {
            host.stat(name) == "run\n"
                && host.reads(name, "where").trim() == tree.join(name).to_string_lossy()
        });
        let pid = host.pid(name).expect("a process");
        let record = std::fs::read(host.of(name).dir.join("supervise/status")).expect("a record");
        assert_eq!(record.len(), 20);
        assert_eq!(record[12..16], pid.as_raw().to_le_bytes(), "{name}");
        assert_eq!((record[16], record[17], record[18], record[19]), (0, b'u', 0, 1), "{name}");
        assert_eq!(nix::unistd::getsid(Some(pid)), Ok(pid), "{name} leads no session");
    }
    for name in ["down", "once"] {
        assert_eq!((host.stat(name), host.pid(name)), ("down\n".to_owned(), None));
    }
}

fn commands_do_what_they_mean(host: &mut Host) {
    host.control_until("down", "u", "run\n");
    host.control_until("down", "d", "down\n");
    host.control_until("once", "o", "run, want down\n");
    let once = host.pid("once").expect("a process");
    Signal::KILL.send(once).expect("a living process");
    host.until("once is over", |host| host.stat("once") == "down\n");
    host.restarts("term", "t");
    host.restarts("kill", "k");
    host.control_until("plain", "p", "run, paused\n");
    host.control_until("plain", "c", "run\n");
    host.until("signals", |host| host.reads("signals", "ready") == "\n");
    host.control("signals", "h");
    host.until("HUP", |host| host.reads("signals", "got") == "hup\n");
    host.control("signals", "1");
    host.until("USR1", |host| host.reads("signals", "got") == "hup\nusr1\n");
    host.control("exit", "x");
    host.until("exit", |host| host.is_left("exit"));
    assert_eq!(host.stat("exit"), "down\n");
    let left = host.of("exit").dir.join("supervise/control");
    let flags = nix::fcntl::OFlag::O_NONBLOCK.bits();
    OpenOptions::new().write(true).custom_flags(flags).open(left).expect_err("a FIFO that is not read");
}

/// RSV-40.
fn finish_is_told_how_run_ended(host: &mut Host) {
    host.until("exit 3", |host| host.reads("told", "told") == "3 0\n");
    host.until("finish", |host| host.stat("told") == "finish\n");
    std::fs::write(host.of("told").dir.join("go"), "").expect("a file");
    host.restarts("finish", "k");
    assert_eq!(host.reads("finish", "told"), "-1 9\n");
    host.restarts("finish", "t");
    assert_eq!(host.reads("finish", "told"), "-1 9\n-1 15\n");
}

fn a_log_service_reads_to_the_end(host: &mut Host) {
    host.until("a line", |host| host.reads("logged", "log/out") == "hello\n");
    assert_eq!(host.reads("logged", "log/supervise/stat"), "run\n");
    let log = host.reads("logged", "log/supervise/pid");
    write_to_fifo(&host.of("logged").dir.join("log/supervise/control"), "t");
    host.until("another log process", |host| {
        let now = host.reads("logged", "log/supervise/pid");
        now != log && host.reads("logged", "log/supervise/stat") == "run\n"
    });
    host.control("logged", "x");
    host.until("the end of both", |host| host.is_left("logged"));
    assert_eq!(host.reads("logged", "log/supervise/stat"), "down\n");
}

fn a_control_script_takes_over(host: &mut Host) {
    let pid = host.pid("control").expect("a process");
    host.control("control", "t");
    host.until("control/t", |host| host.reads("control", "asked").trim() == pid.to_string());
    // A later command is handled after the script.
    host.control_until("control", "p", "run, paused\n");
    host.control_until("control", "c", "run\n");
    assert_eq!(host.pid("control"), Some(pid));
    std::fs::remove_file(host.of("control").dir.join("control/t")).expect("removed");
    host.restarts("control", "t");
}

/// RSV-44.
fn a_short_life_is_followed_by_a_second(host: &mut Host) {
    host.until("three starts", |host| host.reads("short", "starts").lines().count() >= 3);
    let starts: Vec<f64> =
        host.reads("short", "starts").lines().map(|line| line.parse().expect("a time")).collect();
    for pair in starts.windows(2) {
        // The script writes the time a little after its start, and not always as late.
        assert!(pair[1] - pair[0] > 0.7, "{starts:?}");
    }
}

fn a_directory_may_be_moved_or_made_again(host: &mut Host, tree: &Path) {
    let moved = tree.join("moved");
    std::fs::rename(tree.join("renamed"), &moved).expect("another name");
    let hosted = host.services.iter_mut().find(|hosted| hosted.name == "renamed").expect("a service");
    hosted.dir.clone_from(&moved);
    host.restarts("renamed", "t");
    host.until("its new name", |host| host.reads("renamed", "where").trim() == moved.to_string_lossy());

    let removed = tree.join("removed");
    std::fs::remove_dir_all(&removed).expect("removed");
    write_script(&removed.join("run"), "pwd -P >where\nexec sleep 1000");
    // Its ./run goes on; when it ends there is something to write, and a new place for it.
    for pid in deleted_children() {
        Signal::TERM.send(pid).expect("a living process");
    }
    host.until("a new place", |host| {
        host.stat("removed") == "run\n" && host.reads("removed", "where").trim() == removed.to_string_lossy()
    });
    host.restarts("removed", "t");
}

/// The children that work in a directory that was removed.
fn deleted_children() -> Vec<Pid> {
    let mut children = sys::procfs::own_children();
    children.retain(|pid| {
        std::fs::read_link(format!("/proc/{pid}/cwd"))
            .is_ok_and(|link| link.to_string_lossy().ends_with(" (deleted)"))
    });
    children
}

fn a_group_ends_with_its_leader(host: &mut Host) {
    host.until("a member", |host| host.reads("group", "member").ends_with('\n'));
    let member: i32 = host.reads("group", "member").trim().parse().expect("a number");
    host.control_until("group", "d", "down\n");
    assert!(!sys::procfs::stat(Pid::from_raw(member)).is_some_and(|stat| stat.is_alive()));
}

fn a_client_that_writes_without_end_holds_up_no_other(host: &mut Host) {
    host.control("many", &"c".repeat(4000));
    host.control("other", "d");
    host.until("other", |host| host.stat("other") == "down\n");
    host.control_until("other", "u", "run\n");
    host.control_until("many", "p", "run, paused\n");
    host.control_until("many", "c", "run\n");
}

fn a_service_says_when_it_is_ready_and_one_that_floods_holds_up_no_other(host: &mut Host) {
    for (name, run) in
        [("many", "exec cat /dev/zero >&3"), ("other", "echo >&3; pwd -P >where; exec sleep 1000")]
    {
        let dir = host.of(name).dir.clone();
        std::fs::write(dir.join("notification-fd"), "3\n").expect("a file");
        write_script(&dir.join("run"), run);
        host.restarts(name, "k");
    }
    host.until("it is ready", |host| host.is_ready("other") == Some(true));
    assert_eq!((host.is_ready("many"), host.is_ready("last")), (Some(false), None));
    host.restarts("last", "k");
    host.restarts("many", "k");
    for name in ["many", "other"] {
        let dir = host.of(name).dir.clone();
        std::fs::remove_file(dir.join("notification-fd")).expect("a file");
        write_script(&dir.join("run"), "exec sleep 1000");
        host.restarts(name, "k");
        assert_eq!((host.is_ready(name), dir.join("supervise/ready").exists()), (None, false));
    }
}

/// Nothing is started or written, there or in the directory that the process is in, until it can be entered.
fn a_directory_that_cannot_be_entered_is_left_alone(host: &mut Host) {
    host.control_until("short", "d", "down\n");
    let dir = host.of("slow").dir.clone();
    let set_mode = |mode| std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(mode));
    let pid = host.pid("slow").expect("a process");
    let children = sys::procfs::own_children().len();
    set_mode(0).expect("a mode");
    // root enters every directory.
    let own = nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65534));
    Signal::KILL.send(pid).expect("a living process");
    host.until("its end", |_| sys::procfs::own_children().len() < children);
    host.run_once();
    assert_eq!(sys::procfs::own_children().len(), children - 1, "it was started");
    nix::unistd::setfsuid(own);
    set_mode(0o755).expect("a mode");
    assert_eq!((host.stat("slow"), host.pid("slow")), ("run\n".to_owned(), Some(pid)), "the last record");
    host.until("a restart", |host| {
        host.stat("slow") == "run\n" && host.pid("slow").is_some_and(|now| now != pid)
    });
}

/// LAY-12, DEV-7.
fn a_locked_log_service_is_tried_again(host: &mut Host, tree: &Path) {
    let open = |host: &Host| {
        host.leave();
        let path = tree.join("logged");
        let hosting = Hosting { caught: CAUGHT, is_shared: true };
        Supervisor::open(path.as_os_str(), Logger::new("host logged"), hosting).expect("a service")
    };
    let lock = std::fs::OpenOptions::new().append(true).open(tree.join("logged/log/supervise/lock"));
    let lock = nix::fcntl::Flock::lock(lock.expect("a lock file"), nix::fcntl::FlockArg::LockExclusive);
    let Startup::LogIsLocked(opening) = open(host) else { panic!("it is locked") };
    host.leave();
    let Startup::LogIsLocked(opening) = opening.retry().expect("a directory") else { panic!("it is locked") };
    drop(lock.expect("a lock"));
    host.leave();
    let mut startup = opening.retry().expect("a directory");
    // A child that was just forked may still hold a copy of the lock.
    while let Startup::LogIsLocked(opening) = startup {
        std::thread::sleep(LOCK_RETRY_INTERVAL);
        startup = opening.retry().expect("a directory");
    }
}
