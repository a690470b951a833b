//! Machine: what a service's status and history come to in plain words (`sv why`).

use std::fmt::Write as _;
use std::time::Duration;

use servicedir::history::HistoryEntry;
use servicedir::{Command, HistoryEvent, State, Status, Tai64n, Want};
use sys::{ExitStatus, Pid, Signal};

use crate::time::human;

/// How many events are told.
const TOLD: usize = 12;

/// How many short lives in a row make a loop.
const LOOP: usize = 3;

/// What there is to know about a service whose runsv lives.
#[derive(Debug, Clone)]
pub struct Facts {
    /// What runsv says of it.
    pub status: Status,
    /// Whether there is a file `down`.
    pub has_down: bool,
    /// What runsv remembers, oldest first.
    pub entries: Vec<HistoryEntry>,
    /// The control script that is being waited for, if it still runs.
    pub hook: Option<(String, Pid)>,
    /// Who is left of the process group that is being waited for.
    pub group: Vec<String>,
    /// The present.
    pub now: Tai64n,
}

/// A line of the history, understood.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event<'a> {
    /// What runsv remembers.
    HistoryEvent(HistoryEvent),
    /// `./run` could not be executed: why.
    Unable(&'a str),
    /// Anything else.
    Other,
}

impl<'a> Event<'a> {
    /// Reads what runsv has written.
    pub fn parse(line: &'a str) -> Self {
        if let Some(note) = HistoryEvent::parse(line) {
            return Self::HistoryEvent(note);
        }
        let unable = line
            .strip_prefix("unable to start ")
            .and_then(|rest| rest.strip_prefix("./run: ").or_else(|| rest.strip_prefix("log/./run: ")));
        unable.map_or(Self::Other, Self::Unable)
    }
}

/// How the service is, and what it waits for.
pub fn state(facts: &Facts) -> String {
    let status = &facts.status;
    let age = human(status.since.age_at(facts.now));
    match status.state {
        Some(State::Run) => running(facts, &age),
        Some(State::Finish) => {
            let is_finishing =
                |event: &Event| matches!(event, Event::HistoryEvent(HistoryEvent::Finishing(_)));
            let time = facts.age_of_last(is_finishing).map_or_else(String::new, |age| format!(" for {age}"));
            let process = if status.pid == 0 { String::new() } else { format!(", pid {}", status.pid) };
            format!("./run has ended, ./finish runs{time}{process}")
        }
        Some(State::Down) if status.want == Want::Up => {
            let what = match (facts.last_event(), &facts.hook) {
                (_, Some((hook, pid))) => format!("waits for {hook} (pid {pid}) before it is started"),
                (Event::HistoryEvent(HistoryEvent::Rests(_)), None) => {
                    "rests for the rest of a second before the next start".to_owned()
                }
                _ => "is about to be started".to_owned(),
            };
            format!("down for {age} but wanted up: {what}")
        }
        Some(State::Down) => format!("down for {age}: {}", why_down(facts)),
        None => "in a state that no runsv writes".to_owned(),
    }
}

fn running(facts: &Facts, age: &str) -> String {
    let status = &facts.status;
    let mut text = format!("running for {age}, pid {}", status.pid);
    if facts.has_down {
        text += ", normally down";
    }
    if status.is_paused {
        text += ", paused: tell it cont";
    }
    if let Some((hook, pid)) = &facts.hook {
        let _ = write!(text, "; waits for {hook} (pid {pid}) to end");
    } else if let Event::HistoryEvent(HistoryEvent::GroupLives(_)) = facts.last_event()
        && !facts.group.is_empty()
    {
        let _ =
            write!(text, "; ./run has ended, waits for the rest of its group: {}", facts.group.join(", "));
    } else if status.got_term {
        let age = facts.age_of_last(|event| matches!(event, Event::HistoryEvent(HistoryEvent::Sent(..))));
        let since = age.map_or_else(String::new, |age| format!(" {age} ago"));
        let _ = write!(text, "; was told to end{since}, and has not yet");
    } else if matches!(status.want, Want::Down | Want::Exit) {
        text += "; will not be started again when it ends";
    }
    text
}

/// Who wants it down.
fn why_down(facts: &Facts) -> String {
    let mut notes =
        facts.entries.iter().rev().filter_map(|entry| Some((HistoryEvent::parse(&entry.what)?, entry.when)));
    let decision = notes.find(|(note, _)| {
        matches!(
            note,
            HistoryEvent::Began(_)
                | HistoryEvent::ToldToLeave
                | HistoryEvent::Told(Command::Up | Command::Down | Command::Once | Command::Exit)
        )
    });
    let age = |when: Tai64n| human(when.age_at(facts.now));
    match decision {
        Some((HistoryEvent::Told(Command::Once), when)) => {
            return format!("was to run once, {} ago, and has ended", age(when));
        }
        Some((HistoryEvent::Told(Command::Down), when)) => {
            return format!("was told to be down {} ago", age(when));
        }
        Some((HistoryEvent::Told(Command::Exit) | HistoryEvent::ToldToLeave, _)) => {
            return "was told to exit".to_owned();
        }
        // Whatever was told before is over.
        _ => {}
    }
    if facts.has_down {
        "nobody has told it to be up, and there is a file down".to_owned()
    } else {
        "was told to be down".to_owned()
    }
}

impl Facts {
    fn last_event(&self) -> Event<'_> {
        self.entries.last().map_or(Event::Other, |entry| Event::parse(&entry.what))
    }

    /// How long ago the last of these was.
    fn age_of_last(&self, is_it: impl Fn(&Event) -> bool) -> Option<String> {
        let last = self.entries.iter().rev().find(|entry| is_it(&Event::parse(&entry.what)))?;
        Some(human(last.when.age_at(self.now)))
    }
}

/// The last events: how long ago, and what.
pub fn events(entries: &[HistoryEntry], now: Tai64n) -> Vec<(String, String)> {
    let first = entries.len().saturating_sub(TOLD);
    let recent = entries.get(first..).unwrap_or_default();
    recent
        .iter()
        .map(|entry| (format!("{} ago", human(entry.when.age_at(now))), plain(&entry.what)))
        .collect()
}

fn plain(line: &str) -> String {
    match HistoryEvent::parse(line) {
        Some(HistoryEvent::Told(_) | HistoryEvent::ToldToLeave) => format!("was {line}"),
        Some(HistoryEvent::Sent(..)) => format!("runsv {line}"),
        Some(HistoryEvent::Ended(how, time)) => format!("./run {} after {}", ended(how), lived(time)),
        Some(HistoryEvent::Finished(how)) => format!("./finish {}", ended(how)),
        _ => line.to_owned(),
    }
}

fn ended(how: ExitStatus) -> String {
    match how {
        ExitStatus::Exited(code) => format!("ended with exit code {code}"),
        ExitStatus::Killed { .. } => format!("was killed by {how}"),
    }
}

fn lived(time: Duration) -> String {
    if time < Duration::from_secs(60) {
        format!("{:.3} s", time.as_secs_f64())
    } else {
        human(time.as_secs())
    }
}

/// What usually is behind such a story.
pub fn hints(entries: &[HistoryEntry]) -> Vec<String> {
    let events: Vec<Event> = entries.iter().map(|entry| Event::parse(&entry.what)).collect();
    let mut hints = Vec::new();
    let lives = lives(&events);
    if let Some(last) = lives.last()
        && let Some(hint) = hint(last)
    {
        hints.push(hint);
    }
    let is_short = |life: &&Life| life.time < Duration::from_secs(1) && !life.was_asked;
    let short = lives.iter().rev().take_while(is_short).count();
    if short >= LOOP {
        hints.push(format!(
            "a crash loop: the last {short} times it did not live for a second; try ./run by hand"
        ));
    }
    hints
}

/// One life of `./run`, from its start to its end.
#[derive(Debug, Clone, PartialEq)]
struct Life<'a> {
    how: ExitStatus,
    time: Duration,
    unable: Option<&'a str>,
    sent: Vec<Signal>,
    was_told_kill: bool,
    was_asked: bool,
}

fn lives<'a>(events: &[Event<'a>]) -> Vec<Life<'a>> {
    let mut lives = Vec::new();
    let (mut unable, mut sent, mut told) = (None, Vec::new(), Vec::new());
    for event in events {
        match event {
            Event::Unable(why) => unable = Some(*why),
            Event::HistoryEvent(HistoryEvent::Sent(signal, _)) => sent.push(*signal),
            Event::HistoryEvent(HistoryEvent::Told(command)) => told.push(*command),
            Event::HistoryEvent(HistoryEvent::ToldToLeave) => told.push(Command::Exit),
            Event::HistoryEvent(HistoryEvent::Started(_)) => {
                (unable, sent, told) = (None, Vec::new(), Vec::new());
            }
            Event::HistoryEvent(HistoryEvent::Ended(how, time)) => {
                let sent = std::mem::take(&mut sent);
                let told = std::mem::take(&mut told);
                let asks =
                    |command: &Command| !matches!(command, Command::Up | Command::Once | Command::Cont);
                lives.push(Life {
                    how: *how,
                    time: *time,
                    unable: unable.take(),
                    was_told_kill: told.contains(&Command::Kill),
                    was_asked: !sent.is_empty() || told.iter().any(asks),
                    sent,
                });
            }
            _ => {}
        }
    }
    lives
}

fn hint(life: &Life) -> Option<String> {
    if let Some(why) = life.unable {
        let what = match why {
            "file does not exist" => "run, or the program its first line names after #!, is missing",
            "access denied" => "run, or what its first line names after #!, may not be executed",
            "exec format error" => "run is no program: a script must begin with a line such as #!/bin/sh",
            _ => "run cannot be executed",
        };
        return Some(format!("{what} ({why})"));
    }
    let (end, was_sent) = match life.how {
        ExitStatus::Exited(_) => (life.how.to_string(), false),
        ExitStatus::Killed { signal, .. } => (signal.to_string(), life.sent.contains(&signal)),
    };
    let hint = match end.as_str() {
        "exit 0" if !life.was_asked => {
            "./run ended by itself and without complaint: does its program put itself into the background? \
             It must stay in the foreground"
        }
        "exit 100" => {
            "exit code 100 stands for a wrong command line or configuration in programs of this kind"
        }
        "exit 111" => {
            "exit code 111 stands for an error of the system in programs of this kind (chpst, for one): \
             what they printed says which"
        }
        "exit 126" => "exit code 126 is a shell's that found a program but could not execute it",
        "exit 127" => {
            "exit code 127 is a shell's that did not find a program: the PATH of a service is that of its \
             runsv, not that of your shell"
        }
        "SIGKILL" if was_sent && life.was_told_kill => return None,
        "SIGKILL" if was_sent => "it did not end in the time that timeout-kill gives it, so runsv killed it",
        "SIGKILL" => {
            "runsv did not send this SIGKILL: perhaps the kernel did, for want of memory (dmesg tells), or \
             somebody by hand"
        }
        "SIGSEGV" | "SIGBUS" | "SIGILL" | "SIGFPE" | "SIGABRT" | "SIGTRAP" if !was_sent => {
            "a crash: a fault in the program itself"
        }
        "SIGSYS" => "it made a system call that a filter forbids",
        "SIGPIPE" if !was_sent => "it wrote to a pipe or connection whose reader was gone",
        "SIGXCPU" | "SIGXFSZ" if !was_sent => "it went over a limit (ulimit) of processor time or file size",
        signal if signal.starts_with("SIG") && !was_sent => {
            return Some(format!("runsv did not send this {signal}: somebody else did"));
        }
        _ => return None,
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
        lines.iter().map(|(age, what)| HistoryEntry { when: ago(*age), what: (*what).to_owned() }).collect()
    }

    fn facts(state: State, pid: u32, want: Want, lines: &[(u64, &str)]) -> Facts {
        Facts {
            status: Status {
                since: ago(300),
                pid,
                is_paused: false,
                want,
                got_term: false,
                state: Some(state),
            },
            has_down: false,
            entries: history(lines),
            hook: None,
            group: Vec::new(),
            now: NOW,
        }
    }

    #[test]
    fn a_message_about_run_is_understood() {
        assert_eq!(Event::parse("unable to start ./run: access denied"), Event::Unable("access denied"));
        assert_eq!(Event::parse("unable to start log/./run: access denied"), Event::Unable("access denied"));
        assert_eq!(Event::parse("told up"), Event::HistoryEvent(HistoryEvent::Told(Command::Up)));
        assert_eq!(Event::parse("./run ended: who knows"), Event::Other);
    }

    #[test]
    fn the_state_says_who_waits_for_what() {
        let up = facts(State::Run, 7, Want::Up, &[]);
        assert_eq!(state(&up), "running for 5m, pid 7");
        let mut stopping = facts(State::Run, 7, Want::Down, &[(9, "sent SIGTERM to pid 7")]);
        stopping.status.got_term = true;
        assert_eq!(state(&stopping), "running for 5m, pid 7; was told to end 9s ago, and has not yet");
        stopping.hook = Some(("control/d".to_owned(), Pid::from_raw(9)));
        assert_eq!(state(&stopping), "running for 5m, pid 7; waits for control/d (pid 9) to end");
        let mut group = facts(State::Run, 7, Want::Down, &[(1, "waits for the rest of process group 7")]);
        group.group = vec!["sleep (pid 8)".to_owned()];
        assert_eq!(
            state(&group),
            "running for 5m, pid 7; ./run has ended, waits for the rest of its group: sleep (pid 8)"
        );
        let once = facts(State::Run, 7, Want::Down, &[]);
        assert_eq!(state(&once), "running for 5m, pid 7; will not be started again when it ends");
        let finish = facts(State::Finish, 8, Want::Up, &[(2, "started ./finish, pid 8")]);
        assert_eq!(state(&finish), "./run has ended, ./finish runs for 2s, pid 8");
    }

    #[test]
    fn the_state_says_why_it_is_down() {
        let down = |lines: &[(u64, &str)]| facts(State::Down, 0, Want::Down, lines);
        assert_eq!(state(&down(&[])), "down for 5m: was told to be down");
        assert_eq!(
            state(&down(&[(120, "told once"), (60, "./run ended: exit 0, after 60.000 s")])),
            "down for 5m: was to run once, 2m ago, and has ended"
        );
        assert_eq!(
            state(&down(&[(200, "told up"), (100, "told down"), (100, "told hup")])),
            "down for 5m: was told to be down 1m ago"
        );
        let file = Facts { has_down: true, ..down(&[]) };
        assert_eq!(state(&file), "down for 5m: nobody has told it to be up, and there is a file down");
        let rests = facts(State::Down, 0, Want::Up, &[(0, "rests 0.990 s before the next start")]);
        assert_eq!(
            state(&rests),
            "down for 5m but wanted up: rests for the rest of a second before the next start"
        );
        let hook = Facts {
            hook: Some(("control/u".to_owned(), Pid::from_raw(9))),
            ..facts(State::Down, 0, Want::Up, &[(0, "waits for control/u, pid 9")])
        };
        assert_eq!(
            state(&hook),
            "down for 5m but wanted up: waits for control/u (pid 9) before it is started"
        );
    }

    #[test]
    fn events_are_told_in_plain_words_with_their_age() {
        let lines = [
            (7200, "started ./run, pid 7"),
            (12, "told down"),
            (12, "sent SIGTERM to pid 7"),
            (11, "./run ended: SIGTERM, after 7189.001 s"),
            (11, "started ./finish, pid 8"),
            (10, "./finish ended: exit 3"),
            (3, "./run ended: exit 1, after 0.250 s"),
        ];
        let told: Vec<String> =
            events(&history(&lines), NOW).into_iter().map(|(age, what)| format!("{age}: {what}")).collect();
        assert_eq!(
            told,
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
        assert_eq!(events(&history(&many), NOW).len(), TOLD);
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
            (&["./run ended: exit 111, after 2.000 s"], "error of the system"),
            (&["./run ended: exit 0, after 2.000 s"], "foreground"),
            (&["./run ended: SIGKILL, after 2.000 s"], "memory"),
            (&["told down", "sent SIGKILL to pid 7", "./run ended: SIGKILL, after 9.000 s"], "timeout-kill"),
            (&["./run ended: SIGSEGV (core dumped), after 2.000 s"], "fault in the program"),
            (&["./run ended: SIGTERM, after 2.000 s"], "runsv did not send this SIGTERM"),
            (
                &["unable to start ./run: access denied", "./run ended: exit 111, after 0.001 s"],
                "may not be executed",
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
    fn three_short_lives_in_a_row_are_a_crash_loop() {
        let life = [(1, "started ./run, pid 7"), (1, "./run ended: exit 1, after 0.010 s")];
        assert_eq!(hints(&history(&[life, life].concat())), Vec::<String>::new());
        let hints = hints(&history(&[life, life, life].concat()));
        assert_eq!(hints.len(), 1);
        assert!(hints.iter().all(|hint| hint.contains("crash loop")), "{hints:?}");
    }
}
