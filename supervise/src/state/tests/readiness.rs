use std::time::Duration;

use servicedir::{Command, State, Want};
use sys::ExitStatus;

use super::bench::{Bench, MS, TERMED};
use crate::state::{ServiceEvent, ServiceRole, Settings};

fn notifying() -> Bench {
    let mut web = Bench::new(Want::Up, Some(Want::Up));
    web.notifies = true;
    web.begin()
}

fn says(web: &mut Bench, is_ready: bool) {
    web.turn(ServiceEvent::Notified { is_ready: Some(is_ready), extension: None });
}

fn extends(web: &mut Bench, extension: Duration) {
    web.turn(ServiceEvent::Notified { is_ready: None, extension: Some(extension) });
}

#[test]
fn a_service_is_ready_from_its_word_to_its_end() {
    let mut web = notifying();
    web.did(&["log 101", "run 102", "not ready 102"]);
    assert_eq!(web.state.is_ready(), Some(false));
    says(&mut web, true);
    says(&mut web, true);
    web.did(&["ready 102"]);
    assert_eq!(web.state.is_ready(), Some(true));
    says(&mut web, false);
    web.did(&["not ready 102"]);
    says(&mut web, true);
    web.exits(102, ExitStatus::Exited(0));
    web.did(&["ready 102", "not ready 102"]);
    assert_eq!(web.state.is_ready(), None);
}

#[test]
fn the_next_process_has_to_say_it_again() {
    let mut web = notifying();
    says(&mut web, true);
    web.after(2000 * MS).exits(102, ExitStatus::Exited(0));
    web.did(&[
        "log 101",
        "run 102",
        "not ready 102",
        "ready 102",
        "not ready 102",
        "run 103",
        "not ready 103",
    ]);
    assert_eq!(web.state.is_ready(), Some(false));
}

#[test]
fn a_service_without_a_way_to_say_so_is_neither_ready_nor_not() {
    let mut web = Bench::up().begin();
    says(&mut web, true);
    web.did(&["run 101"]);
    assert_eq!(web.state.is_ready(), None);
    assert!(!web.state.takes_notifications());
}

#[test]
fn what_is_said_while_no_run_lives_does_not_count() {
    let mut web = notifying();
    web.has_finish = true;
    web.exits(102, ExitStatus::Exited(0));
    says(&mut web, true);
    web.did(&["log 101", "run 102", "not ready 102", "finish 103 0 0"]);
    assert_eq!(web.state.status(ServiceRole::Main).and_then(|status| status.state), Some(State::Finish));
}

#[test]
fn a_group_whose_leader_has_ended_is_not_ready() {
    let mut web = Bench::new(Want::Up, None);
    (web.notifies, web.is_group, web.is_group_alive) = (true, true, true);
    let mut web = web.begin();
    says(&mut web, true);
    web.exits(101, TERMED);
    assert_eq!(web.state.is_ready(), Some(false));
    says(&mut web, true);
    assert_eq!(web.state.is_ready(), Some(false));
}

#[test]
fn a_stop_is_given_the_time_that_the_service_asks_for() {
    let mut web = notifying();
    web.settings = Settings { kill_after: Some(1000 * MS), ..Settings::default() };
    extends(&mut web, 60_000 * MS);
    web.command(Command::Down);
    web.did(&["log 101", "run 102", "not ready 102", "SIGTERM 102", "SIGCONT 102"]);
    web.after(900 * MS);
    // It is never shortened.
    extends(&mut web, 10 * MS);
    extends(&mut web, 500 * MS);
    web.after(499 * MS).tick();
    web.did(&[]);
    extends(&mut web, Duration::MAX);
    web.after(3_599_999 * MS).tick();
    web.did(&[]);
    web.after(MS).tick();
    web.did(&["SIGKILL 102"]);
}

#[test]
fn a_stop_without_a_limit_is_given_none() {
    let mut web = notifying();
    web.command(Command::Down);
    extends(&mut web, MS);
    assert_eq!(web.state.next_deadline(), None);
}
