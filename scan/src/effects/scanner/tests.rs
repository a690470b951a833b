//! The scanner on real directories, with a host that gives its supervisors numbers.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use sys::Errno;

use super::*;

const TOKEN: usize = 1;
const OCCUPANTS: usize = 2;

/// The working directory is the whole process's.
static WORKING_DIRECTORY: Mutex<()> = Mutex::new(());

/// The names of the services that were started, the places of which are their supervisors.
#[derive(Default)]
struct FakeHost {
    started: Vec<OsString>,
    terminated: Vec<usize>,
    occupied: Vec<OsString>,
    /// How often no process is to be had.
    failures: usize,
}

impl SupervisorHost for FakeHost {
    type Handle = usize;

    fn start(&mut self, name: &OsStr) -> Result<usize, Error> {
        assert!(Path::new(name).is_dir(), "the working directory is the services directory");
        if let Some(left) = self.failures.checked_sub(1) {
            self.failures = left;
            return Err(could_not_start(name, Errno::EAGAIN));
        }
        // A supervisor works in the directory of its service.
        std::env::set_current_dir(name).expect("the service's directory");
        self.started.push(name.to_owned());
        Ok(self.started.len() - 1)
    }

    fn terminate(&mut self, supervisor: usize) {
        self.terminated.push(supervisor);
    }

    fn works_in_removed_directory(&self, _: usize) -> bool {
        false
    }

    fn describe(&self, _: usize) -> String {
        "supervisor".to_owned()
    }

    fn found_occupied(&mut self, name: &OsStr) {
        self.occupied.push(name.to_owned());
    }
}

/// A services directory that is scanned.
struct ScannerFixture {
    place: tempfile::TempDir,
    scanner: Scanner<usize>,
    host: FakeHost,
    poller: Poller,
    logger: Logger,
    _guard: MutexGuard<'static, ()>,
}

impl ScannerFixture {
    fn new() -> Self {
        let guard = WORKING_DIRECTORY.lock().unwrap_or_else(PoisonError::into_inner);
        let place = tempfile::tempdir().expect("a place for the test");
        Self {
            scanner: Scanner::new(place.path().to_owned(), TOKEN, OCCUPANTS).expect("a scanner"),
            place,
            host: FakeHost::default(),
            poller: Poller::new(&[]).expect("a poller"),
            logger: Logger::new("scanner"),
            _guard: guard,
        }
    }

    fn make(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = self.place.path().join(path);
        fs_err::create_dir_all(&path).expect("a directory");
        path
    }

    fn take_turn(&mut self) {
        let before = std::env::current_dir().ok();
        self.scanner.take_turn(&mut self.host, &self.poller, &mut self.logger);
        assert_eq!(std::env::current_dir().ok(), before, "a turn goes back");
    }

    /// Takes turns, each when it is due, until this is so.
    fn turns_until(&mut self, is_so: impl Fn(&Self) -> bool) {
        let give_up = Instant::now() + Duration::from_secs(60);
        while !is_so(self) {
            assert!(Instant::now() < give_up, "{:?}", self.host.started);
            let ready = self.poller.wait(self.scanner.next_deadline()).ready;
            self.scanner.take_in(&ready);
            self.take_turn();
        }
    }
}

#[test]
fn what_the_first_scan_finds_is_started_in_a_few_turns() {
    let mut fixture = ScannerFixture::new();
    let names: Vec<OsString> = (10..50).map(|number| format!("s{number}").into()).collect();
    for name in &names {
        fixture.make(name);
    }
    let mut turns = 0;
    while turns == 0 || !fixture.scanner.is_settled() {
        fixture.take_turn();
        turns += 1;
        assert!(fixture.host.started.len() <= turns * ACTIONS_PER_TURN, "the host has other work");
    }
    assert_eq!(fixture.host.started, names);
    assert_eq!(fixture.scanner.running().count(), names.len());
    assert!(fixture.scanner.next_deadline() > Some(Instant::now()));
}

#[test]
fn without_a_process_the_start_is_tried_again() {
    let mut fixture = ScannerFixture::new();
    fixture.make("web");
    fixture.host.failures = 1;
    fixture.turns_until(|fixture| fixture.host.started == ["web"]);
    assert_eq!(fixture.host.failures, 0);
}

#[test]
fn a_directory_that_appears_is_started_and_one_that_goes_is_stopped() {
    let mut fixture = ScannerFixture::new();
    let web = fixture.make("web");
    fixture.turns_until(|fixture| fixture.host.started == ["web"]);
    let other = fixture.make(".other");
    fs_err::rename(other, fixture.place.path().join("other")).expect("another name");
    fixture.turns_until(|fixture| fixture.host.started == ["web", "other"]);
    fs_err::remove_dir(web).expect("no directory");
    fixture.turns_until(|fixture| fixture.host.terminated == [0]);
    assert_eq!(fixture.scanner.running().collect::<Vec<_>>(), [1]);
}

#[test]
fn the_service_of_another_supervisor_is_started_when_that_ends() {
    let mut fixture = ScannerFixture::new();
    let supervise = fixture.make("web/supervise");
    let ok = supervise.join("ok");
    mkfifo(&ok, Mode::S_IRWXU).expect("a FIFO");
    let lock = fs_err::File::create(supervise.join("lock")).expect("a lock").into_file();
    let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock).expect("a lock that is held");
    let flags = nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_NONBLOCK | nix::fcntl::OFlag::O_CLOEXEC;
    let reader = nix::fcntl::open(&ok, flags, Mode::empty()).expect("a reader");
    fixture.turns_until(|fixture| fixture.host.occupied == ["web"]);
    assert!(fixture.host.started.is_empty());
    drop(lock);
    drop(reader);
    fixture.turns_until(|fixture| fixture.host.started == ["web"]);
}
