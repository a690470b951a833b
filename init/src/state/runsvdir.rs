//! State: runsvdir is restarted when it ends, at most once a second.

use std::time::{Duration, Instant};

use sys::Pid;

/// The least time between two starts.
const THROTTLE: Duration = Duration::from_secs(1);

/// The state of runsvdir.
#[derive(Debug, Default)]
pub struct RunsvdirProcess {
    state: RunsvdirState,
    last_start: Option<Instant>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum RunsvdirState {
    #[default]
    Down,
    Starting,
    Up(Pid),
}

impl RunsvdirProcess {
    /// Whether to start it now.
    pub fn start(&mut self, now: Instant) -> bool {
        let is_due = self.state == RunsvdirState::Down && self.restart_due().is_none_or(|due| due <= now);
        if is_due {
            self.state = RunsvdirState::Starting;
            self.last_start = Some(now);
        }
        is_due
    }

    /// It was spawned.
    pub fn started(&mut self, pid: Pid) {
        self.state = RunsvdirState::Up(pid);
    }

    /// It could not be started, or has ended.
    pub fn ended(&mut self) {
        self.state = RunsvdirState::Down;
    }

    /// The process, while it lives.
    pub fn pid(&self) -> Option<Pid> {
        match self.state {
            RunsvdirState::Up(pid) => Some(pid),
            RunsvdirState::Down | RunsvdirState::Starting => None,
        }
    }

    /// Whether it was ever started.
    pub fn was_started(&self) -> bool {
        self.last_start.is_some()
    }

    /// When it may be started again, if it is down and was up.
    pub fn restart_due(&self) -> Option<Instant> {
        self.last_start.filter(|_| self.state == RunsvdirState::Down).map(|start| start + THROTTLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_restarted_at_once_but_only_once_a_second() {
        let begin = Instant::now();
        let mut runsvdir = RunsvdirProcess::default();
        assert!(runsvdir.start(begin));
        assert!(!runsvdir.start(begin), "it is being started");
        runsvdir.started(Pid::from_raw(7));
        runsvdir.ended();
        assert!(!runsvdir.start(begin + THROTTLE / 2));
        assert_eq!(runsvdir.restart_due(), Some(begin + THROTTLE));
        assert!(runsvdir.start(begin + THROTTLE));
        runsvdir.started(Pid::from_raw(8));
        runsvdir.ended();
        assert!(runsvdir.start(begin + THROTTLE * 60));
    }
}
