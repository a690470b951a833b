//! Machine: whatever is left goes, and init leaves with its exit code.

use std::time::Instant;

use unix::{Ending, Signal};

use super::{Command, Container, Phase};
use crate::machine::hook_run::HookRun;
use crate::machine::verdict::exit_code;
use crate::machine::vocabulary::{Action, Stage, Weight};
use crate::machine::words::{counted, listed, seconds};

impl Container {
    pub(super) fn begin_sweep(&mut self) -> Option<Phase> {
        let stop = self.stop.as_ref()?;
        let kill_at = stop.at(stop.plan.sweep);
        if !self.is_childless {
            self.ask(Action::Sweep(Signal::TERM));
        }
        Some(Phase::Sweep { kill_at, is_killing: false })
    }

    pub(super) fn sweep(&mut self, now: Instant) -> Option<Phase> {
        let stop = self.stop.as_ref()?;
        if self.is_childless {
            let hooks = if self.requests >= 3 { Vec::new() } else { stop.finish_hooks.clone()? };
            return Some(Phase::Finish(HookRun::of(Stage::Finish, hooks)));
        }
        let (give_up, next_kill) = (stop.give_up(), stop.next_kill(now));
        let Phase::Sweep { kill_at, is_killing } = &mut self.phase else { return None };
        if *kill_at <= now {
            if *is_killing && give_up <= now {
                return Some(self.leave(now));
            }
            *is_killing = true;
            *kill_at = next_kill;
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

    /// When the last hook is over. A hook that was killed, and what the others have left, is seen to
    /// die as long as there is time: then the kernel has nothing more to take apart than init.
    pub(super) fn clear_or_leave(&mut self, now: Instant) -> Phase {
        match &mut self.stop {
            Some(stop) if !self.is_childless => {
                stop.finish_hooks = Some(Vec::new());
                Phase::Sweep { kill_at: stop.next_kill(now), is_killing: true }
            }
            _ => self.leave(now),
        }
    }

    pub(super) fn leave(&mut self, now: Instant) -> Phase {
        let Some(stop) = &self.stop else { return Phase::Over(0) };
        let took = now.saturating_duration_since(stop.began);
        let tally = self.roster.tally();
        let has_killed = self.has_killed || !tally.killed.is_empty() || !self.is_childless;
        let command = match self.command {
            Command::Ended(ending) => Some(ending),
            Command::Up { .. } => Some(Ending::Killed { signal: Signal::KILL, core: false }),
            Command::None | Command::Due | Command::Starting => None,
        };
        let code = exit_code(&stop.reason, command, self.stopper(), has_killed);
        let killed = match tally.killed.as_slice() {
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
