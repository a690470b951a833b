//! Hands: making processes end, from asking a single one to killing whatever there is.

use fs_err::os::unix::fs::OpenOptionsExt;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use servicedir::{Command, ServiceDir, State};
use unix::{Pid, Signal, proc};

use super::census::status;
use super::tree::Tree;
use crate::machine::Pressure;

/// Nobody is spared.
const NOBODY: BTreeSet<Pid> = BTreeSet::new();

/// Tells an orphaned service to end, as its runsv would have done.
pub fn end_orphan(pid: Pid) {
    let place = proc::current_dir(pid).unwrap_or_default();
    let signal = fs_err::read_to_string(place.join("down-signal"))
        .ok()
        .and_then(|text| Signal::parse(text.trim()))
        .unwrap_or(Signal::TERM);
    let is_group = place.join("process-group").exists();
    for signal in [signal, Signal::CONT] {
        // Whoever is gone has nothing to be told any more; a group is only one if it leads it.
        if !is_group || signal.send_to_group(pid).is_err() {
            let _ = signal.send(pid);
        }
    }
}

/// Writes `x` to every control FIFO that a runsv reads.
pub fn end_all_by_fifo(directory: &Path) {
    let Ok(entries) = fs_err::read_dir(directory) else { return };
    for entry in entries.filter_map(Result::ok) {
        let fifo = fs_err::OpenOptions::new()
            .write(true)
            .custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits())
            .open(ServiceDir::at(entry.path()).control());
        if let Ok(mut fifo) = fifo {
            // A FIFO that is full has been told often enough.
            let _ = fifo.write_all(&[Command::Exit.byte()]);
        }
    }
}

/// Is hard on a late service; says whom it hit.
pub fn press(service: Pid, pressure: Pressure) -> Vec<String> {
    let tree = Tree::read();
    if !is_supervisor(service) {
        return strike(&tree, &[service], &NOBODY, Signal::KILL);
    }
    let logger: BTreeSet<Pid> = logger_of(service).into_iter().collect();
    let busy: Vec<Pid> = tree.children(service).iter().copied().filter(|pid| !logger.contains(pid)).collect();
    // Whatever it is told, a runsv that is stopped does not hear it.
    let _ = Signal::CONT.send(service);
    match pressure {
        Pressure::Run | Pressure::Finish => strike(&tree, &busy, &logger, Signal::KILL),
        Pressure::Logger => {
            let loggers: Vec<Pid> = logger.into_iter().collect();
            strike(&tree, &loggers, &NOBODY, Signal::TERM)
        }
        Pressure::Supervisor => {
            let mut victims = strike(&tree, tree.children(service), &NOBODY, Signal::KILL);
            victims.extend(strike(&tree, &[service], &NOBODY, Signal::KILL));
            victims
        }
    }
}

/// TERM to what is neither a service on its way down nor a logger.
pub fn end_strays(spare: &[Pid]) {
    let tree = Tree::read();
    for child in tree.children(nix::unistd::getpid()) {
        if !spare.contains(child) {
            strike(&tree, &[*child], &NOBODY, Signal::TERM);
        } else if is_supervisor(*child) {
            let logger: BTreeSet<Pid> = logger_of(*child).into_iter().collect();
            strike(&tree, tree.children(*child), &logger, Signal::TERM);
        }
    }
}

/// A signal to whatever is left; says, of a KILL, whom it hit that was not named before.
pub fn sweep(signal: Signal, named: &mut BTreeSet<Pid>) -> Vec<String> {
    let own = nix::unistd::getpid();
    let everybody = Pid::from_raw(-1);
    let is_first = own == Pid::from_raw(1);
    if is_first && signal == Signal::TERM {
        // Whoever cannot be signalled is not there.
        let _ = signal.send(everybody);
        let _ = Signal::CONT.send(everybody);
        return Vec::new();
    }
    let tree = Tree::read();
    let family: Vec<Pid> =
        tree.family(own, &NOBODY).into_iter().filter(|pid| *pid != own && tree.is_alive(*pid)).collect();
    if is_first {
        let _ = signal.send(everybody);
    } else {
        strike(&tree, tree.children(own), &NOBODY, signal);
    }
    if signal != Signal::KILL {
        return Vec::new();
    }
    family.into_iter().filter(|pid| named.insert(*pid)).map(|pid| tree.describe(pid)).collect()
}

/// Sends a signal to these processes and their families; names those of them that were alive.
fn strike(tree: &Tree, heads: &[Pid], spared: &BTreeSet<Pid>, signal: Signal) -> Vec<String> {
    let own_group = nix::unistd::getpgrp();
    for pid in heads.iter().flat_map(|head| tree.family(*head, spared)) {
        // A group whose leader is to end ends as one: no member can be born in between.
        if signal == Signal::KILL && tree.group(pid) == Some(pid) && pid != own_group && spared.is_empty() {
            let _ = signal.send_to_group(pid);
        }
        let _ = signal.send(pid);
        if signal != Signal::KILL {
            let _ = Signal::CONT.send(pid);
        }
    }
    heads
        .iter()
        .filter(|head| !spared.contains(head) && tree.is_alive(**head))
        .map(|head| tree.describe(*head))
        .collect()
}

fn is_supervisor(pid: Pid) -> bool {
    super::census::supervised(&proc::arguments(pid)).is_some()
}

/// The log service's process of a runsv.
fn logger_of(supervisor: Pid) -> Option<Pid> {
    let log = ServiceDir::at(proc::current_dir(supervisor)?).log();
    let status = status(&log).filter(|status| status.state != Some(State::Down) && status.pid != 0)?;
    i32::try_from(status.pid).ok().map(Pid::from_raw)
}
