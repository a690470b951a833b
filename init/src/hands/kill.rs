//! Hands: making processes end, from asking a single one to killing whatever there is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use nix::fcntl::OFlag;
use servicedir::{Command, ServiceDir, State, Want};
use sys::log::without_sigpipe;
use sys::{FileId, Pid, Signal, open_fifo, procfs};

use super::census::status;
use super::tree::Tree;
use crate::machine::{Child, Kind, Late, Pressure};

/// Nobody is spared.
const NOBODY: BTreeSet<Pid> = BTreeSet::new();

/// A late service with more processes than this is a fork bomb.
const CROWD: usize = 256;

/// Tells an orphaned service to end, as its runsv would have done.
pub fn end_orphan(pid: Pid) {
    let place = procfs::current_dir(pid).unwrap_or_default();
    let signal = servicedir::word::read(&place.join("down-signal"))
        .ok()
        .flatten()
        .and_then(|word| Signal::parse(&word))
        .unwrap_or(Signal::TERM);
    let is_group = place.join("process-group").exists();
    // Who is told twice may take it for impatience.
    let is_told = status(&ServiceDir::at(&place)).is_some_and(|status| {
        status.got_term && status.want != Want::Up && i32::try_from(status.pid) == Ok(pid.as_raw())
    });
    let signals = if is_told { &[Signal::CONT][..] } else { &[signal, Signal::CONT] };
    for signal in signals {
        // Whoever is gone has nothing to be told any more; a group is only one if it leads it.
        if !is_group || signal.send_to_group(pid).is_err() {
            let _ = signal.send(pid);
        }
    }
}

/// Writes `x` to every control FIFO that a runsv reads and that is not among the `told`.
pub fn end_all_by_fifo(directory: &Path, told: &mut BTreeSet<FileId>) {
    let Ok(entries) = fs_err::read_dir(directory) else { return };
    for entry in entries.filter_map(Result::ok) {
        let fifo = open_fifo(&ServiceDir::at(entry.path()).control(), OFlag::O_WRONLY);
        let Ok(fifo) = fifo else { continue };
        if fifo.metadata().is_ok_and(|about| told.insert(FileId::of(&about))) {
            // A FIFO that is full has been told often enough.
            let _ = without_sigpipe(|| nix::unistd::write(&fifo, &[Command::Exit.byte()]));
        }
    }
}

/// CONT to whatever somebody has stopped of these and of their families.
pub fn wake(heads: &[Pid]) {
    let tree = Tree::read();
    let families = heads.iter().flat_map(|head| tree.family(*head, &NOBODY));
    let stopped: BTreeSet<Pid> = families.filter(|pid| tree.is_stopped(*pid)).collect();
    // Who was not seen may be stopped as well.
    let unseen = heads.iter().copied().filter(|_| !tree.is_complete());
    for pid in stopped.into_iter().chain(unseen) {
        let _ = Signal::CONT.send(pid);
    }
}

/// Is hard on late services; says whom it hit.
pub fn press(late: Vec<Late>) -> Vec<(Late, Vec<String>)> {
    let tree = Tree::read();
    late.into_iter().map(|late| (late, press_one(&tree, late))).collect()
}

fn press_one(tree: &Tree, late: Late) -> Vec<String> {
    let service = late.pid;
    if !is_supervisor(service) {
        return strike(tree, &[service], &NOBODY, Signal::KILL);
    }
    let logger: BTreeSet<Pid> = logger_of(service).into_iter().collect();
    // Whatever it is told, a runsv that is stopped does not hear it.
    let _ = Signal::CONT.send(service);
    // So many are not waited for one by one, nor is there time for what would come after them.
    let is_crowd = tree.family(service, &logger).len() > CROWD;
    match late.pressure {
        Pressure::Run if !is_crowd => strike(tree, &runs(tree, service), &logger, Signal::KILL),
        Pressure::Finish if !is_crowd => strike(tree, tree.children(service), &logger, Signal::KILL),
        Pressure::Logger => {
            let loggers: Vec<Pid> = logger.into_iter().collect();
            strike(tree, &loggers, &NOBODY, Signal::TERM)
        }
        Pressure::Run | Pressure::Finish | Pressure::Supervisor => {
            let mut victims = strike(tree, tree.children(service), &NOBODY, Signal::KILL);
            victims.extend(strike(tree, &[service], &NOBODY, Signal::KILL));
            victims
        }
    }
}

/// Tells leftovers to end, each of them once: who is told twice may take it for impatience. Who was just
/// born then, and is another program now, had its parent's ears, and is told again.
#[derive(Debug, Default)]
pub struct Leftovers {
    /// Under which names those that were just born.
    told: BTreeMap<Pid, Option<String>>,
    told_groups: BTreeSet<Pid>,
    named: BTreeSet<Pid>,
}

impl Leftovers {
    /// This group is told to end by somebody else.
    pub fn group_is_told(&mut self, leader: Pid) {
        self.told_groups.insert(leader);
    }

    /// Whoever stands for a service is named as such.
    pub fn leave_out<'a>(&mut self, children: impl Iterator<Item = &'a Child>) {
        let is_service = |kind: &Kind| !matches!(kind, Kind::Embryo | Kind::Stray);
        self.named.extend(children.filter(|child| is_service(&child.kind)).map(|child| child.pid));
    }

    /// TERM to what supervisors have for children that is neither a logger nor a control script:
    /// their services are down.
    pub fn end_strays(&mut self, supervisors: &[Pid]) {
        let tree = Tree::read();
        for supervisor in supervisors {
            let mut spared: BTreeSet<Pid> = logger_of(*supervisor).into_iter().collect();
            spared.extend(tree.children(*supervisor).iter().copied().filter(|pid| is_control_script(*pid)));
            let family = tree.children(*supervisor).iter().flat_map(|child| tree.family(*child, &spared));
            self.end(&tree, family);
        }
    }

    /// TERM to the children of init but these, and to theirs.
    pub fn end_adopted(&mut self, spare: &[Pid]) {
        let tree = Tree::read();
        let spare: BTreeSet<Pid> = spare.iter().copied().collect();
        let children = tree.children(nix::unistd::getpid());
        self.end(&tree, children.iter().flat_map(|child| tree.family(*child, &spare)));
    }

    /// A signal to whatever is left; says, of a KILL, whom it hit that was not named before.
    pub fn sweep(&mut self, signal: Signal) -> Vec<String> {
        // Names first, and few of them: afterwards they are gone, and nothing is to wait for them.
        let names = if signal == Signal::KILL { name_some(&mut self.named) } else { Vec::new() };
        let own = nix::unistd::getpid();
        let is_first = own == Pid::from_raw(1);
        let tree = if is_first && signal == Signal::KILL {
            None
        } else {
            Some(Tree::read()).filter(|tree| tree.is_complete() || !is_first)
        };
        match tree {
            Some(tree) if signal == Signal::KILL => {
                kill_all_below(&tree, own);
            }
            // Of a whole namespace, also those that were put into it from outside.
            Some(tree) if is_first => self.end(&tree, tree.all().filter(|pid| *pid != own)),
            Some(tree) => self.end(&tree, tree.family(own, &NOBODY).into_iter().filter(|pid| *pid != own)),
            None => {
                let everybody = Pid::from_raw(-1);
                // Whoever cannot be signalled is not there.
                let _ = signal.send(everybody);
                let _ = Signal::CONT.send(everybody);
            }
        }
        names
    }

    fn end(&mut self, tree: &Tree, family: impl IntoIterator<Item = Pid>) {
        for pid in family {
            let is_told = match self.told.get(&pid) {
                None => tree.group(pid).is_some_and(|group| self.told_groups.contains(&group)),
                Some(as_newborn) => as_newborn.as_deref().is_none_or(|name| tree.name(pid) == Some(name)),
            };
            if !is_told {
                self.told.insert(pid, tree.name(pid).filter(|_| tree.is_newborn(pid)).map(str::to_owned));
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

/// Kills every descendant. Whoever shares a group with one is one, or was when the tree was read:
/// only our own group holds others.
fn kill_all_below(tree: &Tree, own: Pid) {
    let family = tree.family(own, &NOBODY);
    // Who forks and dies, again and again, may be gone each time when the tree has been read. Its next
    // one is left to init, and found there at once.
    let adopted = procfs::own_children();
    let adopted_groups = adopted.iter().filter_map(|pid| Some(procfs::stat(*pid)?.group));
    let mut groups: BTreeSet<Pid> =
        family.iter().filter_map(|pid| tree.group(*pid)).chain(adopted_groups).collect();
    groups.remove(&nix::unistd::getpgrp());
    for group in groups {
        let _ = Signal::KILL.send_to_group(group);
    }
    for pid in family.into_iter().filter(|pid| *pid != own) {
        let _ = Signal::KILL.send(pid);
    }
}

/// Sends a signal to these processes and their families; names those of them that were alive.
fn strike(tree: &Tree, heads: &[Pid], spared: &BTreeSet<Pid>, signal: Signal) -> Vec<String> {
    let family: Vec<Pid> = heads.iter().flat_map(|head| tree.family(*head, spared)).collect();
    if signal == Signal::KILL {
        // A group ends as one: no member can be born in between. But it may reach further than
        // the family, if somebody in it is spared.
        let spared_groups: BTreeSet<Pid> =
            tree.groups_without(&family).chain([nix::unistd::getpgrp()]).collect();
        let groups: BTreeSet<Pid> = family.iter().filter_map(|pid| tree.group(*pid)).collect();
        for group in groups.difference(&spared_groups) {
            let _ = signal.send_to_group(*group);
        }
    }
    for pid in &family {
        let _ = signal.send(*pid);
        if signal != Signal::KILL {
            let _ = Signal::CONT.send(*pid);
        }
    }
    heads
        .iter()
        .filter(|head| !spared.contains(head) && tree.is_alive(**head))
        .map(|head| tree.describe(*head))
        .collect()
}

fn is_supervisor(pid: Pid) -> bool {
    super::census::supervised(&procfs::arguments(pid)).is_some()
}

/// The children of a runsv that are a `./run`, and not `./finish` or a control script: these have more
/// time.
fn runs(tree: &Tree, supervisor: Pid) -> Vec<Pid> {
    let children = tree.children(supervisor);
    let place = ServiceDir::at(procfs::path(supervisor, "cwd"));
    let recorded = status(&place)
        .and_then(|status| Some((status.state?, Pid::from_raw(i32::try_from(status.pid).ok()?))));
    match recorded {
        Some((State::Run, run)) if children.contains(&run) => vec![run],
        Some((State::Finish, finish)) if children.contains(&finish) => Vec::new(),
        // The rest of a group whose leader is dead belongs to it. A record that could not be written tells
        // nothing, and where nothing runs nobody is called so.
        other => {
            let group = other.filter(|(state, _)| *state == State::Run).map(|(_, run)| run);
            let is_run =
                |pid: &Pid| group.is_some() && tree.group(*pid) == group || is_script(*pid, b"./run");
            children.iter().copied().filter(is_run).collect()
        }
    }
}

/// Whether a process was started as this script, by itself or by its interpreter.
fn is_script(pid: Pid, script: &[u8]) -> bool {
    procfs::arguments(pid).iter().take(INTERPRETED).any(|argument| argument == script)
}

/// An interpreter, its one argument, and the script.
const INTERPRETED: usize = 3;

/// Whether a process was started as `control/BYTE`, by itself or by its interpreter.
fn is_control_script(pid: Pid) -> bool {
    procfs::arguments(pid).iter().any(|argument| argument.starts_with(b"control/"))
}

/// The log service's process of a runsv, one of its children. The record may be in the hands of a user
/// who controls the service: it only tells which of them.
fn logger_of(supervisor: Pid) -> Option<Pid> {
    let log = ServiceDir::at(procfs::path(supervisor, "cwd")).log();
    let status = status(&log).filter(|status| status.state != Some(State::Down))?;
    let logger = Pid::from_raw(i32::try_from(status.pid).ok()?);
    procfs::stat(logger).is_some_and(|stat| stat.parent == supervisor).then_some(logger)
}
