//! Machine: the hooks of a stage in the container's life, each with its share of the time.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use sys::errno_text::phrase;
use sys::{Errno, ExitStatus, Pid, Signal};

use super::{Container, Phase, code_of};
use crate::machine::hook_run::{HookRun, Running};
use crate::machine::plan::Plan;
use crate::machine::verdict::Reason;
use crate::machine::vocabulary::{Action, Stage, Weight};
use crate::machine::words::seconds;

impl Container {
    /// Starts the next hook of this phase if it is time; says whether all have run.
    pub(super) fn run_hooks(&mut self, now: Instant) -> bool {
        let limit = match (&self.phase, &self.stop) {
            (Phase::Drain(_), Some(stop)) => Some(stop.at(stop.plan.drain)),
            (Phase::Finish(_), Some(stop)) => Some(stop.at(stop.plan.end)),
            _ => None,
        };
        let reason = self.stop.as_ref().map(|stop| stop.reason.to_string());
        let Some(run) = self.hooks() else { return true };
        if let Some(path) = run.start(now) {
            let remaining = limit.map(|limit| limit.saturating_duration_since(now));
            self.ask(Action::StartHook { path, reason, remaining });
            return false;
        }
        run.is_over()
    }

    /// When this moment of the plan has come, ends the hook that runs, and skips the others.
    pub(super) fn cut_hooks_at(&mut self, moment: impl Fn(&Plan) -> Duration, now: Instant) -> bool {
        let is_early = self.stop.as_ref().is_none_or(|stop| stop.at(moment(&stop.plan)) > now);
        if is_early || self.hooks().is_none_or(|run| !run.is_known() || run.is_over()) {
            return false;
        }
        if let Some((hook, stage)) = self.cut_hooks() {
            self.has_killed = true;
            self.say(
                Weight::Problem,
                format!("{}: its share of the grace is over: killed", hook.name(stage)),
            );
        }
        true
    }

    pub(super) fn cut_hooks(&mut self) -> Option<(Running, Stage)> {
        let run = self.hooks()?;
        let stage = run.stage();
        let running = run.cut()?;
        if let Some(pid) = running.pid {
            self.ask(Action::SignalGroup(pid, Signal::KILL));
        }
        Some((running, stage))
    }

    pub(super) fn hooks(&mut self) -> Option<&mut HookRun> {
        match &mut self.phase {
            Phase::Boot(run) | Phase::Drain(run) | Phase::Finish(run) => Some(run),
            _ => None,
        }
    }

    pub(super) fn hooks_found(&mut self, stage: Stage, hooks: Vec<PathBuf>) {
        let Some(stop) = &mut self.stop else { return };
        match (stage, &mut self.phase) {
            (Stage::Finish, _) => {
                stop.plan = Plan::of(self.setup.grace, false, !hooks.is_empty());
                stop.finish_hooks = Some(hooks);
            }
            (Stage::Drain, Phase::Drain(run)) => {
                let has_finish = stop.finish_hooks.as_ref().is_some_and(|hooks| !hooks.is_empty());
                stop.plan = Plan::of(self.setup.grace, !hooks.is_empty(), has_finish);
                run.found(hooks);
            }
            (Stage::Start | Stage::Drain, _) => {}
        }
    }

    pub(super) fn hook_ended(
        &mut self,
        hook: &Running,
        stage: Stage,
        ending: ExitStatus,
        why: Option<Errno>,
        now: Instant,
    ) {
        let name = hook.name(stage);
        let took = seconds(now.saturating_duration_since(hook.since));
        let code = why.map_or(ending.shell_code(), code_of);
        if code == 0 {
            self.say(Weight::Detail, format!("{name}: done after {took}"));
            return;
        }
        let how = match why {
            Some(why) => format!("unable to run: {}", phrase(why)),
            None => format!("failed with {ending} after {took}"),
        };
        if stage == Stage::Start {
            self.say(Weight::Problem, format!("{name}: {how}"));
            self.begin_stop(Reason::StartHook { name, code }, now);
        } else {
            self.say(Weight::Problem, format!("{name}: {how}; going on"));
        }
    }

    pub(super) fn ended_hook(&mut self, pid: Pid) -> Option<(Running, Stage)> {
        let run = self.hooks()?;
        let stage = run.stage();
        run.ended(pid).map(|hook| (hook, stage))
    }
}
