//! Effects: continues, signals and kills the processes of services that are late.

use std::collections::BTreeSet;
use std::path::Path;

use nix::fcntl::OFlag;
use servicedir::{Command, ServiceDir, State, Want};
use sys::log::without_sigpipe;
use sys::{FileId, Pid, Signal, open_fifo, procfs};

use super::adopted::status;
use super::process_tree::ProcessTree;
use crate::state::{Escalation, LateService};

/// No process is excluded.
pub const NONE: BTreeSet<Pid> = BTreeSet::new();

/// A late service with more processes than this is treated as a fork bomb.
const FORK_BOMB: usize = 256;

/// Stops an orphaned service as its runsv would have done.
pub fn stop_orphan(pid: Pid) {
    let place = procfs::current_dir(pid).unwrap_or_default();
    let signal = servicedir::word::read(&place.join("down-signal"))
        .ok()
        .flatten()
        .and_then(|word| Signal::parse(&word))
        .unwrap_or(Signal::TERM);
    let is_group = place.join("process-group").exists();
    // Send a signal once per process: many programs treat a second one as "quit now".
    let is_signalled = status(&ServiceDir::at(&place)).is_some_and(|status| {
        status.got_term && status.want != Want::Up && i32::try_from(status.pid) == Ok(pid.as_raw())
    });
    let signals = signal.and_cont();
    for signal in signals.into_iter().filter(|signal| !is_signalled || *signal == Signal::CONT) {
        // A process that is gone needs no signal. Only a group leader has a group of its number.
        if !is_group || signal.send_to_group(pid).is_err() {
            let _ = signal.send(pid);
        }
    }
}

/// Writes `x` to every control FIFO that a runsv reads and that is not among `written`.
pub fn exit_all_by_fifo(directory: &Path, written: &mut BTreeSet<FileId>) {
    let Ok(entries) = fs_err::read_dir(directory) else { return };
    for entry in entries.filter_map(Result::ok) {
        let fifo = open_fifo(&ServiceDir::at(entry.path()).control(), OFlag::O_WRONLY);
        let Ok(fifo) = fifo else { continue };
        if fifo.metadata().is_ok_and(|about| written.insert(FileId::of(&about))) {
            // A FIFO that is full has enough commands.
            let _ = without_sigpipe(|| nix::unistd::write(&fifo, &[Command::Exit.byte()]));
        }
    }
}

/// Sends SIGCONT to every stopped process of these and their descendants.
pub fn continue_stopped(roots: &[Pid]) {
    let tree = ProcessTree::read();
    let families = roots.iter().flat_map(|root| tree.subtree(*root, &NONE));
    let stopped: BTreeSet<Pid> = families.filter(|pid| tree.is_stopped(*pid)).collect();
    // A process that was not seen may be stopped as well.
    let unseen = roots.iter().copied().filter(|_| !tree.is_complete());
    for pid in stopped.into_iter().chain(unseen) {
        let _ = Signal::CONT.send(pid);
    }
}

/// Takes the next step against late services; returns which processes were signalled.
pub fn escalate(late: Vec<LateService>) -> Vec<(LateService, Vec<String>)> {
    let tree = ProcessTree::read();
    late.into_iter().map(|late| (late, escalate_one(&tree, late))).collect()
}

fn escalate_one(tree: &ProcessTree, late: LateService) -> Vec<String> {
    let service = late.pid;
    if !is_supervisor(service) {
        return signal_subtrees(tree, &[service], &NONE, Signal::KILL);
    }
    let logger: BTreeSet<Pid> = logger_of(service).into_iter().collect();
    // A stopped runsv takes no signal but this one.
    let _ = Signal::CONT.send(service);
    // So many processes are killed with their runsv at once: there is no time for single steps.
    let is_fork_bomb = tree.subtree(service, &logger).len() > FORK_BOMB;
    match late.escalation {
        Escalation::Run if !is_fork_bomb => {
            signal_subtrees(tree, &runs(tree, service), &logger, Signal::KILL)
        }
        Escalation::Finish if !is_fork_bomb => {
            signal_subtrees(tree, tree.children(service), &logger, Signal::KILL)
        }
        Escalation::Logger => {
            let loggers: Vec<Pid> = logger.into_iter().collect();
            signal_subtrees(tree, &loggers, &NONE, Signal::TERM)
        }
        Escalation::Run | Escalation::Finish | Escalation::Supervisor => {
            let mut victims = signal_subtrees(tree, tree.children(service), &NONE, Signal::KILL);
            victims.extend(signal_subtrees(tree, &[service], &NONE, Signal::KILL));
            victims
        }
    }
}

/// Sends a signal to these processes and their descendants; returns the names of the roots that were alive.
fn signal_subtrees(
    tree: &ProcessTree,
    roots: &[Pid],
    excluded: &BTreeSet<Pid>,
    signal: Signal,
) -> Vec<String> {
    let subtree: Vec<Pid> = roots.iter().flat_map(|root| tree.subtree(*root, excluded)).collect();
    if signal == Signal::KILL {
        // A signal to a group reaches every member at once, also one that is forked meanwhile. A group with
        // members outside the subtree is left out.
        let excluded_groups: BTreeSet<Pid> =
            tree.groups_outside(&subtree).chain([nix::unistd::getpgrp()]).collect();
        let groups: BTreeSet<Pid> = subtree.iter().filter_map(|pid| tree.group(*pid)).collect();
        for group in groups.difference(&excluded_groups) {
            let _ = signal.send_to_group(*group);
        }
    }
    for pid in &subtree {
        let _ = signal.send(*pid);
        if signal != Signal::KILL {
            let _ = Signal::CONT.send(*pid);
        }
    }
    roots
        .iter()
        .filter(|root| !excluded.contains(root) && tree.is_alive(**root))
        .map(|root| tree.describe(*root))
        .collect()
}

fn is_supervisor(pid: Pid) -> bool {
    super::adopted::supervised(&procfs::arguments(pid)).is_some()
}

/// The children of a runsv that are `./run`, not `./finish` or a control script: those have more time.
fn runs(tree: &ProcessTree, supervisor: Pid) -> Vec<Pid> {
    let children = tree.children(supervisor);
    let place = ServiceDir::at(procfs::path(supervisor, "cwd"));
    let recorded = status(&place)
        .and_then(|status| Some((status.state?, Pid::from_raw(i32::try_from(status.pid).ok()?))));
    match recorded {
        Some((State::Run, run)) if children.contains(&run) => vec![run],
        Some((State::Finish, finish)) if children.contains(&finish) => Vec::new(),
        // The rest of a group without its leader belongs to `./run`. A status that could not be written
        // names no process, and without a running `./run` no child has its arguments.
        other => {
            let group = other.filter(|(state, _)| *state == State::Run).map(|(_, run)| run);
            let is_run =
                |pid: &Pid| group.is_some() && tree.group(*pid) == group || is_script(*pid, b"./run");
            children.iter().copied().filter(is_run).collect()
        }
    }
}

/// Whether a process was started as this script, directly or through an interpreter.
fn is_script(pid: Pid, script: &[u8]) -> bool {
    procfs::arguments(pid).iter().take(INTERPRETED).any(|argument| argument == script)
}

/// An interpreter, its one argument, and the script.
const INTERPRETED: usize = 3;

/// Whether a process was started as `control/BYTE`, directly or through an interpreter.
pub fn is_control_script(pid: Pid) -> bool {
    procfs::arguments(pid).iter().any(|argument| argument.starts_with(b"control/"))
}

/// The process of the log service, a child of the runsv. The user that controls the service may have written
/// the status: it only selects one of the children.
pub fn logger_of(supervisor: Pid) -> Option<Pid> {
    let log = ServiceDir::at(procfs::path(supervisor, "cwd")).log();
    let status = status(&log).filter(|status| status.state != Some(State::Down))?;
    let logger = Pid::from_raw(i32::try_from(status.pid).ok()?);
    procfs::stat(logger).is_some_and(|stat| stat.parent == supervisor).then_some(logger)
}
