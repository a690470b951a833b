//! The lifecycle's life with invented time.

use std::time::{Duration, Instant};

use sys::{Errno, ExitStatus, Pid, Signal};

use super::events::{
    AdoptedChild, ChildKind, Escalation, HookStage, LifecycleAction, LifecycleEvent, LogLevel, OwnProgram,
    ReportedState,
};
use super::{Lifecycle, LifecycleSetup, ServiceEnd};

const SECOND: Duration = Duration::from_secs(1);
const RUNSVDIR: Pid = Pid::from_raw(2);
const COMMAND: Pid = Pid::from_raw(3);

/// A lifecycle whose simulation is written down by the test.
struct Simulation {
    lifecycle: Lifecycle,
    begin: Instant,
    /// The children of init.
    children: Vec<AdoptedChild>,
    hooks: Vec<(HookStage, Vec<&'static str>)>,
    /// Whether anybody is left of COMMAND's group.
    is_group_there: bool,
    /// Whether there is a COMMAND where one was named.
    is_command_there: bool,
    /// What the history of each service tells.
    service_end: ServiceEnd,
    said: Vec<String>,
    done: Vec<LifecycleAction>,
}

impl Simulation {
    fn new(grace: Duration, command: Option<&str>) -> Self {
        Self::with_hooks(grace, command, Vec::new())
    }

    fn with_hooks(
        grace: Duration,
        command: Option<&str>,
        hooks: Vec<(HookStage, Vec<&'static str>)>,
    ) -> Self {
        Self::made(grace, command, hooks, (true, false))
    }

    /// A simulation in which COMMAND is not there.
    fn without_command(hooks: Vec<(HookStage, Vec<&'static str>)>) -> Self {
        Self::made(SECOND * 10, Some("npm"), hooks, (false, false))
    }

    /// A simulation in which COMMAND is its whole group.
    fn with_a_group() -> Self {
        Self::made(SECOND * 10, Some("npm"), Vec::new(), (true, true))
    }

    fn made(
        grace: Duration,
        command: Option<&str>,
        hooks: Vec<(HookStage, Vec<&'static str>)>,
        (is_command_there, is_group): (bool, bool),
    ) -> Self {
        let of = |stage| -> Vec<_> {
            hooks.iter().filter(|(known, _)| *known == stage).flat_map(|(_, names)| names.clone()).collect()
        };
        let lifecycle = Lifecycle::new(LifecycleSetup {
            grace,
            directory: Some("/srv".into()),
            command: command.map(ToOwned::to_owned),
            is_group,
            start_hooks: of(HookStage::Start).into_iter().map(Into::into).collect(),
            has_drain: !of(HookStage::Drain).is_empty(),
            has_finish: !of(HookStage::Finish).is_empty(),
        });
        let begin = Instant::now();
        let mut simulation = Self {
            lifecycle,
            begin,
            children: Vec::new(),
            hooks,
            is_group_there: false,
            is_command_there,
            service_end: ServiceEnd::default(),
            said: Vec::new(),
            done: Vec::new(),
        };
        simulation.tell(Duration::ZERO, LifecycleEvent::Tick);
        simulation
    }

    /// Something happens `after` the beginning; the simulation answers whatever that makes init do.
    fn tell(&mut self, after: Duration, event: LifecycleEvent) -> &mut Self {
        let now = self.begin + after;
        self.lifecycle.handle(event, now);
        while let Some(action) = self.lifecycle.next_action() {
            let outcome = match &action {
                LifecycleAction::Say(LogLevel::Detail, _) => None,
                LifecycleAction::Say(_, line) => {
                    self.said.push(line.clone());
                    None
                }
                LifecycleAction::StartRunsvdir => {
                    Some(LifecycleEvent::Started(OwnProgram::Runsvdir, RUNSVDIR))
                }
                LifecycleAction::ReadServiceEnd(supervisor, _) => {
                    Some(LifecycleEvent::ServiceEndRead(*supervisor, self.service_end.clone()))
                }
                LifecycleAction::ProbeGroup(leader) => {
                    Some(LifecycleEvent::GroupProbed { leader: *leader, is_there: self.is_group_there })
                }
                LifecycleAction::StartCommand if !self.is_command_there => {
                    Some(LifecycleEvent::NotStarted(OwnProgram::Command, Errno::ENOENT))
                }
                LifecycleAction::StartCommand => Some(LifecycleEvent::Started(OwnProgram::Command, COMMAND)),
                LifecycleAction::StartHook { path, .. } => {
                    let number = path.to_str().and_then(|name| name.rsplit('/').next()?.parse().ok());
                    Some(LifecycleEvent::Started(OwnProgram::Hook, Pid::from_raw(number.unwrap_or(90))))
                }
                LifecycleAction::FindHooks(stage) => {
                    let found = self.hooks.iter().find(|(known, _)| known == stage);
                    let names = found.map(|(_, names)| names.clone()).unwrap_or_default();
                    Some(LifecycleEvent::HooksFound(*stage, names.into_iter().map(Into::into).collect()))
                }
                LifecycleAction::ListChildren(_) => {
                    Some(LifecycleEvent::ChildrenListed(Some(self.children.clone())))
                }
                LifecycleAction::Escalate(late) => Some(LifecycleEvent::Escalated(
                    late.iter().map(|late| (*late, vec!["run (pid 9)".into()])).collect(),
                )),
                _ => None,
            };
            self.done.push(action);
            if let Some(outcome) = outcome {
                self.lifecycle.handle(outcome, now);
            }
        }
        self
    }

    /// Lets time pass to the next deadline, again and again, until then.
    fn pass(&mut self, until: Duration) -> &mut Self {
        let mut ticks = 0;
        while let Some(next) = self.lifecycle.next_deadline().filter(|next| *next <= self.begin + until) {
            self.tell(next.duration_since(self.begin), LifecycleEvent::Tick);
            ticks += 1;
            assert!(ticks < 10_000, "time stands still: {:?}", self.lifecycle);
        }
        self.tell(until, LifecycleEvent::Tick)
    }

    fn dies(&mut self, after: Duration, pid: i32, ending: ExitStatus) -> &mut Self {
        let pid = Pid::from_raw(pid);
        self.children.retain(|child| child.pid != pid);
        let is_childless = self.children.is_empty();
        self.tell(after, LifecycleEvent::Reaped { deaths: vec![(pid, ending)], is_childless })
    }

    fn runs(&mut self, pid: i32, name: &str, needs: &[&str]) -> &mut Self {
        let needs = needs.iter().map(ToString::to_string).collect();
        self.children.push(AdoptedChild {
            pid: Pid::from_raw(pid),
            kind: ChildKind::Supervisor { name: name.into(), needs },
        });
        self
    }

    fn is_done(&self, action: &LifecycleAction) -> bool {
        self.done.contains(action)
    }

    fn terminated(&self, pid: i32) -> bool {
        self.is_done(&LifecycleAction::Signal(Pid::from_raw(pid), Signal::TERM))
    }

    fn pressure_on(&self, pid: i32) -> Vec<Escalation> {
        let escalated = self.done.iter().filter_map(|action| match action {
            LifecycleAction::Escalate(late) => {
                Some(late.iter().filter(|late| late.pid == Pid::from_raw(pid)))
            }
            _ => None,
        });
        escalated.flatten().map(|late| late.escalation).collect()
    }
}

const KILLED: ExitStatus = ExitStatus::Killed { signal: Signal::KILL, core: false };

#[test]
fn services_stop_at_once_and_so_does_init() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.runs(10, "web", &[]).runs(11, "db", &[]);
    simulation.tell(SECOND, LifecycleEvent::Signal(Signal::TERM));
    let place = |pid, signal| {
        let action = LifecycleAction::Signal(Pid::from_raw(pid), signal);
        simulation.done.iter().position(|done| *done == action).expect("a signal")
    };
    let last = place(2, Signal::KILL);
    assert!(last < place(10, Signal::TERM) && last < place(11, Signal::TERM), "nothing new may start");
    simulation.dies(SECOND, 2, KILLED);
    simulation.dies(SECOND, 10, ExitStatus::Exited(0));
    assert_eq!(simulation.lifecycle.exit_code(), None);
    simulation.dies(SECOND * 2, 11, ExitStatus::Exited(0));
    assert_eq!(simulation.lifecycle.exit_code(), Some(0));
    assert_eq!(
        simulation.said.last().map(String::as_str),
        Some("2 services stopped in 1.00 s, none killed; exit 0")
    );
}

#[test]
fn whoever_is_late_is_pressed_and_the_grace_is_kept() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.runs(10, "deaf", &[]);
    simulation.tell(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM)).dies(Duration::ZERO, 2, KILLED);
    simulation.pass(SECOND * 7);
    assert_eq!(simulation.pressure_on(10), []);
    simulation.pass(SECOND * 9 + SECOND / 4);
    assert_eq!(
        simulation.pressure_on(10),
        [Escalation::Run, Escalation::Finish, Escalation::Logger, Escalation::Supervisor]
    );
    simulation.pass(SECOND * 10);
    assert!(simulation.is_done(&LifecycleAction::Sweep(Signal::KILL)));
    assert_eq!(simulation.lifecycle.exit_code(), Some(99), "nobody dies, and init leaves all the same");
    let summary = simulation.said.last().cloned().unwrap_or_default();
    assert!(summary.ends_with(", 1 killed: deaf; exit 99"), "{summary}");
}

#[test]
fn a_service_that_was_killed_shows_in_code_and_summary() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.runs(10, "deaf", &[]);
    simulation.tell(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM)).dies(Duration::ZERO, 2, KILLED);
    simulation.pass(SECOND * 8).dies(SECOND * 8, 10, ExitStatus::Exited(0));
    assert_eq!(simulation.lifecycle.exit_code(), Some(99));
    assert_eq!(
        simulation.said.last().map(String::as_str),
        Some("1 service stopped in 8.00 s, 1 killed: deaf; exit 99")
    );
}

#[test]
fn what_is_needed_goes_last_and_its_dependents_leave_it_time() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.runs(10, "web", &["db"]).runs(11, "db", &[]);
    simulation.tell(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM)).dies(Duration::ZERO, 2, KILLED);
    assert!(simulation.terminated(10) && !simulation.terminated(11));
    simulation.pass(SECOND * 4);
    assert_eq!(simulation.pressure_on(10).first(), Some(&Escalation::Run), "half of the time is for db");
    simulation.dies(SECOND * 4, 10, ExitStatus::Exited(0));
    assert!(simulation.terminated(11));
    simulation.pass(SECOND * 7);
    assert_eq!(simulation.pressure_on(11), [], "the rest is all its own");
}

#[test]
fn a_dependent_whose_logger_reads_on_holds_nobody_up() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.runs(10, "web", &["db"]).runs(11, "db", &[]);
    simulation.tell(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM)).dies(Duration::ZERO, 2, KILLED);
    simulation.tell(
        SECOND,
        LifecycleEvent::Statuses(vec![(
            Pid::from_raw(10),
            ReportedState { is_down: true, is_wanted_up: false },
        )]),
    );
    assert!(simulation.terminated(11));
}

#[test]
fn a_service_that_is_just_being_born_is_not_lost() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.children.push(AdoptedChild { pid: Pid::from_raw(10), kind: ChildKind::Starting });
    simulation.tell(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM)).dies(Duration::ZERO, 2, KILLED);
    simulation.done.clear();
    simulation.children.clear();
    simulation.runs(10, "web", &[]).pass(SECOND / 100);
    assert!(simulation.terminated(10), "the first TERM was for a runsvdir that was no runsv yet");
    simulation.dies(SECOND, 10, ExitStatus::Exited(0));
    assert_eq!(simulation.lifecycle.exit_code(), Some(0));
}

#[test]
fn what_is_wrong_with_the_order_is_said_once_while_services_are_being_born() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.children.push(AdoptedChild { pid: Pid::from_raw(30), kind: ChildKind::Starting });
    simulation.runs(10, "web", &["nobody"]);
    simulation.tell(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM)).pass(SECOND / 2);
    let is_complaint = |action: &&LifecycleAction| matches!(action, LifecycleAction::Say(_, text) if text.contains("nobody"));
    assert_eq!(simulation.done.iter().filter(is_complaint).count(), 1);
}

#[test]
fn a_runsvdir_that_dies_slowly_hides_no_service() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.children.push(AdoptedChild { pid: Pid::from_raw(30), kind: ChildKind::Leftover });
    simulation.tell(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM)).pass(SECOND);
    assert!(!simulation.is_done(&LifecycleAction::Sweep(Signal::TERM)), "its runsv are still its own");
    simulation.runs(10, "web", &[]).dies(SECOND, 2, KILLED);
    assert!(simulation.terminated(10));
    simulation.dies(SECOND, 30, KILLED).dies(SECOND, 10, ExitStatus::Exited(0));
    assert_eq!(simulation.lifecycle.exit_code(), Some(0));
}

#[test]
fn what_a_nested_tree_leaves_to_init_is_stopped_too() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.runs(10, "nest", &[]);
    simulation.tell(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM)).dies(Duration::ZERO, 2, KILLED);
    simulation.runs(20, "egg", &[]).dies(SECOND, 10, ExitStatus::Exited(0));
    assert!(simulation.terminated(20));
    simulation.dies(SECOND, 20, ExitStatus::Exited(0));
    assert_eq!(simulation.lifecycle.exit_code(), Some(0));
}

#[test]
fn the_drain_lasts_as_long_as_its_hooks_and_a_second_term_skips_it() {
    for is_hurried in [false, true] {
        let hooks = vec![(HookStage::Drain, vec!["/h/drain.d/50", "/h/drain.d/51"])];
        let mut simulation = Simulation::with_hooks(SECOND * 10, None, hooks);
        simulation.runs(10, "web", &[]);
        simulation.tell(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM));
        simulation.pass(SECOND);
        assert!(!simulation.is_done(&LifecycleAction::Signal(RUNSVDIR, Signal::KILL)), "services still run");
        if is_hurried {
            simulation.tell(SECOND, LifecycleEvent::Signal(Signal::TERM));
            assert!(simulation.is_done(&LifecycleAction::SignalGroup(Pid::from_raw(50), Signal::KILL)));
        } else {
            simulation.dies(SECOND, 50, ExitStatus::Exited(1)).dies(SECOND * 2, 51, ExitStatus::Exited(0));
        }
        assert!(simulation.is_done(&LifecycleAction::Signal(RUNSVDIR, Signal::KILL)));
    }
}

#[test]
fn a_drain_hook_that_hangs_has_only_its_share() {
    let mut simulation =
        Simulation::with_hooks(SECOND * 10, None, vec![(HookStage::Drain, vec!["/h/drain.d/50"])]);
    simulation.runs(10, "web", &[]);
    simulation.tell(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM)).pass(SECOND * 5);
    assert!(simulation.is_done(&LifecycleAction::SignalGroup(Pid::from_raw(50), Signal::KILL)));
    assert!(simulation.is_done(&LifecycleAction::Signal(RUNSVDIR, Signal::KILL)));
}

#[test]
fn a_term_that_is_repeated_cuts_nobody_short_but_a_third_kills() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.runs(10, "slow", &[]);
    simulation.tell(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM)).dies(Duration::ZERO, 2, KILLED);
    simulation.tell(SECOND, LifecycleEvent::Signal(Signal::TERM)).pass(SECOND * 2);
    assert!(
        simulation.pressure_on(10).is_empty() && !simulation.is_done(&LifecycleAction::Sweep(Signal::KILL))
    );
    simulation.tell(SECOND * 2, LifecycleEvent::Signal(Signal::INT));
    assert!(simulation.is_done(&LifecycleAction::Sweep(Signal::KILL)));
    simulation.dies(SECOND * 2, 10, KILLED);
    assert_eq!(simulation.lifecycle.exit_code(), Some(99));
}

#[test]
fn a_failing_start_hook_ends_everything_with_its_code() {
    let hooks = vec![(HookStage::Start, vec!["/h/start.d/50", "/h/start.d/51"])];
    let mut simulation = Simulation::with_hooks(SECOND * 10, None, hooks);
    simulation.dies(SECOND, 50, ExitStatus::Exited(7));
    assert_eq!(simulation.lifecycle.exit_code(), Some(7));
    assert!(!simulation.is_done(&LifecycleAction::StartRunsvdir));
    assert!(
        simulation.said.iter().any(|line| line.starts_with("start.d/50: failed with exit 7")),
        "{:?}",
        simulation.said
    );
}

#[test]
fn finish_hooks_run_after_the_last_service() {
    let mut simulation =
        Simulation::with_hooks(SECOND * 10, None, vec![(HookStage::Finish, vec!["/h/finish.d/50"])]);
    simulation.runs(10, "web", &[]);
    simulation.tell(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM)).dies(Duration::ZERO, 2, KILLED);
    let has_begun = |simulation: &Simulation| {
        simulation.done.iter().any(|action| matches!(action, LifecycleAction::StartHook { .. }))
    };
    assert!(!has_begun(&simulation));
    simulation.dies(SECOND, 10, ExitStatus::Exited(0));
    assert!(has_begun(&simulation));
    simulation.pass(SECOND * 8);
    assert_eq!(simulation.lifecycle.exit_code(), None);
    simulation.pass(SECOND * 10);
    assert!(simulation.is_done(&LifecycleAction::SignalGroup(Pid::from_raw(50), Signal::KILL)));
    assert_eq!(simulation.lifecycle.exit_code(), Some(99));
}

#[test]
fn init_stays_until_a_finish_hook_that_it_has_killed_is_dead() {
    let mut simulation =
        Simulation::with_hooks(SECOND * 10, None, vec![(HookStage::Finish, vec!["/h/finish.d/50"])]);
    simulation.tell(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM)).dies(Duration::ZERO, 2, KILLED);
    simulation.pass(SECOND * 9);
    assert!(simulation.is_done(&LifecycleAction::SignalGroup(Pid::from_raw(50), Signal::KILL)));
    assert_eq!(simulation.lifecycle.exit_code(), None);
    simulation.dies(SECOND * 9, 50, KILLED);
    assert_eq!(simulation.lifecycle.exit_code(), Some(99));
    assert!(!simulation.is_done(&LifecycleAction::Sweep(Signal::KILL)), "nobody else was left");
}

#[test]
fn who_is_told_otherwise_after_it_has_obeyed_is_asked_again() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.runs(10, "web", &[]);
    simulation.tell(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM)).dies(Duration::ZERO, 2, KILLED);
    let supervisor = Pid::from_raw(10);
    let asked = |simulation: &Simulation| {
        let again = LifecycleAction::Signal(supervisor, Signal::TERM);
        simulation.done.iter().filter(|action| **action == again).count()
    };
    let mut seen = ReportedState { is_down: false, is_wanted_up: true };
    simulation.tell(SECOND / 10, LifecycleEvent::Statuses(vec![(supervisor, seen)]));
    assert_eq!(asked(&simulation), 1, "it has not read the first, yet");
    seen.is_wanted_up = false;
    simulation.tell(SECOND / 9, LifecycleEvent::Statuses(vec![(supervisor, seen)]));
    seen.is_wanted_up = true;
    simulation.tell(SECOND / 8, LifecycleEvent::Statuses(vec![(supervisor, seen)]));
    assert_eq!(asked(&simulation), 2);
}

#[test]
fn the_commands_end_is_the_containers() {
    let mut simulation = Simulation::new(SECOND * 10, Some("npm"));
    simulation.runs(10, "web", &[]);
    simulation.dies(SECOND, 3, ExitStatus::Exited(3));
    assert!(simulation.is_done(&LifecycleAction::TakeTerminal));
    simulation.dies(SECOND, 2, KILLED).dies(SECOND, 10, ExitStatus::Exited(0));
    assert_eq!(simulation.lifecycle.exit_code(), Some(3));
}

#[test]
fn the_command_goes_before_the_services_it_may_need() {
    let mut simulation = Simulation::new(SECOND * 10, Some("npm"));
    simulation.runs(10, "web", &[]);
    simulation.children.push(AdoptedChild { pid: COMMAND, kind: ChildKind::Leftover });
    simulation.tell(Duration::ZERO, LifecycleEvent::Signal(Signal::INT)).pass(SECOND);
    assert!(simulation.is_done(&LifecycleAction::Signal(COMMAND, Signal::INT)));
    assert!(!simulation.is_done(&LifecycleAction::Signal(RUNSVDIR, Signal::KILL)));
    simulation.pass(SECOND * 4);
    assert!(
        simulation.is_done(&LifecycleAction::Signal(RUNSVDIR, Signal::KILL)),
        "they do not wait for ever"
    );
    simulation.dies(SECOND * 4, 2, KILLED).dies(SECOND * 4, 10, ExitStatus::Exited(0)).pass(SECOND * 8);
    assert!(simulation.is_done(&LifecycleAction::SignalGroup(COMMAND, Signal::KILL)));
    simulation.dies(SECOND * 8, 3, KILLED);
    assert_eq!(simulation.lifecycle.exit_code(), Some(137));
}

#[test]
fn signals_are_passed_on_to_the_command() {
    let mut simulation = Simulation::new(SECOND * 10, Some("npm"));
    simulation.tell(SECOND, LifecycleEvent::Signal(Signal::USR1));
    assert!(simulation.is_done(&LifecycleAction::Signal(COMMAND, Signal::USR1)));
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation
        .tell(SECOND, LifecycleEvent::Signal(Signal::HUP))
        .tell(SECOND, LifecycleEvent::Signal(Signal::USR1));
    assert!(simulation.is_done(&LifecycleAction::Signal(RUNSVDIR, Signal::ALRM)));
}

#[test]
fn a_critical_service_that_ends_takes_the_container_along() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.runs(10, "web", &[]);
    let ending = Some(ExitStatus::Exited(4));
    simulation
        .tell(SECOND, LifecycleEvent::CriticalEnded { name: "web".into(), ending })
        .dies(SECOND, 2, KILLED);
    simulation.dies(SECOND, 10, ExitStatus::Exited(0));
    assert_eq!(simulation.lifecycle.exit_code(), Some(4));
}

#[test]
fn a_runsvdir_that_dies_is_started_again_while_services_run() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.runs(10, "web", &[]);
    simulation.done.clear();
    simulation.dies(SECOND * 5, 2, KILLED);
    assert!(simulation.is_done(&LifecycleAction::StartRunsvdir));
    assert!(!simulation.terminated(10));
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
            0 => vec![(HookStage::Drain, vec!["/h/drain.d/50"]), (HookStage::Finish, vec!["/h/finish.d/51"])],
            1 => vec![(HookStage::Finish, vec!["/h/finish.d/51"])],
            _ => Vec::new(),
        };
        let mut simulation = Simulation::with_hooks(grace, (dice(2) == 0).then_some("npm"), hooks);
        let names = ["a", "b", "c", "d", "e"];
        for (number, name) in (10..).zip(names) {
            let needs: Vec<&str> = names.into_iter().filter(|_| dice(4) == 0).collect();
            simulation.runs(number, name, &needs);
        }
        simulation.children.push(AdoptedChild { pid: Pid::from_raw(30), kind: ChildKind::Leftover });
        let mut time = Duration::ZERO;
        simulation.tell(time, LifecycleEvent::Signal(Signal::TERM));
        while simulation.lifecycle.exit_code().is_none() {
            time += grace / 50;
            assert!(time <= grace, "seed {seed}: {:?}", simulation.said);
            let pid = [2, 3, 10, 11, 12, 13, 14, 30, 50, 51][usize::try_from(dice(10)).unwrap_or(0)];
            match dice(6) {
                0 => drop(simulation.dies(time, pid, ExitStatus::Exited(0))),
                1 => drop(simulation.tell(
                    time,
                    LifecycleEvent::Statuses(vec![(
                        Pid::from_raw(pid),
                        ReportedState { is_down: dice(2) == 0, is_wanted_up: dice(4) == 0 },
                    )]),
                )),
                2 if dice(40) == 0 => drop(simulation.tell(time, LifecycleEvent::Signal(Signal::TERM))),
                _ => drop(simulation.pass(time)),
            }
        }
    }
}

/// How often a process was sent TERM.
fn terms(simulation: &Simulation, pid: i32) -> usize {
    let told = LifecycleAction::Signal(Pid::from_raw(pid), Signal::TERM);
    simulation.done.iter().filter(|action| **action == told).count()
}

#[test]
fn who_cannot_write_its_record_is_asked_again_once() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.runs(10, "web", &[]);
    simulation.tell(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM)).dies(Duration::ZERO, 2, KILLED);
    let seen = ReportedState { is_down: false, is_wanted_up: true };
    for look in 1..100 {
        let after = SECOND / 20 * look;
        simulation.tell(after, LifecycleEvent::Statuses(vec![(Pid::from_raw(10), seen)]));
    }
    assert_eq!(terms(&simulation, 10), 2);
}

#[test]
fn where_changes_cannot_be_told_they_are_looked_for_all_the_same() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.runs(10, "web", &["db"]).runs(11, "db", &[]);
    simulation.tell(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM)).dies(Duration::ZERO, 2, KILLED);
    assert!(simulation.done.iter().any(|action| matches!(action, LifecycleAction::WatchStatus(_))));
    simulation.pass(SECOND / 2);
    assert!(simulation.done.iter().any(|action| matches!(action, LifecycleAction::ReadStatus(_))));
}

#[test]
fn finish_hooks_keep_their_share_when_a_start_hook_does_not_end() {
    let hooks = vec![(HookStage::Start, vec!["/h/start.d/50"]), (HookStage::Finish, vec!["/h/finish.d/51"])];
    let mut simulation = Simulation::with_hooks(SECOND * 10, None, hooks);
    simulation.tell(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM));
    assert!(simulation.is_done(&LifecycleAction::Sweep(Signal::TERM)));
    simulation.pass(SECOND * 8);
    assert!(!simulation.is_done(&LifecycleAction::Sweep(Signal::KILL)));
    simulation.pass(SECOND * 8 + SECOND / 5);
    assert!(
        simulation.is_done(&LifecycleAction::Sweep(Signal::KILL)),
        "a tenth of the time is for finish hooks"
    );
    simulation.dies(SECOND * 8 + SECOND / 5, 50, KILLED);
    assert!(simulation.done.iter().any(|action| matches!(action, LifecycleAction::StartHook { .. })));
}

#[test]
fn what_a_finish_hook_leaves_behind_is_asked_before_it_is_killed() {
    let mut simulation =
        Simulation::with_hooks(SECOND * 10, None, vec![(HookStage::Finish, vec!["/h/finish.d/50"])]);
    simulation.tell(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM)).dies(Duration::ZERO, 2, KILLED);
    simulation.children.push(AdoptedChild { pid: Pid::from_raw(60), kind: ChildKind::Leftover });
    simulation.done.clear();
    simulation.dies(SECOND, 50, ExitStatus::Exited(0));
    assert!(simulation.is_done(&LifecycleAction::Sweep(Signal::TERM)));
    // Who was just born may have become another program: each second it is seen whether.
    simulation.done.clear();
    simulation.pass(SECOND * 3);
    assert!(simulation.is_done(&LifecycleAction::Sweep(Signal::TERM)));
    simulation.pass(SECOND * 8);
    assert!(!simulation.is_done(&LifecycleAction::Sweep(Signal::KILL)), "it has the rest of the time");
    simulation.dies(SECOND * 8, 60, ExitStatus::Exited(0));
    assert_eq!(simulation.lifecycle.exit_code(), Some(0));
}

#[test]
fn a_command_that_cannot_be_run_is_no_reason_to_drain() {
    let hooks = vec![(HookStage::Drain, vec!["/h/drain.d/50"]), (HookStage::Finish, vec!["/h/finish.d/51"])];
    let mut simulation = Simulation::without_command(hooks);
    simulation.dies(SECOND, 51, ExitStatus::Exited(0));
    assert_eq!(simulation.lifecycle.exit_code(), Some(127));
    assert!(!simulation.is_done(&LifecycleAction::FindHooks(HookStage::Drain)), "{:?}", simulation.said);
}

#[test]
fn services_wait_for_the_rest_of_the_commands_group() {
    let mut simulation = Simulation::with_a_group();
    simulation.is_group_there = true;
    simulation.runs(10, "web", &[]);
    simulation.tell(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM));
    assert!(simulation.is_done(&LifecycleAction::SignalGroup(COMMAND, Signal::TERM)));
    simulation.dies(SECOND, 3, ExitStatus::Exited(0)).pass(SECOND * 2);
    assert!(
        !simulation.is_done(&LifecycleAction::Signal(RUNSVDIR, Signal::KILL)),
        "somebody is at work still"
    );
    simulation.is_group_there = false;
    simulation.pass(SECOND * 2 + SECOND / 5);
    assert!(simulation.is_done(&LifecycleAction::Signal(RUNSVDIR, Signal::KILL)));
}

#[test]
fn what_was_not_in_order_is_said_and_what_runsv_has_killed_counts() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.runs(10, "web", &[]);
    simulation.service_end.run = Some(KILLED);
    simulation.service_end.sent = vec![Signal::TERM, Signal::KILL];
    simulation.tell(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM)).dies(Duration::ZERO, 2, KILLED);
    simulation.dies(SECOND, 10, ExitStatus::Exited(0));
    assert_eq!(simulation.lifecycle.exit_code(), Some(99));
    assert_eq!(
        simulation.said.iter().rev().take(2).map(String::as_str).collect::<Vec<_>>(),
        [
            "1 service stopped in 1.00 s, 1 killed: web; exit 99",
            "web: killed by its runsv after 1.00 s, ./run ended with SIGKILL"
        ]
    );
}

#[test]
fn who_loses_its_runsv_is_one_service_whatever_is_left_of_it() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.runs(10, "web", &[]);
    simulation.tell(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM)).dies(Duration::ZERO, 2, KILLED);
    let left = |pid, kind| AdoptedChild { pid: Pid::from_raw(pid), kind };
    simulation.children.push(left(20, ChildKind::Orphan { name: "web".into() }));
    simulation.children.push(left(21, ChildKind::OrphanedLogger { name: "web".into() }));
    simulation.dies(SECOND, 10, KILLED).pass(SECOND + SECOND / 10);
    simulation.dies(SECOND * 2, 20, ExitStatus::Exited(0)).dies(SECOND * 2, 21, ExitStatus::Exited(0));
    assert_eq!(
        simulation.said.last().map(String::as_str),
        Some("1 service stopped in 2.00 s, none killed; exit 0"),
        "{:?}",
        simulation.said
    );
}

#[test]
fn others_that_were_killed_are_told_from_nobody() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.children.push(AdoptedChild { pid: Pid::from_raw(30), kind: ChildKind::Leftover });
    simulation.tell(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM)).dies(Duration::ZERO, 2, KILLED);
    simulation.pass(SECOND * 9).dies(SECOND * 9, 30, KILLED);
    assert_eq!(
        simulation.said.last().map(String::as_str),
        Some("0 services stopped in 9.00 s, no service killed, but others were; exit 99")
    );
}

#[test]
fn a_runsv_that_is_stopped_after_it_was_told_is_woken_each_second() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.runs(10, "web", &["db"]).runs(11, "db", &[]);
    simulation.tell(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM)).dies(Duration::ZERO, 2, KILLED);
    simulation.done.clear();
    simulation.pass(SECOND * 3 + SECOND / 2);
    let woken = |pid| {
        let wakes = |action: &&LifecycleAction| matches!(action, LifecycleAction::ContinueStopped(told) if told.contains(&Pid::from_raw(pid)));
        simulation.done.iter().filter(wakes).count()
    };
    assert_eq!((woken(10), woken(11)), (3, 0), "whose turn has not come is not told anything");
}
