//! State: what a command does to a service: it changes what is wanted, and its steps are followed.

use std::collections::VecDeque;

use servicedir::{Command, Want};
use sys::{Now, Pid, Signal};

use super::{ServicePhase, ServiceState};
use crate::state::command_steps::{CommandStep, steps_for};
use crate::state::{ControlScript, KILL_TIMEOUT, ServiceAction, ServiceRole, SignalTarget};

/// What is left to do for the last command.
#[derive(Debug, Default)]
pub(super) struct CommandPlan {
    pub(super) steps: VecDeque<CommandStep>,
    /// The process that the command is for: no other one is signalled.
    pub(super) meant_for: Option<Pid>,
    pub(super) script: ControlScriptState,
    pub(super) is_suppressed: bool,
    /// An outcome is awaited.
    pub(super) is_waiting: bool,
}

/// The control script of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum ControlScriptState {
    /// There is none now.
    #[default]
    None,
    /// It was requested.
    Asked,
    /// It runs.
    Runs(Pid),
}

impl CommandPlan {
    pub(super) fn is_done(&self) -> bool {
        self.steps.is_empty() && self.script == ControlScriptState::None && !self.is_waiting
    }
}

impl ServiceState {
    /// A control byte.
    pub fn command(&mut self, command: Command, now: Now, actions: &mut VecDeque<ServiceAction>) {
        // The log service takes no exit command; it ends with its input (RSV-35).
        if self.role == ServiceRole::Log && command == Command::Exit {
            return;
        }
        self.note_want(command, now);
        if let ServicePhase::Run(SignalTarget { pid, .. }) | ServicePhase::Group { leader: pid, .. } =
            self.phase
        {
            if matches!(command, Command::Up | Command::Down | Command::Once | Command::Exit) {
                self.publish(actions);
            }
            self.plan = CommandPlan {
                steps: steps_for(command, self.want)
                    .into_iter()
                    .filter(|step| {
                        self.role == ServiceRole::Main || !matches!(step, CommandStep::ControlScript(_))
                    })
                    .collect(),
                meant_for: Some(pid),
                ..CommandPlan::default()
            };
            self.follow_plan(now, actions);
            return;
        }
        match command {
            Command::Pause | Command::Cont => self.is_paused = command == Command::Pause,
            Command::Kill => return self.abandon_finish_on_the_way_out(now, actions),
            Command::Up | Command::Down | Command::Once | Command::Exit => {}
            // Nothing is ever sent to ./finish (RSV-33).
            _ => return,
        }
        self.publish(actions);
    }

    fn note_want(&mut self, command: Command, now: Now) {
        let (want, is_start_due) = match command {
            Command::Up => (Want::Up, false),
            Command::Down => (Want::Down, false),
            // On a service that runs, `o` only turns restarting off (RSV-34).
            Command::Once => (Want::Down, self.phase == ServicePhase::Down),
            Command::Exit => (Want::Exit, false),
            _ => return,
        };
        self.want = want;
        self.is_start_due = is_start_due;
        if self.wants_start() {
            self.forget_limit();
            self.name_leftovers_at = None;
            // A service that is wanted again has all the time to end.
            self.forced_at = None;
        } else if self.phase == ServicePhase::Down {
            self.schedule_leftover_report(now);
        }
    }

    /// The limit of a stop counts from its first signal. A limit that was set before is for a control
    /// script that hangs.
    fn limit_from_now(&mut self, now: Now) {
        if !self.got_term {
            self.kill_at = self.settings.kill_after.map(|limit| now.monotonic + limit).or(self.kill_at);
        }
    }

    /// Drops the limit of a stop that has sent no signal.
    fn forget_limit(&mut self) {
        if !self.got_term {
            self.kill_at = None;
        }
    }

    /// QRK-4: after `x`, a `k` lets the supervisor leave although `./finish` hangs. `./finish` goes on to
    /// run, unless it leads a group, which ends with the service. Without `x` it is left alone.
    fn abandon_finish_on_the_way_out(&mut self, now: Now, actions: &mut VecDeque<ServiceAction>) {
        match self.phase {
            ServicePhase::Finish { target, .. } if self.want == Want::Exit => {
                if target.is_group {
                    self.signal(Signal::KILL, actions);
                    self.forced_at = Some(now.monotonic + KILL_TIMEOUT);
                } else {
                    actions.push_back(ServiceAction::Abandon(target.pid));
                    self.enter_down(now, actions);
                }
            }
            ServicePhase::FinishDue(_) if self.want == Want::Exit => self.enter_down(now, actions),
            _ => {}
        }
    }

    /// Follows the plan until it is done or must wait for an outcome or a script.
    pub(super) fn follow_plan(&mut self, now: Now, actions: &mut VecDeque<ServiceAction>) {
        while self.plan.script == ControlScriptState::None && !self.plan.is_waiting {
            let Some(step) = self.plan.steps.pop_front() else { return };
            // A signal for a process that is gone is not sent to its successor.
            let is_meant = self.is_running() && self.target().map(|target| target.pid) == self.plan.meant_for;
            match step {
                CommandStep::ReadSettings => {
                    self.plan.is_waiting = true;
                    actions.push_back(ServiceAction::ReadSettings(self.role));
                }
                CommandStep::ControlScript(byte) => {
                    self.plan.script = ControlScriptState::Asked;
                    self.plan.is_suppressed = false;
                    // The leader of a group in this phase is gone.
                    let is_alive = is_meant && matches!(self.phase, ServicePhase::Run(_));
                    let pid = self.plan.meant_for.filter(|_| is_alive);
                    actions.push_back(ServiceAction::RunControlScript(ControlScript::ForCommand(byte), pid));
                }
                CommandStep::StopUnlessSuppressed if is_meant && !self.plan.is_suppressed => {
                    self.limit_from_now(now);
                    self.got_term = true;
                    self.publish(actions);
                    self.signal(self.settings.signal, actions);
                }
                // A restart that control/t has taken over has no limit.
                CommandStep::StopUnlessSuppressed if is_meant && self.want == Want::Up => self.forget_limit(),
                CommandStep::SignalUnlessSuppressed(signal) if is_meant && !self.plan.is_suppressed => {
                    self.signal(signal, actions);
                }
                CommandStep::Continue { is_before } if is_meant => {
                    if is_before == self.settings.signal.is_stop() {
                        self.signal(Signal::CONT, actions);
                    }
                }
                CommandStep::SetPaused(is_paused) if is_meant => {
                    self.is_paused = is_paused;
                    self.publish(actions);
                }
                CommandStep::Force if is_meant && !self.plan.is_suppressed => {
                    self.forced_at = Some(now.monotonic + KILL_TIMEOUT);
                }
                CommandStep::StopUnlessSuppressed
                | CommandStep::SignalUnlessSuppressed(_)
                | CommandStep::Continue { .. }
                | CommandStep::SetPaused(_)
                | CommandStep::Force => {}
            }
        }
    }
}
