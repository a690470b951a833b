//! Effects: runs the `check` of services that others wait for.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sys::errno_text::phrase;
use sys::error::words;
use sys::process::spawn::failure_of;
use sys::{Error, ExitStatus, Logger, Pid, Signal};

use super::spawn::spawn_check;
use super::supervisors::Supervisors;
use crate::state::{CheckResult, LifecycleEvent, SupervisorId};

/// How long a check may take: sv waits for so long.
const LIMIT: Duration = Duration::from_secs(7);

/// The checks that run.
#[derive(Default)]
pub struct Checks {
    running: HashMap<Pid, RunningCheck>,
    events: Vec<LifecycleEvent>,
}

struct RunningCheck {
    /// `None` if its outcome is of no use any more.
    id: Option<SupervisorId>,
    /// When it is killed, once.
    kill_at: Option<Instant>,
}

impl Checks {
    /// Starts the check of a service. The outcome comes with the end of its process, or now.
    pub fn start(
        &mut self,
        id: SupervisorId,
        supervisors: &mut Supervisors,
        logger: &mut Logger,
    ) -> Option<LifecycleEvent> {
        // A check of an earlier process of the service says nothing of this one.
        for (pid, check) in self.running.iter_mut().filter(|(_, check)| check.id == Some(id)) {
            check.id = None;
            let _ = Signal::KILL.send(*pid);
        }
        let supervisor = supervisors.supervisor(id)?;
        if !supervisor.enter_directory() {
            return Some(LifecycleEvent::Checked(id, CheckResult::NotUp));
        }
        match spawn_check() {
            None => Some(LifecycleEvent::Checked(id, CheckResult::Missing)),
            Some(Ok(pid)) => {
                let kill_at = Some(Instant::now() + LIMIT);
                self.running.insert(pid, RunningCheck { id: Some(id), kill_at });
                None
            }
            Some(Err(why)) => {
                let text = words(["unable to fork for a check: ".as_ref(), phrase(why).as_ref()]);
                logger.warn(&Error::plain(text));
                Some(LifecycleEvent::Checked(id, CheckResult::NotUp))
            }
        }
    }

    /// A child was reaped; whether it was a check.
    pub fn child_exited(&mut self, pid: Pid, exit_status: ExitStatus) -> bool {
        let Some(RunningCheck { id, .. }) = self.running.remove(&pid) else { return false };
        // A check that cannot be executed says nothing, as in sv.
        let has_succeeded = exit_status.is_success() && failure_of(pid).is_none();
        let result = if has_succeeded { CheckResult::Up } else { CheckResult::NotUp };
        self.events.extend(id.map(|id| LifecycleEvent::Checked(id, result)));
        true
    }

    /// What the checks that have ended say.
    pub fn take_events(&mut self) -> Vec<LifecycleEvent> {
        std::mem::take(&mut self.events)
    }

    /// Kills those that take too long.
    pub fn kill_late(&mut self, now: Instant) {
        for (pid, check) in &mut self.running {
            if check.kill_at.take_if(|due| *due <= now).is_some() {
                let _ = Signal::KILL.send(*pid);
            }
        }
    }

    /// Kills all of them.
    pub fn kill_all(&mut self) {
        for pid in self.running.keys() {
            let _ = Signal::KILL.send(*pid);
        }
    }

    /// When the next one is late.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.running.values().filter_map(|check| check.kill_at).min()
    }
}
