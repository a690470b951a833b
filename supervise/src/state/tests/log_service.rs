//! The log service: its start, its commands and its end.

use servicedir::{Command, Want};
use sys::ExitStatus;

use super::bench::{Bench, TERMED};
use crate::state::service::RESTART_DELAY;
use crate::state::{LOG_END_TIMEOUT, LOG_TERM_TIMEOUT, ServiceEvent, ServiceRole};

#[test]
fn the_log_service_starts_first_and_ends_with_its_input() {
    let mut web = Bench::new(Want::Up, Some(Want::Up)).begin();
    web.event(ServiceEvent::Term);
    web.exits(102, TERMED);
    web.did(&["log 101", "run 102", "SIGTERM 102", "SIGCONT 102", "name leftovers", "close pipe"]);
    assert!(!web.state.is_finished());
    assert_eq!(web.state.status(ServiceRole::Log).expect("a log").to_text(), "run, want exit\n");
    web.exits(101, ExitStatus::Exited(0));
    assert!(web.state.is_finished());
}

#[test]
fn a_resting_log_service_comes_back_for_what_is_unread() {
    let mut web = Bench::new(Want::Up, Some(Want::Up)).begin();
    web.exits(101, ExitStatus::Exited(1));
    web.has_unread = true;
    web.event(ServiceEvent::Term);
    web.exits(102, TERMED);
    assert!(!web.state.is_finished());
    web.done.clear();
    web.after(RESTART_DELAY).tick();
    web.did(&["log 103"]);
    web.exits(103, ExitStatus::Exited(0));
    assert!(web.state.is_finished());
}

#[test]
fn a_log_service_that_is_down_is_not_waited_for() {
    let mut web = Bench::new(Want::Up, Some(Want::Down)).begin();
    web.has_unread = true;
    web.event(ServiceEvent::Term);
    web.exits(101, TERMED);
    assert!(web.state.is_finished());
}

#[test]
fn a_log_service_that_does_not_end_is_told_to_and_then_made_to() {
    let mut web = Bench::new(Want::Up, Some(Want::Up)).begin();
    web.event(ServiceEvent::Term);
    web.exits(102, TERMED);
    web.done.clear();
    web.after(LOG_END_TIMEOUT).tick();
    web.did(&["name holders", "SIGTERM 101", "SIGCONT 101"]);
    web.after(LOG_TERM_TIMEOUT).tick();
    web.did(&["SIGKILL 101"]);
    web.exits(101, TERMED);
    assert!(web.state.is_finished());
}

#[test]
fn nothing_brings_a_service_back_once_its_pipe_is_closed() {
    let mut web = Bench::new(Want::Up, Some(Want::Up)).begin();
    web.event(ServiceEvent::Term);
    web.exits(102, TERMED);
    web.done.clear();
    web.event(ServiceEvent::Command(ServiceRole::Main, Command::Up));
    web.event(ServiceEvent::Command(ServiceRole::Log, Command::Up));
    web.event(ServiceEvent::Command(ServiceRole::Log, Command::Hup));
    web.did(&["SIGHUP 101"]);
    web.exits(101, ExitStatus::Exited(0));
    assert!(web.state.is_finished());
}

#[test]
fn the_log_service_obeys_but_has_no_control_scripts_and_does_not_exit() {
    let mut web = Bench::new(Want::Up, Some(Want::Up)).control_scripts(b"tdx").begin();
    web.event(ServiceEvent::Command(ServiceRole::Log, Command::Exit));
    web.event(ServiceEvent::Command(ServiceRole::Log, Command::Down));
    web.did(
        &["log 101", "run 103", "SIGTERM 101", "SIGCONT 101"]
            .map(|word| if word == "run 103" { "run 102" } else { word }),
    );
}
