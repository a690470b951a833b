//! State: hooks in the life of a container, each with its share of the time.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use sys::errno_text::phrase;
use sys::{Errno, ExitStatus, Pid, Signal};

use super::{Lifecycle, LifecyclePhase, code_of};
use crate::state::events::{HookStage, LifecycleAction, LogLevel};
use crate::state::exit_code::StopReason;
use crate::state::hook_run::{HookRun, RunningHook};
use crate::state::stop_budget::StopBudget;
use crate::state::text::seconds;

impl Lifecycle {
    /// Starts the next hook of this phase if it is due; returns whether all have run.
    pub(super) fn run_hooks(&mut self, now: Instant) -> bool {
        let limit = match (&self.phase, &self.stop) {
            (LifecyclePhase::Drain(_), Some(stop)) => Some(stop.at(stop.budget.drain)),
            (LifecyclePhase::Finish(_), Some(stop)) => Some(stop.at(stop.budget.end)),
            _ => None,
        };
        let reason = self.stop.as_ref().map(|stop| stop.reason.to_string());
        let Some(run) = self.hooks() else { return true };
        if let Some(path) = run.start(now) {
            let remaining = limit.map(|limit| limit.saturating_duration_since(now));
            self.request(LifecycleAction::StartHook { path, reason, remaining });
            return false;
        }
        run.is_over()
    }

    /// At this moment of the budget, ends the hook that runs and skips the others.
    pub(super) fn cut_hooks_at(&mut self, moment: impl Fn(&StopBudget) -> Duration, now: Instant) -> bool {
        let is_early = self.stop.as_ref().is_none_or(|stop| stop.at(moment(&stop.budget)) > now);
        if is_early || self.hooks().is_none_or(|run| !run.is_known() || run.is_over()) {
            return false;
        }
        if let Some((hook, stage)) = self.cut_hooks() {
            self.has_killed = true;
            self.log(
                LogLevel::Problem,
                format!("{}: its share of the grace is over: killed", hook.name(stage)),
            );
        }
        true
    }

    pub(super) fn cut_hooks(&mut self) -> Option<(RunningHook, HookStage)> {
        let run = self.hooks()?;
        let stage = run.stage();
        let running = run.cut()?;
        if let Some(pid) = running.pid {
            self.request(LifecycleAction::SignalGroup(pid, Signal::KILL));
        }
        Some((running, stage))
    }

    pub(super) fn hooks(&mut self) -> Option<&mut HookRun> {
        match &mut self.phase {
            LifecyclePhase::Boot(run) | LifecyclePhase::Drain(run) | LifecyclePhase::Finish(run) => Some(run),
            _ => None,
        }
    }

    pub(super) fn hooks_found(&mut self, stage: HookStage, hooks: Vec<PathBuf>) {
        let Some(stop) = &mut self.stop else { return };
        match (stage, &mut self.phase) {
            (HookStage::Finish, _) => {
                stop.budget = self.setup.budget(false, !hooks.is_empty());
                stop.finish_hooks = Some(hooks);
            }
            (HookStage::Drain, LifecyclePhase::Drain(run)) => {
                let has_finish = stop.finish_hooks.as_ref().is_some_and(|hooks| !hooks.is_empty());
                stop.has_drain = !hooks.is_empty();
                stop.budget = self.setup.budget(stop.has_drain, has_finish);
                run.found(hooks);
            }
            (HookStage::Start | HookStage::Drain, _) => {}
        }
    }

    pub(super) fn hook_ended(
        &mut self,
        hook: &RunningHook,
        stage: HookStage,
        ending: ExitStatus,
        why: Option<Errno>,
        now: Instant,
    ) {
        let name = hook.name(stage);
        let took = seconds(now.saturating_duration_since(hook.since));
        let code = why.map_or(ending.shell_code(), code_of);
        if code == 0 {
            self.log(LogLevel::Detail, format!("{name}: done after {took}"));
            return;
        }
        let how = match why {
            Some(why) => format!("unable to run: {}", phrase(why)),
            None => format!("failed with {ending} after {took}"),
        };
        if stage == HookStage::Start {
            self.log(LogLevel::Problem, format!("{name}: {how}"));
            self.begin_stop(StopReason::StartHook { name, code }, now);
        } else {
            self.log(LogLevel::Problem, format!("{name}: {how}; going on"));
        }
    }

    pub(super) fn ended_hook(&mut self, pid: Pid) -> Option<(RunningHook, HookStage)> {
        let run = self.hooks()?;
        let stage = run.stage();
        run.ended(pid).map(|hook| (hook, stage))
    }
}
