//! Effects: continues, signals and kills the processes of services that are late.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use nix::fcntl::OFlag;
use servicedir::{Command, ServiceDir, State, Want};
use sys::log::without_sigpipe;
use sys::{FileId, Pid, Signal, open_fifo, procfs};

use super::adopted::status;
use super::process_tree::ProcessTree;
use crate::state::{AdoptedChild, ChildKind, Escalation, LateService};

/// No process is excluded.
const NONE: BTreeSet<Pid> = BTreeSet::new();

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
    let signals = if is_signalled { &[Signal::CONT][..] } else { &[signal, Signal::CONT] };
    for signal in signals {
        // A process that is gone needs no signal. Only a group leader has a group of its number.
        if !is_group || signal.send_to_group(pid).is_err() {
            let _ = signal.send(pid);
        }
    }
}

/// Writes `x` to every control FIFO that a runsv reads and that is not among `written`.
pub fn exit_all_by_fifo(directory: &Path, told: &mut BTreeSet<FileId>) {
    let Ok(entries) = fs_err::read_dir(directory) else { return };
    for entry in entries.filter_map(Result::ok) {
        let fifo = open_fifo(&ServiceDir::at(entry.path()).control(), OFlag::O_WRONLY);
        let Ok(fifo) = fifo else { continue };
        if fifo.metadata().is_ok_and(|about| told.insert(FileId::of(&about))) {
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

/// Ends leftover processes. Sends SIGTERM once per process: many programs treat a second one as "quit now".
/// A process that was young then, and executes another program now, had the signal handlers of its parent,
/// and is sent another one.
#[derive(Debug, Default)]
pub struct LeftoverSweep {
    /// The processes that were sent SIGTERM; for young ones, the name of their program then.
    told: BTreeMap<Pid, Option<String>>,
    signalled_groups: BTreeSet<Pid>,
    named: BTreeSet<Pid>,
}

impl LeftoverSweep {
    /// The group of this leader is sent SIGTERM elsewhere.
    pub fn group_is_signalled(&mut self, leader: Pid) {
        self.signalled_groups.insert(leader);
    }

    /// Processes that stand for services are named elsewhere.
    pub fn leave_out<'a>(&mut self, children: impl Iterator<Item = &'a AdoptedChild>) {
        let is_service = |kind: &ChildKind| !matches!(kind, ChildKind::Starting | ChildKind::Leftover);
        self.named.extend(children.filter(|child| is_service(&child.kind)).map(|child| child.pid));
    }

    /// Sends SIGTERM to the children of supervisors whose services are down, but for loggers and control
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
        let is_first = own == Pid::from_raw(1);
        let tree = if is_first && signal == Signal::KILL {
            None
        } else {
            Some(ProcessTree::read()).filter(|tree| tree.is_complete() || !is_first)
        };
        match tree {
            Some(tree) if signal == Signal::KILL => {
                kill_all_below(&tree, own);
            }
            // In the whole pid namespace, also the processes that entered it from outside.
            Some(tree) if is_first => self.end(&tree, tree.all().filter(|pid| *pid != own)),
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
            let is_signalled = match self.told.get(&pid) {
                None => tree.group(pid).is_some_and(|group| self.signalled_groups.contains(&group)),
                Some(as_young) => as_young.as_deref().is_none_or(|name| tree.name(pid) == Some(name)),
            };
            if !is_signalled {
                self.told.insert(pid, tree.name(pid).filter(|_| tree.is_young(pid)).map(str::to_owned));
                let _ = Signal::TERM.send(pid);
                let _ = Signal::CONT.send(pid);
            }
        }
    }
}

/// Names children of init that live and were not named before.
fn name_some(seen: &mut BTreeSet<Pid>) -> Vec<String> {
    const ENOUGH: usize = 12;
    let new: Vec<Pid> = procfs::own_children().into_iter().filter(|pid| seen.insert(*pid)).collect();
    let mut names: Vec<String> = new
        .iter()
        .take(ENOUGH)
        .filter_map(|pid| Some((pid, procfs::stat(*pid).filter(procfs::Stat::is_alive)?)))
        .map(|(pid, stat)| format!("{} (pid {pid})", stat.name))
        .collect();
    if new.len() > ENOUGH {
        names.push(format!("{} others", new.len() - ENOUGH));
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
        // The rest of a group whose leader is dead belongs to `./run`. A status that could not be written
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
fn is_control_script(pid: Pid) -> bool {
    procfs::arguments(pid).iter().any(|argument| argument.starts_with(b"control/"))
}

/// The process of the log service, a child of the runsv. The user that controls the service may have written
/// the status: it only selects one of the children.
fn logger_of(supervisor: Pid) -> Option<Pid> {
    let log = ServiceDir::at(procfs::path(supervisor, "cwd")).log();
    let status = status(&log).filter(|status| status.state != Some(State::Down))?;
    let logger = Pid::from_raw(i32::try_from(status.pid).ok()?);
    procfs::stat(logger).is_some_and(|stat| stat.parent == supervisor).then_some(logger)
}
