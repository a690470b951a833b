//! Services and their stop in a simulated container.

use super::*;

#[test]
fn services_stop_at_once_and_so_does_init() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.runs(10, "web", &[]).runs(11, "db", &[]);
    simulation.feed(SECOND, LifecycleEvent::Signal(Signal::TERM));
    let place = |pid, signal| {
        let action = LifecycleAction::Signal(Pid::from_raw(pid), signal);
        simulation.done.iter().position(|done| *done == action).expect("a signal")
    };
    let last = place(2, Signal::KILL);
    assert!(last < place(10, Signal::TERM) && last < place(11, Signal::TERM), "nothing new may start");
    simulation.exits(SECOND, 2, KILLED);
    simulation.exits(SECOND, 10, ExitStatus::Exited(0));
    assert_eq!(simulation.lifecycle.exit_code(), None);
    simulation.exits(SECOND * 2, 11, ExitStatus::Exited(0));
    assert_eq!(simulation.lifecycle.exit_code(), Some(0));
    assert_eq!(
        simulation.said.last().map(String::as_str),
        Some("2 services stopped in 1.00 s, none killed; exit 0")
    );
}

#[test]
fn a_late_service_is_escalated_and_the_grace_is_kept() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.runs(10, "deaf", &[]);
    simulation.feed(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM)).exits(Duration::ZERO, 2, KILLED);
    simulation.advance(SECOND * 7);
    assert_eq!(simulation.escalation_of(10), []);
    simulation.advance(SECOND * 9 + SECOND / 4);
    assert_eq!(
        simulation.escalation_of(10),
        [Escalation::Run, Escalation::Finish, Escalation::Logger, Escalation::Supervisor]
    );
    simulation.advance(SECOND * 10);
    assert!(simulation.is_done(&LifecycleAction::Sweep(Signal::KILL)));
    assert_eq!(simulation.lifecycle.exit_code(), Some(99), "no process dies, and init exits all the same");
    let summary = simulation.said.last().cloned().unwrap_or_default();
    assert!(summary.ends_with(", 1 killed: deaf; exit 99"), "{summary}");
}

#[test]
fn a_service_that_was_killed_shows_in_code_and_summary() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.runs(10, "deaf", &[]);
    simulation.feed(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM)).exits(Duration::ZERO, 2, KILLED);
    simulation.advance(SECOND * 8).exits(SECOND * 8, 10, ExitStatus::Exited(0));
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
    simulation.feed(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM)).exits(Duration::ZERO, 2, KILLED);
    assert!(simulation.terminated(10) && !simulation.terminated(11));
    simulation.advance(SECOND * 4);
    assert_eq!(simulation.escalation_of(10).first(), Some(&Escalation::Run), "half of the time is for db");
    simulation.exits(SECOND * 4, 10, ExitStatus::Exited(0));
    assert!(simulation.terminated(11));
    simulation.advance(SECOND * 7);
    assert_eq!(simulation.escalation_of(11), [], "the rest is all its own");
}

#[test]
fn a_dependent_whose_logger_reads_on_delays_no_service() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.runs(10, "web", &["db"]).runs(11, "db", &[]);
    simulation.feed(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM)).exits(Duration::ZERO, 2, KILLED);
    simulation.feed(
        SECOND,
        LifecycleEvent::Statuses(vec![(
            Pid::from_raw(10),
            ReportedState { is_down: true, is_wanted_up: false },
        )]),
    );
    assert!(simulation.terminated(11));
}

#[test]
fn a_service_that_is_just_starting_is_not_lost() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.children.push(AdoptedChild { pid: Pid::from_raw(10), kind: ChildKind::Starting });
    simulation.feed(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM)).exits(Duration::ZERO, 2, KILLED);
    simulation.done.clear();
    simulation.children.clear();
    simulation.runs(10, "web", &[]).advance(SECOND / 100);
    assert!(simulation.terminated(10), "the first list had no runsv yet");
    simulation.exits(SECOND, 10, ExitStatus::Exited(0));
    assert_eq!(simulation.lifecycle.exit_code(), Some(0));
}

#[test]
fn a_warning_about_the_order_comes_once_while_services_are_starting() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.children.push(AdoptedChild { pid: Pid::from_raw(30), kind: ChildKind::Starting });
    simulation.runs(10, "web", &["ghost"]);
    simulation.feed(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM)).advance(SECOND / 2);
    let is_complaint =
        |action: &&LifecycleAction| matches!(action, LifecycleAction::Log(_, text) if text.contains("ghost"));
    assert_eq!(simulation.done.iter().filter(is_complaint).count(), 1);
}

#[test]
fn a_runsvdir_that_dies_slowly_hides_no_service() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.children.push(AdoptedChild { pid: Pid::from_raw(30), kind: ChildKind::Leftover });
    simulation.feed(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM)).advance(SECOND);
    assert!(!simulation.is_done(&LifecycleAction::Sweep(Signal::TERM)), "its runsv are still its own");
    simulation.runs(10, "web", &[]).exits(SECOND, 2, KILLED);
    assert!(simulation.terminated(10));
    simulation.exits(SECOND, 30, KILLED).exits(SECOND, 10, ExitStatus::Exited(0));
    assert_eq!(simulation.lifecycle.exit_code(), Some(0));
}

#[test]
fn what_a_nested_tree_leaves_to_init_is_stopped_too() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.runs(10, "nest", &[]);
    simulation.feed(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM)).exits(Duration::ZERO, 2, KILLED);
    simulation.runs(20, "egg", &[]).exits(SECOND, 10, ExitStatus::Exited(0));
    assert!(simulation.terminated(20));
    simulation.exits(SECOND, 20, ExitStatus::Exited(0));
    assert_eq!(simulation.lifecycle.exit_code(), Some(0));
}

#[test]
fn a_second_term_changes_nothing_but_a_third_kills() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.runs(10, "slow", &[]);
    simulation.feed(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM)).exits(Duration::ZERO, 2, KILLED);
    simulation.feed(SECOND, LifecycleEvent::Signal(Signal::TERM)).advance(SECOND * 2);
    assert!(
        simulation.escalation_of(10).is_empty() && !simulation.is_done(&LifecycleAction::Sweep(Signal::KILL))
    );
    simulation.feed(SECOND * 2, LifecycleEvent::Signal(Signal::INT));
    assert!(simulation.is_done(&LifecycleAction::Sweep(Signal::KILL)));
    simulation.exits(SECOND * 2, 10, KILLED);
    assert_eq!(simulation.lifecycle.exit_code(), Some(99));
}

#[test]
fn a_service_that_is_commanded_up_again_is_signalled_again() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.runs(10, "web", &[]);
    simulation.feed(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM)).exits(Duration::ZERO, 2, KILLED);
    let supervisor = Pid::from_raw(10);
    let asked = |simulation: &Simulation| {
        let again = LifecycleAction::Signal(supervisor, Signal::TERM);
        simulation.done.iter().filter(|action| **action == again).count()
    };
    let mut reported = ReportedState { is_down: false, is_wanted_up: true };
    simulation.feed(SECOND / 10, LifecycleEvent::Statuses(vec![(supervisor, reported)]));
    assert_eq!(asked(&simulation), 1, "it may not have read the first yet");
    reported.is_wanted_up = false;
    simulation.feed(SECOND / 9, LifecycleEvent::Statuses(vec![(supervisor, reported)]));
    reported.is_wanted_up = true;
    simulation.feed(SECOND / 8, LifecycleEvent::Statuses(vec![(supervisor, reported)]));
    assert_eq!(asked(&simulation), 2);
}

#[test]
fn a_critical_service_that_ends_takes_the_container_along() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.runs(10, "web", &[]);
    let ending = Some(ExitStatus::Exited(4));
    simulation
        .feed(SECOND, LifecycleEvent::CriticalEnded { name: "web".into(), ending })
        .exits(SECOND, 2, KILLED);
    simulation.exits(SECOND, 10, ExitStatus::Exited(0));
    assert_eq!(simulation.lifecycle.exit_code(), Some(4));
}

#[test]
fn a_runsvdir_that_dies_is_started_again_while_services_run() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.runs(10, "web", &[]);
    simulation.done.clear();
    simulation.exits(SECOND * 5, 2, KILLED);
    assert!(simulation.is_done(&LifecycleAction::StartRunsvdir));
    assert!(!simulation.terminated(10));
}

#[test]
fn a_random_walk_always_ends_before_the_grace() {
    // xorshift: the same seed gives the same walk.
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
        simulation.feed(time, LifecycleEvent::Signal(Signal::TERM));
        while simulation.lifecycle.exit_code().is_none() {
            time += grace / 50;
            assert!(time <= grace, "seed {seed}: {:?}", simulation.said);
            let pid = [2, 3, 10, 11, 12, 13, 14, 30, 50, 51][usize::try_from(dice(10)).unwrap_or(0)];
            match dice(6) {
                0 => drop(simulation.exits(time, pid, ExitStatus::Exited(0))),
                1 => drop(simulation.feed(
                    time,
                    LifecycleEvent::Statuses(vec![(
                        Pid::from_raw(pid),
                        ReportedState { is_down: dice(2) == 0, is_wanted_up: dice(4) == 0 },
                    )]),
                )),
                2 if dice(40) == 0 => drop(simulation.feed(time, LifecycleEvent::Signal(Signal::TERM))),
                _ => drop(simulation.advance(time)),
            }
        }
    }
}

#[test]
fn a_service_whose_status_cannot_be_written_is_signalled_again_once() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.runs(10, "web", &[]);
    simulation.feed(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM)).exits(Duration::ZERO, 2, KILLED);
    let reported = ReportedState { is_down: false, is_wanted_up: true };
    for look in 1..100 {
        let after = SECOND / 20 * look;
        simulation.feed(after, LifecycleEvent::Statuses(vec![(Pid::from_raw(10), reported)]));
    }
    assert_eq!(terms(&simulation, 10), 2);
}

#[test]
fn where_changes_cannot_be_watched_the_status_is_read() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.runs(10, "web", &["db"]).runs(11, "db", &[]);
    simulation.feed(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM)).exits(Duration::ZERO, 2, KILLED);
    assert!(simulation.done.iter().any(|action| matches!(action, LifecycleAction::WatchStatus(_))));
    simulation.advance(SECOND / 2);
    assert!(simulation.done.iter().any(|action| matches!(action, LifecycleAction::ReadStatus(_))));
}

#[test]
fn what_was_not_in_order_is_said_and_what_runsv_has_killed_counts() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.runs(10, "web", &[]);
    simulation.service_end.run = Some(KILLED);
    simulation.service_end.sent = vec![Signal::TERM, Signal::KILL];
    simulation.feed(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM)).exits(Duration::ZERO, 2, KILLED);
    simulation.exits(SECOND, 10, ExitStatus::Exited(0));
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
fn a_service_that_loses_its_runsv_counts_once() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.runs(10, "web", &[]);
    simulation.feed(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM)).exits(Duration::ZERO, 2, KILLED);
    let left = |pid, kind| AdoptedChild { pid: Pid::from_raw(pid), kind };
    simulation.children.push(left(20, ChildKind::Orphan { name: "web".into() }));
    simulation.children.push(left(21, ChildKind::OrphanedLogger { name: "web".into() }));
    simulation.exits(SECOND, 10, KILLED).advance(SECOND + SECOND / 10);
    simulation.exits(SECOND * 2, 20, ExitStatus::Exited(0)).exits(SECOND * 2, 21, ExitStatus::Exited(0));
    assert_eq!(
        simulation.said.last().map(String::as_str),
        Some("1 service stopped in 2.00 s, none killed; exit 0"),
        "{:?}",
        simulation.said
    );
}

#[test]
fn other_processes_that_were_killed_are_told_apart() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.children.push(AdoptedChild { pid: Pid::from_raw(30), kind: ChildKind::Leftover });
    simulation.feed(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM)).exits(Duration::ZERO, 2, KILLED);
    simulation.advance(SECOND * 9).exits(SECOND * 9, 30, KILLED);
    assert_eq!(
        simulation.said.last().map(String::as_str),
        Some("0 services stopped in 9.00 s, no service killed, but others were; exit 99")
    );
}

#[test]
fn a_stopped_runsv_is_sent_cont_each_second() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.runs(10, "web", &["db"]).runs(11, "db", &[]);
    simulation.feed(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM)).exits(Duration::ZERO, 2, KILLED);
    simulation.done.clear();
    simulation.advance(SECOND * 3 + SECOND / 2);
    let woken = |pid| {
        let wakes = |action: &&LifecycleAction| matches!(action, LifecycleAction::ContinueStopped(roots) if roots.contains(&Pid::from_raw(pid)));
        simulation.done.iter().filter(wakes).count()
    };
    assert_eq!((woken(10), woken(11)), (3, 0), "a service that waits was not signalled");
}
