//! The state with invented time: each test is a sentence of the contract.

mod bench;
mod log_service;
mod readiness;
mod stopping;

use servicedir::{Command, State, Want};
use sys::{ExitStatus, Pid, Signal};

use crate::state::service::{FORK_RETRY_DELAY, RESTART_DELAY};
use crate::state::{ControlScript, KILL_TIMEOUT, LEFTOVER_DELAY, ServiceEvent, ServiceRole};
use bench::{Bench, MS, TERMED};

#[test]
fn a_service_that_dies_within_a_second_rests_for_one() {
    let mut web = Bench::up().begin();
    web.after(300 * MS).exits(101, ExitStatus::Exited(1));
    web.did(&["run 101"]);
    assert_eq!(web.state.next_deadline(), Some(web.now.monotonic + RESTART_DELAY));
    web.after(999 * MS).tick();
    web.did(&[]);
    web.after(MS).tick();
    web.did(&["run 102"]);
}

#[test]
fn a_service_that_lived_for_a_second_is_restarted_at_once() {
    let mut web = Bench::up().begin();
    web.after(RESTART_DELAY).exits(101, ExitStatus::Exited(0));
    web.did(&["run 101", "run 102"]);
}

#[test]
fn the_time_of_finish_counts_into_the_second() {
    let mut web = Bench::up().finish().begin();
    web.after(10 * MS).exits(101, ExitStatus::Exited(0));
    web.after(1200 * MS).exits(102, ExitStatus::Exited(0));
    web.did(&["run 101", "finish 102 0 0", "run 103"]);
}

#[test]
fn a_finish_that_exits_125_leaves_the_service_down() {
    let mut web = Bench::up().finish().begin();
    web.exits(101, ExitStatus::Exited(1));
    web.after(2 * RESTART_DELAY).exits(102, ExitStatus::Exited(125));
    web.after(LEFTOVER_DELAY).tick();
    web.did(&["run 101", "finish 102 1 0", "name leftovers"]);
    assert_eq!(web.state.status(ServiceRole::Main).map(|status| status.want), Some(Want::Down));
    web.command(Command::Up);
    web.did(&["run 103"]);
    // A supervisor that was told to leave goes on to do so.
    web.command(Command::Exit);
    web.exits(103, TERMED);
    web.exits(104, ExitStatus::Exited(125));
    assert!(web.state.is_finished());
}

#[test]
fn up_in_the_rest_does_not_shorten_it_and_down_prevents_the_start() {
    let mut web = Bench::up().begin();
    web.exits(101, ExitStatus::Exited(0));
    web.after(500 * MS).command(Command::Up);
    web.command(Command::Once);
    web.did(&["run 101"]);
    web.command(Command::Down);
    web.after(RESTART_DELAY).tick();
    web.did(&["name leftovers"]);
    assert_eq!(web.text(), "down\n");
}

#[test]
fn once_in_the_rest_starts_once_when_it_is_over() {
    let mut web = Bench::up().begin();
    web.exits(101, ExitStatus::Exited(0));
    web.command(Command::Once);
    web.after(RESTART_DELAY).tick();
    web.did(&["run 101", "run 102"]);
    assert_eq!(web.text(), "run, want down\n");
    web.after(2 * RESTART_DELAY).exits(102, ExitStatus::Exited(0));
    web.after(2 * RESTART_DELAY).tick();
    web.did(&["name leftovers"]);
}

#[test]
fn the_record_says_finish_before_finish_runs() {
    let mut web = Bench::up().finish().begin();
    web.states();
    web.after(2 * RESTART_DELAY).exits(101, ExitStatus::Killed { signal: Signal::SEGV, core: true });
    assert_eq!(web.states(), [(State::Finish, 0), (State::Finish, 102)]);
    web.did(&["run 101", "finish 102 -1 139"]);
    web.exits(102, ExitStatus::Exited(0));
    assert_eq!(web.states(), [(State::Down, 0), (State::Run, 103)]);
}

#[test]
fn the_stop_procedure_keeps_its_order() {
    let mut web = Bench::up().control_scripts(b"td").begin();
    web.after(2 * RESTART_DELAY).command(Command::Down);
    web.did(&["run 101", "control/t 102 about 101"]);
    assert!(!web.state.takes_commands(ServiceRole::Main));
    web.exits(102, ExitStatus::Exited(1));
    web.did(&["SIGTERM 101", "SIGCONT 101", "control/d 103 about 101"]);
    assert_eq!(web.text(), "run, got TERM, want down\n");
    web.exits(103, ExitStatus::Exited(0));
    assert!(web.state.takes_commands(ServiceRole::Main));
}

#[test]
fn t_stops_a_service_for_good_that_is_not_to_be_restarted() {
    let mut web = Bench::new(Want::Down, None).control_scripts(b"d").begin();
    web.command(Command::Once);
    web.command(Command::Term);
    web.did(&["run 101", "SIGTERM 101", "SIGCONT 101", "control/d 102 about 101"]);
    web.exits(102, ExitStatus::Exited(1));
    web.command(Command::Exit);
    web.command(Command::Term);
    web.did(&["SIGTERM 101", "SIGCONT 101", "SIGTERM 101", "SIGCONT 101"]);
    web.command(Command::Up);
    web.command(Command::Term);
    web.did(&["SIGTERM 101"]);
}

/// RSV-32: a service may be down while its control script runs and commands wait in the FIFO.
#[test]
fn what_was_written_before_the_end_takes_the_exit_back() {
    for (command, text, done) in [
        (Command::Up, "run\n", "run 103"),
        (Command::Once, "run, want down\n", "run 103"),
        (Command::Down, "down\n", "name leftovers"),
    ] {
        let mut web = Bench::up().control_scripts(b"x").begin();
        web.after(2 * RESTART_DELAY).command(Command::Exit);
        web.exits(101, TERMED);
        web.done.clear();
        web.event(ServiceEvent::Exited {
            pid: Pid::from_raw(102),
            exit_status: ExitStatus::Exited(0),
            has_finish: false,
        });
        assert!(web.state.is_about_to_leave());
        web.command(command);
        web.after(RESTART_DELAY).tick();
        web.did(&[done]);
        assert_eq!(web.text(), text);
        assert!(!web.state.is_finished());
    }
}

#[test]
fn an_exit_that_has_begun_is_not_taken_back() {
    let mut web = Bench::new(Want::Down, None).begin();
    web.event(ServiceEvent::Command(ServiceRole::Main, Command::Exit));
    web.command(Command::Up);
    assert!(web.state.is_finished());
    web.did(&["name leftovers"]);
}

#[test]
fn a_down_that_was_written_before_a_death_prevents_the_next_start() {
    let mut web = Bench::up().begin();
    web.after(2 * RESTART_DELAY);
    web.event(ServiceEvent::Exited {
        pid: Pid::from_raw(101),
        exit_status: ExitStatus::Exited(0),
        has_finish: false,
    });
    web.command(Command::Down);
    web.after(RESTART_DELAY).tick();
    web.did(&["run 101", "name leftovers"]);
}

#[test]
fn only_a_real_exit_0_of_a_control_script_suppresses_the_signal() {
    for (exit_status, expected) in
        [(ExitStatus::Exited(0), &["SIGCONT 101"][..]), (TERMED, &["SIGTERM 101", "SIGCONT 101"])]
    {
        let mut web = Bench::up().control_scripts(b"t").begin();
        web.command(Command::Down);
        web.done.clear();
        web.exits(102, exit_status);
        web.did(expected);
        assert_eq!(web.text().contains("got TERM"), exit_status == TERMED);
    }
}

#[test]
fn a_service_that_dies_while_its_control_script_runs_is_never_signalled_late() {
    let mut web = Bench::up().control_scripts(b"t").begin();
    web.after(2 * RESTART_DELAY).command(Command::Term);
    web.exits(101, ExitStatus::Exited(0));
    web.did(&["run 101", "control/t 102 about 101", "run 103"]);
    web.exits(102, ExitStatus::Exited(1));
    web.did(&[]);
    assert_eq!(web.text(), "run\n");
}

#[test]
fn the_control_script_before_the_start_ends_before_it() {
    let mut web = Bench::up().control_scripts(b"u").begin();
    web.did(&["control/u 101 about -"]);
    assert_eq!(web.text(), "down\n");
    assert!(!web.state.takes_commands(ServiceRole::Main));
    web.exits(101, ExitStatus::Exited(7));
    web.did(&["run 102"]);
}

#[test]
fn killed_and_wanted_up_means_finish_and_one_new_start() {
    let mut web = Bench::up().finish().begin();
    web.after(2 * RESTART_DELAY).command(Command::Kill);
    web.command(Command::Up);
    web.did(&["run 101", "SIGKILL 101"]);
    web.exits(101, ExitStatus::Killed { signal: Signal::KILL, core: false });
    web.exits(102, ExitStatus::Exited(0));
    web.did(&["finish 102 -1 9", "run 103"]);
}

#[test]
fn nothing_is_sent_to_finish() {
    let mut web = Bench::up().finish().begin();
    web.exits(101, ExitStatus::Exited(0));
    web.done.clear();
    for command in [Command::Kill, Command::Term, Command::Hup, Command::Down, Command::Pause, Command::Exit]
    {
        web.command(command);
    }
    web.did(&[]);
    assert_eq!(web.text(), "finish, paused, want exit\n");
}

#[test]
fn exit_and_kill_leave_at_once_without_finish() {
    let mut web = Bench::up().finish().begin();
    web.command(Command::Exit);
    web.command(Command::Kill);
    web.exits(101, ExitStatus::Killed { signal: Signal::KILL, core: false });
    web.did(&["run 101", "SIGTERM 101", "SIGCONT 101", "SIGKILL 101", "name leftovers"]);
    assert!(web.state.is_finished());
    assert_eq!(web.text(), "down\n");
}

#[test]
fn exit_and_kill_leave_a_finish_that_hangs() {
    let mut web = Bench::up().finish().begin();
    web.exits(101, ExitStatus::Exited(0));
    web.command(Command::Exit);
    web.command(Command::Kill);
    web.did(&["run 101", "finish 102 0 0", "abandon 102", "name leftovers"]);
    assert!(web.state.is_finished());
}

#[test]
fn exit_and_kill_leave_even_what_cannot_be_killed() {
    let mut web = Bench::up().begin();
    web.command(Command::Exit);
    web.command(Command::Kill);
    web.done.clear();
    web.after(KILL_TIMEOUT).tick();
    web.did(&["abandon 101", "name leftovers"]);
    assert!(web.state.is_finished());
}

#[test]
fn exit_is_taken_back_by_up() {
    let mut web = Bench::up().begin();
    web.command(Command::Exit);
    web.command(Command::Up);
    web.after(2 * RESTART_DELAY).exits(101, TERMED);
    assert!(!web.state.is_finished());
    web.did(&["run 101", "SIGTERM 101", "SIGCONT 101", "run 102"]);
}

#[test]
fn exit_in_the_rest_does_not_wait_for_its_end() {
    let mut web = Bench::up().begin();
    web.exits(101, ExitStatus::Exited(1));
    web.event(ServiceEvent::Term);
    assert!(web.state.is_finished());
}

#[test]
fn a_process_that_cannot_be_had_is_tried_again_after_five_seconds() {
    let mut web = Bench::up();
    web.fork_fails = true;
    let mut web = web.begin();
    assert_eq!(web.state.next_deadline(), Some(web.now.monotonic + FORK_RETRY_DELAY));
    web.fork_fails = false;
    web.after(FORK_RETRY_DELAY).tick();
    web.did(&["run 101"]);
}

#[test]
fn a_finish_that_cannot_be_had_a_process_for_is_not_forgotten() {
    let mut web = Bench::up().finish().begin();
    web.fork_fails = true;
    web.exits(101, ExitStatus::Exited(3));
    assert_eq!(web.text(), "finish\n");
    web.fork_fails = false;
    web.after(FORK_RETRY_DELAY).tick();
    web.did(&["run 101", "finish 102 3 0"]);
}

#[test]
fn what_is_left_behind_is_named_when_the_service_stays_down() {
    let mut web = Bench::up().begin();
    web.command(Command::Down);
    web.exits(101, TERMED);
    web.done.clear();
    web.after(LEFTOVER_DELAY).tick();
    web.did(&["name leftovers"]);
}

#[test]
fn pause_is_remembered_as_runit_does() {
    let mut web = Bench::up().begin();
    web.command(Command::Pause);
    assert_eq!(web.text(), "run, paused\n");
    web.command(Command::Down);
    assert_eq!(web.text(), "run, paused, got TERM, want down\n");
    web.exits(101, TERMED);
    assert_eq!(web.text(), "down, paused\n");
    web.command(Command::Cont);
    assert_eq!(web.text(), "down\n");
}

#[test]
fn since_is_the_start_of_run_also_in_finish() {
    let mut web = Bench::up().finish().begin();
    let since = |web: &Bench| web.state.status(ServiceRole::Main).expect("a main service").since;
    let started = since(&web);
    web.after(2 * RESTART_DELAY).exits(101, ExitStatus::Exited(0));
    assert_eq!(since(&web), started);
    web.command(Command::Down);
    web.after(RESTART_DELAY).exits(102, ExitStatus::Exited(0));
    assert_eq!(since(&web), servicedir::Tai64n::of(web.now.wall));
}

#[test]
fn control_scripts_know_what_they_are_about() {
    assert_eq!(ControlScript::BeforeStart.byte(), b'u');
    assert_eq!(ControlScript::ForCommand(b'h').byte(), b'h');
}
