//! A seeded random walk over the machine: a million steps of control bytes, deaths, hooks, slow
//! finishes, groups, fork failures and clock steps, with what must hold after each.

use std::time::{Duration, Instant, UNIX_EPOCH};

use servicedir::{Command, State, Want};
use sys::{ExitStatus, Now, Pid, Signal};

use super::service::REST;
use super::{Action, ControlScript, Event, Role, Script, Settings, Started, Supervisor};

/// A small generator of numbers that look random and come again with the seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        // xorshift64*: good enough to wander with.
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
enum Kind {
    Run,
    Finish,
    Log,
    ControlScript,
}

/// The world the machine acts on, which checks every action.
struct World {
    dice: Dice,
    now: Now,
    next_pid: i32,
    alive: Vec<(Pid, Kind)>,
    group: Option<Pid>,
    last_run: Option<Instant>,
    /// When the service last came to rest after a short life.
    down_since_short_life: Option<Instant>,
    finishes_due: u32,
    pipe_closed: bool,
    starts: u64,
}

impl World {
    fn count(&self, kind: Kind) -> usize {
        self.alive.iter().filter(|(_, of)| *of == kind).count()
    }

    fn spawn(&mut self, kind: Kind) -> Pid {
        self.next_pid += 1;
        let pid = Pid::from_raw(self.next_pid);
        self.alive.push((pid, kind));
        pid
    }

    fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Publish(_, status) => {
                assert_eq!(status.to_bytes().len(), 20);
                if status.state == Some(State::Run) {
                    let pid = Pid::from_raw(i32::try_from(status.pid).expect("a process"));
                    assert!(
                        self.group == Some(pid) || self.alive.iter().any(|(alive, _)| *alive == pid),
                        "a record about a process that is gone"
                    );
                }
            }
            Action::Start(role, script) => {
                if self.dice.one_in(50) {
                    return Some(Event::NotStarted(role, script));
                }
                let is_group = role == Role::Main && self.dice.one_in(4);
                let pid = match (role, script) {
                    (Role::Main, Script::Run) => {
                        assert_eq!(self.count(Kind::Run), 0, "two ./run alive");
                        assert_eq!(self.count(Kind::Finish), 0, "./run beside ./finish");
                        assert!(self.group.is_none(), "./run beside the rest of its group");
                        assert!(!self.pipe_closed, "./run without a log pipe");
                        if let Some(down) = self.down_since_short_life {
                            assert!(self.now.monotonic >= down + REST, "a start within the rest");
                        }
                        self.last_run = Some(self.now.monotonic);
                        self.starts += 1;
                        let pid = self.spawn(Kind::Run);
                        self.group = is_group.then_some(pid);
                        pid
                    }
                    (Role::Main, Script::Finish(_)) => {
                        assert_eq!(self.count(Kind::Run) + self.count(Kind::Finish), 0);
                        assert_eq!(self.finishes_due, 1, "a ./finish that no death asked for");
                        self.finishes_due = 0;
                        self.spawn(Kind::Finish)
                    }
                    (Role::Log, _) => {
                        assert_eq!(self.count(Kind::Log), 0, "two log services");
                        self.spawn(Kind::Log)
                    }
                };
                let limit = self.dice.one_in(3).then(|| Duration::from_millis(self.dice.below(3000)));
                return Some(Event::Started(role, script, Started { pid, is_group, limit }));
            }
            Action::RunControlScript(hook, about) => {
                if let Some(about) = about {
                    assert!(self.alive.contains(&(about, Kind::Run)), "a hook about a process that is gone");
                }
                if self.dice.below(3) > 0 {
                    return Some(Event::NoControlScript(hook));
                }
                assert!(hook == ControlScript::BeforeStart || self.count(Kind::ControlScript) <= 1);
                return Some(Event::HookStarted(hook, self.spawn(Kind::ControlScript)));
            }
            Action::ReadSettings(role) => {
                let kill_after = self.dice.one_in(3).then(|| Duration::from_millis(self.dice.below(2000)));
                return Some(Event::Settings(role, Settings { signal: Signal::TERM, kill_after }));
            }
            Action::Signal(target, _) => {
                assert!(self.is_there(target.pid), "a signal to a process that is gone");
            }
            Action::ProbeGroup(role, _) => {
                if self.dice.one_in(3) {
                    self.group = None;
                }
                return Some(Event::GroupProbed(role, self.group.is_some()));
            }
            Action::CloseLogPipe => {
                assert_eq!(self.count(Kind::Run) + self.count(Kind::Finish), 0, "the pipe closed too early");
                self.pipe_closed = true;
                return Some(Event::LogPipeClosed { has_unread: self.dice.one_in(2) });
            }
            Action::Abandon(pid) => self.alive.retain(|(alive, _)| *alive != pid),
            Action::Remember(..) | Action::NameLeftovers | Action::EndLeftovers | Action::NameLogHolders => {}
        }
        None
    }

    fn is_there(&self, pid: Pid) -> bool {
        self.group == Some(pid) || self.alive.iter().any(|(alive, _)| *alive == pid)
    }

    fn run(&mut self, machine: &mut Supervisor, event: Event) {
        let before = machine.status(Role::Main).and_then(|status| status.state);
        machine.handle(event, self.now);
        while let Some(action) = machine.next_action() {
            if let Some(outcome) = self.perform(action) {
                machine.handle(outcome, self.now);
            }
        }
        let after = machine.status(Role::Main).and_then(|status| status.state);
        if before != Some(State::Down) && after == Some(State::Down) {
            let was_short = self
                .last_run
                .is_some_and(|started| self.now.monotonic.saturating_duration_since(started) < REST);
            self.down_since_short_life = was_short.then_some(self.now.monotonic);
            self.finishes_due = 0;
        }
    }

    /// One of the processes ends.
    fn one_dies(&mut self, machine: &mut Supervisor) {
        if self.alive.is_empty() {
            return;
        }
        let index = usize::try_from(self.dice.below(self.alive.len() as u64)).expect("an index");
        let (pid, kind) = self.alive.swap_remove(index);
        let ending = match self.dice.below(3) {
            0 => ExitStatus::Exited(0),
            1 => ExitStatus::Exited(1),
            _ => ExitStatus::Killed { signal: Signal::KILL, core: false },
        };
        let has_finish = self.dice.one_in(2);
        if kind == Kind::Run {
            self.finishes_due = u32::from(has_finish);
        }
        self.run(machine, Event::Exited { pid, ending, has_finish });
    }
}

/// Walks until runsv has left, or for `steps`; returns how many were made.
fn walk(seed: u64, steps: u64) -> (u64, u64) {
    let now = Now { monotonic: Instant::now(), wall: UNIX_EPOCH + Duration::from_secs(1_000_000_000) };
    let mut world = World {
        dice: Dice(seed | 1),
        now,
        next_pid: 1,
        alive: Vec::new(),
        group: None,
        last_run: None,
        down_since_short_life: None,
        finishes_due: 0,
        pipe_closed: false,
        starts: 0,
    };
    let log = if world.dice.one_in(2) { Some(Want::Up) } else { None };
    let mut machine = Supervisor::new(Want::Up, log, now);
    world.run(&mut machine, Event::Tick);
    for step in 0..steps {
        if machine.is_finished() {
            assert_eq!(world.count(Kind::Run), 0, "runsv left ./run behind");
            return (step, world.starts);
        }
        match world.dice.below(10) {
            0..=3 => {
                let role = if world.dice.one_in(4) { Role::Log } else { Role::Main };
                let (_, command) = Command::ALL[usize::try_from(world.dice.below(14)).expect("an index")];
                // `x` is rare, or every walk would be short.
                let is_rare = command == Command::Exit && !world.dice.one_in(200);
                if machine.takes_commands(role) && !is_rare {
                    world.run(&mut machine, Event::Command(role, command));
                }
            }
            4..=6 => world.one_dies(&mut machine),
            7 => {
                // Somebody sets the clock.
                world.now.wall = UNIX_EPOCH + Duration::from_secs(world.dice.below(2_000_000_000));
            }
            _ => {
                world.now = world.now + Duration::from_millis(world.dice.below(700));
                world.run(&mut machine, Event::Tick);
            }
        }
    }
    // Whatever happened: told to exit, with everything ending sooner or later, it leaves.
    for _ in 0..10_000 {
        if machine.is_finished() {
            assert_eq!(world.count(Kind::Run), 0, "runsv left ./run behind");
            return (steps, world.starts);
        }
        if machine.takes_commands(Role::Main) {
            world.run(&mut machine, Event::Term);
        }
        world.one_dies(&mut machine);
        world.now = world.now + Duration::from_millis(500);
        world.run(&mut machine, Event::Tick);
    }
    panic!("seed {seed}: told to exit, but it never does");
}

#[test]
fn whatever_happens_for_a_million_steps_the_invariants_hold() {
    let (mut steps, mut starts, mut seed) = (0, 0, 1);
    while steps < 1_000_000 {
        let (walked, started) = walk(seed, 5_000);
        steps += walked.max(1);
        starts += started;
        seed += 1;
    }
    assert!(starts > 10_000, "only {starts} starts: the walk stands still");
}
