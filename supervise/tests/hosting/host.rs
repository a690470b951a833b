//! A process that hosts supervisors, with an event loop.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use servicedir::HistoryEvent;
use supervise::{EventPort, Hosting, Startup, Supervisor};
use sys::{Logger, Now, Pid, Poller, Signal, reap_next};

pub const CAUGHT: &[Signal] = &[Signal::CHLD];

/// How long a condition may take on a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);

/// What a host watches; the place of each is part of its token.
const PORTS: [EventPort; 3] = [EventPort::Main, EventPort::Log, EventPort::Notification];

/// The services, and what hosts them.
pub struct Host {
    pub poller: Poller,
    pub services: Vec<Hosted>,
    /// Where the process works before each call of a supervisor.
    elsewhere: PathBuf,
}

pub struct Hosted {
    pub name: String,
    pub dir: PathBuf,
    pub supervisor: Option<Box<Supervisor>>,
    /// What has happened to it.
    pub events: Vec<HistoryEvent>,
}

impl Host {
    pub fn new(elsewhere: &Path) -> Self {
        let poller = Poller::new(CAUGHT).expect("a poller");
        Self { poller, services: Vec::new(), elsewhere: elsewhere.to_owned() }
    }

    /// Opens a service and starts it.
    pub fn take_up(&mut self, dir: &Path) {
        let name = dir.file_name().expect("a name").to_string_lossy().into_owned();
        let logger = Logger::new(format!("host {name}"));
        let opening = Supervisor::open(dir.as_os_str(), logger, Hosting { caught: CAUGHT, is_shared: true });
        let Startup::Ready(mut supervisor) = opening.expect("a service") else { panic!("a locked log") };
        self.leave();
        supervisor.start(Now::read());
        self.services.push(Hosted {
            name,
            dir: dir.to_owned(),
            supervisor: Some(supervisor),
            events: Vec::new(),
        });
    }

    /// Makes sure that no supervisor relies on where the last one was.
    pub fn leave(&self) {
        std::env::set_current_dir(&self.elsewhere).expect("another directory");
    }

    /// Reaps, and tells each death to the supervisor that has started the child.
    pub fn reap(&mut self) {
        while let Some((pid, exit_status)) = reap_next() {
            for hosted in self.services.iter_mut().filter_map(|hosted| hosted.supervisor.as_mut()) {
                std::env::set_current_dir(&self.elsewhere).expect("another directory");
                if hosted.child_exited(pid, exit_status, Now::read()) {
                    break;
                }
            }
        }
    }

    pub fn take_turn(&mut self, index: usize) {
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
        let events = self.supervisor(index).take_events();
        self.services[index].events.extend(events.into_iter().map(|(_, event)| event));
        if self.supervisor(index).is_finished() {
            self.services[index].supervisor = None;
        }
    }

    pub fn supervisor(&mut self, index: usize) -> &mut Supervisor {
        self.services[index].supervisor.as_mut().expect("a supervisor that lives")
    }

    /// Runs the event loop until something is so.
    #[track_caller]
    pub fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "{what}: not within {LIMIT:?}\n{}", self.statuses());
            self.run_once();
        }
    }

    pub fn run_once(&mut self) {
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

    pub fn living(&self) -> impl Iterator<Item = &Supervisor> {
        self.services.iter().filter_map(|hosted| hosted.supervisor.as_deref())
    }

    pub fn of(&self, name: &str) -> &Hosted {
        self.services.iter().find(|hosted| hosted.name == name).expect("a service of that name")
    }

    /// Writes control bytes.
    pub fn control(&self, name: &str, bytes: &str) {
        let path = self.of(name).dir.join("supervise/control");
        write_to_fifo(&path, bytes);
    }

    pub fn stat(&self, name: &str) -> String {
        read(&self.of(name).dir.join("supervise/stat"))
    }

    pub fn is_ready(&self, name: &str) -> Option<bool> {
        self.of(name).supervisor.as_ref().and_then(|supervisor| supervisor.is_ready())
    }

    pub fn pid(&self, name: &str) -> Option<Pid> {
        read(&self.of(name).dir.join("supervise/pid")).trim().parse().ok().map(Pid::from_raw)
    }

    pub fn reads(&self, name: &str, file: &str) -> String {
        read(&self.of(name).dir.join(file))
    }

    pub fn is_left(&self, name: &str) -> bool {
        self.of(name).supervisor.is_none()
    }

    /// Writes control bytes and runs until the `stat` file says this.
    #[track_caller]
    pub fn control_until(&mut self, name: &str, bytes: &str, stat: &str) {
        self.control(name, bytes);
        self.until(&format!("{name}: {bytes}"), |host| host.stat(name) == stat);
    }

    /// Writes control bytes and runs until another process is `./run`.
    #[track_caller]
    pub fn restarts(&mut self, name: &str, bytes: &str) {
        let before = self.pid(name).expect("a process");
        self.control(name, bytes);
        self.until(&format!("{name}: a restart by {bytes}"), |host| {
            host.stat(name) == "run\n" && host.pid(name).is_some_and(|pid| pid != before)
        });
    }

    /// Tells all services to leave and waits until they have.
    pub fn drop_all(&mut self) {
        for supervisor in self.services.iter_mut().filter_map(|hosted| hosted.supervisor.as_mut()) {
            supervisor.told_to_leave();
        }
        self.until("the end of all", |host| host.living().next().is_none());
        assert!(!sys::has_children(), "a child without a supervisor");
        self.services.clear();
    }

    /// Which of the services has this name.
    pub fn index(&self, name: &str) -> usize {
        self.services.iter().position(|hosted| hosted.name == name).expect("a service of that name")
    }

    /// Where the process works before each call of a supervisor.
    pub fn elsewhere(&self) -> &Path {
        &self.elsewhere
    }

    pub fn statuses(&self) -> String {
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

pub fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

pub fn write_to_fifo(path: &Path, bytes: &str) {
    let flags = nix::fcntl::OFlag::O_NONBLOCK.bits();
    let mut fifo: File =
        OpenOptions::new().write(true).custom_flags(flags).open(path).expect("a FIFO that is read");
    fifo.write_all(bytes.as_bytes()).expect("room in the FIFO");
}

pub fn write_script(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
    // Beside its place: a script that is just being executed cannot be written to.
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, format!("#!/bin/sh\n{text}\n")).expect("a script");
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o755)).expect("a script");
    std::fs::rename(&fresh, path).expect("a script");
}
