//! Effects: ends the processes that services, hooks and COMMAND have left behind.

use std::collections::{BTreeMap, BTreeSet};

use sys::{Pid, Signal, procfs};

use super::process_tree::ProcessTree;
use super::supervisors::Supervisors;
use crate::state::SupervisorId;

/// How often a sweep looks for processes that were forked while it killed.
const ROUNDS: usize = 8;

/// Ends leftover processes. Sends SIGTERM once per process: many programs treat a second one as "quit now".
/// A process that was young then, and executes another program now, had the signal handlers of its parent,
/// and is sent another one.
#[derive(Debug, Default)]
pub struct LeftoverSweep {
    /// The processes that were sent SIGTERM; for young ones, the name of their program then.
    signalled: BTreeMap<Pid, Option<String>>,
    signalled_groups: BTreeSet<Pid>,
    named: BTreeSet<Pid>,
}

impl LeftoverSweep {
    /// The group of this leader is sent SIGTERM elsewhere.
    pub fn group_is_signalled(&mut self, leader: Pid) {
        self.signalled_groups.insert(leader);
    }

    /// A message elsewhere says that this process is killed.
    pub fn is_named(&mut self, pid: Pid) {
        self.named.insert(pid);
    }

    /// Sends SIGTERM to what these services have left behind: what init has adopted of the sessions that their
    /// processes have begun.
    pub fn end_leftovers(&mut self, services: &[SupervisorId], supervisors: &Supervisors) {
        // Most services leave nothing behind, and to read all of /proc takes long.
        if procfs::own_children().into_iter().all(|pid| supervisors.has_child(pid)) {
            return;
        }
        let tree = ProcessTree::read();
        let adopted = tree.children(nix::unistd::getpid()).iter().copied();
        let is_meant = |pid: &Pid| {
            let owner = tree.session(*pid).and_then(|session| supervisors.owner_of_session(session));
            !supervisors.has_child(*pid) && owner.is_some_and(|owner| services.contains(&owner))
        };
        let leftovers: Vec<Pid> = adopted.filter(is_meant).collect();
        self.end(&tree, leftovers.into_iter().flat_map(|pid| tree.subtree_to_supervisors(pid)));
    }

    /// Sends SIGTERM to what init has adopted, and its descendants; `own` are COMMAND and the hook that runs.
    pub fn end_adopted(&mut self, own: &[Pid], supervisors: &Supervisors) {
        let tree = ProcessTree::read();
        let children = tree.children(nix::unistd::getpid()).iter().copied();
        let adopted: Vec<Pid> =
            children.filter(|pid| !own.contains(pid) && !supervisors.has_child(*pid)).collect();
        self.end(&tree, adopted.into_iter().flat_map(|pid| tree.subtree_to_supervisors(pid)));
    }

    /// Sends a signal to every process that is left; returns, for SIGKILL, names that were not returned
    /// before.
    pub fn sweep(&mut self, signal: Signal) -> Vec<String> {
        // Names first, and few of them: after the signal the processes are gone, and nothing waits for them.
        let names = if signal == Signal::KILL { name_some(&mut self.named) } else { Vec::new() };
        let own = nix::unistd::getpid();
        let is_process_1 = own == Pid::from_raw(1);
        let tree = if is_process_1 && signal == Signal::KILL {
            None
        } else {
            Some(ProcessTree::read()).filter(|tree| tree.is_complete() || !is_process_1)
        };
        match tree {
            Some(tree) if signal == Signal::KILL => kill_all_below(tree, own),
            Some(tree) => {
                // Process 1 ends also what has entered its pid namespace from outside.
                let roots = tree.roots().filter(|_| is_process_1).chain([own]);
                let roots: BTreeSet<Pid> = roots.collect();
                let all = roots.into_iter().flat_map(|root| tree.subtree_to_supervisors(root));
                self.end(&tree, all.filter(|pid| *pid != own));
            }
            None => {
                let all = Pid::from_raw(-1);
                // A process that cannot be signalled is gone.
                let _ = signal.send(all);
                let _ = Signal::CONT.send(all);
            }
        }
        names
    }

    fn end(&mut self, tree: &ProcessTree, subtree: impl IntoIterator<Item = Pid>) {
        for pid in subtree {
            let is_signalled = match self.signalled.get(&pid) {
                None => tree.group(pid).is_some_and(|group| self.signalled_groups.contains(&group)),
                Some(as_young) => as_young.as_deref().is_none_or(|name| tree.name(pid) == Some(name)),
            };
            if !is_signalled {
                self.signalled.insert(pid, tree.name(pid).filter(|_| tree.is_young(pid)).map(str::to_owned));
                tree.signal(pid, Signal::TERM);
                tree.signal(pid, Signal::CONT);
            }
        }
    }
}

/// Names children of init that live and were not named before.
fn name_some(before: &mut BTreeSet<Pid>) -> Vec<String> {
    const MAX_NAMES: usize = 12;
    let new: Vec<Pid> = procfs::own_children().into_iter().filter(|pid| before.insert(*pid)).collect();
    let mut names: Vec<String> = new
        .iter()
        .take(MAX_NAMES)
        .filter_map(|pid| Some((pid, procfs::stat(*pid).filter(procfs::Stat::is_alive)?)))
        .map(|(pid, stat)| format!("{} (pid {pid})", stat.name))
        .collect();
    if new.len() > MAX_NAMES {
        names.push(format!("{} others", new.len() - MAX_NAMES));
    }
    names
}

/// Kills every descendant, and those that are forked meanwhile.
fn kill_all_below(mut tree: ProcessTree, own: Pid) {
    let mut killed = BTreeSet::new();
    for _ in 0..ROUNDS {
        let mut living = tree.subtree(own);
        living.retain(|pid| *pid != own && tree.is_alive(*pid) && killed.insert(*pid));
        if living.is_empty() {
            return;
        }
        for pid in living {
            tree.signal(pid, Signal::KILL);
        }
        tree = ProcessTree::read();
    }
}
