//! State: what a service's status and history mean, in plain words (`sv why`).

use std::fmt::Write as _;
use std::time::Duration;

use nix::errno::Errno;
use servicedir::history::{HistoryEntry, HistoryEvent};
use servicedir::readiness::Announcement;
use servicedir::{Command, State, Status, Tai64n, Want};
use sys::errno_text::phrase;
use sys::{ExitStatus, Pid, Signal};

use crate::time::human;

/// How many events are shown.
const SHOWN: usize = 12;

/// How many short runs in a row make a crash loop.
const LOOP: usize = 3;

/// What is known about a service that has a runsv.
#[derive(Debug, Clone)]
pub struct Observation {
    /// The status that runsv publishes.
    pub status: Status,
    /// Whether there is a file `down`.
    pub has_down: bool,
    /// What the service has said of itself, if it can.
    pub said: Option<Announcement>,
    /// The history, oldest entry first.
    pub entries: Vec<HistoryEntry>,
    /// The control script that runsv waits for, if it still runs.
    pub control_script: Option<(String, Pid)>,
    /// The remaining members of the process group that runsv waits for.
    pub group: Vec<String>,
    /// The present.
    pub now: Tai64n,
}

/// The state of the service, and what it waits for.
pub fn state(observation: &Observation) -> String {
    let status = &observation.status;
    let age = human(status.since.age_at(observation.now));
    match status.state {
        Some(State::Run) => running(observation, &age),
        Some(State::Finish) => {
            let finish = observation.age_of_last(|event| matches!(event, HistoryEvent::Finishing(_)));
            let time = finish.map_or_else(String::new, |age| format!(" for {age}"));
            let process = if status.pid == 0 { String::new() } else { format!(", pid {}", status.pid) };
            format!("./run has ended, ./finish runs{time}{process}")
        }
        Some(State::Down) if status.want == Want::Up => {
            let what = match (observation.last_event(), &observation.control_script) {
                (_, Some((script, pid))) => format!("waits for {script} (pid {pid}) before it is started"),
                (Some(HistoryEvent::Rests(_)), None) => {
                    "waits for the rest of a second before the next start".to_owned()
                }
                _ => "is about to be started".to_owned(),
            };
            format!("down for {age} but wanted up: {what}")
        }
        Some(State::Down) => format!("down for {age}: {}", why_down(observation)),
        None => "in a state that no runsv writes".to_owned(),
    }
}

fn running(observation: &Observation, age: &str) -> String {
    let status = &observation.status;
    let mut text = format!("running for {age}, pid {}", status.pid);
    if observation.has_down {
        text += ", normally down";
    }
    if status.is_paused {
        text += ", paused: tell it cont";
    }
    if let Some((script, pid)) = &observation.control_script {
        let _ = write!(text, "; waits for {script} (pid {pid}) to end");
    } else if let Some(HistoryEvent::GroupLives(_)) = observation.last_event()
        && !observation.group.is_empty()
    {
        let group = observation.group.join(", ");
        let _ = write!(text, "; ./run has ended, waits for the rest of its group: {group}");
    } else if status.got_term {
        let age = observation.age_of_last(|event| matches!(event, HistoryEvent::Sent(..)));
        let since = age.map_or_else(String::new, |age| format!(" {age} ago"));
        let _ = write!(text, "; was told to end{since}, and has not yet");
    } else if matches!(status.want, Want::Down | Want::Exit) {
        text += "; will not be started again when it ends";
    }
    if let Some(said) = &observation.said {
        let age = said.ready.map(|ready| human(ready.age_at(observation.now)));
        let _ = match age {
            Some(age) => write!(text, "; ready for {age}"),
            None => write!(text, "; has not said that it is ready"),
        };
        if !said.text.is_empty() {
            let _ = write!(text, "; says: {}", said.text);
        }
    }
    text
}

/// The reason for a service to be wanted down.
fn why_down(observation: &Observation) -> String {
    let age = |when: Tai64n| human(when.age_at(observation.now));
    match last_decision(&observation.entries) {
        Some((HistoryEvent::Told(Command::Once), when)) => {
            format!("was to run once, {} ago, and has ended", age(when))
        }
        Some((HistoryEvent::Told(Command::Down), when)) => format!("was told to be down {} ago", age(when)),
        Some((HistoryEvent::Told(Command::Exit) | HistoryEvent::ToldToLeave, _)) => {
            "was told to exit".to_owned()
        }
        Some((HistoryEvent::StaysDown, when)) => {
            format!("./finish exited 125 {} ago, which leaves the service down", age(when))
        }
        // Commands before the start of this runsv no longer count.
        _ if observation.has_down => "there is a file down, and no command to start it".to_owned(),
        _ => "was told to be down".to_owned(),
    }
}

/// The newest event that decided whether the service is wanted up, and its time.
pub fn last_decision(entries: &[HistoryEntry]) -> Option<(HistoryEvent, Tai64n)> {
    last(entries, |event| {
        matches!(
            event,
            HistoryEvent::Began(_)
                | HistoryEvent::ToldToLeave
                | HistoryEvent::StaysDown
                | HistoryEvent::Told(Command::Up | Command::Down | Command::Once | Command::Exit)
        )
    })
}

/// The newest event of this kind, and its time.
fn last(entries: &[HistoryEntry], is_it: impl Fn(HistoryEvent) -> bool) -> Option<(HistoryEvent, Tai64n)> {
    let mut events = entries.iter().rev().filter_map(|entry| Some((event_of(entry)?, entry.when)));
    events.find(|(event, _)| is_it(*event))
}

impl Observation {
    fn last_event(&self) -> Option<HistoryEvent> {
        self.entries.last().and_then(event_of)
    }

    fn age_of_last(&self, is_it: impl Fn(HistoryEvent) -> bool) -> Option<String> {
        last(&self.entries, is_it).map(|(_, when)| human(when.age_at(self.now)))
    }
}

fn event_of(entry: &HistoryEntry) -> Option<HistoryEvent> {
    entry.event.as_ref().ok().copied()
}

/// The newest entries: how long ago, and what happened.
pub fn events(entries: &[HistoryEntry], now: Tai64n) -> Vec<(String, String)> {
    let first = entries.len().saturating_sub(SHOWN);
    let recent = entries.get(first..).unwrap_or_default();
    recent.iter().map(|entry| (format!("{} ago", human(entry.when.age_at(now))), sentence(entry))).collect()
}

fn sentence(entry: &HistoryEntry) -> String {
    match &entry.event {
        Ok(event @ (HistoryEvent::Told(_) | HistoryEvent::ToldToLeave)) => format!("was {event}"),
        Ok(event @ HistoryEvent::Sent(..)) => format!("runsv {event}"),
        Ok(HistoryEvent::Ended(how, time)) => format!("./run {} after {}", ended(*how), duration(*time)),
        Ok(HistoryEvent::Finished(how)) => format!("./finish {}", ended(*how)),
        Ok(event) => event.to_string(),
        Err(text) => text.clone(),
    }
}

/// `ended with exit code 3`
pub fn ended(how: ExitStatus) -> String {
    match how {
        ExitStatus::Exited(code) => format!("ended with exit code {code}"),
        ExitStatus::Killed { .. } => format!("was killed by {how}"),
    }
}

fn duration(time: Duration) -> String {
    if time < Duration::from_secs(60) {
        format!("{:.3} s", time.as_secs_f64())
    } else {
        human(time.as_secs())
    }
}

/// The usual causes of such a history.
pub fn hints(entries: &[HistoryEntry]) -> Vec<String> {
    let runs = past_runs(entries.iter().filter_map(event_of));
    let mut hints: Vec<String> = runs.last().and_then(hint).into_iter().collect();
    let is_short = |run: &&PastRun| run.time < Duration::from_secs(1) && !run.was_asked;
    let short = runs.iter().rev().take_while(is_short).count();
    if short >= LOOP {
        hints.push(format!(
            "crash loop: the last {short} times ./run ended within a second; start it by hand to see why"
        ));
    }
    hints
}

/// One run of `./run`, from its start to its end.
#[derive(Debug, Clone, PartialEq)]
struct PastRun {
    how: ExitStatus,
    time: Duration,
    not_started: Option<Errno>,
    sent: Vec<Signal>,
    was_told_kill: bool,
    was_asked: bool,
}

fn past_runs(events: impl Iterator<Item = HistoryEvent>) -> Vec<PastRun> {
    let mut runs = Vec::new();
    let (mut not_started, mut sent, mut told) = (None, Vec::new(), Vec::new());
    for event in events {
        match event {
            HistoryEvent::NotStarted("./run" | "log/./run", why) => not_started = Some(why),
            HistoryEvent::Sent(signal, _) => sent.push(signal),
            HistoryEvent::Told(command) => told.push(command),
            HistoryEvent::ToldToLeave => told.push(Command::Exit),
            HistoryEvent::Started(_) => (not_started, sent, told) = (None, Vec::new(), Vec::new()),
            HistoryEvent::Ended(how, time) => {
                let sent = std::mem::take(&mut sent);
                let told = std::mem::take(&mut told);
                let asks =
                    |command: &Command| !matches!(command, Command::Up | Command::Once | Command::Cont);
                runs.push(PastRun {
                    how,
                    time,
                    not_started: not_started.take(),
                    was_told_kill: told.contains(&Command::Kill),
                    was_asked: !sent.is_empty() || told.iter().any(asks),
                    sent,
                });
            }
            _ => {}
        }
    }
    runs
}

fn hint(run: &PastRun) -> Option<String> {
    match (run.not_started, run.how) {
        (Some(why), _) => Some(hint_for_start(why)),
        (None, ExitStatus::Exited(code)) => hint_for_code(code, run.was_asked).map(str::to_owned),
        (None, ExitStatus::Killed { signal, .. }) => hint_for_signal(signal, run),
    }
}

fn hint_for_start(why: Errno) -> String {
    let what = match why {
        Errno::ENOENT => "run is missing, or the interpreter that its first line names after #!",
        Errno::EACCES => "run, or the interpreter that its first line names after #!, is not executable",
        Errno::ENOEXEC => "run is no program: a script must begin with a line such as #!/bin/sh",
        _ => "run cannot be executed",
    };
    format!("{what} ({})", phrase(why))
}

fn hint_for_code(code: u8, was_asked: bool) -> Option<&'static str> {
    match code {
        0 if !was_asked => Some(
            "./run exited by itself, with success: a program that puts itself into the background must be \
             told to stay in the foreground",
        ),
        100 => Some("exit code 100: wrong command line or configuration, by the convention of such programs"),
        111 => Some(
            "exit code 111: system error, by the convention of programs such as chpst: see what they printed",
        ),
        126 => Some("exit code 126: the shell found a program but could not execute it"),
        127 => Some(
            "exit code 127: the shell did not find a program; the PATH of a service is that of its runsv, \
             not that of your shell",
        ),
        _ => None,
    }
}

fn hint_for_signal(signal: Signal, run: &PastRun) -> Option<String> {
    let was_sent = run.sent.contains(&signal);
    let hint = match signal {
        Signal::SYS => "it made a system call that a filter forbids",
        Signal::KILL if was_sent && !run.was_told_kill => {
            "it did not end in the time that timeout-kill gives it, so runsv killed it"
        }
        _ if was_sent => return None,
        Signal::KILL => {
            "runsv did not send this SIGKILL: the kernel may have, when memory ran out (see dmesg), or another \
             process"
        }
        Signal::SEGV | Signal::BUS | Signal::ILL | Signal::FPE | Signal::ABRT | Signal::TRAP => {
            "a crash: a fault in the program itself"
        }
        Signal::PIPE => "it wrote to a pipe or connection whose reader was gone",
        Signal::XCPU | Signal::XFSZ => "it exceeded a limit (ulimit) of processor time or file size",
        _ => return Some(format!("runsv did not send this {signal}: another process did")),
    };
    Some(hint.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Tai64n = Tai64n { seconds: (1 << 62) + 100_000, nanoseconds: 0 };

    fn ago(seconds: u64) -> Tai64n {
        Tai64n { seconds: NOW.seconds - seconds, nanoseconds: 0 }
    }

    fn history(lines: &[(u64, &str)]) -> Vec<HistoryEntry> {
        lines.iter().map(|(age, text)| HistoryEntry::new(ago(*age), text)).collect()
    }

    fn observed(state: State, pid: u32, want: Want, lines: &[(u64, &str)]) -> Observation {
        Observation {
            status: Status {
                since: ago(300),
                pid,
                is_paused: false,
                want,
                got_term: false,
                state: Some(state),
            },
            has_down: false,
            said: None,
            entries: history(lines),
            control_script: None,
            group: Vec::new(),
            now: NOW,
        }
    }

    #[test]
    fn the_state_says_what_is_waited_for() {
        let up = observed(State::Run, 7, Want::Up, &[]);
        assert_eq!(state(&up), "running for 5m, pid 7");
        let mut stopping = observed(State::Run, 7, Want::Down, &[(9, "sent SIGTERM to pid 7")]);
        stopping.status.got_term = true;
        assert_eq!(state(&stopping), "running for 5m, pid 7; was told to end 9s ago, and has not yet");
        stopping.control_script = Some(("control/d".to_owned(), Pid::from_raw(9)));
        assert_eq!(state(&stopping), "running for 5m, pid 7; waits for control/d (pid 9) to end");
        let mut group = observed(State::Run, 7, Want::Down, &[(1, "waits for the rest of process group 7")]);
        group.group = vec!["sleep (pid 8)".to_owned()];
        assert_eq!(
            state(&group),
            "running for 5m, pid 7; ./run has ended, waits for the rest of its group: sleep (pid 8)"
        );
        let once = observed(State::Run, 7, Want::Down, &[]);
        assert_eq!(state(&once), "running for 5m, pid 7; will not be started again when it ends");
        let finish = observed(State::Finish, 8, Want::Up, &[(2, "started ./finish, pid 8")]);
        assert_eq!(state(&finish), "./run has ended, ./finish runs for 2s, pid 8");
    }

    #[test]
    fn the_state_says_what_the_service_has_said() {
        let mut up = observed(State::Run, 7, Want::Up, &[]);
        up.said = Some(Announcement { ready: None, text: "loads".to_owned() });
        assert_eq!(state(&up), "running for 5m, pid 7; has not said that it is ready; says: loads");
        up.said = Some(Announcement { ready: Some(ago(60)), text: String::new() });
        assert_eq!(state(&up), "running for 5m, pid 7; ready for 1m");
    }

    #[test]
    fn the_state_says_why_it_is_down() {
        let down = |lines: &[(u64, &str)]| observed(State::Down, 0, Want::Down, lines);
        assert_eq!(state(&down(&[])), "down for 5m: was told to be down");
        assert_eq!(
            state(&down(&[(120, "told once"), (60, "./run ended: exit 0, after 60.000 s")])),
            "down for 5m: was to run once, 2m ago, and has ended"
        );
        assert_eq!(
            state(&down(&[(200, "told up"), (100, "told down"), (100, "told hup")])),
            "down for 5m: was told to be down 1m ago"
        );
        let file = Observation { has_down: true, ..down(&[]) };
        assert_eq!(state(&file), "down for 5m: there is a file down, and no command to start it");
        let rests = observed(State::Down, 0, Want::Up, &[(0, "rests 0.990 s before the next start")]);
        assert_eq!(
            state(&rests),
            "down for 5m but wanted up: waits for the rest of a second before the next start"
        );
        let script = Observation {
            control_script: Some(("control/u".to_owned(), Pid::from_raw(9))),
            ..observed(State::Down, 0, Want::Up, &[(0, "waits for control/u, pid 9")])
        };
        assert_eq!(
            state(&script),
            "down for 5m but wanted up: waits for control/u (pid 9) before it is started"
        );
    }

    #[test]
    fn events_are_shown_in_plain_words_with_their_age() {
        let lines = [
            (7200, "started ./run, pid 7"),
            (12, "told down"),
            (12, "sent SIGTERM to pid 7"),
            (11, "./run ended: SIGTERM, after 7189.001 s"),
            (11, "started ./finish, pid 8"),
            (10, "./finish ended: exit 3"),
            (3, "./run ended: exit 1, after 0.250 s"),
        ];
        let shown: Vec<String> =
            events(&history(&lines), NOW).into_iter().map(|(age, what)| format!("{age}: {what}")).collect();
        assert_eq!(
            shown,
            [
                "2h ago: started ./run, pid 7",
                "12s ago: was told down",
                "12s ago: runsv sent SIGTERM to pid 7",
                "11s ago: ./run was killed by SIGTERM after 1h 59m",
                "11s ago: started ./finish, pid 8",
                "10s ago: ./finish ended with exit code 3",
                "3s ago: ./run ended with exit code 1 after 0.250 s",
            ]
        );
        let many = vec![(1, "told hup"); 50];
        assert_eq!(events(&history(&many), NOW).len(), SHOWN);
    }

    fn first_hint(lines: &[&str]) -> String {
        let lines: Vec<(u64, &str)> = lines.iter().map(|line| (1, *line)).collect();
        hints(&history(&lines)).into_iter().next().unwrap_or_default()
    }

    #[test]
    fn a_well_known_end_has_a_hint() {
        for (lines, hint) in [
            (&["./run ended: exit 127, after 2.000 s"][..], "PATH"),
            (&["./run ended: exit 126, after 2.000 s"], "could not execute"),
            (&["./run ended: exit 111, after 2.000 s"], "system error"),
            (&["./run ended: exit 0, after 2.000 s"], "foreground"),
            (&["./run ended: SIGKILL, after 2.000 s"], "memory"),
            (&["told down", "sent SIGKILL to pid 7", "./run ended: SIGKILL, after 9.000 s"], "timeout-kill"),
            (&["./run ended: SIGSEGV (core dumped), after 2.000 s"], "fault in the program"),
            (&["./run ended: SIGTERM, after 2.000 s"], "runsv did not send this SIGTERM"),
            (
                &["unable to start ./run: access denied", "./run ended: exit 111, after 0.001 s"],
                "is not executable",
            ),
        ] {
            let said = first_hint(lines);
            assert!(said.contains(hint), "{lines:?}: {said}");
        }
    }

    #[test]
    fn what_was_asked_for_needs_no_hint() {
        for lines in [
            &["told down", "sent SIGTERM to pid 7", "./run ended: SIGTERM, after 2.000 s"][..],
            &["told down", "sent SIGTERM to pid 7", "./run ended: exit 0, after 2.000 s"],
            &["told kill", "sent SIGKILL to pid 7", "./run ended: SIGKILL, after 0.100 s"],
            &["./run ended: exit 1, after 2.000 s"],
            &["started ./run, pid 7"],
            &[],
        ] {
            assert_eq!(first_hint(lines), "", "{lines:?}");
        }
    }

    #[test]
    fn three_short_runs_in_a_row_are_a_crash_loop() {
        let run = [(1, "started ./run, pid 7"), (1, "./run ended: exit 1, after 0.010 s")];
        assert_eq!(hints(&history(&[run, run].concat())), Vec::<String>::new());
        let hints = hints(&history(&[run, run, run].concat()));
        assert_eq!(hints.len(), 1);
        assert!(hints.iter().all(|hint| hint.contains("crash loop: the last 3 times")), "{hints:?}");
    }
}
