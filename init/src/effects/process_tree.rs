//! Effects: the tree of processes at one moment, from /proc.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sys::process::handle::signal_exactly;
use sys::{Pid, Signal, clock, procfs};

/// The limit for reading /proc: where thousands of processes compete for the processor, an incomplete answer
/// in time is better than a complete one when the grace is over. The oldest processes come first.
const TIME_LIMIT: Duration = Duration::from_millis(100);

/// A younger process, in hundredths of a second, may not have executed its program yet.
const YOUNG: u64 = 100;

/// The processes that were seen.
pub struct ProcessTree {
    processes: BTreeMap<Pid, procfs::Stat>,
    children: BTreeMap<Pid, Vec<Pid>>,
    is_complete: bool,
}

impl ProcessTree {
    /// Reads /proc.
    pub fn read() -> Self {
        let end = Instant::now() + TIME_LIMIT;
        let all = procfs::all();
        let mut is_complete = !all.is_empty();
        let processes: BTreeMap<Pid, procfs::Stat> = all
            .into_iter()
            .take_while(|_| {
                is_complete &= Instant::now() < end;
                is_complete
            })
            .filter_map(|pid| Some((pid, procfs::stat(pid)?)))
            .collect();
        let mut children: BTreeMap<Pid, Vec<Pid>> = BTreeMap::new();
        for (pid, stat) in &processes {
            children.entry(stat.parent).or_default().push(*pid);
        }
        Self { processes, children, is_complete }
    }

    /// Whether all processes were seen.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// The processes with a parent that was not seen: process 1, and those that have entered the pid namespace
    /// from outside.
    pub fn roots(&self) -> impl Iterator<Item = Pid> {
        let is_root = |stat: &procfs::Stat| !self.processes.contains_key(&stat.parent);
        self.processes.iter().filter(move |(_, stat)| is_root(stat)).map(|(pid, _)| *pid)
    }

    /// The children of a process.
    pub fn children(&self, pid: Pid) -> &[Pid] {
        self.children.get(&pid).map_or(&[], Vec::as_slice)
    }

    /// A process and its descendants.
    pub fn subtree(&self, pid: Pid) -> Vec<Pid> {
        self.descend(pid, |_| true)
    }

    /// A process and those of its descendants that it does not stop itself: a runsv takes TERM as the order to
    /// stop its service, and lets its logger read to the end.
    pub fn subtree_to_supervisors(&self, pid: Pid) -> Vec<Pid> {
        self.descend(pid, |pid| self.name(pid) != Some("runsv"))
    }

    fn descend(&self, pid: Pid, into: impl Fn(Pid) -> bool) -> Vec<Pid> {
        let mut subtree = Vec::new();
        let mut open = vec![pid];
        while let Some(pid) = open.pop() {
            subtree.push(pid);
            if into(pid) {
                open.extend_from_slice(self.children(pid));
            }
        }
        subtree
    }

    /// The name of its program.
    pub fn name(&self, pid: Pid) -> Option<&str> {
        self.processes.get(&pid).map(|stat| stat.name.as_str())
    }

    /// Whether it was started a moment ago, and may not have executed its program yet.
    pub fn is_young(&self, pid: Pid) -> bool {
        let age = |stat: &procfs::Stat| clock::ticks().saturating_sub(stat.started);
        self.processes.get(&pid).is_some_and(|stat| age(stat) < YOUNG)
    }

    /// The process group.
    pub fn group(&self, pid: Pid) -> Option<Pid> {
        self.processes.get(&pid).map(|stat| stat.group)
    }

    /// The session.
    pub fn session(&self, pid: Pid) -> Option<Pid> {
        self.processes.get(&pid).map(|stat| stat.session)
    }

    /// Sends a signal to a process that was seen, and to no later one with its number. One that is gone needs
    /// none.
    pub fn signal(&self, pid: Pid, signal: Signal) {
        if let Some(stat) = self.processes.get(&pid) {
            let _ = signal_exactly(pid, stat.started, signal);
        }
    }

    /// Whether it is no zombie.
    pub fn is_alive(&self, pid: Pid) -> bool {
        self.processes.get(&pid).is_some_and(procfs::Stat::is_alive)
    }

    /// Whether it is stopped by a signal. A tracing stop does not count.
    pub fn is_stopped(&self, pid: Pid) -> bool {
        self.processes.get(&pid).is_some_and(|stat| stat.state == 'T')
    }

    /// `sleep (pid 7)`.
    pub fn describe(&self, pid: Pid) -> String {
        match self.processes.get(&pid) {
            Some(stat) => format!("{} (pid {pid})", stat.name),
            None => format!("pid {pid}"),
        }
    }
}
