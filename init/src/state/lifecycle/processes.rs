//! State: the processes that init has started or adopted, from their start to their exit.

use std::time::Instant;

use sys::{Errno, ExitStatus, Pid};

use super::{Lifecycle, MainCommand};
use crate::state::events::OwnProgram;
use crate::state::exit_code::NOT_FOUND;
use crate::state::hook_run::HookRun;

impl Lifecycle {
    pub(super) fn started(&mut self, program: OwnProgram, pid: Pid) {
        self.is_childless = false;
        match program {
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
        if matches!(self.command, MainCommand::Up { pid: command, .. } if command == pid) {
            return Some(OwnProgram::Command);
        }
        let hook = self.hooks()?.running()?;
        (hook.pid == Some(pid)).then_some(OwnProgram::Hook)
    }

    pub(super) fn ended(&mut self, pid: Pid, ending: ExitStatus, now: Instant) {
        if let MainCommand::Up { pid: own, .. } = self.command
            && own == pid
        {
            self.command_ended(pid, ending, now);
        } else if let Some((hook, stage)) = self.ended_hook(pid) {
            self.hook_ended(&hook, stage, ending, None, now);
        }
    }
}
