//! Machine: what is said of the container's life.

use std::time::Instant;

use sys::Signal;

use super::{Census, Container, Phase, REPORT, Step, Sweep};
use crate::machine::plan::Plan;
use crate::machine::verdict::Reason;
use crate::machine::vocabulary::{Action, Weight};
use crate::machine::words::{listed, seconds};

impl Container {
    pub(super) fn announcement(&self) -> String {
        let plan = Plan::of(self.setup.grace, self.setup.has_drain, self.setup.has_finish);
        let what = match (&self.setup.directory, &self.setup.command) {
            (Some(directory), Some(command)) => {
                format!("{command} beside the services of {}", directory.display())
            }
            (Some(directory), None) => format!("services of {}", directory.display()),
            (None, command) => format!("{} without services", command.as_deref().unwrap_or("nothing")),
        };
        let mut parts = vec![format!("grace {}", seconds(self.setup.grace))];
        if self.setup.has_drain {
            parts.push(format!("drain until {}", seconds(plan.drain)));
        }
        parts.push(format!("services killed at {}", seconds(plan.run)));
        parts.push(format!("finish scripts at {}", seconds(plan.finish)));
        parts.push(format!("loggers at {}", seconds(plan.supervisors)));
        parts.push(format!("all else at {}", seconds(plan.sweep)));
        parts.push(format!("exit by {}", seconds(plan.end)));
        format!("{what}; {}", parts.join(", "))
    }

    pub(super) fn why(&self, reason: &Reason) -> String {
        match reason {
            Reason::Signal(_) => format!("{reason}: stopping within {}", seconds(self.setup.grace)),
            Reason::Command(ending) => format!("COMMAND: ended with {ending}: stopping"),
            Reason::NoCommand(_) => "stopping, for want of COMMAND".to_owned(),
            Reason::Critical { name, ending: Some(ending) } => {
                format!("{name}: critical, ended with {ending}: stopping")
            }
            Reason::Critical { name, ending: None } => format!("{name}: critical, has ended: stopping"),
            Reason::StartHook { name, code } => format!("{name}: failed: stopping with exit {code}"),
        }
    }

    /// Each second, who is still up; a good time to wake them, too.
    pub(super) fn report(&mut self, now: Instant) {
        let Some(stop) = &mut self.stop else { return };
        if stop.next_report > now || matches!(self.phase, Phase::Over(_)) {
            return;
        }
        while stop.next_report <= now {
            stop.next_report += REPORT;
        }
        if stop.census == Census::Fresh && matches!(self.phase, Phase::Stop(Step::Services) | Phase::Flush) {
            stop.census = Census::Old { look: Some(now) };
        }
        let began = stop.began;
        if let Phase::Sweep(Sweep { kill_at: None, .. }) = self.phase {
            // Who had just been born may not have heard.
            self.ask(Action::Sweep(Signal::TERM));
        }
        self.wake_the_told();
        let elapsed = seconds(now.saturating_duration_since(began));
        let mut names: Vec<String> = Vec::new();
        if let Phase::Drain(run) | Phase::Finish(run) = &self.phase {
            names.extend(run.running().map(|hook| hook.name(run.stage())));
        }
        if self.is_command_up() && !matches!(self.phase, Phase::Drain(_)) {
            names.push("COMMAND".to_owned());
        }
        if self.group.is_some() && matches!(self.phase, Phase::Stop(Step::Command)) {
            names.push("the rest of COMMAND's group".to_owned());
        }
        names.extend(self.roster.names());
        if names.is_empty() {
            names.push("what services left behind".to_owned());
        }
        self.say(Weight::Info, format!("after {elapsed} waiting for {}", listed(&names)));
    }
}
