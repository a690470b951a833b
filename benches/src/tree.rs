//! A directory of services that announce their start, and the programs that keep them.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use std::{env, thread};

use fs_err as fs;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::events::Events;
use crate::family::Family;
use crate::namespace::MeasuredNamespace;
use crate::{Outcome, beacon, proc};

/// A service older than this is started again at once when it ends; with a margin.
pub const GROWN_UP: Duration = Duration::from_millis(1100);

/// Service directories below the temporary directory; removed some time after they were dropped, by
/// [`clear_away`].
#[derive(Debug)]
pub struct ServiceTree {
    root: PathBuf,
    /// Where its services say that they run.
    pub events: Events,
}

/// A tree of services that a family keeps; ended when dropped.
#[derive(Debug)]
pub struct Running {
    /// The directories.
    pub tree: ServiceTree,
    /// The family that keeps them.
    pub family: Family,
    /// When the scanner was started.
    pub begin: Instant,
    scanner: Child,
}

/// A tree of services that a family keeps as process 1.
#[derive(Debug)]
pub struct Contained {
    /// The directories.
    pub tree: ServiceTree,
    /// Process 1 and all others.
    pub namespace: MeasuredNamespace,
}

impl ServiceTree {
    /// Makes so many service directories.
    pub fn new(services: usize) -> Outcome<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // This process has a small number in its own pid namespace, as another run has in another one.
        let root = fs::canonicalize(env::temp_dir())?.join(format!("rb.{}.{number}", unique()));
        for dir in ["service", "spare"] {
            fs::create_dir_all(root.join(dir))?;
        }
        let tree = Self { events: Events::new(root.join("events"))?, root };
        for number in 0..services {
            make_service(&tree.service(number))?;
        }
        age(&tree.services())?;
        Ok(tree)
    }

    /// The directory of service directories.
    pub fn services(&self) -> PathBuf {
        self.root.join("service")
    }

    /// A directory beside, for what a family needs of its own.
    pub fn place(&self, name: &str) -> Outcome<PathBuf> {
        let place = self.root.join(name);
        fs::create_dir_all(&place)?;
        Ok(place)
    }

    /// This program, by another name.
    pub fn program(&self, name: &str) -> Outcome<PathBuf> {
        let link = self.root.join(name);
        symlink(env::current_exe()?, &link)?;
        Ok(link)
    }

    /// A service directory.
    pub fn service(&self, number: usize) -> PathBuf {
        self.services().join(format!("s{number}"))
    }

    /// Makes one more service directory, with another program.
    pub fn add(&self, name: &str, program: &Path) -> Outcome<PathBuf> {
        let dir = self.services().join(name);
        fs::create_dir(&dir)?;
        symlink(program, dir.join(beacon::NAME))?;
        age(&self.services())?;
        Ok(dir)
    }

    /// Makes a service directory that no scanner sees yet.
    pub fn spare(&self, number: usize) -> Outcome<PathBuf> {
        let spare = self.root.join("spare").join(format!("n{number}"));
        make_service(&spare)?;
        Ok(spare)
    }

    /// Has a family keep it.
    pub fn start(self, family: Family) -> Outcome<Running> {
        let mut command = family.scan(&self)?;
        self.tell(&mut command, Duration::ZERO);
        let begin = Instant::now();
        let scanner = command.spawn()?;
        Ok(Running { tree: self, family, begin, scanner })
    }

    /// Has a family keep it as process 1; its services go on for a while after TERM.
    pub fn contain(self, family: Family, linger: Duration) -> Outcome<Contained> {
        let mut command = family.first_process(&self)?;
        self.tell(&mut command, linger);
        Ok(Contained { namespace: MeasuredNamespace::start(&command)?, tree: self })
    }

    /// Tells the services through the environment what they must know.
    pub fn tell(&self, command: &mut Command, linger: Duration) {
        command.env(beacon::EVENTS, self.events.path());
        if !linger.is_zero() {
            command.env(beacon::LINGER, linger.as_millis().to_string());
        }
    }
}

impl Drop for ServiceTree {
    fn drop(&mut self) {
        TREES.lock().unwrap_or_else(PoisonError::into_inner).push(self.root.clone());
    }
}

/// Those that are not needed any more.
static TREES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Removes the trees that are not needed any more. Not before everything was measured:
/// ext4 gives the numbers of removed files to new ones only after some minutes, and until then looks
/// for others one by one, which would be measured instead.
pub fn clear_away() {
    for root in TREES.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        let _ = fs::remove_dir_all(root);
    }
}

impl Running {
    /// Starts a tree of so many services, and waits until all of them run and none is young.
    pub fn settled(family: Family, services: usize) -> Outcome<Self> {
        ServiceTree::new(services)?.start(family)?.settle(services)
    }

    /// Waits until so many services run and none is young.
    pub fn settle(mut self, services: usize) -> Outcome<Self> {
        self.tree.events.nth(services)?;
        thread::sleep(GROWN_UP);
        Ok(self)
    }

    /// The process id of the scanner.
    pub fn scanner(&self) -> u32 {
        self.scanner.id()
    }

    /// The process ids of the supervisors below the scanner.
    pub fn supervisors(&self) -> Outcome<Vec<u32>> {
        proc::children(self.scanner.id())
    }

    /// The process ids of all processes of the tree but the services: what supervision takes, in one
    /// process or in many.
    pub fn supervision(&self) -> Outcome<Vec<u32>> {
        let service = env::current_exe()?;
        let all = proc::family(self.scanner.id())?;
        Ok(all.into_iter().filter(|&pid| proc::program(pid).is_none_or(|it| it != service)).collect())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.scanner.kill();
        let _ = self.scanner.wait();
        let _ = end_all(&self.tree.root);
    }
}

/// Kills all processes that work below a directory, and reaps those that became children of this one.
fn end_all(root: &Path) -> Outcome<()> {
    let mut ended = BTreeSet::new();
    loop {
        let living = proc::working_below(root)?;
        if living.is_empty() {
            break;
        }
        for pid in living {
            let _ = kill(id(pid)?, Signal::SIGKILL);
            ended.insert(pid);
        }
    }
    // Twice: the children of those that are reaped first become children of this process only then.
    for pid in ended.iter().chain(&ended) {
        reap(*pid)?;
    }
    Ok(())
}

/// Ends a process that has lost its parent, or soon will.
pub fn end(pid: u32) -> Outcome<()> {
    Ok(kill(id(pid)?, Signal::SIGKILL)?)
}

/// Waits for the end of a process if it is our child.
pub fn reap(pid: u32) -> Outcome<()> {
    let _ = waitpid(id(pid)?, None);
    Ok(())
}

/// Sends a signal.
pub fn signal(pid: u32, signal: Signal) -> Outcome<()> {
    Ok(kill(id(pid)?, signal)?)
}

fn id(pid: u32) -> Outcome<Pid> {
    Ok(Pid::from_raw(i32::try_from(pid)?))
}

fn make_service(dir: &Path) -> Outcome<()> {
    fs::create_dir(dir)?;
    Ok(symlink(env::current_exe()?, dir.join(beacon::NAME))?)
}

/// Makes a directory look as if nothing had changed in it for an hour, as in an image: the original's
/// runsvdir waits for a second before it looks into one that has just changed.
fn age(dir: &Path) -> Outcome<()> {
    Ok(fs::File::open(dir)?.set_modified(SystemTime::now() - Duration::from_secs(3600))?)
}

/// A number that no other run of this program has at the same time.
fn unique() -> u128 {
    static START: OnceLock<u128> = OnceLock::new();
    *START
        .get_or_init(|| SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_micros() % 1_000_000_000))
}
