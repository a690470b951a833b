//! Machine: the services go down, and their loggers read to the end.

use std::time::{Duration, Instant};

use sys::{Pid, Signal};

use super::{Census, Command, Container, Phase, QUIET, Step};
use crate::machine::vocabulary::{Action, Child, Kind, Seen, Weight};
use crate::machine::words::{counted, seconds};

/// How long until what each service does is read again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// The same for who is watched.
const LOOK_ANYWAY: Duration = Duration::from_millis(100);
/// How much more time than a look takes lies between it and the next: where there are thousands to
/// look at, most of the time is left for them.
const LEISURE: u32 = 10;
/// When to look again for a runsv that is just being born.
const BIRTH: Duration = Duration::from_millis(2);

impl Container {
    /// So that nothing new is started. Whatever it was about to start is its child already: the
    /// kernel makes no child for a process with a KILL pending.
    pub(super) fn end_scanner(&mut self) -> Phase {
        // It has nothing to save, and may be stopped or deaf: KILL is as good as TERM, and sure. The
        // kernel may take a while to close what it had open; nothing has to wait for that.
        if let Some(pid) = self.scanner.pid() {
            self.ask(Action::Signal(pid, Signal::KILL));
        }
        Phase::Stop(Step::Services)
    }

    pub(super) fn stop_services(&mut self, now: Instant) {
        self.count_if_due(now);
        self.ask_and_press(now);
        self.look_if_due(now);
        self.kill_late_command(now);
    }

    fn count_if_due(&mut self, now: Instant) {
        let Some(stop) = &mut self.stop else { return };
        let is_due = match stop.census {
            Census::Unknown => true,
            Census::Old { look } => look.is_some_and(|due| due <= now),
            Census::Asked(_) | Census::Fresh | Census::Impossible => false,
        };
        if is_due {
            stop.census = Census::Asked(now);
            self.actions.push_back(Action::TakeCensus(self.scanner.pid()));
        }
    }

    fn ask_and_press(&mut self, now: Instant) {
        let Some(stop) = &mut self.stop else { return };
        let asked = self.roster.ask(stop.began, &stop.plan, now);
        if !asked.is_empty() {
            // Somebody waits for others to be down: that is to be noticed at once.
            stop.look_due = Some(if self.roster.is_any_waiting() { now } else { now + QUIET });
        }
        self.actions.extend(asked);
        let clearable = self.roster.take_clearable(now);
        if !clearable.is_empty() {
            self.actions.push_back(Action::EndStrays(clearable));
        }
        for supervisor in self.roster.take_doubted(now) {
            self.actions.push_back(Action::Signal(supervisor, Signal::TERM));
        }
        let late = self.roster.late(now);
        if !late.is_empty() {
            self.actions.push_back(Action::Press(late));
        }
    }

    /// What services do is told while somebody waits for others, and read now and then otherwise.
    fn look_if_due(&mut self, now: Instant) {
        let Some(stop) = &mut self.stop else { return };
        let is_watch_needed = self.roster.is_any_waiting();
        if stop.is_watching && !is_watch_needed {
            stop.is_watching = false;
            stop.look_due = Some(now + LOOK_AGAIN);
            self.actions.push_back(Action::Unwatch);
        }
        if stop.look_due.is_none_or(|due| due > now) {
            return;
        }
        stop.look_due = None;
        stop.has_looked = true;
        let supervisors = self.roster.supervisors();
        if is_watch_needed && !stop.is_watching {
            stop.is_watching = true;
            // Not every directory can be watched always.
            stop.look_due = Some(now + LOOK_ANYWAY);
            self.actions.push_back(Action::WatchStatus(supervisors));
        } else {
            stop.look_asked = Some(now);
            self.actions.push_back(Action::ReadStatus(supervisors));
        }
    }

    fn kill_late_command(&mut self, now: Instant) {
        let Some(stop) = &self.stop else { return };
        let is_late = stop.at(stop.plan.run) <= now;
        if let Command::Up { pid, is_killed, .. } = &mut self.command
            && !*is_killed
            && is_late
        {
            *is_killed = true;
            let pid = *pid;
            self.actions.push_back(Action::SignalGroup(pid, Signal::KILL));
            self.has_killed = true;
            self.say(Weight::Problem, "COMMAND: does not stop: killed".to_owned());
        }
    }

    /// Whoever somebody has stopped does not hear what it was told, nor does the worker that its
    /// service waits for.
    pub(super) fn wake_the_told(&mut self) {
        let mut told: Vec<Pid> = self.roster.asked().collect();
        if let Command::Up { pid, .. } = self.command
            && !matches!(self.phase, Phase::Drain(_))
        {
            told.push(pid);
        }
        if !told.is_empty() {
            self.ask(Action::Wake(told));
        }
    }

    /// Whether the time of the services is over, whatever they still do.
    pub(super) fn is_grace_spent(&self, now: Instant) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.at(stop.plan.sweep) <= now)
    }

    pub(super) fn begin_flush(&mut self) -> Phase {
        if !self.is_childless && !self.roster.is_empty() {
            // What services have left to init may hold the pipes the loggers read, too.
            let spare = self.roster.processes();
            self.ask(Action::EndAdopted(spare));
        }
        Phase::Flush
    }

    pub(super) fn is_flushed(&mut self, now: Instant) -> bool {
        if self.is_childless {
            return true;
        }
        let Some(stop) = &mut self.stop else { return true };
        match stop.census {
            _ if !self.roster.is_empty() || self.scanner.pid().is_some() => false,
            Census::Impossible => stop.at(stop.plan.run) <= now,
            Census::Fresh => true,
            Census::Asked(_) | Census::Old { look: Some(_) } => false,
            Census::Unknown | Census::Old { look: None } => {
                // The last one that is known has gone; are there others?
                stop.census = Census::Asked(now);
                self.actions.push_back(Action::TakeCensus(self.scanner.pid()));
                false
            }
        }
    }

    /// A service has gone; those that it may have left to init are looked for soon.
    pub(super) fn look_again(&mut self, now: Instant) {
        let Some(stop) = &mut self.stop else { return };
        let soon = now + stop.census_pause;
        stop.census = match stop.census {
            // At once, when it is time to go on.
            Census::Fresh | Census::Old { .. } if self.roster.is_empty() => Census::Old { look: None },
            Census::Fresh => Census::Old { look: Some(soon) },
            Census::Old { look } => Census::Old { look: Some(look.map_or(soon, |look| look.min(soon))) },
            other => other,
        };
        if let Some(due) = &mut stop.look_due
            && !stop.has_looked
        {
            *due = (*due).max(now + QUIET);
        }
    }

    pub(super) fn counted(&mut self, children: Option<Vec<Child>>, now: Instant) {
        let Some(children) = children else {
            if let Some(stop) = &mut self.stop {
                stop.census = Census::Impossible;
            }
            self.say(
                Weight::Warning,
                "unable to see processes in /proc: services are told by their FIFOs".into(),
            );
            return self.ask(Action::EndAllByFifo);
        };
        let own = self.own_processes();
        let children: Vec<Child> = children.into_iter().filter(|child| !own.contains(&child.pid)).collect();
        let is_birth_near = children.iter().any(|child| child.kind == Kind::Embryo);
        for child in children.iter().filter(|child| child.kind == Kind::Embryo) {
            if self.embryos.insert(child.pid) {
                self.ask(Action::Signal(child.pid, Signal::TERM));
            }
        }
        let before = self.roster.len();
        let complaints = self.roster.meet(children);
        let Some(stop) = &mut self.stop else { return };
        let mut took = Duration::ZERO;
        if let Census::Asked(since) = stop.census {
            took = now.saturating_duration_since(since);
            stop.census_pause = QUIET.max(took * LEISURE);
        }
        // Who is being born needs the processor more than we do.
        let birth = BIRTH.max(took * 2);
        stop.census = if is_birth_near { Census::Old { look: Some(now + birth) } } else { Census::Fresh };
        let (found, elapsed) = (self.roster.len() - before, now.saturating_duration_since(stop.began));
        if found > 0 {
            self.say(
                Weight::Info,
                format!("stopping {} after {}", counted(found, "service"), seconds(elapsed)),
            );
        }
        for complaint in complaints {
            self.say(Weight::Warning, complaint);
        }
    }

    /// What supervisors say of their services.
    pub(super) fn seen(&mut self, statuses: Vec<(Pid, Seen)>, now: Instant) {
        if let Some(stop) = &mut self.stop
            && let Some(asked) = stop.look_asked.take()
        {
            let pause = if stop.is_watching { LOOK_ANYWAY } else { LOOK_AGAIN };
            stop.look_due = Some(now + pause.max(now.saturating_duration_since(asked) * LEISURE));
        }
        for (supervisor, seen) in statuses {
            if self.roster.note_status(supervisor, seen, now) {
                // Somebody has told it otherwise in the meantime; the stop prevails.
                self.ask(Action::Signal(supervisor, Signal::TERM));
            }
        }
    }

    pub(super) fn own_processes(&self) -> Vec<Pid> {
        let command = match self.command {
            Command::Up { pid, .. } => Some(pid),
            _ => None,
        };
        self.scanner.pid().into_iter().chain(command).collect()
    }
}
