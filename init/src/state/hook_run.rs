//! State: the hooks of one stage, one after another.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Instant;

use sys::Pid;

use super::events::HookStage;

/// The run of a stage's hooks.
#[derive(Debug)]
pub struct HookRun {
    stage: HookStage,
    /// `None` until they were found.
    waiting: Option<VecDeque<PathBuf>>,
    running: Option<RunningHook>,
}

/// A hook that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningHook {
    /// The program.
    pub path: PathBuf,
    /// When it was started.
    pub since: Instant,
    /// Its process, once it is spawned.
    pub pid: Option<Pid>,
}

impl RunningHook {
    /// `drain.d/10-leave-the-pool`.
    pub fn name(&self, stage: HookStage) -> String {
        name(stage, &self.path)
    }
}

/// `drain.d/10-leave-the-pool`.
fn name(stage: HookStage, path: &Path) -> String {
    let file = path.file_name().unwrap_or(path.as_os_str());
    format!("{}/{}", stage.directory(), file.to_string_lossy())
}

impl HookRun {
    /// For hooks that are not found yet.
    pub fn unknown(stage: HookStage) -> Self {
        Self { stage, waiting: None, running: None }
    }

    /// For these hooks, in this order.
    pub fn of(stage: HookStage, hooks: Vec<PathBuf>) -> Self {
        Self { stage, waiting: Some(hooks.into()), running: None }
    }

    /// The stage.
    pub fn stage(&self) -> HookStage {
        self.stage
    }

    /// The hooks were found.
    pub fn found(&mut self, hooks: Vec<PathBuf>) {
        self.waiting = Some(hooks.into());
    }

    /// Whether the hooks were found.
    pub fn is_known(&self) -> bool {
        self.waiting.is_some()
    }

    /// The next hook, if one is to be started now.
    pub fn start(&mut self, now: Instant) -> Option<PathBuf> {
        if self.running.is_some() {
            return None;
        }
        let path = self.waiting.as_mut()?.pop_front()?;
        self.running = Some(RunningHook { path: path.clone(), since: now, pid: None });
        Some(path)
    }

    /// The hook was spawned.
    pub fn started(&mut self, pid: Pid) {
        if let Some(running) = &mut self.running {
            running.pid = Some(pid);
        }
    }

    /// The hook that has ended, if it was this process.
    pub fn ended(&mut self, pid: Pid) -> Option<RunningHook> {
        self.running.take_if(|running| running.pid == Some(pid))
    }

    /// The hook that could not be started.
    pub fn failed(&mut self) -> Option<RunningHook> {
        self.running.take()
    }

    /// Drops the hooks that wait; returns the one that runs.
    pub fn cut(&mut self) -> Option<RunningHook> {
        self.waiting = Some(VecDeque::new());
        self.running.take()
    }

    /// The hook that runs.
    pub fn running(&self) -> Option<&RunningHook> {
        self.running.as_ref()
    }

    /// Whether all have run.
    pub fn is_over(&self) -> bool {
        self.running.is_none() && self.waiting.as_ref().is_some_and(VecDeque::is_empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_run_one_after_another() {
        let now = Instant::now();
        let mut run = HookRun::unknown(HookStage::Drain);
        assert!(run.start(now).is_none() && !run.is_over());
        run.found(vec!["/etc/init/drain.d/a".into(), "/etc/init/drain.d/b".into()]);
        assert_eq!(run.start(now), Some("/etc/init/drain.d/a".into()));
        assert_eq!(run.start(now), None);
        run.started(Pid::from_raw(7));
        assert_eq!(run.ended(Pid::from_raw(8)), None);
        assert_eq!(
            run.ended(Pid::from_raw(7)).map(|hook| hook.name(HookStage::Drain)),
            Some("drain.d/a".into())
        );
        assert_eq!(run.start(now), Some("/etc/init/drain.d/b".into()));
        assert!(!run.is_over());
        assert!(run.cut().is_some() && run.is_over());
    }
}
