//! Hands: what a service forked and abandoned, told from what others of the same runsv have.

use std::collections::VecDeque;

use unix::{Failure, Pid, Signal, clock, proc};

use super::{Hands, Part};

/// What tells whose a process is that has lost its parents.
#[derive(Debug, Default)]
pub struct Strays {
    named: Vec<Pid>,
    /// Before `./run` was started nothing was its own.
    run: Option<Birth>,
    /// The lives of the control scripts since, the last of which may go on.
    hooks: VecDeque<HookLife>,
}

/// When a process was forked; within one tick the kernel's numbers tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Birth {
    tick: u64,
    pid: Pid,
}

#[derive(Debug)]
struct HookLife {
    birth: Birth,
    ended: Option<u64>,
}

/// How many control scripts are remembered.
const REMEMBERED: usize = 64;

/// For how long, in ticks, what a script has left may go on to fork: a daemon does so twice.
const AFTERMATH: u64 = 100;

impl Strays {
    /// `tick` was a moment before `./run` was forked.
    pub(super) fn run_started(&mut self, tick: u64, pid: Pid) {
        self.run = Some(Birth { tick, pid });
        self.hooks.retain(|hook| hook.ended.is_none());
    }

    /// `tick` was a moment before the control script was forked.
    pub(super) fn hook_started(&mut self, tick: u64, pid: Pid) {
        if self.hooks.len() == REMEMBERED {
            self.hooks.pop_front();
        }
        self.hooks.push_back(HookLife { birth: Birth { tick, pid }, ended: None });
    }

    pub(super) fn child_ended(&mut self, pid: Pid) {
        self.named.retain(|stray| *stray != pid);
        for hook in self.hooks.iter_mut().filter(|hook| hook.birth.pid == pid && hook.ended.is_none()) {
            hook.ended = Some(clock::ticks());
        }
    }

    /// Whether a process may be what a control script, or somebody before `./run`, has left.
    fn may_be_anothers(&self, stray: Birth) -> bool {
        self.run.is_some_and(|run| stray < run)
            || self.hooks.iter().any(|hook| {
                let is_over = hook.ended.is_some_and(|end| end.saturating_add(AFTERMATH) < stray.tick);
                hook.birth < stray && !is_over
            })
    }
}

impl Hands {
    /// The children of this process that nobody here started, and that their looks do not give away
    /// as the log service's.
    fn strays(&self) -> Vec<Pid> {
        proc::own_children()
            .into_iter()
            .filter(|pid| !self.children.iter().any(|(child, _)| child == pid))
            .filter(|pid| !proc::is_ending(*pid) && !self.is_of_log(*pid))
            .collect()
    }

    /// What the log service starts reads the log, or works in its directory, unless it takes care not
    /// to.
    fn is_of_log(&self, pid: Pid) -> bool {
        let Some(pipe) = &self.log_pipe else { return false };
        let log = self.children.iter().find(|(_, part)| *part == Part::LogRun).map(|(pid, _)| *pid);
        proc::reads_pipe(pid, pipe.inode())
            || (log.is_some() && proc::stat(pid).map(|stat| stat.session) == log)
            || proc::current_dir(pid)
                .is_some_and(|dir| fs_err::canonicalize(self.main.log().path()).is_ok_and(|log| log == dir))
    }

    pub(super) fn name_strays(&mut self) {
        let strays = self.strays();
        let fresh: Vec<String> = strays
            .iter()
            .filter(|pid| !self.strays.named.contains(pid))
            .map(|pid| proc::describe(*pid))
            .collect();
        if !fresh.is_empty() {
            let text = format!("the service is down, but has left behind: {}", fresh.join(", "));
            self.reporter.warn(&Failure::plain(text));
        }
        self.strays.named = strays;
    }

    /// With `process-group` what has left the group, but not this session's business, is ended too,
    /// with all that it has started. What may be anybody else's is spared.
    pub(super) fn end_strays(&mut self) {
        let own_session = nix::unistd::getsid(None).ok();
        for pid in self.strays() {
            let Some(stat) = proc::stat(pid) else { continue };
            if Some(stat.session) == own_session
                || self.strays.may_be_anothers(Birth { tick: stat.started, pid })
            {
                continue;
            }
            for member in with_descendants(pid) {
                let _ = Signal::KILL.send(member);
            }
        }
    }
}

/// A process and all that it has started, parents first, who might replace a child that is killed.
fn with_descendants(pid: Pid) -> Vec<Pid> {
    let mut family = vec![pid];
    let mut looked_at = 0;
    while let Some(member) = family.get(looked_at) {
        family.extend(proc::children(*member));
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

    #[test]
    fn what_was_forked_in_the_life_of_a_control_script_is_not_the_services() {
        let hook = |birth, ended| HookLife { birth, ended };
        let strays = Strays {
            named: Vec::new(),
            run: Some(birth(1000, 5)),
            hooks: [hook(birth(2000, 7), Some(2010)), hook(birth(3000, 9), None)].into(),
        };
        for spared in
            [birth(999, 9), birth(1000, 4), birth(2000, 8), birth(2010 + AFTERMATH, 8), birth(3000, 10)]
        {
            assert!(strays.may_be_anothers(spared), "{spared:?}");
        }
        for ended in [birth(1000, 6), birth(2000, 6), birth(2011 + AFTERMATH, 8), birth(3000, 8)] {
            assert!(!strays.may_be_anothers(ended), "{ended:?}");
        }
    }
}
