//! State: the processes that init has started or adopted, from their start to their exit.

use std::time::Instant;

use sys::errno_text::phrase;
use sys::{Errno, ExitStatus, Pid};

use super::{ChildList, Lifecycle, MainCommand};
use crate::state::events::{LifecycleAction, LogLevel, OwnProgram};
use crate::state::exit_code::NOT_FOUND;
use crate::state::hook_run::HookRun;
use crate::state::stop_set::ExitReport;

impl Lifecycle {
    pub(super) fn started(&mut self, program: OwnProgram, pid: Pid) {
        self.is_childless = false;
        match program {
            OwnProgram::Runsvdir => self.runsvdir.started(pid),
            OwnProgram::Command => {
                self.command = MainCommand::Up { pid, is_signalled: false, is_killed: false }
            }
            OwnProgram::Hook => {
                if let Some(run) = self.hooks() {
                    run.started(pid);
                }
            }
        }
    }

    pub(super) fn not_started(&mut self, program: OwnProgram, why: Errno, now: Instant) {
        match program {
            OwnProgram::Runsvdir => {
                self.runsvdir.ended();
                self.log(LogLevel::Warning, format!("unable to start runsvdir: {}", phrase(why)));
            }
            OwnProgram::Command => self.no_command(why, now),
            OwnProgram::Hook => {
                let stage = self.hooks().map(|run| run.stage());
                if let (Some(hook), Some(stage)) = (self.hooks().and_then(HookRun::failed), stage) {
                    self.hook_ended(&hook, stage, ExitStatus::Exited(NOT_FOUND), Some(why), now);
                }
            }
        }
    }

    /// Which program of init this process is.
    pub(super) fn own_program(&mut self, pid: Pid) -> Option<OwnProgram> {
        if self.own_processes().contains(&pid) {
            return Some(if self.runsvdir.pid() == Some(pid) {
                OwnProgram::Runsvdir
            } else {
                OwnProgram::Command
            });
        }
        let hook = self.hooks()?.running()?;
        (hook.pid == Some(pid)).then_some(OwnProgram::Hook)
    }

    pub(super) fn ended(&mut self, pid: Pid, ending: ExitStatus, now: Instant) {
        if let MainCommand::Up { pid: own, .. } = self.command
            && own == pid
        {
            self.command_ended(pid, ending, now);
        } else if self.runsvdir.pid() == Some(pid) {
            self.runsvdir.ended();
            if self.stop.as_ref().is_some_and(|stop| stop.child_list == ChildList::Impossible) {
                // A runsv that was just starting has a FIFO by now, or soon.
                self.request(LifecycleAction::ExitAllByFifo);
            } else if let Some(stop) = self.stop.as_mut().filter(|stop| stop.child_list != ChildList::Unknown)
            {
                // Its children are children of init only now; most are known.
                let is_any_known = !self.stop_set.is_empty();
                stop.child_list = ChildList::Stale { list_at: is_any_known.then(|| now + stop.list_pause) };
            }
            if self.is_serving() {
                self.log(LogLevel::Warning, format!("runsvdir has ended: {ending}; starting it again"));
            }
        } else if let Some((hook, stage)) = self.ended_hook(pid) {
            self.hook_ended(&hook, stage, ending, None, now);
        } else {
            match self.stop_set.ended(pid, ending, now) {
                Some(ExitReport::Line(level, line)) => self.log(level, line),
                Some(ExitReport::ReadEnd(name)) => self.request(LifecycleAction::ReadServiceEnd(pid, name)),
                None => {}
            }
            self.list_again_soon(now);
        }
    }
}
