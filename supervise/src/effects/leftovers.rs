//! Effects: what a service forked and abandoned, told from what others of the same runsv have.

use std::collections::VecDeque;

use sys::{Error, Pid, Signal, clock, procfs};

use super::{ChildPart, Effects};

/// What tells whose a process is that has lost its parents.
#[derive(Debug, Default)]
pub struct LeftoverOrigins {
    named: Vec<Pid>,
    /// Before `./run` was first started nothing was the service's own.
    first_run: Option<ForkTime>,
    /// The lives of the control scripts, in the order of their starts.
    control_scripts: VecDeque<ControlScriptLife>,
}

/// When a process was forked; within one tick the kernel's numbers tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForkTime {
    tick: u64,
    pid: Pid,
}

#[derive(Debug)]
struct ControlScriptLife {
    birth: ForkTime,
    /// Until when what is forked may be its own; `None` while it runs, as those of two lives of a
    /// service may at the same time.
    until: Option<ForkTime>,
}

/// How many lives of control scripts are told apart.
const REMEMBERED: usize = 64;

/// For how long, in ticks, what a script has left may go on to fork: a daemon does so twice.
const AFTERMATH: u64 = 100;

impl LeftoverOrigins {
    /// `tick` was a moment before `./run` was forked.
    pub(super) fn run_started(&mut self, tick: u64, pid: Pid) {
        let run = ForkTime { tick, pid };
        self.first_run.get_or_insert(run);
        // What control/u has left had its time, or ./run would have none to itself.
        for until in self.control_scripts.iter_mut().filter_map(|script| script.until.as_mut()) {
            *until = run.min(*until);
        }
    }

    /// `tick` was a moment before the control script was forked.
    pub(super) fn control_script_started(&mut self, tick: u64, pid: Pid) {
        if self.control_scripts.len() == REMEMBERED
            && let Some(oldest) = self.control_scripts.pop_front()
            && let Some(next) = self.control_scripts.front_mut()
        {
            next.birth = oldest.birth;
        }
        self.control_scripts.push_back(ControlScriptLife { birth: ForkTime { tick, pid }, until: None });
    }

    pub(super) fn child_exited(&mut self, pid: Pid) {
        self.named.retain(|leftover| *leftover != pid);
        let is_it = |script: &&mut ControlScriptLife| script.birth.pid == pid && script.until.is_none();
        if let Some(script) = self.control_scripts.iter_mut().rev().find(is_it) {
            script.until = Some(ForkTime { tick: clock::ticks().saturating_add(AFTERMATH), pid });
        }
    }

    /// Whether a process may be what a control script, or somebody before `./run`, has left.
    fn may_be_anothers(&self, leftover: ForkTime) -> bool {
        self.first_run.is_some_and(|run| leftover < run)
            || self
                .control_scripts
                .iter()
                .any(|script| script.birth < leftover && script.until.is_none_or(|until| leftover < until))
    }
}

impl Effects {
    /// The children of this process that nobody here started, and that their looks do not give away
    /// as the log service's.
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

    /// What the log service starts reads the log, or works in its directory, unless it takes care not
    /// to.
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

    /// With `process-group` what has left the group, but not this session's business, is ended too,
    /// with all that it has started. What may be anybody else's is spared.
    pub(super) fn end_leftovers(&mut self) {
        let own_session = nix::unistd::getsid(None).ok();
        for pid in self.leftovers() {
            let Some(stat) = procfs::stat(pid) else { continue };
            if Some(stat.session) == own_session
                || self.leftovers.may_be_anothers(ForkTime { tick: stat.started, pid })
            {
                continue;
            }
            for member in with_descendants(pid) {
                let _ = Signal::KILL.send(member);
            }
        }
    }
}

/// The most of one family that is ended: who forks faster than it is counted must not be counted
/// for ever.
const FAMILY: usize = 4096;

/// A process and all that it has started, parents first, who might replace a child that is killed.
fn with_descendants(pid: Pid) -> Vec<Pid> {
    let mut family = vec![pid];
    let mut looked_at = 0;
    while let Some(member) = family.get(looked_at)
        && family.len() < FAMILY
    {
        family.extend(procfs::children(*member));
        looked_at += 1;
    }
    family
}

#[cfg(test)]
mod tests {
    use super::*;

    fn birth(tick: u64, pid: i32) -> ForkTime {
        ForkTime { tick, pid: Pid::from_raw(pid) }
    }

    /// A service whose `./run` was started at 1000, and that was told something at 2000.
    fn told() -> LeftoverOrigins {
        let mut leftovers = LeftoverOrigins::default();
        leftovers.run_started(1000, Pid::from_raw(5));
        leftovers.control_script_started(2000, Pid::from_raw(7));
        leftovers
    }

    #[test]
    fn what_was_forked_in_the_life_of_a_control_script_is_not_the_services() {
        let mut leftovers = told();
        for spared in [birth(999, 9), birth(1000, 4), birth(2000, 8), birth(9000, 1)] {
            assert!(leftovers.may_be_anothers(spared), "{spared:?}");
        }
        leftovers.control_scripts[0].until = Some(birth(2100, 7));
        assert!(leftovers.may_be_anothers(birth(2099, 9)));
        for ended in [birth(1000, 6), birth(1999, 9), birth(2000, 6), birth(2100, 8), birth(9000, 9)] {
            assert!(!leftovers.may_be_anothers(ended), "{ended:?}");
        }
    }

    #[test]
    fn what_run_forks_at_once_is_its_own_though_a_control_script_came_before() {
        let mut leftovers = told();
        leftovers.control_scripts[0].until = Some(birth(2100, 7));
        leftovers.run_started(2010, Pid::from_raw(20));
        assert!(leftovers.may_be_anothers(birth(2009, 8)));
        assert!(!leftovers.may_be_anothers(birth(2010, 21)));
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
        assert!(leftovers.may_be_anothers(birth(2001, 9)));
        assert!(!leftovers.may_be_anothers(birth(1999, 9)));
    }
}
