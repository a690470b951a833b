//! InitEffects: who descends from whom, at one moment, as far as /proc tells.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use sys::{Pid, clock, procfs};

/// A look is not to take longer than this: where thousands of processes fight for the processor,
/// an answer that is not complete now is better than one that comes when the grace is over. The
/// oldest processes, the runsv among them, are looked at first.
const PATIENCE: Duration = Duration::from_millis(100);

/// Who is younger, in hundredths of a second, may not have come to its program yet.
const YOUNG: u64 = 100;

/// Every process that could be seen.
pub struct ProcessTree {
    processes: BTreeMap<Pid, procfs::Stat>,
    children: BTreeMap<Pid, Vec<Pid>>,
    is_complete: bool,
}

impl ProcessTree {
    /// Looks at all of them.
    pub fn read() -> Self {
        let end = Instant::now() + PATIENCE;
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

    /// Whether all was seen.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Everybody who was seen.
    pub fn all(&self) -> impl Iterator<Item = Pid> {
        self.processes.keys().copied()
    }

    /// The children of a process.
    pub fn children(&self, pid: Pid) -> &[Pid] {
        self.children.get(&pid).map_or(&[], Vec::as_slice)
    }

    /// A process and all that descend from it, but for `excluded` ones and theirs.
    pub fn subtree(&self, pid: Pid, excluded: &BTreeSet<Pid>) -> Vec<Pid> {
        let mut subtree = Vec::new();
        let mut open = vec![pid];
        while let Some(pid) = open.pop() {
            if !excluded.contains(&pid) {
                subtree.push(pid);
                open.extend_from_slice(self.children(pid));
            }
        }
        subtree
    }

    /// The name of its program.
    pub fn name(&self, pid: Pid) -> Option<&str> {
        self.processes.get(&pid).map(|stat| stat.name.as_str())
    }

    /// Whether it was started a moment ago, and may still be on its way to its program.
    pub fn is_young(&self, pid: Pid) -> bool {
        let age = |stat: &procfs::Stat| clock::ticks().saturating_sub(stat.started);
        self.processes.get(&pid).is_some_and(|stat| age(stat) < YOUNG)
    }

    /// The group of a process.
    pub fn group(&self, pid: Pid) -> Option<Pid> {
        self.processes.get(&pid).map(|stat| stat.group)
    }

    /// The groups that have members outside this subtree.
    pub fn groups_outside(&self, subtree: &[Pid]) -> impl Iterator<Item = Pid> {
        let subtree: BTreeSet<Pid> = subtree.iter().copied().collect();
        self.processes.iter().filter(move |(pid, _)| !subtree.contains(pid)).map(|(_, stat)| stat.group)
    }

    /// Whether it has not died yet.
    pub fn is_alive(&self, pid: Pid) -> bool {
        self.processes.get(&pid).is_some_and(procfs::Stat::is_alive)
    }

    /// Whether a signal has stopped it; a debugger's hold is none.
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
