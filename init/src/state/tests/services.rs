//! Services and their stop in a simulated container.

use super::*;

#[test]
fn services_stop_at_once_and_so_does_init() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.runs(10, "web", &[]).runs(11, "db", &[]);
    simulation.feed(SECOND, LifecycleEvent::Signal(Signal::TERM));
    let place = |action| simulation.done.iter().position(|done| *done == action);
    let told = place(LifecycleAction::StopServices(vec![SupervisorId(10), SupervisorId(11)]));
    assert!(place(LifecycleAction::StopScanning) < told && told.is_some(), "nothing new may start");
    simulation.stops(SECOND, 10);
    assert_eq!(simulation.lifecycle.exit_code(), None);
    simulation.stops(SECOND * 2, 11);
    assert_eq!(simulation.lifecycle.exit_code(), Some(0));
    assert_eq!(simulation.last_line(), "2 services stopped in 1.00 s, none killed; exit 0");
}

#[test]
fn a_late_service_is_escalated_and_the_grace_is_kept() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.runs(10, "deaf", &[]);
    simulation.feed(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM));
    simulation.advance(SECOND * 7);
    assert_eq!(simulation.escalation_of(10), []);
    simulation.advance(SECOND * 9 + SECOND / 4);
    assert_eq!(
        simulation.escalation_of(10),
        [Escalation::Run, Escalation::Finish, Escalation::Logger, Escalation::All]
    );
    simulation.advance(SECOND * 10);
    assert!(simulation.is_done(&LifecycleAction::Sweep(Signal::KILL)));
    assert_eq!(simulation.lifecycle.exit_code(), Some(99), "no process dies, and init exits all the same");
    assert!(simulation.last_line().ends_with(", 1 killed: deaf; exit 99"), "{:?}", simulation.said);
}

#[test]
fn a_service_that_was_killed_shows_in_code_and_summary() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.runs(10, "deaf", &[]);
    simulation.feed(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM));
    simulation.advance(SECOND * 8).stops(SECOND * 8, 10);
    assert_eq!(simulation.lifecycle.exit_code(), Some(99));
    assert_eq!(simulation.last_line(), "1 service stopped in 8.00 s, 1 killed: deaf; exit 99");
}

#[test]
fn what_is_needed_goes_last_and_its_dependents_leave_it_time() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.runs(10, "web", &["db"]).runs(11, "db", &[]);
    simulation.feed(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM));
    assert!(simulation.is_told(10) && !simulation.is_told(11));
    simulation.advance(SECOND * 4);
    assert_eq!(simulation.escalation_of(10).first(), Some(&Escalation::Run), "half of the time is for db");
    simulation.stops(SECOND * 4, 10);
    assert!(simulation.is_told(11));
    simulation.advance(SECOND * 7);
    assert_eq!(simulation.escalation_of(11), [], "the rest is all its own");
}

#[test]
fn a_dependent_whose_logger_reads_on_delays_no_service() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.runs(10, "web", &["db"]).runs(11, "db", &[]);
    simulation.feed(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM));
    simulation.goes_down(SECOND, 10, ExitStatus::Exited(0));
    assert!(simulation.is_told(11));
}

#[test]
fn a_second_term_changes_nothing_but_a_third_kills() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.runs(10, "slow", &[]);
    simulation.feed(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM));
    simulation.feed(SECOND, LifecycleEvent::Signal(Signal::TERM)).advance(SECOND * 2);
    assert!(
        simulation.escalation_of(10).is_empty() && !simulation.is_done(&LifecycleAction::Sweep(Signal::KILL))
    );
    simulation.feed(SECOND * 2, LifecycleEvent::Signal(Signal::INT));
    assert!(simulation.is_done(&LifecycleAction::Sweep(Signal::KILL)));
    simulation.stops(SECOND * 2, 10);
    assert_eq!(simulation.lifecycle.exit_code(), Some(99));
}

#[test]
fn a_critical_service_that_ends_takes_the_container_along() {
    for (limit, ends) in [(None, 5), (Some(1), 1), (Some(3), 3)] {
        let mut simulation = Simulation::new(SECOND * 10, None);
        simulation.critical_limit = limit;
        simulation.runs(10, "web", &[]);
        let end = HistoryEvent::Ended(ExitStatus::Exited(4), SECOND);
        for count in 1..ends {
            simulation.happens(SECOND * count, 10, end);
        }
        assert!(!simulation.is_told(10), "{limit:?}");
        simulation.happens(SECOND * ends, 10, end).stops(SECOND * ends, 10);
        assert_eq!(simulation.lifecycle.exit_code(), limit.map(|_| 4));
        let counted = simulation.said.iter().filter(|line| line.ends_with(" of 3 times in a row"));
        assert_eq!(counted.count(), if limit == Some(3) { 2 } else { 0 });
    }
}

#[test]
fn a_random_walk_always_ends_before_the_grace() {
    for seed in 1..=2000_u64 {
        let mut throw = dice(seed);
        let mut dice = |sides| u64::try_from(throw(sides)).unwrap_or(0);
        let grace = Duration::from_millis(100 + dice(20_000));
        let hooks = match dice(3) {
            0 => vec![(HookStage::Drain, vec!["/h/drain.d/50"]), (HookStage::Finish, vec!["/h/finish.d/51"])],
            1 => vec![(HookStage::Finish, vec!["/h/finish.d/51"])],
            _ => Vec::new(),
        };
        let mut simulation = Simulation::with_hooks(grace, (dice(2) == 0).then_some("npm"), hooks);
        let names = ["a", "b", "c", "d", "e"];
        for (id, name) in (10..).zip(names) {
            let needs: Vec<&str> = names.into_iter().filter(|_| dice(4) == 0).collect();
            simulation.runs(id, name, &needs);
        }
        simulation.adopts(30);
        let mut time = Duration::ZERO;
        simulation.feed(time, LifecycleEvent::Signal(Signal::TERM));
        while simulation.lifecycle.exit_code().is_none() {
            time += grace / 50;
            assert!(time <= grace, "seed {seed}: {:?}", simulation.said);
            let id = 10 + dice(5);
            let pid = [3, 30, 50, 51][usize::try_from(dice(4)).unwrap_or(0)];
            match dice(8) {
                0 => drop(simulation.exits(time, pid, ExitStatus::Exited(0))),
                1 => drop(simulation.goes_down(time, id, KILLED)),
                3 => drop(simulation.closes(time, id)),
                2 if dice(40) == 0 => drop(simulation.feed(time, LifecycleEvent::Signal(Signal::TERM))),
                _ => drop(simulation.advance(time)),
            }
        }
    }
}

#[test]
fn what_was_not_in_order_is_said_and_what_its_supervisor_has_killed_counts() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.runs(10, "web", &[]);
    simulation.feed(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM));
    let sent = |signal| HistoryEvent::Sent(signal, Pid::from_raw(10));
    simulation.happens(Duration::ZERO, 10, sent(Signal::TERM)).happens(SECOND, 10, sent(Signal::KILL));
    simulation.goes_down(SECOND, 10, KILLED).closes(SECOND, 10);
    assert_eq!(simulation.lifecycle.exit_code(), Some(99));
    assert_eq!(
        simulation.said.iter().rev().take(2).map(String::as_str).collect::<Vec<_>>(),
        [
            "1 service stopped in 1.00 s, 1 killed: web; exit 99",
            "web: killed by its supervisor after 1.00 s, ./run ended with SIGKILL"
        ]
    );
}

#[test]
fn other_processes_that_were_killed_are_told_apart() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.adopts(30);
    simulation.feed(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM));
    simulation.advance(SECOND * 9).exits(SECOND * 9, 30, KILLED);
    assert_eq!(
        simulation.last_line(),
        "0 services stopped in 9.00 s, no service killed, but others were; exit 99"
    );
}

#[test]
fn a_stopped_service_is_sent_cont_each_second() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.runs(10, "web", &["db"]).runs(11, "db", &[]);
    simulation.feed(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM)).advance(SECOND * 3 + SECOND / 2);
    let continues = simulation.done.iter().filter_map(|action| match action {
        LifecycleAction::ContinueStopped(None, services) => Some(services.as_slice()),
        _ => None,
    });
    let told = [SupervisorId(10)];
    assert_eq!(continues.collect::<Vec<_>>(), [told.as_slice(); 3], "a service that waits was not signalled");
}

#[test]
fn what_services_leave_behind_is_ended_before_their_loggers_are() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.runs(10, "web", &[]).runs(11, "db", &[]);
    simulation.feed(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM));
    simulation.goes_down(SECOND, 10, ExitStatus::Exited(0)).advance(SECOND * 2);
    assert!(simulation.is_done(&LifecycleAction::EndLeftovers(vec![SupervisorId(10)])));
    assert!(!simulation.is_done(&LifecycleAction::EndAdopted), "db may still need what looks left over");
    simulation.goes_down(SECOND * 2, 11, ExitStatus::Exited(0));
    assert!(simulation.is_done(&LifecycleAction::EndAdopted));
    simulation.closes(SECOND * 3, 10).closes(SECOND * 3, 11);
    assert_eq!(simulation.last_line(), "2 services stopped in 3.00 s, none killed; exit 0");
}

#[test]
fn services_of_other_processes_are_named_and_not_counted() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.runs(10, "web", &[]);
    for _ in 0..2 {
        simulation.feed(Duration::ZERO, LifecycleEvent::FoundOccupied("db".into()));
    }
    let line = "db: another process supervises it: init leaves it alone";
    assert_eq!(simulation.said.iter().filter(|said| *said == line).count(), 1);
    simulation.feed(SECOND, LifecycleEvent::Signal(Signal::TERM)).stops(SECOND, 10);
    assert_eq!(
        simulation.last_line(),
        "1 service stopped in 0.00 s, none killed; not stopped, since another process supervises it: db; exit 0"
    );
}

#[test]
fn services_start_in_order_until_the_stop() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.opens(10, "db", &[]).opens(11, "web", &["db"]);
    let release = LifecycleAction::Release(SupervisorId(11));
    simulation.feed(Duration::ZERO, LifecycleEvent::Scanned).advance(SECOND * 2);
    assert!(!simulation.is_done(&release));
    let line = LifecycleAction::Log(LogLevel::Detail, "web waits for db".to_owned());
    assert_eq!(simulation.done.iter().filter(|action| **action == line).count(), 2, "once a second");
    simulation.comes_up(SECOND * 2, 10);
    assert!(simulation.is_done(&release));
    simulation.feed(SECOND * 2, LifecycleEvent::Signal(Signal::TERM));
    simulation.done.clear();
    simulation.goes_down(SECOND * 2, 10, ExitStatus::Exited(0));
    assert!(!simulation.is_done(&LifecycleAction::Hold(SupervisorId(11))), "nothing starts any more");
}

/// One turn may begin services and find that the time of COMMAND is over.
#[test]
fn a_service_that_begins_while_the_stop_does_is_stopped_too() {
    let mut simulation = Simulation::new(SECOND * 10, Some("npm"));
    simulation.feed(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM)).advance(SECOND * 4);
    assert!(simulation.is_done(&LifecycleAction::StopScanning));
    simulation.opens(10, "web", &[]);
    assert!(simulation.is_told(10));
}
