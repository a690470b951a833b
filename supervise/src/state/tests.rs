//! The state with invented time: each test is a sentence of the contract.

use std::time::{Duration, Instant, UNIX_EPOCH};

use servicedir::{Command, State, Status, Want};
use sys::{ExitStatus, Now, Pid, Signal};

use super::service::{FORK_RETRY_DELAY, GROUP_TIMEOUT, RESTART_DELAY};
use super::{
    ControlScript, KILL_TIMEOUT, LEFTOVER_DELAY, LOG_END_TIMEOUT, LOG_TERM_TIMEOUT, Script, ServiceAction,
    ServiceEvent, ServicePair, ServiceRole, Settings, SignalTarget, StartedScript,
};

const MS: Duration = Duration::from_millis(1);
const TERMED: ExitStatus = ExitStatus::Killed { signal: Signal::TERM, core: false };

/// A state with effects that exist only on paper: processes get numbers, scripts are declared.
struct Bench {
    state: ServicePair,
    now: Now,
    next_pid: i32,
    control_scripts: Vec<u8>,
    has_finish: bool,
    is_group: bool,
    is_group_alive: bool,
    settings: Settings,
    finish_limit: Option<Duration>,
    fork_fails: bool,
    has_unread: bool,
    /// What was done, in order, as short words.
    done: Vec<String>,
    published: Vec<(ServiceRole, Status)>,
}

impl Bench {
    fn new(main: Want, log: Option<Want>) -> Self {
        let now = Now { monotonic: Instant::now(), wall: UNIX_EPOCH + Duration::from_secs(1_000_000) };
        Self {
            state: ServicePair::new(main, log, now),
            now,
            next_pid: 100,
            control_scripts: Vec::new(),
            has_finish: false,
            is_group: false,
            is_group_alive: false,
            settings: Settings::default(),
            finish_limit: None,
            fork_fails: false,
            has_unread: false,
            done: Vec::new(),
            published: Vec::new(),
        }
    }

    fn up() -> Self {
        Self::new(Want::Up, None)
    }

    fn control_scripts(mut self, bytes: &[u8]) -> Self {
        self.control_scripts = bytes.to_vec();
        self
    }

    fn finish(mut self) -> Self {
        self.has_finish = true;
        self
    }

    fn begin(mut self) -> Self {
        self.event(ServiceEvent::Tick);
        self
    }

    fn after(&mut self, time: Duration) -> &mut Self {
        self.now = self.now + time;
        self
    }

    fn command(&mut self, command: Command) {
        assert!(self.state.takes_commands(ServiceRole::Main), "a command while none is taken");
        self.turn(ServiceEvent::Command(ServiceRole::Main, command));
    }

    fn exits(&mut self, pid: i32, exit_status: ExitStatus) {
        let has_finish = self.has_finish;
        self.turn(ServiceEvent::Exited { pid: Pid::from_raw(pid), exit_status, has_finish });
    }

    fn tick(&mut self) {
        self.event(ServiceEvent::Tick);
    }

    /// A turn in which nothing else came in.
    fn turn(&mut self, event: ServiceEvent) {
        self.event(event);
        self.tick();
    }

    fn event(&mut self, event: ServiceEvent) {
        self.state.handle(event, self.now);
        while let Some(action) = self.state.next_action() {
            if let Some(outcome) = self.perform(action) {
                self.state.handle(outcome, self.now);
            }
        }
    }

    fn pid(&mut self) -> Pid {
        self.next_pid += 1;
        Pid::from_raw(self.next_pid)
    }

    fn perform(&mut self, action: ServiceAction) -> Option<ServiceEvent> {
        match action {
            ServiceAction::Publish(role, status) => self.published.push((role, status)),
            ServiceAction::Start(role, script) if self.fork_fails => {
                return Some(ServiceEvent::NotStarted(role, script));
            }
            ServiceAction::Start(role, script) => {
                let pid = self.pid();
                let limit = self.finish_limit.filter(|_| script != Script::Run);
                self.done.push(match (role, script) {
                    (ServiceRole::Main, Script::Run) => format!("run {pid}"),
                    (_, Script::Finish(exit_status)) => {
                        format!("finish {pid} {}", exit_status.finish_arguments().join(" "))
                    }
                    (ServiceRole::Log, _) => format!("log {pid}"),
                });
                return Some(ServiceEvent::Started(
                    role,
                    script,
                    StartedScript { pid, is_group: self.is_group, limit },
                ));
            }
            ServiceAction::RunControlScript(script, about) => {
                if !self.control_scripts.contains(&script.byte()) {
                    return Some(ServiceEvent::NoControlScript(script));
                }
                let pid = self.pid();
                let about = about.map_or("-".to_owned(), |about| about.to_string());
                self.done.push(format!("control/{} {pid} about {about}", char::from(script.byte())));
                return Some(ServiceEvent::ControlScriptStarted(script, pid));
            }
            ServiceAction::ReadSettings(role) => return Some(ServiceEvent::Settings(role, self.settings)),
            ServiceAction::Signal(SignalTarget { pid, is_group }, signal) => {
                self.done.push(format!("{signal} {}{pid}", if is_group { "-" } else { "" }));
            }
            ServiceAction::Remember(..) => {}
            ServiceAction::ProbeGroup(role, _) => {
                return Some(ServiceEvent::GroupProbed(role, self.is_group_alive));
            }
            ServiceAction::Abandon(pid) => self.done.push(format!("abandon {pid}")),
            ServiceAction::NameLeftovers => self.done.push("name leftovers".to_owned()),
            ServiceAction::EndLeftovers => self.done.push("end leftovers".to_owned()),
            ServiceAction::CloseLogPipe => {
                self.done.push("close pipe".to_owned());
                return Some(ServiceEvent::LogPipeClosed { has_unread: self.has_unread });
            }
            ServiceAction::NameLogHolders => self.done.push("name holders".to_owned()),
        }
        None
    }

    #[track_caller]
    fn did(&mut self, expected: &[&str]) {
        assert_eq!(std::mem::take(&mut self.done), expected);
    }

    fn text(&self) -> String {
        self.state.status(ServiceRole::Main).expect("a main service").to_text()
    }

    fn states(&mut self) -> Vec<(State, u32)> {
        std::mem::take(&mut self.published)
            .into_iter()
            .map(|(_, status)| (status.state.expect("a known state"), status.pid))
            .collect()
    }
}

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

/// RSV-32: a service may be down while its control script still holds up what was written.
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
