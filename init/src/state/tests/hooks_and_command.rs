//! Hooks and COMMAND in a simulated container.

use super::*;

#[test]
fn the_drain_lasts_as_long_as_its_hooks_and_a_second_term_skips_it() {
    for is_hurried in [false, true] {
        let hooks = vec![(HookStage::Drain, vec!["/h/drain.d/50", "/h/drain.d/51"])];
        let mut simulation = Simulation::with_hooks(SECOND * 10, None, hooks);
        simulation.runs(10, "web", &[]);
        simulation.feed(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM));
        simulation.advance(SECOND);
        assert!(!simulation.is_told(10), "services still run");
        if is_hurried {
            simulation.feed(SECOND, LifecycleEvent::Signal(Signal::TERM));
            assert!(simulation.is_done(&LifecycleAction::SignalGroup(Pid::from_raw(50), Signal::KILL)));
        } else {
            simulation.exits(SECOND, 50, ExitStatus::Exited(1)).exits(SECOND * 2, 51, ExitStatus::Exited(0));
        }
        assert!(simulation.is_told(10));
    }
}

#[test]
fn a_drain_hook_that_hangs_has_only_its_share() {
    let mut simulation =
        Simulation::with_hooks(SECOND * 10, None, vec![(HookStage::Drain, vec!["/h/drain.d/50"])]);
    simulation.runs(10, "web", &[]);
    simulation.feed(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM)).advance(SECOND * 5);
    assert!(simulation.is_done(&LifecycleAction::SignalGroup(Pid::from_raw(50), Signal::KILL)));
    assert!(simulation.is_told(10));
}

#[test]
fn a_failing_start_hook_ends_everything_with_its_code() {
    let hooks = vec![(HookStage::Start, vec!["/h/start.d/50", "/h/start.d/51"])];
    let mut simulation = Simulation::with_hooks(SECOND * 10, None, hooks);
    simulation.exits(SECOND, 50, ExitStatus::Exited(7));
    assert_eq!(simulation.lifecycle.exit_code(), Some(7));
    assert!(!simulation.is_done(&LifecycleAction::StartScanning));
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
    simulation.feed(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM));
    assert!(!simulation.has_started_a_hook());
    simulation.stops(SECOND, 10);
    assert!(simulation.has_started_a_hook());
    simulation.advance(SECOND * 8);
    assert_eq!(simulation.lifecycle.exit_code(), None);
    simulation.advance(SECOND * 10);
    assert!(simulation.is_done(&LifecycleAction::SignalGroup(Pid::from_raw(50), Signal::KILL)));
    assert_eq!(simulation.lifecycle.exit_code(), Some(99));
}

#[test]
fn init_stays_until_a_finish_hook_that_it_has_killed_is_dead() {
    let mut simulation =
        Simulation::with_hooks(SECOND * 10, None, vec![(HookStage::Finish, vec!["/h/finish.d/50"])]);
    simulation.feed(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM));
    simulation.advance(SECOND * 9);
    assert!(simulation.is_done(&LifecycleAction::SignalGroup(Pid::from_raw(50), Signal::KILL)));
    assert_eq!(simulation.lifecycle.exit_code(), None);
    simulation.exits(SECOND * 9, 50, KILLED);
    assert_eq!(simulation.lifecycle.exit_code(), Some(99));
    assert!(!simulation.is_done(&LifecycleAction::Sweep(Signal::KILL)), "no other process was left");
}

#[test]
fn the_commands_end_is_the_containers() {
    let mut simulation = Simulation::new(SECOND * 10, Some("npm"));
    simulation.runs(10, "web", &[]);
    simulation.exits(SECOND, 3, ExitStatus::Exited(3));
    assert!(simulation.is_done(&LifecycleAction::TakeTerminal));
    simulation.stops(SECOND, 10);
    assert_eq!(simulation.lifecycle.exit_code(), Some(3));
}

#[test]
fn the_command_goes_before_the_services_it_may_need() {
    let mut simulation = Simulation::new(SECOND * 10, Some("npm"));
    simulation.runs(10, "web", &[]);
    simulation.feed(Duration::ZERO, LifecycleEvent::Signal(Signal::INT)).advance(SECOND);
    assert!(simulation.is_done(&LifecycleAction::Signal(COMMAND, Signal::INT)));
    assert!(!simulation.is_told(10));
    simulation.advance(SECOND * 4);
    assert!(simulation.is_told(10), "services do not wait for ever");
    simulation.stops(SECOND * 4, 10).advance(SECOND * 8);
    assert!(simulation.is_done(&LifecycleAction::SignalGroup(COMMAND, Signal::KILL)));
    simulation.exits(SECOND * 8, 3, KILLED);
    assert_eq!(simulation.lifecycle.exit_code(), Some(137));
}

#[test]
fn a_command_without_services_has_all_the_time() {
    let mut simulation = Simulation::adjusted(|setup| setup.directory = None);
    simulation.feed(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM));
    simulation.advance(SECOND * 89 / 10);
    assert!(!simulation.is_done(&LifecycleAction::SignalGroup(COMMAND, Signal::KILL)));
    simulation.advance(SECOND * 9).exits(SECOND * 9, 3, KILLED);
    let said: Vec<_> = simulation.said.iter().filter(|line| line.contains("does not stop")).collect();
    assert_eq!(said, ["COMMAND: does not stop: killed"]);
    assert!(simulation.said.iter().any(|line| line.ends_with("all killed at 9.00 s, exit by 9.00 s")));
    assert_eq!(simulation.lifecycle.exit_code(), Some(137));
}

/// CONT would discard such a signal.
#[test]
fn the_commands_stop_signal_is_the_last_one_if_it_stops() {
    for (stop_signal, expected) in
        [(Signal::TSTP, [Signal::CONT, Signal::TSTP]), (Signal::QUIT, [Signal::QUIT, Signal::CONT])]
    {
        let mut simulation = Simulation::adjusted(|setup| setup.stop_signal = Some(stop_signal));
        simulation.feed(Duration::ZERO, LifecycleEvent::Signal(Signal::INT));
        let sent = simulation.done.iter().filter_map(|action| match action {
            LifecycleAction::Signal(COMMAND, signal) => Some(*signal),
            _ => None,
        });
        assert_eq!(sent.collect::<Vec<_>>(), expected);
    }
}

#[test]
fn signals_are_forwarded_to_the_command() {
    let mut simulation = Simulation::new(SECOND * 10, Some("npm"));
    simulation.feed(SECOND, LifecycleEvent::Signal(Signal::USR1));
    assert!(simulation.is_done(&LifecycleAction::Signal(COMMAND, Signal::USR1)));
    let mut simulation = Simulation::new(SECOND * 10, None);
    simulation.feed(SECOND, LifecycleEvent::Signal(Signal::ALRM));
    assert!(simulation.is_done(&LifecycleAction::Scan));
}

#[test]
fn a_signal_that_reaches_no_process_is_said_once() {
    let mut simulation = Simulation::new(SECOND * 10, None);
    for signal in [Signal::USR1, Signal::USR1, Signal::USR2] {
        simulation.feed(SECOND, LifecycleEvent::Signal(signal));
    }
    simulation.feed(SECOND, LifecycleEvent::KernelSignal(Signal::WINCH));
    let hints = simulation.said.iter().filter(|line| line.contains("STOPSIGNAL"));
    let signals: Vec<_> = hints.filter_map(|line| line.split(':').next()).collect();
    assert_eq!(signals, ["SIGUSR1", "SIGUSR2"]);
}

#[test]
fn the_end_of_the_terminal_stops_also_with_a_command() {
    let mut simulation = Simulation::new(SECOND * 10, Some("npm"));
    simulation.feed(SECOND, LifecycleEvent::Signal(Signal::HUP));
    assert!(simulation.is_done(&LifecycleAction::Signal(COMMAND, Signal::HUP)));
    simulation.feed(SECOND, LifecycleEvent::KernelSignal(Signal::HUP));
    assert!(simulation.is_done(&LifecycleAction::Signal(COMMAND, Signal::TERM)));
}

#[test]
fn init_is_stopped_with_its_command_but_not_in_a_stop() {
    let mut simulation = Simulation::new(SECOND * 10, Some("npm"));
    let suspend = LifecycleAction::Suspend(Some(COMMAND), Signal::TSTP);
    simulation.feed(SECOND, LifecycleEvent::CommandStopped(COMMAND, Signal::STOP));
    simulation.feed(SECOND, LifecycleEvent::CommandStopped(Pid::from_raw(4), Signal::TSTP));
    assert!(!simulation.is_done(&LifecycleAction::Suspend(Some(COMMAND), Signal::STOP)));
    simulation.feed(SECOND, LifecycleEvent::CommandStopped(COMMAND, Signal::TSTP));
    assert!(simulation.is_done(&suspend));
    simulation.done.clear();
    simulation.feed(SECOND, LifecycleEvent::Signal(Signal::TERM));
    simulation.feed(SECOND, LifecycleEvent::CommandStopped(COMMAND, Signal::TSTP));
    assert!(simulation.is_done(&LifecycleAction::Resume(COMMAND)) && !simulation.is_done(&suspend));
}

#[test]
fn finish_hooks_keep_their_share_when_a_start_hook_does_not_end() {
    let hooks = vec![(HookStage::Start, vec!["/h/start.d/50"]), (HookStage::Finish, vec!["/h/finish.d/51"])];
    let mut simulation = Simulation::with_hooks(SECOND * 10, None, hooks);
    simulation.feed(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM));
    assert!(simulation.is_done(&LifecycleAction::Sweep(Signal::TERM)));
    simulation.advance(SECOND * 8);
    assert!(!simulation.is_done(&LifecycleAction::Sweep(Signal::KILL)));
    simulation.advance(SECOND * 8 + SECOND / 5);
    assert!(
        simulation.is_done(&LifecycleAction::Sweep(Signal::KILL)),
        "a tenth of the time is for finish hooks"
    );
    simulation.exits(SECOND * 8 + SECOND / 5, 50, KILLED);
    assert!(simulation.has_started_a_hook());
}

#[test]
fn what_a_finish_hook_leaves_behind_is_sent_term_before_kill() {
    let mut simulation =
        Simulation::with_hooks(SECOND * 10, None, vec![(HookStage::Finish, vec!["/h/finish.d/50"])]);
    simulation.feed(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM));
    simulation.adopts(60);
    simulation.done.clear();
    simulation.exits(SECOND, 50, ExitStatus::Exited(0));
    assert!(simulation.is_done(&LifecycleAction::Sweep(Signal::TERM)));
    // A young process may have executed another program: that is checked each second.
    simulation.done.clear();
    simulation.advance(SECOND * 3);
    assert!(simulation.is_done(&LifecycleAction::Sweep(Signal::TERM)));
    simulation.advance(SECOND * 8);
    assert!(!simulation.is_done(&LifecycleAction::Sweep(Signal::KILL)), "it has the rest of the time");
    simulation.exits(SECOND * 8, 60, ExitStatus::Exited(0));
    assert_eq!(simulation.lifecycle.exit_code(), Some(0));
}

#[test]
fn a_command_that_cannot_be_run_is_no_reason_to_drain() {
    let hooks = vec![(HookStage::Drain, vec!["/h/drain.d/50"]), (HookStage::Finish, vec!["/h/finish.d/51"])];
    let mut simulation = Simulation::without_command(hooks);
    simulation.exits(SECOND, 51, ExitStatus::Exited(0));
    assert_eq!(simulation.lifecycle.exit_code(), Some(127));
    assert!(!simulation.is_done(&LifecycleAction::FindHooks(HookStage::Drain)), "{:?}", simulation.said);
}

#[test]
fn services_wait_for_the_rest_of_the_commands_group() {
    let mut simulation = Simulation::with_a_group();
    simulation.is_group_there = true;
    simulation.runs(10, "web", &[]);
    simulation.feed(Duration::ZERO, LifecycleEvent::Signal(Signal::TERM));
    assert!(simulation.is_done(&LifecycleAction::SignalGroup(COMMAND, Signal::TERM)));
    simulation.exits(SECOND, 3, ExitStatus::Exited(0)).advance(SECOND * 2);
    assert!(!simulation.is_told(10), "a process of the group is left");
    simulation.is_group_there = false;
    simulation.advance(SECOND * 2 + SECOND / 5);
    assert!(simulation.is_told(10));
}
