//! Machine: whatever is left goes, and init leaves with its exit code.

use std::time::Instant;

use sys::{ExitStatus, Signal};

use super::{Command, Container, Phase, Sweep};
use crate::machine::hook_run::HookRun;
use crate::machine::verdict::exit_code;
use crate::machine::vocabulary::{Action, Stage, Weight};
use crate::machine::words::{counted, listed, seconds};

impl Container {
    pub(super) fn begin_sweep(&mut self) -> Option<Phase> {
        self.stop.as_ref()?;
        if !self.is_childless {
            self.ask(Action::Sweep(Signal::TERM));
        }
        Some(Phase::Sweep(Sweep { is_last: false, kill_at: None }))
    }

    pub(super) fn sweep(&mut self, now: Instant) -> Option<Phase> {
        let stop = self.stop.as_ref()?;
        if self.is_childless {
            let hooks = if self.requests >= 3 { Vec::new() } else { stop.finish_hooks.clone()? };
            return Some(Phase::Finish(HookRun::of(Stage::Finish, hooks)));
        }
        let Phase::Sweep(sweep) = &mut self.phase else { return None };
        if stop.kill_at(*sweep) <= now {
            if sweep.kill_at.is_some() && stop.give_up() <= now {
                return Some(self.leave(now));
            }
            sweep.kill_at = Some(stop.next_kill(now));
            self.has_killed = true;
            self.roster.mark_killed();
            self.actions.push_back(Action::Sweep(Signal::KILL));
        }
        None
    }

    pub(super) fn swept(&mut self, names: &[String]) {
        if !names.is_empty() {
            self.say(Weight::Problem, format!("left behind, killed: {}", listed(names)));
        }
    }

    /// When the last hook is over. What the hooks have left is asked to end like all else, if there is
    /// time for that; a hook that was killed is seen to die: then the kernel has nothing more to take
    /// apart than init.
    pub(super) fn clear_or_leave(&mut self, now: Instant) -> Phase {
        let Some(stop) = self.stop.as_mut().filter(|_| !self.is_childless) else { return self.leave(now) };
        stop.finish_hooks = Some(Vec::new());
        let is_late = stop.at(stop.plan.end) <= now;
        let kill_at = is_late.then(|| stop.next_kill(now));
        if !is_late {
            self.ask(Action::Sweep(Signal::TERM));
        }
        Phase::Sweep(Sweep { is_last: true, kill_at })
    }

    pub(super) fn leave(&mut self, now: Instant) -> Phase {
        let Some(stop) = &self.stop else { return Phase::Over(0) };
        let took = now.saturating_duration_since(stop.began);
        let tally = self.roster.tally();
        let has_killed = self.has_killed || !tally.killed.is_empty() || !self.is_childless;
        let command = match self.command {
            Command::Ended(ending) => Some(ending),
            Command::Up { .. } => Some(ExitStatus::Killed { signal: Signal::KILL, core: false }),
            Command::None | Command::Due | Command::Starting => None,
        };
        let code = exit_code(&stop.reason, command, self.stopper(), has_killed);
        let killed = match tally.killed.as_slice() {
            [] if has_killed => "no service killed, but others were".to_owned(),
            [] => "none killed".to_owned(),
            names => format!("{} killed: {}", names.len(), listed(names)),
        };
        let gone = counted(tally.gone, "service");
        let line = format!("{gone} stopped in {}, {killed}; exit {code}", seconds(took));
        let weight = if has_killed { Weight::Problem } else { Weight::Info };
        if !self.is_childless {
            self.ask(Action::Sweep(Signal::KILL));
        }
        self.say(weight, line);
        Phase::Over(code)
    }
}
