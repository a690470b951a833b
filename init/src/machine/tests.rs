//! The container's life with invented time.

use std::time::{Duration, Instant};

use sys::{Errno, ExitStatus, Pid, Signal};

use super::vocabulary::{Action, Child, Event, Job, Kind, Pressure, Seen, Stage, Weight};
use super::{Account, Container, Setup};

const SECOND: Duration = Duration::from_secs(1);
const SCANNER: Pid = Pid::from_raw(2);
const COMMAND: Pid = Pid::from_raw(3);

/// A container whose world is written down by the test.
struct World {
    container: Container,
    begin: Instant,
    /// What a census finds.
    children: Vec<Child>,
    hooks: Vec<(Stage, Vec<&'static str>)>,
    /// Whether anybody is left of COMMAND's group.
    is_group_there: bool,
    /// Whether there is a COMMAND where one was named.
    is_command_there: bool,
    /// What the history of each service tells.
    account: Account,
    said: Vec<String>,
    done: Vec<Action>,
}

impl World {
    fn new(grace: Duration, command: Option<&str>) -> Self {
        Self::with_hooks(grace, command, Vec::new())
    }

    fn with_hooks(grace: Duration, command: Option<&str>, hooks: Vec<(Stage, Vec<&'static str>)>) -> Self {
        Self::made(grace, command, hooks, (true, false))
    }

    /// A world in which COMMAND is not there.
    fn without_command(hooks: Vec<(Stage, Vec<&'static str>)>) -> Self {
        Self::made(SECOND * 10, Some("npm"), hooks, (false, false))
    }

    /// A world in which COMMAND is its whole group.
    fn with_a_group() -> Self {
        Self::made(SECOND * 10, Some("npm"), Vec::new(), (true, true))
    }

    fn made(
        grace: Duration,
        command: Option<&str>,
        hooks: Vec<(Stage, Vec<&'static str>)>,
        (is_command_there, is_group): (bool, bool),
    ) -> Self {
        let of = |stage| -> Vec<_> {
            hooks.iter().filter(|(known, _)| *known == stage).flat_map(|(_, names)| names.clone()).collect()
        };
        let container = Container::new(Setup {
            grace,
            directory: Some("/srv".into()),
            command: command.map(ToOwned::to_owned),
            is_group,
            start_hooks: of(Stage::Start).into_iter().map(Into::into).collect(),
            has_drain: !of(Stage::Drain).is_empty(),
            has_finish: !of(Stage::Finish).is_empty(),
        });
        let begin = Instant::now();
        let mut world = Self {
            container,
            begin,
            children: Vec::new(),
            hooks,
            is_group_there: false,
            is_command_there,
            account: Account::default(),
            said: Vec::new(),
            done: Vec::new(),
        };
        world.tell(Duration::ZERO, Event::Tick);
        world
    }

    /// Something happens `after` the beginning; the world answers whatever that makes init do.
    fn tell(&mut self, after: Duration, event: Event) -> &mut Self {
        let now = self.begin + after;
        self.container.handle(event, now);
        while let Some(action) = self.container.next_action() {
            let outcome = match &action {
                Action::Say(Weight::Detail, _) => None,
                Action::Say(_, line) => {
                    self.said.push(line.clone());
                    None
                }
                Action::StartScanner => Some(Event::Started(Job::Scanner, SCANNER)),
                Action::Recall(supervisor, _) => Some(Event::Recalled(*supervisor, self.account.clone())),
                Action::LookAtGroup(leader) => {
                    Some(Event::GroupSeen { leader: *leader, is_there: self.is_group_there })
                }
                Action::StartCommand if !self.is_command_there => {
                    Some(Event::NotStarted(Job::Command, Errno::ENOENT))
                }
                Action::StartCommand => Some(Event::Started(Job::Command, COMMAND)),
                Action::StartHook { path, .. } => {
                    let number = path.to_str().and_then(|name| name.rsplit('/').next()?.parse().ok());
                    Some(Event::Started(Job::Hook, Pid::from_raw(number.unwrap_or(90))))
                }
                Action::FindHooks(stage) => {
                    let found = self.hooks.iter().find(|(known, _)| known == stage);
                    let names = found.map(|(_, names)| names.clone()).unwrap_or_default();
                    Some(Event::HooksFound(*stage, names.into_iter().map(Into::into).collect()))
                }
                Action::TakeCensus(_) => Some(Event::Census(Some(self.children.clone()))),
                Action::Press(late) => Some(Event::Pressed(
                    late.iter().map(|late| (*late, vec!["run (pid 9)".into()])).collect(),
                )),
                _ => None,
            };
            self.done.push(action);
            if let Some(outcome) = outcome {
                self.container.handle(outcome, now);
            }
        }
        self
    }

    /// Lets time pass to the next deadline, again and again, until then.
    fn pass(&mut self, until: Duration) -> &mut Self {
        let mut ticks = 0;
        while let Some(next) = self.container.next_deadline().filter(|next| *next <= self.begin + until) {
            self.tell(next.duration_since(self.begin), Event::Tick);
            ticks += 1;
            assert!(ticks < 10_000, "time stands still: {:?}", self.container);
        }
        self.tell(until, Event::Tick)
    }

    fn dies(&mut self, after: Duration, pid: i32, ending: ExitStatus) -> &mut Self {
        let pid = Pid::from_raw(pid);
        self.children.retain(|child| child.pid != pid);
        let is_childless = self.children.is_empty();
        self.tell(after, Event::Reaped { deaths: vec![(pid, ending)], is_childless })
    }

    fn runs(&mut self, pid: i32, name: &str, needs: &[&str]) -> &mut Self {
        let needs = needs.iter().map(ToString::to_string).collect();
        self.children
            .push(Child { pid: Pid::from_raw(pid), kind: Kind::Supervisor { name: name.into(), needs } });
        self
    }

    fn is_done(&self, action: &Action) -> bool {
        self.done.contains(action)
    }

    fn terminated(&self, pid: i32) -> bool {
        self.is_done(&Action::Signal(Pid::from_raw(pid), Signal::TERM))
    }

    fn pressure_on(&self, pid: i32) -> Vec<Pressure> {
        let pressed = self.done.iter().filter_map(|action| match action {
            Action::Press(late) => Some(late.iter().filter(|late| late.pid == Pid::from_raw(pid))),
            _ => None,
        });
        pressed.flatten().map(|late| late.pressure).collect()
    }
}

const KILLED: ExitStatus = ExitStatus::Killed { signal: Signal::KILL, core: false };

#[test]
fn services_stop_at_once_and_so_does_init() {
    let mut world = World::new(SECOND * 10, None);
    world.runs(10, "web", &[]).runs(11, "db", &[]);
    world.tell(SECOND, Event::Signal(Signal::TERM));
    let place = |pid, signal| {
        let action = Action::Signal(Pid::from_raw(pid), signal);
        world.done.iter().position(|done| *done == action).expect("a signal")
    };
    let last = place(2, Signal::KILL);
    assert!(last < place(10, Signal::TERM) && last < place(11, Signal::TERM), "nothing new may start");
    world.dies(SECOND, 2, KILLED);
    world.dies(SECOND, 10, ExitStatus::Exited(0));
    assert_eq!(world.container.exit_code(), None);
    world.dies(SECOND * 2, 11, ExitStatus::Exited(0));
    assert_eq!(world.container.exit_code(), Some(0));
    assert_eq!(
        world.said.last().map(String::as_str),
        Some("2 services stopped in 1.00 s, none killed; exit 0")
    );
}

#[test]
fn whoever_is_late_is_pressed_and_the_grace_is_kept() {
    let mut world = World::new(SECOND * 10, None);
    world.runs(10, "deaf", &[]);
    world.tell(Duration::ZERO, Event::Signal(Signal::TERM)).dies(Duration::ZERO, 2, KILLED);
    world.pass(SECOND * 7);
    assert_eq!(world.pressure_on(10), []);
    world.pass(SECOND * 9 + SECOND / 4);
    assert_eq!(
        world.pressure_on(10),
        [Pressure::Run, Pressure::Finish, Pressure::Logger, Pressure::Supervisor]
    );
    world.pass(SECOND * 10);
    assert!(world.is_done(&Action::Sweep(Signal::KILL)));
    assert_eq!(world.container.exit_code(), Some(99), "nobody dies, and init leaves all the same");
    let summary = world.said.last().cloned().unwrap_or_default();
    assert!(summary.ends_with(", 1 killed: deaf; exit 99"), "{summary}");
}

#[test]
fn a_service_that_was_killed_shows_in_code_and_summary() {
    let mut world = World::new(SECOND * 10, None);
    world.runs(10, "deaf", &[]);
    world.tell(Duration::ZERO, Event::Signal(Signal::TERM)).dies(Duration::ZERO, 2, KILLED);
    world.pass(SECOND * 8).dies(SECOND * 8, 10, ExitStatus::Exited(0));
    assert_eq!(world.container.exit_code(), Some(99));
    assert_eq!(
        world.said.last().map(String::as_str),
        Some("1 service stopped in 8.00 s, 1 killed: deaf; exit 99")
    );
}

#[test]
fn what_is_needed_goes_last_and_its_dependents_leave_it_time() {
    let mut world = World::new(SECOND * 10, None);
    world.runs(10, "web", &["db"]).runs(11, "db", &[]);
    world.tell(Duration::ZERO, Event::Signal(Signal::TERM)).dies(Duration::ZERO, 2, KILLED);
    assert!(world.terminated(10) && !world.terminated(11));
    world.pass(SECOND * 4);
    assert_eq!(world.pressure_on(10).first(), Some(&Pressure::Run), "half of the time is for db");
    world.dies(SECOND * 4, 10, ExitStatus::Exited(0));
    assert!(world.terminated(11));
    world.pass(SECOND * 7);
    assert_eq!(world.pressure_on(11), [], "the rest is all its own");
}

#[test]
fn a_dependent_whose_logger_reads_on_holds_nobody_up() {
    let mut world = World::new(SECOND * 10, None);
    world.runs(10, "web", &["db"]).runs(11, "db", &[]);
    world.tell(Duration::ZERO, Event::Signal(Signal::TERM)).dies(Duration::ZERO, 2, KILLED);
    world.tell(
        SECOND,
        Event::Statuses(vec![(Pid::from_raw(10), Seen { is_down: true, is_wanted_up: false })]),
    );
    assert!(world.terminated(11));
}

#[test]
fn a_service_that_is_just_being_born_is_not_lost() {
    let mut world = World::new(SECOND * 10, None);
    world.children.push(Child { pid: Pid::from_raw(10), kind: Kind::Embryo });
    world.tell(Duration::ZERO, Event::Signal(Signal::TERM)).dies(Duration::ZERO, 2, KILLED);
    world.done.clear();
    world.children.clear();
    world.runs(10, "web", &[]).pass(SECOND / 100);
    assert!(world.terminated(10), "the first TERM was for a runsvdir that was no runsv yet");
    world.dies(SECOND, 10, ExitStatus::Exited(0));
    assert_eq!(world.container.exit_code(), Some(0));
}

#[test]
fn what_is_wrong_with_the_order_is_said_once_while_services_are_being_born() {
    let mut world = World::new(SECOND * 10, None);
    world.children.push(Child { pid: Pid::from_raw(30), kind: Kind::Embryo });
    world.runs(10, "web", &["nobody"]);
    world.tell(Duration::ZERO, Event::Signal(Signal::TERM)).pass(SECOND / 2);
    let is_complaint = |action: &&Action| matches!(action, Action::Say(_, text) if text.contains("nobody"));
    assert_eq!(world.done.iter().filter(is_complaint).count(), 1);
}

#[test]
fn a_runsvdir_that_dies_slowly_hides_no_service() {
    let mut world = World::new(SECOND * 10, None);
    world.children.push(Child { pid: Pid::from_raw(30), kind: Kind::Stray });
    world.tell(Duration::ZERO, Event::Signal(Signal::TERM)).pass(SECOND);
    assert!(!world.is_done(&Action::Sweep(Signal::TERM)), "its runsv are still its own");
    world.runs(10, "web", &[]).dies(SECOND, 2, KILLED);
    assert!(world.terminated(10));
    world.dies(SECOND, 30, KILLED).dies(SECOND, 10, ExitStatus::Exited(0));
    assert_eq!(world.container.exit_code(), Some(0));
}

#[test]
fn what_a_nested_tree_leaves_to_init_is_stopped_too() {
    let mut world = World::new(SECOND * 10, None);
    world.runs(10, "nest", &[]);
    world.tell(Duration::ZERO, Event::Signal(Signal::TERM)).dies(Duration::ZERO, 2, KILLED);
    world.runs(20, "egg", &[]).dies(SECOND, 10, ExitStatus::Exited(0));
    assert!(world.terminated(20));
    world.dies(SECOND, 20, ExitStatus::Exited(0));
    assert_eq!(world.container.exit_code(), Some(0));
}

#[test]
fn the_drain_lasts_as_long_as_its_hooks_and_a_second_term_skips_it() {
    for is_hurried in [false, true] {
        let hooks = vec![(Stage::Drain, vec!["/h/drain.d/50", "/h/drain.d/51"])];
        let mut world = World::with_hooks(SECOND * 10, None, hooks);
        world.runs(10, "web", &[]);
        world.tell(Duration::ZERO, Event::Signal(Signal::TERM));
        world.pass(SECOND);
        assert!(!world.is_done(&Action::Signal(SCANNER, Signal::KILL)), "services still run");
        if is_hurried {
            world.tell(SECOND, Event::Signal(Signal::TERM));
            assert!(world.is_done(&Action::SignalGroup(Pid::from_raw(50), Signal::KILL)));
        } else {
            world.dies(SECOND, 50, ExitStatus::Exited(1)).dies(SECOND * 2, 51, ExitStatus::Exited(0));
        }
        assert!(world.is_done(&Action::Signal(SCANNER, Signal::KILL)));
    }
}

#[test]
fn a_drain_hook_that_hangs_has_only_its_share() {
    let mut world = World::with_hooks(SECOND * 10, None, vec![(Stage::Drain, vec!["/h/drain.d/50"])]);
    world.runs(10, "web", &[]);
    world.tell(Duration::ZERO, Event::Signal(Signal::TERM)).pass(SECOND * 5);
    assert!(world.is_done(&Action::SignalGroup(Pid::from_raw(50), Signal::KILL)));
    assert!(world.is_done(&Action::Signal(SCANNER, Signal::KILL)));
}

#[test]
fn a_term_that_is_repeated_cuts_nobody_short_but_a_third_kills() {
    let mut world = World::new(SECOND * 10, None);
    world.runs(10, "slow", &[]);
    world.tell(Duration::ZERO, Event::Signal(Signal::TERM)).dies(Duration::ZERO, 2, KILLED);
    world.tell(SECOND, Event::Signal(Signal::TERM)).pass(SECOND * 2);
    assert!(world.pressure_on(10).is_empty() && !world.is_done(&Action::Sweep(Signal::KILL)));
    world.tell(SECOND * 2, Event::Signal(Signal::INT));
    assert!(world.is_done(&Action::Sweep(Signal::KILL)));
    world.dies(SECOND * 2, 10, KILLED);
    assert_eq!(world.container.exit_code(), Some(99));
}

#[test]
fn a_failing_start_hook_ends_everything_with_its_code() {
    let hooks = vec![(Stage::Start, vec!["/h/start.d/50", "/h/start.d/51"])];
    let mut world = World::with_hooks(SECOND * 10, None, hooks);
    world.dies(SECOND, 50, ExitStatus::Exited(7));
    assert_eq!(world.container.exit_code(), Some(7));
    assert!(!world.is_done(&Action::StartScanner));
    assert!(
        world.said.iter().any(|line| line.starts_with("start.d/50: failed with exit 7")),
        "{:?}",
        world.said
    );
}

#[test]
fn finish_hooks_run_after_the_last_service() {
    let mut world = World::with_hooks(SECOND * 10, None, vec![(Stage::Finish, vec!["/h/finish.d/50"])]);
    world.runs(10, "web", &[]);
    world.tell(Duration::ZERO, Event::Signal(Signal::TERM)).dies(Duration::ZERO, 2, KILLED);
    let has_begun =
        |world: &World| world.done.iter().any(|action| matches!(action, Action::StartHook { .. }));
    assert!(!has_begun(&world));
    world.dies(SECOND, 10, ExitStatus::Exited(0));
    assert!(has_begun(&world));
    world.pass(SECOND * 8);
    assert_eq!(world.container.exit_code(), None);
    world.pass(SECOND * 10);
    assert!(world.is_done(&Action::SignalGroup(Pid::from_raw(50), Signal::KILL)));
    assert_eq!(world.container.exit_code(), Some(99));
}

#[test]
fn init_stays_until_a_finish_hook_that_it_has_killed_is_dead() {
    let mut world = World::with_hooks(SECOND * 10, None, vec![(Stage::Finish, vec!["/h/finish.d/50"])]);
    world.tell(Duration::ZERO, Event::Signal(Signal::TERM)).dies(Duration::ZERO, 2, KILLED);
    world.pass(SECOND * 9);
    assert!(world.is_done(&Action::SignalGroup(Pid::from_raw(50), Signal::KILL)));
    assert_eq!(world.container.exit_code(), None);
    world.dies(SECOND * 9, 50, KILLED);
    assert_eq!(world.container.exit_code(), Some(99));
    assert!(!world.is_done(&Action::Sweep(Signal::KILL)), "nobody else was left");
}

#[test]
fn who_is_told_otherwise_after_it_has_obeyed_is_asked_again() {
    let mut world = World::new(SECOND * 10, None);
    world.runs(10, "web", &[]);
    world.tell(Duration::ZERO, Event::Signal(Signal::TERM)).dies(Duration::ZERO, 2, KILLED);
    let supervisor = Pid::from_raw(10);
    let asked = |world: &World| {
        let again = Action::Signal(supervisor, Signal::TERM);
        world.done.iter().filter(|action| **action == again).count()
    };
    let mut seen = Seen { is_down: false, is_wanted_up: true };
    world.tell(SECOND / 10, Event::Statuses(vec![(supervisor, seen)]));
    assert_eq!(asked(&world), 1, "it has not read the first, yet");
    seen.is_wanted_up = false;
    world.tell(SECOND / 9, Event::Statuses(vec![(supervisor, seen)]));
    seen.is_wanted_up = true;
    world.tell(SECOND / 8, Event::Statuses(vec![(supervisor, seen)]));
    assert_eq!(asked(&world), 2);
}

#[test]
fn the_commands_end_is_the_containers() {
    let mut world = World::new(SECOND * 10, Some("npm"));
    world.runs(10, "web", &[]);
    world.dies(SECOND, 3, ExitStatus::Exited(3));
    assert!(world.is_done(&Action::TakeTerminal));
    world.dies(SECOND, 2, KILLED).dies(SECOND, 10, ExitStatus::Exited(0));
    assert_eq!(world.container.exit_code(), Some(3));
}

#[test]
fn the_command_goes_before_the_services_it_may_need() {
    let mut world = World::new(SECOND * 10, Some("npm"));
    world.runs(10, "web", &[]);
    world.children.push(Child { pid: COMMAND, kind: Kind::Stray });
    world.tell(Duration::ZERO, Event::Signal(Signal::INT)).pass(SECOND);
    assert!(world.is_done(&Action::Signal(COMMAND, Signal::INT)));
    assert!(!world.is_done(&Action::Signal(SCANNER, Signal::KILL)));
    world.pass(SECOND * 4);
    assert!(world.is_done(&Action::Signal(SCANNER, Signal::KILL)), "they do not wait for ever");
    world.dies(SECOND * 4, 2, KILLED).dies(SECOND * 4, 10, ExitStatus::Exited(0)).pass(SECOND * 8);
    assert!(world.is_done(&Action::SignalGroup(COMMAND, Signal::KILL)));
    world.dies(SECOND * 8, 3, KILLED);
    assert_eq!(world.container.exit_code(), Some(137));
}

#[test]
fn signals_are_passed_on_to_the_command() {
    let mut world = World::new(SECOND * 10, Some("npm"));
    world.tell(SECOND, Event::Signal(Signal::USR1));
    assert!(world.is_done(&Action::Signal(COMMAND, Signal::USR1)));
    let mut world = World::new(SECOND * 10, None);
    world.tell(SECOND, Event::Signal(Signal::HUP)).tell(SECOND, Event::Signal(Signal::USR1));
    assert!(world.is_done(&Action::Signal(SCANNER, Signal::ALRM)));
}

#[test]
fn a_critical_service_that_ends_takes_the_container_along() {
    let mut world = World::new(SECOND * 10, None);
    world.runs(10, "web", &[]);
    let ending = Some(ExitStatus::Exited(4));
    world.tell(SECOND, Event::CriticalEnded { name: "web".into(), ending }).dies(SECOND, 2, KILLED);
    world.dies(SECOND, 10, ExitStatus::Exited(0));
    assert_eq!(world.container.exit_code(), Some(4));
}

#[test]
fn a_runsvdir_that_dies_is_started_again_while_services_run() {
    let mut world = World::new(SECOND * 10, None);
    world.runs(10, "web", &[]);
    world.done.clear();
    world.dies(SECOND * 5, 2, KILLED);
    assert!(world.is_done(&Action::StartScanner));
    assert!(!world.terminated(10));
}

#[test]
fn a_walk_of_chance_always_ends_before_the_grace() {
    // xorshift: a seed is a whole story, and can be told again.
    for seed in 1..=2000_u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut dice = |sides: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % sides
        };
        let grace = Duration::from_millis(100 + dice(20_000));
        let hooks = match dice(3) {
            0 => vec![(Stage::Drain, vec!["/h/drain.d/50"]), (Stage::Finish, vec!["/h/finish.d/51"])],
            1 => vec![(Stage::Finish, vec!["/h/finish.d/51"])],
            _ => Vec::new(),
        };
        let mut world = World::with_hooks(grace, (dice(2) == 0).then_some("npm"), hooks);
        let names = ["a", "b", "c", "d", "e"];
        for (number, name) in (10..).zip(names) {
            let needs: Vec<&str> = names.into_iter().filter(|_| dice(4) == 0).collect();
            world.runs(number, name, &needs);
        }
        world.children.push(Child { pid: Pid::from_raw(30), kind: Kind::Stray });
        let mut time = Duration::ZERO;
        world.tell(time, Event::Signal(Signal::TERM));
        while world.container.exit_code().is_none() {
            time += grace / 50;
            assert!(time <= grace, "seed {seed}: {:?}", world.said);
            let pid = [2, 3, 10, 11, 12, 13, 14, 30, 50, 51][usize::try_from(dice(10)).unwrap_or(0)];
            match dice(6) {
                0 => drop(world.dies(time, pid, ExitStatus::Exited(0))),
                1 => drop(world.tell(
                    time,
                    Event::Statuses(vec![(
                        Pid::from_raw(pid),
                        Seen { is_down: dice(2) == 0, is_wanted_up: dice(4) == 0 },
                    )]),
                )),
                2 if dice(40) == 0 => drop(world.tell(time, Event::Signal(Signal::TERM))),
                _ => drop(world.pass(time)),
            }
        }
    }
}

/// How often a process was sent TERM.
fn terms(world: &World, pid: i32) -> usize {
    let told = Action::Signal(Pid::from_raw(pid), Signal::TERM);
    world.done.iter().filter(|action| **action == told).count()
}

#[test]
fn who_cannot_write_its_record_is_asked_again_once() {
    let mut world = World::new(SECOND * 10, None);
    world.runs(10, "web", &[]);
    world.tell(Duration::ZERO, Event::Signal(Signal::TERM)).dies(Duration::ZERO, 2, KILLED);
    let seen = Seen { is_down: false, is_wanted_up: true };
    for look in 1..100 {
        let after = SECOND / 20 * look;
        world.tell(after, Event::Statuses(vec![(Pid::from_raw(10), seen)]));
    }
    assert_eq!(terms(&world, 10), 2);
}

#[test]
fn where_changes_cannot_be_told_they_are_looked_for_all_the_same() {
    let mut world = World::new(SECOND * 10, None);
    world.runs(10, "web", &["db"]).runs(11, "db", &[]);
    world.tell(Duration::ZERO, Event::Signal(Signal::TERM)).dies(Duration::ZERO, 2, KILLED);
    assert!(world.done.iter().any(|action| matches!(action, Action::WatchStatus(_))));
    world.pass(SECOND / 2);
    assert!(world.done.iter().any(|action| matches!(action, Action::ReadStatus(_))));
}

#[test]
fn who_is_being_born_is_told_once() {
    let mut world = World::new(SECOND * 10, None);
    world.children.push(Child { pid: Pid::from_raw(12), kind: Kind::Embryo });
    world.tell(Duration::ZERO, Event::Signal(Signal::TERM)).dies(Duration::ZERO, 2, KILLED);
    world.pass(SECOND / 2);
    assert_eq!(terms(&world, 12), 1);
    // It has become a runsv before it could hear that.
    world.children.clear();
    world.runs(12, "web", &[]).pass(SECOND);
    assert_eq!(terms(&world, 12), 2);
}

#[test]
fn finish_hooks_keep_their_share_when_a_start_hook_does_not_end() {
    let hooks = vec![(Stage::Start, vec!["/h/start.d/50"]), (Stage::Finish, vec!["/h/finish.d/51"])];
    let mut world = World::with_hooks(SECOND * 10, None, hooks);
    world.tell(Duration::ZERO, Event::Signal(Signal::TERM));
    assert!(world.is_done(&Action::Sweep(Signal::TERM)));
    world.pass(SECOND * 8);
    assert!(!world.is_done(&Action::Sweep(Signal::KILL)));
    world.pass(SECOND * 8 + SECOND / 5);
    assert!(world.is_done(&Action::Sweep(Signal::KILL)), "a tenth of the time is for finish hooks");
    world.dies(SECOND * 8 + SECOND / 5, 50, KILLED);
    assert!(world.done.iter().any(|action| matches!(action, Action::StartHook { .. })));
}

#[test]
fn what_a_finish_hook_leaves_behind_is_asked_before_it_is_killed() {
    let mut world = World::with_hooks(SECOND * 10, None, vec![(Stage::Finish, vec!["/h/finish.d/50"])]);
    world.tell(Duration::ZERO, Event::Signal(Signal::TERM)).dies(Duration::ZERO, 2, KILLED);
    world.children.push(Child { pid: Pid::from_raw(60), kind: Kind::Stray });
    world.done.clear();
    world.dies(SECOND, 50, ExitStatus::Exited(0));
    assert!(world.is_done(&Action::Sweep(Signal::TERM)));
    // Who was just born may have become another program: each second it is seen whether.
    world.done.clear();
    world.pass(SECOND * 3);
    assert!(world.is_done(&Action::Sweep(Signal::TERM)));
    world.pass(SECOND * 8);
    assert!(!world.is_done(&Action::Sweep(Signal::KILL)), "it has the rest of the time");
    world.dies(SECOND * 8, 60, ExitStatus::Exited(0));
    assert_eq!(world.container.exit_code(), Some(0));
}

#[test]
fn a_command_that_cannot_be_run_is_no_reason_to_drain() {
    let hooks = vec![(Stage::Drain, vec!["/h/drain.d/50"]), (Stage::Finish, vec!["/h/finish.d/51"])];
    let mut world = World::without_command(hooks);
    world.dies(SECOND, 51, ExitStatus::Exited(0));
    assert_eq!(world.container.exit_code(), Some(127));
    assert!(!world.is_done(&Action::FindHooks(Stage::Drain)), "{:?}", world.said);
}

#[test]
fn services_wait_for_the_rest_of_the_commands_group() {
    let mut world = World::with_a_group();
    world.is_group_there = true;
    world.runs(10, "web", &[]);
    world.tell(Duration::ZERO, Event::Signal(Signal::TERM));
    assert!(world.is_done(&Action::SignalGroup(COMMAND, Signal::TERM)));
    world.dies(SECOND, 3, ExitStatus::Exited(0)).pass(SECOND * 2);
    assert!(!world.is_done(&Action::Signal(SCANNER, Signal::KILL)), "somebody is at work still");
    world.is_group_there = false;
    world.pass(SECOND * 2 + SECOND / 5);
    assert!(world.is_done(&Action::Signal(SCANNER, Signal::KILL)));
}

#[test]
fn what_was_not_in_order_is_said_and_what_runsv_has_killed_counts() {
    let mut world = World::new(SECOND * 10, None);
    world.runs(10, "web", &[]);
    world.account.run = Some(KILLED);
    world.account.sent = vec![Signal::TERM, Signal::KILL];
    world.tell(Duration::ZERO, Event::Signal(Signal::TERM)).dies(Duration::ZERO, 2, KILLED);
    world.dies(SECOND, 10, ExitStatus::Exited(0));
    assert_eq!(world.container.exit_code(), Some(99));
    assert_eq!(
        world.said.iter().rev().take(2).map(String::as_str).collect::<Vec<_>>(),
        [
            "1 service stopped in 1.00 s, 1 killed: web; exit 99",
            "web: killed by its runsv after 1.00 s, ./run ended with SIGKILL"
        ]
    );
}

#[test]
fn who_loses_its_runsv_is_one_service_whatever_is_left_of_it() {
    let mut world = World::new(SECOND * 10, None);
    world.runs(10, "web", &[]);
    world.tell(Duration::ZERO, Event::Signal(Signal::TERM)).dies(Duration::ZERO, 2, KILLED);
    let left = |pid, kind| Child { pid: Pid::from_raw(pid), kind };
    world.children.push(left(20, Kind::Orphan { name: "web".into() }));
    world.children.push(left(21, Kind::OrphanedLogger { name: "web".into() }));
    world.dies(SECOND, 10, KILLED).pass(SECOND + SECOND / 10);
    world.dies(SECOND * 2, 20, ExitStatus::Exited(0)).dies(SECOND * 2, 21, ExitStatus::Exited(0));
    assert_eq!(
        world.said.last().map(String::as_str),
        Some("1 service stopped in 2.00 s, none killed; exit 0"),
        "{:?}",
        world.said
    );
}

#[test]
fn others_that_were_killed_are_told_from_nobody() {
    let mut world = World::new(SECOND * 10, None);
    world.children.push(Child { pid: Pid::from_raw(30), kind: Kind::Stray });
    world.tell(Duration::ZERO, Event::Signal(Signal::TERM)).dies(Duration::ZERO, 2, KILLED);
    world.pass(SECOND * 9).dies(SECOND * 9, 30, KILLED);
    assert_eq!(
        world.said.last().map(String::as_str),
        Some("0 services stopped in 9.00 s, no service killed, but others were; exit 99")
    );
}

#[test]
fn a_runsv_that_is_stopped_after_it_was_told_is_woken_each_second() {
    let mut world = World::new(SECOND * 10, None);
    world.runs(10, "web", &["db"]).runs(11, "db", &[]);
    world.tell(Duration::ZERO, Event::Signal(Signal::TERM)).dies(Duration::ZERO, 2, KILLED);
    world.done.clear();
    world.pass(SECOND * 3 + SECOND / 2);
    let woken = |pid| {
        let wakes =
            |action: &&Action| matches!(action, Action::Wake(told) if told.contains(&Pid::from_raw(pid)));
        world.done.iter().filter(wakes).count()
    };
    assert_eq!((woken(10), woken(11)), (3, 0), "whose turn has not come is not told anything");
}
