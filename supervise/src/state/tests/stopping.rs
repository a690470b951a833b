//! How a service is stopped: settings, limits and process groups.

use servicedir::Command;
use sys::{ExitStatus, Pid, Signal};

use super::bench::{Bench, MS, TERMED};
use crate::state::service::{GROUP_TIMEOUT, RESTART_DELAY};
use crate::state::{ServiceAction, ServiceEvent, ServiceRole, Settings};

#[test]
fn the_stop_signal_and_its_limit_come_from_the_files() {
    let mut web = Bench::up();
    web.settings = Settings { signal: Signal::QUIT, kill_after: Some(700 * MS) };
    let mut web = web.begin();
    web.command(Command::Down);
    web.did(&["run 101", "SIGQUIT 101", "SIGCONT 101"]);
    assert_eq!(web.text(), "run, got TERM, want down\n");
    web.after(699 * MS).tick();
    web.did(&[]);
    web.after(MS).tick();
    web.did(&["SIGKILL 101"]);
}

/// CONT would discard such a signal.
#[test]
fn a_stop_signal_that_stops_is_the_last_one_that_is_sent() {
    for (signal, name) in [(Signal::TSTP, "SIGTSTP"), (Signal::TTIN, "SIGTTIN"), (Signal::TTOU, "SIGTTOU")] {
        let stop = format!("{name} 101");
        for (command, sent) in [
            (Command::Down, &["SIGCONT 101", stop.as_str()][..]),
            (Command::Exit, &["SIGCONT 101", &stop]),
            (Command::Term, &[&stop]),
        ] {
            let mut web = Bench::up();
            web.settings.signal = signal;
            let mut web = web.begin();
            web.command(command);
            web.done.retain(|done| done.starts_with("SIG"));
            web.did(sent);
        }
    }
}

#[test]
fn the_limit_of_a_stop_ends_a_control_script_that_hangs() {
    let mut web = Bench::up().control_scripts(b"t");
    web.settings.kill_after = Some(700 * MS);
    let mut web = web.begin();
    web.command(Command::Down);
    web.done.clear();
    web.after(700 * MS).tick();
    web.did(&["SIGKILL 101", "SIGKILL 102"]);
}

#[test]
fn the_limit_of_a_stop_counts_from_its_first_signal() {
    let mut web = Bench::up().control_scripts(b"t");
    web.settings.kill_after = Some(700 * MS);
    let mut web = web.begin();
    web.command(Command::Down);
    web.after(600 * MS).exits(102, ExitStatus::Exited(1));
    web.done.clear();
    web.control_scripts.clear();
    web.after(600 * MS).command(Command::Down);
    web.did(&["SIGTERM 101", "SIGCONT 101"]);
    web.after(99 * MS).tick();
    web.did(&[]);
    web.after(MS).tick();
    web.did(&["SIGKILL 101"]);
}

#[test]
fn a_restart_that_control_t_has_taken_over_has_no_limit_but_a_stop_has() {
    for (commands, killed) in [
        (&[Command::Term][..], &[][..]),
        (&[Command::Down], &["SIGKILL 101"]),
        (&[Command::Down, Command::Up], &[]),
        (&[Command::Down, Command::Term], &["SIGKILL 101"]),
    ] {
        let mut web = Bench::up().control_scripts(b"t");
        web.settings.kill_after = Some(700 * MS);
        let mut web = web.begin();
        for command in commands {
            web.command(*command);
            if *command != Command::Up {
                web.exits(web.next_pid, ExitStatus::Exited(0));
            }
        }
        web.done.clear();
        web.after(700 * MS).tick();
        web.did(killed);
    }
}

#[test]
fn a_finish_has_as_long_as_its_file_says() {
    let mut web = Bench::up().finish();
    web.finish_limit = Some(50 * MS);
    let mut web = web.begin();
    web.exits(101, ExitStatus::Exited(0));
    web.done.clear();
    web.after(50 * MS).tick();
    web.did(&["SIGKILL 102"]);
}

#[test]
fn a_group_is_waited_for_after_its_leader() {
    let mut web = Bench::up();
    web.is_group = true;
    web.is_group_alive = true;
    let mut web = web.begin();
    web.after(2 * RESTART_DELAY).command(Command::Down);
    web.exits(101, TERMED);
    web.did(&["run 101", "SIGTERM -101", "SIGCONT -101"]);
    assert_eq!(web.text(), "run, got TERM, want down\n");
    web.after(GROUP_TIMEOUT).tick();
    web.did(&["SIGKILL -101"]);
    web.is_group_alive = false;
    web.exits(999, ExitStatus::Exited(0));
    web.did(&["end leftovers"]);
    assert_eq!(web.text(), "down\n");
}

#[test]
fn a_group_whose_leader_crashed_is_stopped_like_the_service() {
    let mut web = Bench::up();
    web.is_group = true;
    web.is_group_alive = true;
    web.settings.signal = Signal::INT;
    let mut web = web.begin();
    web.after(2 * RESTART_DELAY).exits(101, ExitStatus::Exited(1));
    web.did(&["run 101", "SIGINT -101", "SIGCONT -101"]);
    web.is_group_alive = false;
    web.after(100 * MS).tick();
    web.did(&["end leftovers", "run 102"]);
}

#[test]
fn of_many_deaths_in_a_group_there_is_one_look() {
    let mut web = Bench::up();
    web.is_group = true;
    web.is_group_alive = true;
    let mut web = web.begin();
    web.command(Command::Down);
    web.exits(101, TERMED);
    web.state.handle(ServiceEvent::Tick, web.now);
    while web.state.next_action().is_some() {}
    for pid in 500..600 {
        let death = ServiceEvent::Exited { pid: Pid::from_raw(pid), exit_status: TERMED, has_finish: false };
        web.state.handle(death, web.now);
        assert_eq!(web.state.next_action(), None);
    }
    assert_eq!(web.state.next_deadline(), Some(web.now.monotonic));
    web.state.handle(ServiceEvent::Tick, web.now);
    assert_eq!(
        web.state.next_action(),
        Some(ServiceAction::ProbeGroup(ServiceRole::Main, Pid::from_raw(101)))
    );
    assert_eq!(web.state.next_action(), None);
}

#[test]
fn what_an_earlier_runsv_left_is_ended_before_anything_starts() {
    let mut web = Bench::up();
    web.is_group_alive = true;
    web.state.take_over(ServiceRole::Main, Pid::from_raw(77), web.now);
    let mut web = web.begin();
    web.did(&["SIGTERM -77", "SIGCONT -77"]);
    assert_eq!(web.text(), "run, got TERM\n");
    web.after(100 * MS).tick();
    web.after(GROUP_TIMEOUT).tick();
    web.did(&["SIGKILL -77"]);
    web.is_group_alive = false;
    web.after(100 * MS).tick();
    web.did(&["end leftovers", "run 101"]);
}
