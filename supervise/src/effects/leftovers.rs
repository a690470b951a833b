//! Effects: finds, names and ends leftovers: processes that a service forked and abandoned.

use std::collections::VecDeque;

use sys::{Error, Pid, Signal, clock, procfs};

use super::{ChildPart, Effects};

/// What tells a leftover of the service from one of a control script, when both have lost their parents.
#[derive(Debug, Default)]
pub struct LeftoverOrigins {
    named: Vec<Pid>,
    /// A process that is older than the first `./run` is no leftover of the service.
    first_run: Option<ForkTime>,
    /// The control scripts, in the order of their starts.
    control_scripts: VecDeque<ControlScriptLife>,
}

/// When a process was forked; within one clock tick the process id decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForkTime {
    tick: u64,
    pid: Pid,
}

#[derive(Debug)]
struct ControlScriptLife {
    forked: ForkTime,
    /// A process that was forked before this may be the script's. `None` while the script runs; scripts
    /// for two lives of a service may run at the same time.
    until: Option<ForkTime>,
}

/// How many control scripts are told apart.
const REMEMBERED: usize = 64;

/// For how long, in clock ticks, a process that a script has left may go on to fork: a daemon forks twice.
const AFTERMATH: u64 = 100;

impl LeftoverOrigins {
    /// `tick` is the time just before `./run` was forked.
    pub(super) fn run_started(&mut self, tick: u64, pid: Pid) {
        let run = ForkTime { tick, pid };
        self.first_run.get_or_insert(run);
        // control/u ran just before: without this cut every process of ./run could be control/u's.
        for until in self.control_scripts.iter_mut().filter_map(|script| script.until.as_mut()) {
            *until = run.min(*until);
        }
    }

    /// `tick` is the time just before the control script was forked.
    pub(super) fn control_script_started(&mut self, tick: u64, pid: Pid) {
        if self.control_scripts.len() == REMEMBERED
            && let Some(oldest) = self.control_scripts.pop_front()
            && let Some(next) = self.control_scripts.front_mut()
        {
            next.forked = oldest.forked;
        }
        self.control_scripts.push_back(ControlScriptLife { forked: ForkTime { tick, pid }, until: None });
    }

    pub(super) fn child_exited(&mut self, pid: Pid) {
        self.named.retain(|leftover| *leftover != pid);
        let is_it = |script: &&mut ControlScriptLife| script.forked.pid == pid && script.until.is_none();
        if let Some(script) = self.control_scripts.iter_mut().rev().find(is_it) {
            script.until = Some(ForkTime { tick: clock::ticks().saturating_add(AFTERMATH), pid });
        }
    }

    /// Whether a control script, or a process older than the first `./run`, may have left this process.
    fn may_be_of_another(&self, leftover: ForkTime) -> bool {
        self.first_run.is_some_and(|run| leftover < run)
            || self
                .control_scripts
                .iter()
                .any(|script| script.forked < leftover && script.until.is_none_or(|until| leftover < until))
    }
}

impl Effects {
    /// The children of this process that were not started here, less those that are recognized as the
    /// log service's.
    fn leftovers(&self) -> Vec<Pid> {
        if self.hosting.is_shared {
            return Vec::new();
        }
        procfs::own_children()
            .into_iter()
            .filter(|pid| {
                !self.children.iter().any(|(child, part)| child == pid && *part != ChildPart::Abandoned)
            })
            .filter(|pid| !procfs::is_ending(*pid) && !self.is_of_log(*pid))
            .collect()
    }

    /// Whether a process reads the log pipe, is in the log service's session, or works in its directory.
    fn is_of_log(&self, pid: Pid) -> bool {
        let Some(pipe) = &self.log_pipe else { return false };
        let log = self.children.iter().find(|(_, part)| *part == ChildPart::LogRun).map(|(pid, _)| *pid);
        procfs::reads_pipe(pid, pipe.inode())
            || (log.is_some() && procfs::stat(pid).map(|stat| stat.session) == log)
            || procfs::current_dir(pid)
                .is_some_and(|dir| fs_err::canonicalize(self.main.log().path()).is_ok_and(|log| log == dir))
    }

    pub(super) fn name_leftovers(&mut self) {
        let leftovers = self.leftovers();
        let fresh: Vec<String> = leftovers
            .iter()
            .filter(|pid| !self.leftovers.named.contains(pid))
            .map(|pid| procfs::describe(*pid))
            .collect();
        if !fresh.is_empty() {
            let text = format!("the service is down, but has left behind: {}", fresh.join(", "));
            self.logger.warn(&Error::plain(text));
        }
        self.leftovers.named = leftovers;
    }

    /// With `process-group`, kills the leftovers outside the group, with their descendants. A process
    /// that may belong to a control script, or that is in the supervisor's own session, is spared.
    pub(super) fn end_leftovers(&mut self) {
        let own_session = nix::unistd::getsid(None).ok();
        for pid in self.leftovers() {
            let Some(stat) = procfs::stat(pid) else { continue };
            if Some(stat.session) == own_session
                || self.leftovers.may_be_of_another(ForkTime { tick: stat.started, pid })
            {
                continue;
            }
            for member in with_descendants(pid) {
                let _ = Signal::KILL.send(member);
            }
        }
    }
}

/// How many descendants of one leftover are ended at most: a process that forks faster than it is counted
/// must not hold up the supervisor.
const FAMILY: usize = 4096;

/// A process and its descendants, parents first: a parent might replace a child that is killed.
fn with_descendants(pid: Pid) -> Vec<Pid> {
    let mut family = vec![pid];
    let mut visited = 0;
    while let Some(member) = family.get(visited)
        && family.len() < FAMILY
    {
        family.extend(procfs::children(*member));
        visited += 1;
    }
    family
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forked(tick: u64, pid: i32) -> ForkTime {
        ForkTime { tick, pid: Pid::from_raw(pid) }
    }

    /// A service with a `./run` that was started at 1000, and a control script that was started at 2000.
    fn told() -> LeftoverOrigins {
        let mut leftovers = LeftoverOrigins::default();
        leftovers.run_started(1000, Pid::from_raw(5));
        leftovers.control_script_started(2000, Pid::from_raw(7));
        leftovers
    }

    #[test]
    fn what_was_forked_in_the_life_of_a_control_script_is_not_the_services() {
        let mut leftovers = told();
        for spared in [forked(999, 9), forked(1000, 4), forked(2000, 8), forked(9000, 1)] {
            assert!(leftovers.may_be_of_another(spared), "{spared:?}");
        }
        leftovers.control_scripts[0].until = Some(forked(2100, 7));
        assert!(leftovers.may_be_of_another(forked(2099, 9)));
        for ended in [forked(1000, 6), forked(1999, 9), forked(2000, 6), forked(2100, 8), forked(9000, 9)] {
            assert!(!leftovers.may_be_of_another(ended), "{ended:?}");
        }
    }

    #[test]
    fn what_run_forks_at_once_is_its_own_though_a_control_script_came_before() {
        let mut leftovers = told();
        leftovers.control_scripts[0].until = Some(forked(2100, 7));
        leftovers.run_started(2010, Pid::from_raw(20));
        assert!(leftovers.may_be_of_another(forked(2009, 8)));
        assert!(!leftovers.may_be_of_another(forked(2010, 21)));
    }

    #[test]
    fn one_control_script_may_outlive_another() {
        let mut leftovers = told();
        leftovers.control_script_started(2001, Pid::from_raw(17));
        leftovers.child_exited(Pid::from_raw(7));
        assert!(leftovers.control_scripts[0].until.is_some() && leftovers.control_scripts[1].until.is_none());
        leftovers.child_exited(Pid::from_raw(17));
        assert!(leftovers.control_scripts.iter().all(|script| script.until.is_some()));
    }

    #[test]
    fn of_many_control_scripts_the_oldest_are_taken_together() {
        let mut leftovers = told();
        for number in 0..1000 {
            leftovers.child_exited(Pid::from_raw(7 + number));
            leftovers.control_script_started(3000, Pid::from_raw(8 + number));
        }
        assert_eq!(leftovers.control_scripts.len(), REMEMBERED);
        assert!(leftovers.may_be_of_another(forked(2001, 9)));
        assert!(!leftovers.may_be_of_another(forked(1999, 9)));
    }
}
