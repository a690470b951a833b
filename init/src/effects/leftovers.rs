//! Effects: ends the processes that services, hooks and COMMAND have left behind.

use std::collections::{BTreeMap, BTreeSet};

use sys::{Pid, Signal, procfs};

use super::escalate::{NONE, is_control_script, logger_of};
use super::process_tree::ProcessTree;
use crate::state::{AdoptedChild, ChildKind};

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

    /// Processes that stand for services are named elsewhere.
    pub fn leave_out<'a>(&mut self, children: impl Iterator<Item = &'a AdoptedChild>) {
        let is_service = |kind: &ChildKind| !matches!(kind, ChildKind::Starting | ChildKind::Leftover);
        self.named.extend(children.filter(|child| is_service(&child.kind)).map(|child| child.pid));
    }

    /// Sends SIGTERM to the children of supervisors of services that are down, but for loggers and control
    /// scripts.
    pub fn end_leftovers(&mut self, supervisors: &[Pid]) {
        let tree = ProcessTree::read();
        for supervisor in supervisors {
            let mut excluded: BTreeSet<Pid> = logger_of(*supervisor).into_iter().collect();
            excluded.extend(tree.children(*supervisor).iter().copied().filter(|pid| is_control_script(*pid)));
            let subtree = tree.children(*supervisor).iter().flat_map(|child| tree.subtree(*child, &excluded));
            self.end(&tree, subtree);
        }
    }

    /// Sends SIGTERM to the children of init and their descendants, except for `spare` and theirs.
    pub fn end_adopted(&mut self, spare: &[Pid]) {
        let tree = ProcessTree::read();
        let spare: BTreeSet<Pid> = spare.iter().copied().collect();
        let children = tree.children(nix::unistd::getpid());
        self.end(&tree, children.iter().flat_map(|child| tree.subtree(*child, &spare)));
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
            Some(tree) if signal == Signal::KILL => {
                kill_all_below(&tree, own);
            }
            // In the whole pid namespace, also the processes that entered it from outside.
            Some(tree) if is_process_1 => self.end(&tree, tree.all().filter(|pid| *pid != own)),
            Some(tree) => self.end(&tree, tree.subtree(own, &NONE).into_iter().filter(|pid| *pid != own)),
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
                let _ = Signal::TERM.send(pid);
                let _ = Signal::CONT.send(pid);
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

/// Kills every descendant. A process in the group of a descendant is one too, or was when the tree was read:
/// only init's own group has other members.
fn kill_all_below(tree: &ProcessTree, own: Pid) {
    let subtree = tree.subtree(own, &NONE);
    // A process that forks and exits again and again may be gone whenever the tree has been read. Its next
    // child is adopted by init, and found here.
    let adopted = procfs::own_children();
    let adopted_groups = adopted.iter().filter_map(|pid| Some(procfs::stat(*pid)?.group));
    let mut groups: BTreeSet<Pid> =
        subtree.iter().filter_map(|pid| tree.group(*pid)).chain(adopted_groups).collect();
    groups.remove(&nix::unistd::getpgrp());
    for group in groups {
        let _ = Signal::KILL.send_to_group(group);
    }
    for pid in subtree.into_iter().filter(|pid| *pid != own) {
        let _ = Signal::KILL.send(pid);
    }
}
