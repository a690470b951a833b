//! State: leftover processes are ended, and init exits.

use std::time::Instant;

use sys::{ExitStatus, Signal};

use super::{KILL_AGAIN, Lifecycle, LifecyclePhase, MainCommand, SweepState};
use crate::state::events::{HookStage, LifecycleAction, LogLevel};
use crate::state::exit_code::exit_code;
use crate::state::hook_run::HookRun;
use crate::state::text::{counted, listed, seconds};

impl Lifecycle {
    pub(super) fn begin_sweep(&mut self) -> Option<LifecyclePhase> {
        self.stop.as_ref()?;
        if !self.is_childless {
            self.request(LifecycleAction::Sweep(Signal::TERM));
        }
        Some(LifecyclePhase::Sweep(SweepState { is_last: false, kill_at: None }))
    }

    pub(super) fn sweep(&mut self, now: Instant) -> Option<LifecyclePhase> {
        let stop = self.stop.as_ref()?;
        if self.is_childless {
            let hooks = if self.requests >= 3 { Vec::new() } else { stop.finish_hooks.clone()? };
            return Some(LifecyclePhase::Finish(HookRun::of(HookStage::Finish, hooks)));
        }
        let LifecyclePhase::Sweep(sweep) = &mut self.phase else { return None };
        if stop.kill_at(*sweep) <= now {
            if sweep.kill_at.is_some() && stop.give_up() <= now {
                return Some(self.exit(now));
            }
            // When the next one follows is decided when this one is done: it may take long.
            sweep.kill_at = Some(stop.give_up().max(now));
            self.has_killed = true;
            self.stop_set.mark_killed();
            self.actions.push_back(LifecycleAction::Sweep(Signal::KILL));
        }
        None
    }

    pub(super) fn swept(&mut self, names: &[String], now: Instant) {
        if let (Some(stop), LifecyclePhase::Sweep(sweep)) = (&self.stop, &mut self.phase)
            && sweep.kill_at.is_some()
        {
            // Not at once: what was killed has to be reaped.
            sweep.kill_at = Some(stop.next_kill(now).max(now + KILL_AGAIN / 4));
        }
        if !names.is_empty() {
            self.log(LogLevel::Problem, format!("left behind, killed: {}", listed(names)));
        }
    }

    /// After the last hook. What the hooks have left behind is sent SIGTERM as well, if there is time. Init
    /// waits for the death of a hook that was killed: the kernel then has nothing more to take down than
    /// init.
    pub(super) fn sweep_again_or_exit(&mut self, now: Instant) -> LifecyclePhase {
        let Some(stop) = self.stop.as_mut().filter(|_| !self.is_childless) else { return self.exit(now) };
        stop.finish_hooks = Some(Vec::new());
        let is_late = stop.at(stop.budget.end) <= now;
        let kill_at = is_late.then(|| stop.next_kill(now));
        if !is_late {
            self.request(LifecycleAction::Sweep(Signal::TERM));
        }
        LifecyclePhase::Sweep(SweepState { is_last: true, kill_at })
    }

    pub(super) fn exit(&mut self, now: Instant) -> LifecyclePhase {
        let Some(stop) = &self.stop else { return LifecyclePhase::Over(0) };
        let took = now.saturating_duration_since(stop.began);
        let summary = self.stop_set.summary();
        let has_killed = self.has_killed || !summary.killed.is_empty() || !self.is_childless;
        let command = match self.command {
            MainCommand::Ended(ending) => Some(ending),
            MainCommand::Up { .. } => Some(ExitStatus::Killed { signal: Signal::KILL, core: false }),
            MainCommand::None | MainCommand::Due | MainCommand::Starting => None,
        };
        let code = exit_code(&stop.reason, command, self.stop_signal(), has_killed);
        let killed = match summary.killed.as_slice() {
            [] if has_killed => "no service killed, but others were".to_owned(),
            [] => "none killed".to_owned(),
            names => format!("{} killed: {}", names.len(), listed(names)),
        };
        let gone = counted(summary.gone, "service");
        let others: Vec<String> = self.services.occupied().map(ToOwned::to_owned).collect();
        let others = match others.as_slice() {
            [] => String::new(),
            names => format!("; not stopped, since another process supervises it: {}", listed(names)),
        };
        let line = format!("{gone} stopped in {}, {killed}{others}; exit {code}", seconds(took));
        let level = if has_killed { LogLevel::Problem } else { LogLevel::Info };
        if !self.is_childless {
            self.request(LifecycleAction::Sweep(Signal::KILL));
        }
        self.log(level, line);
        LifecyclePhase::Over(code)
    }
}
