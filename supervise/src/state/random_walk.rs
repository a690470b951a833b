//! A seeded random walk over the state: a million steps of control bytes, deaths, control scripts, slow
//! finishes, groups, fork failures and clock steps. The invariants are checked at each step.

use std::time::{Duration, Instant, UNIX_EPOCH};

use servicedir::history::PERMANENT_FAILURE;
use servicedir::{Command, Readiness, State, Want};
use sys::{ExitStatus, Now, Pid, Signal};

use super::service::RESTART_DELAY;
use super::{
    ControlScript, Script, ServiceAction, ServiceEvent, ServicePair, ServiceRole, Settings, StartedScript,
};

/// A generator of pseudo-random numbers.
struct SeededNumbers(u64);

impl SeededNumbers {
    fn below(&mut self, limit: u64) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit
    }

    fn one_in(&mut self, odds: u64) -> bool {
        self.below(odds) == 0
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ProcessKind {
    Run,
    Finish,
    Log,
    ControlScript,
}

/// The processes that the state acts on. Every action is checked.
struct FakeProcesses {
    numbers: SeededNumbers,
    now: Now,
    next_pid: i32,
    alive: Vec<(Pid, ProcessKind)>,
    group: Option<Pid>,
    last_run: Option<Instant>,
    /// When the service last went down after a short life.
    down_since_short_life: Option<Instant>,
    finishes_due: u32,
    pipe_closed: bool,
    /// Whether `./finish` has left the service down, and no command has changed that.
    stays_down: bool,
    starts: u64,
    /// What `supervise/ready` and `.notification` say.
    readiness: Option<Readiness>,
    words: u64,
}

impl FakeProcesses {
    fn count(&self, kind: ProcessKind) -> usize {
        self.alive.iter().filter(|(_, of)| *of == kind).count()
    }

    fn spawn(&mut self, kind: ProcessKind) -> Pid {
        self.next_pid += 1;
        let pid = Pid::from_raw(self.next_pid);
        self.alive.push((pid, kind));
        pid
    }

    fn perform(&mut self, action: ServiceAction) -> Option<ServiceEvent> {
        match action {
            ServiceAction::Publish(_, status) => {
                assert_eq!(status.to_bytes().len(), 20);
                if status.state == Some(State::Run) {
                    let pid = Pid::from_raw(i32::try_from(status.pid).expect("a process"));
                    assert!(
                        self.group == Some(pid) || self.alive.iter().any(|(alive, _)| *alive == pid),
                        "a record about a process that is gone"
                    );
                }
            }
            ServiceAction::Start(role, script) => {
                if self.numbers.one_in(50) {
                    return Some(ServiceEvent::NotStarted(role, script));
                }
                let is_group = role == ServiceRole::Main && self.numbers.one_in(4);
                let pid = match (role, script) {
                    (ServiceRole::Main, Script::Run) => {
                        assert_eq!(self.count(ProcessKind::Run), 0, "two ./run alive");
                        assert_eq!(self.count(ProcessKind::Finish), 0, "./run beside ./finish");
                        assert!(self.group.is_none(), "./run beside its group");
                        assert!(!self.pipe_closed, "./run without a log pipe");
                        assert!(!self.stays_down, "./run although ./finish exited 125");
                        if let Some(down) = self.down_since_short_life {
                            assert!(
                                self.now.monotonic >= down + RESTART_DELAY,
                                "a start before the restart delay"
                            );
                        }
                        self.last_run = Some(self.now.monotonic);
                        self.starts += 1;
                        let pid = self.spawn(ProcessKind::Run);
                        self.group = is_group.then_some(pid);
                        pid
                    }
                    (ServiceRole::Main, Script::Finish(_)) => {
                        assert_eq!(self.count(ProcessKind::Run) + self.count(ProcessKind::Finish), 0);
                        assert_eq!(self.finishes_due, 1, "a ./finish that no death asked for");
                        self.finishes_due = 0;
                        self.spawn(ProcessKind::Finish)
                    }
                    (ServiceRole::Log, _) => {
                        assert_eq!(self.count(ProcessKind::Log), 0, "two log services");
                        self.spawn(ProcessKind::Log)
                    }
                };
                let limit = self.numbers.one_in(3).then(|| Duration::from_millis(self.numbers.below(3000)));
                let notifies = (role, script) == (ServiceRole::Main, Script::Run) && self.numbers.one_in(2);
                let started = StartedScript { pid, is_group, limit, notifies };
                return Some(ServiceEvent::Started(role, script, started));
            }
            ServiceAction::RunControlScript(script, about) => {
                if let Some(about) = about {
                    assert!(
                        self.alive.contains(&(about, ProcessKind::Run)),
                        "a script about a process that is gone"
                    );
                }
                if self.numbers.below(3) > 0 {
                    return Some(ServiceEvent::NoControlScript(script));
                }
                assert!(script == ControlScript::BeforeStart || self.count(ProcessKind::ControlScript) <= 1);
                return Some(ServiceEvent::ControlScriptStarted(
                    script,
                    self.spawn(ProcessKind::ControlScript),
                ));
            }
            ServiceAction::ReadSettings(role) => {
                let kill_after =
                    self.numbers.one_in(3).then(|| Duration::from_millis(self.numbers.below(2000)));
                return Some(ServiceEvent::Settings(role, Settings { signal: Signal::TERM, kill_after }));
            }
            ServiceAction::Signal(target, _) => {
                assert!(self.is_there(target.pid), "a signal to a process that is gone");
            }
            ServiceAction::ProbeGroup(role, _) => {
                if self.numbers.one_in(3) {
                    self.group = None;
                }
                return Some(ServiceEvent::GroupProbed(role, self.group.is_some()));
            }
            ServiceAction::CloseLogPipe => {
                assert_eq!(
                    self.count(ProcessKind::Run) + self.count(ProcessKind::Finish),
                    0,
                    "the pipe closed too early"
                );
                self.pipe_closed = true;
                return Some(ServiceEvent::LogPipeClosed { has_unread: self.numbers.one_in(2) });
            }
            ServiceAction::Abandon(pid) => self.alive.retain(|(alive, _)| *alive != pid),
            ServiceAction::PublishReadiness(readiness) => self.publish(readiness),
            ServiceAction::Remember(..)
            | ServiceAction::NameLeftovers
            | ServiceAction::EndLeftovers
            | ServiceAction::NameLogHolders => {}
        }
        None
    }

    fn publish(&mut self, readiness: Readiness) {
        if readiness.ready.is_some() {
            let pid = Pid::from_raw(i32::try_from(readiness.pid).expect("a process"));
            assert!(self.alive.contains(&(pid, ProcessKind::Run)), "ready, but gone");
            self.words += 1;
        }
        self.readiness = Some(readiness);
    }

    fn is_there(&self, pid: Pid) -> bool {
        self.group == Some(pid) || self.alive.iter().any(|(alive, _)| *alive == pid)
    }

    fn run(&mut self, state: &mut ServicePair, event: ServiceEvent) {
        if let ServiceEvent::Command(ServiceRole::Main, Command::Up | Command::Once) = event {
            self.stays_down = false;
        }
        let before = state.status(ServiceRole::Main).and_then(|status| status.state);
        state.handle(event, self.now);
        while let Some(action) = state.next_action() {
            if let Some(outcome) = self.perform(action) {
                state.handle(outcome, self.now);
            }
        }
        let after = state.status(ServiceRole::Main).and_then(|status| status.state);
        let published = self.readiness.is_some_and(|readiness| readiness.ready.is_some());
        assert_eq!(published, state.is_ready() == Some(true), "supervise/ready is not true");
        if state.is_ready().is_some() {
            let about = self.readiness.map(|readiness| (readiness.since, readiness.pid));
            let status = state.status(ServiceRole::Main).map(|status| (status.since, status.pid));
            assert_eq!(about, status, "a readiness of another process");
        }
        if before != Some(State::Down) && after == Some(State::Down) {
            let was_short = self
                .last_run
                .is_some_and(|started| self.now.monotonic.saturating_duration_since(started) < RESTART_DELAY);
            self.down_since_short_life = was_short.then_some(self.now.monotonic);
            self.finishes_due = 0;
        }
    }

    /// One of the processes ends.
    fn one_dies(&mut self, state: &mut ServicePair) {
        if self.alive.is_empty() {
            return;
        }
        let index = usize::try_from(self.numbers.below(self.alive.len() as u64)).expect("an index");
        let (pid, kind) = self.alive.swap_remove(index);
        let exit_status = match self.numbers.below(4) {
            0 => ExitStatus::Exited(0),
            1 => ExitStatus::Exited(1),
            2 => ExitStatus::Exited(PERMANENT_FAILURE),
            _ => ExitStatus::Killed { signal: Signal::KILL, core: false },
        };
        let has_finish = self.numbers.one_in(2);
        if kind == ProcessKind::Run {
            self.finishes_due = u32::from(has_finish);
        }
        self.stays_down |=
            kind == ProcessKind::Finish && exit_status == ExitStatus::Exited(PERMANENT_FAILURE);
        self.run(state, ServiceEvent::Exited { pid, exit_status, has_finish });
    }
}

/// Walks until the state is finished, or for `steps`; returns the steps, the starts, and how often the
/// service became ready.
fn walk(seed: u64, steps: u64) -> (u64, u64, u64) {
    let now = Now { monotonic: Instant::now(), wall: UNIX_EPOCH + Duration::from_secs(1_000_000_000) };
    let mut processes = FakeProcesses {
        numbers: SeededNumbers(seed | 1),
        now,
        next_pid: 1,
        alive: Vec::new(),
        group: None,
        last_run: None,
        down_since_short_life: None,
        finishes_due: 0,
        pipe_closed: false,
        stays_down: false,
        starts: 0,
        readiness: None,
        words: 0,
    };
    let log = if processes.numbers.one_in(2) { Some(Want::Up) } else { None };
    let mut state = ServicePair::new(Want::Up, log, now);
    processes.run(&mut state, ServiceEvent::Tick);
    for step in 0..steps {
        if state.is_finished() {
            assert_eq!(processes.count(ProcessKind::Run), 0, "runsv left ./run behind");
            return (step, processes.starts, processes.words);
        }
        match processes.numbers.below(11) {
            0..=3 => {
                let role = if processes.numbers.one_in(4) { ServiceRole::Log } else { ServiceRole::Main };
                let (_, command) =
                    Command::ALL[usize::try_from(processes.numbers.below(14)).expect("an index")];
                // `x` is rare, or every walk would be short.
                let is_rare = command == Command::Exit && !processes.numbers.one_in(200);
                if state.takes_commands(role) && !is_rare {
                    processes.run(&mut state, ServiceEvent::Command(role, command));
                }
            }
            4..=6 => processes.one_dies(&mut state),
            7 => {
                let is_ready = processes.numbers.below(3).checked_sub(1).map(|word| word == 1);
                let extension =
                    processes.numbers.one_in(3).then(|| Duration::from_millis(processes.numbers.below(3000)));
                processes.run(&mut state, ServiceEvent::Notified { is_ready, extension });
            }
            8 => {
                // The clock is set.
                processes.now.wall = UNIX_EPOCH + Duration::from_secs(processes.numbers.below(2_000_000_000));
            }
            _ => {
                processes.now = processes.now + Duration::from_millis(processes.numbers.below(700));
                processes.run(&mut state, ServiceEvent::Tick);
            }
        }
    }
    // Told to exit, with every process ending at some time, it finishes.
    for _ in 0..10_000 {
        if state.is_finished() {
            assert_eq!(processes.count(ProcessKind::Run), 0, "runsv left ./run behind");
            return (steps, processes.starts, processes.words);
        }
        if state.takes_commands(ServiceRole::Main) {
            processes.run(&mut state, ServiceEvent::Term);
        }
        processes.one_dies(&mut state);
        processes.now = processes.now + Duration::from_millis(500);
        processes.run(&mut state, ServiceEvent::Tick);
    }
    panic!("seed {seed}: told to exit, but it never does");
}

#[test]
fn whatever_happens_for_a_million_steps_the_invariants_hold() {
    let (mut steps, mut starts, mut words, mut seed) = (0, 0, 0, 1);
    while steps < 1_000_000 {
        let (walked, started, ready) = walk(seed, 5_000);
        steps += walked.max(1);
        starts += started;
        words += ready;
        seed += 1;
    }
    assert!(starts > 10_000, "only {starts} starts: the walk stands still");
    assert!(words > 1000, "only {words} were ready");
}
