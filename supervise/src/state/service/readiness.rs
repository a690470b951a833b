//! State: what `./run` says of itself (`notification-fd`, `notify-socket`).

use std::collections::VecDeque;
use std::time::Duration;

use servicedir::Tai64n;
use sys::Now;

use super::{ServicePhase, ServiceState};
use crate::state::ServiceAction;

/// What a service may add to the limit of its stop at a time: what is greater is a mistake.
const LONGEST_EXTENSION: Duration = Duration::from_secs(60 * 60);

impl ServiceState {
    /// Whether `./run` has said that it is ready.
    pub fn is_ready(&self) -> Option<bool> {
        self.readiness.filter(|_| self.is_running()).map(|readiness| readiness.ready.is_some())
    }

    /// Whether `./run` lives, and may say something of itself.
    pub fn takes_notifications(&self) -> bool {
        matches!(self.phase, ServicePhase::Run(_)) && self.readiness.is_some()
    }

    /// `./run` has said something of itself. The moment of the first time that it is ready counts.
    pub fn notified(
        &mut self,
        is_ready: Option<bool>,
        extension: Option<Duration>,
        now: Now,
        actions: &mut VecDeque<ServiceAction>,
    ) {
        if !self.takes_notifications() {
            return;
        }
        if is_ready.is_some_and(|is_ready| Some(is_ready) != self.is_ready()) {
            self.set_ready((is_ready == Some(true)).then(|| Tai64n::of(now.wall)), actions);
        }
        if let (Some(kill_at), Some(extension)) = (&mut self.kill_at, extension) {
            *kill_at = (*kill_at).max(now.monotonic + extension.min(LONGEST_EXTENSION));
        }
    }

    pub(super) fn set_ready(&mut self, ready: Option<Tai64n>, actions: &mut VecDeque<ServiceAction>) {
        if let Some(readiness) = self.readiness.as_mut().filter(|readiness| readiness.ready != ready) {
            readiness.ready = ready;
            actions.push_back(ServiceAction::PublishReadiness(*readiness));
        }
    }
}
