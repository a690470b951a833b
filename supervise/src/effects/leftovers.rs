//! Effects: what a service forked and abandoned, told from what others of the same runsv have.

use std::collections::VecDeque;

use sys::{Error, Pid, Signal, clock, procfs};

use super::{Effects, Part};

/// What tells whose a process is that has lost its parents.
#[derive(Debug, Default)]
pub struct Leftovers {
    named: Vec<Pid>,
    /// Before `./run` was first started nothing was the service's own.
    first_run: Option<Birth>,
    /// The lives of the control scripts, in the order of their starts.
    hooks: VecDeque<ControlScriptLife>,
}

/// When a process was forked; within one tick the kernel's numbers tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Birth {
    tick: u64,
    pid: Pid,
}

#[derive(Debug)]
struct ControlScriptLife {
    birth: Birth,
    /// Until when what is forked may be its own; `None` while it runs, as those of two lives of a
    /// service may at the same time.
    until: Option<Birth>,
}

/// How many lives of control scripts are told apart.
const REMEMBERED: usize = 64;

/// For how long, in ticks, what a script has left may go on to fork: a daemon does so twice.
const AFTERMATH: u64 = 100;

impl Leftovers {
    /// `tick` was a moment before `./run` was forked.
    pub(super) fn run_started(&mut self, tick: u64, pid: Pid) {
        let run = Birth { tick, pid };
        self.first_run.get_or_insert(run);
        // What control/u has left had its time, or ./run would have none to itself.
        for until in self.hooks.iter_mut().filter_map(|hook| hook.until.as_mut()) {
            *until = run.min(*until);
        }
    }

    /// `tick` was a moment before the control script was forked.
    pub(super) fn hook_started(&mut self, tick: u64, pid: Pid) {
        if self.hooks.len() == REMEMBERED
            && let Some(oldest) = self.hooks.pop_front()
            && let Some(next) = self.hooks.front_mut()
        {
            next.birth = oldest.birth;
        }
        self.hooks.push_back(ControlScriptLife { birth: Birth { tick, pid }, until: None });
    }

    pub(super) fn child_ended(&mut self, pid: Pid) {
        self.named.retain(|stray| *stray != pid);
        let is_it = |hook: &&mut ControlScriptLife| hook.birth.pid == pid && hook.until.is_none();
        if let Some(hook) = self.hooks.iter_mut().rev().find(is_it) {
            hook.until = Some(Birth { tick: clock::ticks().saturating_add(AFTERMATH), pid });
        }
    }

    /// Whether a process may be what a control script, or somebody before `./run`, has left.
    fn may_be_anothers(&self, stray: Birth) -> bool {
        self.first_run.is_some_and(|run| stray < run)
            || self
                .hooks
                .iter()
                .any(|hook| hook.birth < stray && hook.until.is_none_or(|until| stray < until))
    }
}

impl Effects {
    /// The children of this process that nobody here started, and that their looks do not give away
    /// as the log service's.
    fn leftovers(&self) -> Vec<Pid> {
        procfs::own_children()
            .into_iter()
            .filter(|pid| !self.children.iter().any(|(child, _)| child == pid))
            .filter(|pid| !procfs::is_ending(*pid) && !self.is_of_log(*pid))
            .collect()
    }

    /// What the log service starts reads the log, or works in its directory, unless it takes care not
    /// to.
    fn is_of_log(&self, pid: Pid) -> bool {
        let Some(pipe) = &self.log_pipe else { return false };
        let log = self.children.iter().find(|(_, part)| *part == Part::LogRun).map(|(pid, _)| *pid);
        procfs::reads_pipe(pid, pipe.inode())
            || (log.is_some() && procfs::stat(pid).map(|stat| stat.session) == log)
            || procfs::current_dir(pid)
                .is_some_and(|dir| fs_err::canonicalize(self.main.log().path()).is_ok_and(|log| log == dir))
    }

    pub(super) fn name_strays(&mut self) {
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
    pub(super) fn end_strays(&mut self) {
        let own_session = nix::unistd::getsid(None).ok();
        for pid in self.leftovers() {
            let Some(stat) = procfs::stat(pid) else { continue };
            if Some(stat.session) == own_session
                || self.leftovers.may_be_anothers(Birth { tick: stat.started, pid })
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

    fn birth(tick: u64, pid: i32) -> Birth {
        Birth { tick, pid: Pid::from_raw(pid) }
    }

    /// A service whose `./run` was started at 1000, and that was told something at 2000.
    fn told() -> Leftovers {
        let mut leftovers = Leftovers::default();
        leftovers.run_started(1000, Pid::from_raw(5));
        leftovers.hook_started(2000, Pid::from_raw(7));
        leftovers
    }

    #[test]
    fn what_was_forked_in_the_life_of_a_control_script_is_not_the_services() {
        let mut leftovers = told();
        for spared in [birth(999, 9), birth(1000, 4), birth(2000, 8), birth(9000, 1)] {
            assert!(leftovers.may_be_anothers(spared), "{spared:?}");
        }
        leftovers.hooks[0].until = Some(birth(2100, 7));
        assert!(leftovers.may_be_anothers(birth(2099, 9)));
        for ended in [birth(1000, 6), birth(1999, 9), birth(2000, 6), birth(2100, 8), birth(9000, 9)] {
            assert!(!leftovers.may_be_anothers(ended), "{ended:?}");
        }
    }

    #[test]
    fn what_run_forks_at_once_is_its_own_though_a_control_script_came_before() {
        let mut leftovers = told();
        leftovers.hooks[0].until = Some(birth(2100, 7));
        leftovers.run_started(2010, Pid::from_raw(20));
        assert!(leftovers.may_be_anothers(birth(2009, 8)));
        assert!(!leftovers.may_be_anothers(birth(2010, 21)));
    }

    #[test]
    fn one_control_script_may_outlive_another() {
        let mut leftovers = told();
        leftovers.hook_started(2001, Pid::from_raw(17));
        leftovers.child_ended(Pid::from_raw(7));
        assert!(leftovers.hooks[0].until.is_some() && leftovers.hooks[1].until.is_none());
        leftovers.child_ended(Pid::from_raw(17));
        assert!(leftovers.hooks.iter().all(|hook| hook.until.is_some()));
    }

    #[test]
    fn of_many_control_scripts_the_oldest_are_taken_together() {
        let mut leftovers = told();
        for number in 0..1000 {
            leftovers.child_ended(Pid::from_raw(7 + number));
            leftovers.hook_started(3000, Pid::from_raw(8 + number));
        }
        assert_eq!(leftovers.hooks.len(), REMEMBERED);
        assert!(leftovers.may_be_anothers(birth(2001, 9)));
        assert!(!leftovers.may_be_anothers(birth(1999, 9)));
    }
}
