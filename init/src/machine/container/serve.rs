//! Machine: the services and COMMAND while they are to run, and how COMMAND is told to end.

use std::time::{Duration, Instant};

use sys::errno_text::phrase;
use sys::{Errno, ExitStatus, Pid, Signal};

use super::{Command, Container, Group, Phase, Step, Stop, code_of};
use crate::machine::verdict::Reason;
use crate::machine::vocabulary::{Action, Weight};

/// How often the rest of COMMAND's group is looked at.
const LOOK_AT_GROUP: Duration = Duration::from_millis(100);

impl Container {
    /// Whether runsvdir is kept running.
    pub(super) fn is_serving(&self) -> bool {
        matches!(self.phase, Phase::Serve | Phase::Drain(_) | Phase::Stop(Step::Command))
    }

    /// Not before it is known whether there is a COMMAND, and not for the first time in a stop.
    pub(super) fn may_start_scanner(&self) -> bool {
        self.setup.directory.is_some()
            && self.command != Command::Starting
            && (self.stop.is_none() || self.scanner.was_started())
    }

    pub(super) fn serve(&mut self, now: Instant) {
        if self.command == Command::Due {
            // Before the services: a COMMAND that cannot be run is better noticed first.
            self.command = Command::Starting;
            self.ask(Action::StartCommand);
        } else if self.may_start_scanner() {
            if !self.scanner.was_started() {
                // What critical services have done in an earlier boot is known before they do anything.
                self.ask(Action::WatchCritical);
            }
            if self.scanner.start(now) {
                self.ask(Action::StartScanner);
                self.sentry.look_soon(now);
            }
        }
        if self.sentry.is_look_due(now) {
            self.ask(Action::WatchCritical);
        }
        for name in self.sentry.due(now) {
            self.ask(Action::JudgeCritical(name));
        }
    }

    pub(super) fn end_command(&mut self) {
        let stopper = self.stopper();
        if let Command::Up { pid, is_asked, .. } = &mut self.command
            && !*is_asked
        {
            *is_asked = true;
            let pid = *pid;
            self.signal_command(pid, stopper);
            self.signal_command(pid, Signal::CONT);
        }
    }

    /// The end of a process that is nobody's child here is not told: it is looked for.
    pub(super) fn look_at_group(&mut self, now: Instant) {
        if let Some(group) = &mut self.group
            && group.look_due <= now
        {
            group.look_due = now + LOOK_AT_GROUP;
            let leader = group.leader;
            self.ask(Action::LookAtGroup(leader));
        }
    }

    pub(super) fn command_ended(&mut self, pid: Pid, ending: ExitStatus, now: Instant) {
        self.ask(Action::TakeTerminal);
        let is_asked = matches!(self.command, Command::Up { is_asked: true, .. });
        self.command = Command::Ended(ending);
        if self.setup.is_group {
            // The rest of its group is COMMAND, too: it is asked to end, and the services wait for it.
            self.group = Some(Group { leader: pid, look_due: now });
            if !is_asked {
                self.ask(Action::SignalGroup(pid, self.stopper()));
                self.ask(Action::SignalGroup(pid, Signal::CONT));
            }
        }
        if self.stop.is_none() {
            self.begin_stop(Reason::Command(ending), now);
        } else {
            self.say(Weight::Info, format!("COMMAND: ended with {ending}"));
        }
    }

    pub(super) fn no_command(&mut self, why: Errno, now: Instant) {
        // The child may have taken it.
        self.ask(Action::TakeTerminal);
        self.command = Command::None;
        let name = self.setup.command.clone().unwrap_or_default();
        self.say(Weight::Problem, format!("fatal: unable to run {name}: {}", phrase(why)));
        self.begin_stop(Reason::NoCommand(code_of(why)), now);
    }

    pub(super) fn pass_on(&mut self, signal: Signal, now: Instant) {
        if signal == Signal::HUP {
            self.sentry.look_soon(now);
        }
        match (self.command, self.scanner.pid()) {
            (Command::Up { pid, .. }, _) => self.signal_command(pid, signal),
            // Without a COMMAND, a HUP means: look at the services directory now.
            (_, Some(pid)) if signal == Signal::HUP => self.ask(Action::Signal(pid, Signal::ALRM)),
            _ => {}
        }
    }

    pub(super) fn signal_command(&mut self, pid: Pid, signal: Signal) {
        self.ask(if self.setup.is_group {
            Action::SignalGroup(pid, signal)
        } else {
            Action::Signal(pid, signal)
        });
    }

    pub(super) fn is_command_up(&self) -> bool {
        matches!(self.command, Command::Up { .. })
    }

    /// What COMMAND is sent at the stop: what init was sent, if that is usual.
    pub(super) fn stopper(&self) -> Signal {
        match &self.stop {
            Some(Stop { reason: Reason::Signal(Signal::INT), .. }) => Signal::INT,
            _ => Signal::TERM,
        }
    }

    /// How long the services wait for COMMAND; with none to wait, it has all the time.
    pub(super) fn command_share(&self, stop: &Stop) -> Duration {
        let plan = &stop.plan;
        if self.setup.directory.is_some() { (plan.drain + plan.run) / 2 } else { plan.run }
    }
}
