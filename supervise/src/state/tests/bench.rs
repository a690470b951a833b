//! The state under test, with effects that are only noted down.

use std::time::{Duration, Instant, UNIX_EPOCH};

use servicedir::{Command, State, Status, Want};
use sys::{ExitStatus, Now, Pid, Signal};

use crate::state::{
    Script, ServiceAction, ServiceEvent, ServicePair, ServiceRole, Settings, SignalTarget, StartedScript,
};

pub const MS: Duration = Duration::from_millis(1);
pub const TERMED: ExitStatus = ExitStatus::Killed { signal: Signal::TERM, core: false };

/// A state with effects that are only noted down: processes get numbers, scripts are declared.
pub struct Bench {
    pub state: ServicePair,
    pub now: Now,
    pub next_pid: i32,
    pub control_scripts: Vec<u8>,
    pub has_finish: bool,
    pub is_group: bool,
    pub is_group_alive: bool,
    pub settings: Settings,
    pub finish_limit: Option<Duration>,
    pub fork_fails: bool,
    pub notifies: bool,
    pub has_unread: bool,
    /// What was done, in order, as short words.
    pub done: Vec<String>,
    pub published: Vec<(ServiceRole, Status)>,
}

impl Bench {
    pub fn new(main: Want, log: Option<Want>) -> Self {
        let now = Now { monotonic: Instant::now(), wall: UNIX_EPOCH + Duration::from_secs(1_000_000) };
        Self {
            state: ServicePair::new(main, log, now),
            now,
            next_pid: 100,
            control_scripts: Vec::new(),
            has_finish: false,
            is_group: false,
            is_group_alive: false,
            settings: Settings::default(),
            finish_limit: None,
            fork_fails: false,
            notifies: false,
            has_unread: false,
            done: Vec::new(),
            published: Vec::new(),
        }
    }

    pub fn up() -> Self {
        Self::new(Want::Up, None)
    }

    pub fn control_scripts(mut self, bytes: &[u8]) -> Self {
        self.control_scripts = bytes.to_vec();
        self
    }

    pub fn finish(mut self) -> Self {
        self.has_finish = true;
        self
    }

    pub fn begin(mut self) -> Self {
        self.event(ServiceEvent::Tick);
        self
    }

    pub fn after(&mut self, time: Duration) -> &mut Self {
        self.now = self.now + time;
        self
    }

    pub fn command(&mut self, command: Command) {
        assert!(self.state.takes_commands(ServiceRole::Main), "a command while none is taken");
        self.turn(ServiceEvent::Command(ServiceRole::Main, command));
    }

    pub fn exits(&mut self, pid: i32, exit_status: ExitStatus) {
        let has_finish = self.has_finish;
        self.turn(ServiceEvent::Exited { pid: Pid::from_raw(pid), exit_status, has_finish });
    }

    pub fn tick(&mut self) {
        self.event(ServiceEvent::Tick);
    }

    /// A turn with this event only.
    pub fn turn(&mut self, event: ServiceEvent) {
        self.event(event);
        self.tick();
    }

    pub fn event(&mut self, event: ServiceEvent) {
        self.state.handle(event, self.now);
        while let Some(action) = self.state.next_action() {
            if let Some(outcome) = self.perform(action) {
                self.state.handle(outcome, self.now);
            }
        }
    }

    pub fn pid(&mut self) -> Pid {
        self.next_pid += 1;
        Pid::from_raw(self.next_pid)
    }

    pub fn perform(&mut self, action: ServiceAction) -> Option<ServiceEvent> {
        match action {
            ServiceAction::Publish(role, status) => self.published.push((role, status)),
            ServiceAction::Start(role, script) if self.fork_fails => {
                return Some(ServiceEvent::NotStarted(role, script));
            }
            ServiceAction::Start(role, script) => {
                let pid = self.pid();
                let limit = self.finish_limit.filter(|_| script != Script::Run);
                self.done.push(match (role, script) {
                    (ServiceRole::Main, Script::Run) => format!("run {pid}"),
                    (_, Script::Finish(exit_status)) => {
                        format!("finish {pid} {}", exit_status.finish_arguments().join(" "))
                    }
                    (ServiceRole::Log, _) => format!("log {pid}"),
                });
                let notifies = self.notifies && (role, script) == (ServiceRole::Main, Script::Run);
                let started = StartedScript { pid, is_group: self.is_group, limit, notifies };
                return Some(ServiceEvent::Started(role, script, started));
            }
            ServiceAction::RunControlScript(script, about) => {
                if !self.control_scripts.contains(&script.byte()) {
                    return Some(ServiceEvent::NoControlScript(script));
                }
                let pid = self.pid();
                let about = about.map_or("-".to_owned(), |about| about.to_string());
                self.done.push(format!("control/{} {pid} about {about}", char::from(script.byte())));
                return Some(ServiceEvent::ControlScriptStarted(script, pid));
            }
            ServiceAction::ReadSettings(role) => return Some(ServiceEvent::Settings(role, self.settings)),
            ServiceAction::Signal(SignalTarget { pid, is_group }, signal) => {
                self.done.push(format!("{signal} {}{pid}", if is_group { "-" } else { "" }));
            }
            ServiceAction::PublishReadiness(readiness) => {
                let word = if readiness.ready.is_some() { "ready" } else { "not ready" };
                self.done.push(format!("{word} {}", readiness.pid));
            }
            ServiceAction::Remember(..) => {}
            ServiceAction::ProbeGroup(role, _) => {
                return Some(ServiceEvent::GroupProbed(role, self.is_group_alive));
            }
            ServiceAction::Abandon(pid) => self.done.push(format!("abandon {pid}")),
            ServiceAction::NameLeftovers => self.done.push("name leftovers".to_owned()),
            ServiceAction::EndLeftovers => self.done.push("end leftovers".to_owned()),
            ServiceAction::CloseLogPipe => {
                self.done.push("close pipe".to_owned());
                return Some(ServiceEvent::LogPipeClosed { has_unread: self.has_unread });
            }
            ServiceAction::NameLogHolders => self.done.push("name holders".to_owned()),
        }
        None
    }

    #[track_caller]
    pub fn did(&mut self, expected: &[&str]) {
        assert_eq!(std::mem::take(&mut self.done), expected);
    }

    pub fn text(&self) -> String {
        self.state.status(ServiceRole::Main).expect("a main service").to_text()
    }

    pub fn states(&mut self) -> Vec<(State, u32)> {
        std::mem::take(&mut self.published)
            .into_iter()
            .map(|(_, status)| (status.state.expect("a known state"), status.pid))
            .collect()
    }
}
