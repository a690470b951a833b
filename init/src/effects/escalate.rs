//! Effects: continues, signals and kills the processes of services that are late.

use std::collections::BTreeSet;

use supervise::ChildPart;
use sys::{Now, Pid, Poller, Signal};

use super::process_tree::ProcessTree;
use super::supervisors::Supervisors;
use crate::state::{Escalation, LateService, SupervisorId};

/// A late service with more processes than this is treated as a fork bomb.
const FORK_BOMB: usize = 256;

/// Sends SIGCONT to every stopped process of COMMAND, of these services, and of their descendants.
pub fn continue_stopped(command: Option<Pid>, services: &[SupervisorId], supervisors: &Supervisors) {
    let tree = ProcessTree::read();
    let children = services.iter().flat_map(|id| supervisors.children_of(*id));
    let roots: Vec<Pid> = command.into_iter().chain(children.map(|(pid, _)| pid)).collect();
    for root in &roots {
        // A child is there until it is reaped; one that was not seen may be stopped as well.
        if tree.is_stopped(*root) || !tree.is_complete() {
            let _ = Signal::CONT.send(*root);
        }
    }
    let families: BTreeSet<Pid> = roots.iter().flat_map(|root| tree.subtree(*root)).collect();
    for pid in families.into_iter().filter(|pid| tree.is_stopped(*pid)) {
        tree.signal(pid, Signal::CONT);
    }
}

/// Takes the next step against late services; returns which processes were signalled.
pub fn escalate(
    late: Vec<LateService>,
    supervisors: &mut Supervisors,
    poller: &Poller,
) -> Vec<(LateService, Vec<String>)> {
    let tree = ProcessTree::read();
    late.into_iter().map(|late| (late, escalate_one(&tree, late, supervisors, poller))).collect()
}

fn escalate_one(
    tree: &ProcessTree,
    LateService { id, escalation }: LateService,
    supervisors: &mut Supervisors,
    poller: &Poller,
) -> Vec<String> {
    let children = supervisors.children_of(id);
    let is_logger = |part: ChildPart| part == ChildPart::LogRun;
    let family = |part: &dyn Fn(ChildPart) -> bool| -> Vec<Pid> {
        let roots = children.iter().filter(|(_, of)| part(*of));
        roots.flat_map(|(pid, _)| tree.subtree(*pid)).collect()
    };
    // So many processes are killed at once: there is no time for single steps.
    let is_fork_bomb = family(&|part| !is_logger(part)).len() > FORK_BOMB;
    let (signal, is_meant): (Signal, &dyn Fn(ChildPart) -> bool) = match escalation {
        Escalation::Run if !is_fork_bomb => (Signal::KILL, &|part| part == ChildPart::Run),
        Escalation::Finish if !is_fork_bomb => (Signal::KILL, &|part| !is_logger(part)),
        Escalation::Logger => (Signal::TERM, &is_logger),
        Escalation::Run | Escalation::Finish | Escalation::All => (Signal::KILL, &|_| true),
    };
    let mut victims: Vec<String> = children
        .iter()
        .filter(|(pid, part)| is_meant(*part) && tree.is_alive(*pid))
        .map(|(pid, _)| tree.describe(*pid))
        .collect();
    let descendants = family(is_meant);
    supervisors.with(id, poller, |supervisor| {
        if signal == Signal::KILL {
            // With `process-group` the whole group, also when its leader is gone.
            if supervisor.awaits_group() && victims.is_empty() {
                victims.push("the rest of its process group".to_owned());
            }
            supervisor.kill_run(Now::read());
        }
        supervisor.signal_children(signal, is_meant);
    });
    if signal == Signal::KILL {
        for pid in descendants {
            tree.signal(pid, signal);
        }
    }
    victims
}
