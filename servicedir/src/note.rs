//! What is worth remembering about a service, as the lines of its history say it ([`crate::history`]).
//! runsv writes them, sv and init read them.

use std::fmt;
use std::time::Duration;

use sys::{ExitStatus, Pid, Signal};

use crate::command::Command;
use crate::status::Want;

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryEvent {
    /// runsv began, and wants it like this: nothing that an earlier runsv was told counts any more.
    Began(Want),
    /// It was told something.
    Told(Command),
    /// runsv itself was sent TERM.
    ToldToLeave,
    /// `./run` was started.
    Started(Pid),
    /// `./run` ended, after this time.
    Ended(ExitStatus, Duration),
    /// `./finish` was started.
    Finishing(Pid),
    /// `./finish` ended.
    Finished(ExitStatus),
    /// It is to be started again, but rests first.
    Rests(Duration),
    /// The control script of this byte runs.
    Asks(u8, Pid),
    /// A signal was sent on behalf of a command, a limit, or the end of a group.
    Sent(Signal, Pid),
    /// `./run` is gone, others of its group are not.
    GroupLives(Pid),
    /// The log service gets the end of its input, and is waited for.
    InputEnds,
}

/// What commands are called in a history.
const NAMES: [(&str, Command); 14] = [
    ("up", Command::Up),
    ("down", Command::Down),
    ("once", Command::Once),
    ("exit", Command::Exit),
    ("pause", Command::Pause),
    ("cont", Command::Cont),
    ("hup", Command::Hup),
    ("alarm", Command::Alarm),
    ("interrupt", Command::Interrupt),
    ("quit", Command::Quit),
    ("1", Command::Usr1),
    ("2", Command::Usr2),
    ("term", Command::Term),
    ("kill", Command::Kill),
];

const TOLD_TO_LEAVE: &str = "told exit by TERM to runsv";
const INPUT_ENDS: &str = "closed the input, waits for its end";

impl fmt::Display for HistoryEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Began(Want::Up) => f.write_str("runsv started, wants up"),
            Self::Began(_) => f.write_str("runsv started, wants down"),
            Self::Told(command) => {
                let name = NAMES.iter().find(|(_, named)| named == command).map_or("", |(name, _)| name);
                write!(f, "told {name}")
            }
            Self::ToldToLeave => f.write_str(TOLD_TO_LEAVE),
            Self::Started(pid) => write!(f, "started ./run, pid {pid}"),
            Self::Ended(ending, lived) => write!(f, "./run ended: {ending}, after {}", Seconds(*lived)),
            Self::Finishing(pid) => write!(f, "started ./finish, pid {pid}"),
            Self::Finished(ending) => write!(f, "./finish ended: {ending}"),
            Self::Rests(time) => write!(f, "rests {} before the next start", Seconds(*time)),
            Self::Asks(byte, pid) => write!(f, "waits for control/{}, pid {pid}", char::from(*byte)),
            Self::Sent(signal, pid) => write!(f, "sent {signal} to pid {pid}"),
            Self::GroupLives(leader) => write!(f, "waits for the rest of process group {leader}"),
            Self::InputEnds => f.write_str(INPUT_ENDS),
        }
    }
}

impl HistoryEvent {
    /// Reads a line; `None` for one that is no note: a message about something that failed, or what
    /// a runsv of another version has written.
    pub fn parse(line: &str) -> Option<Self> {
        match line {
            TOLD_TO_LEAVE => return Some(Self::ToldToLeave),
            INPUT_ENDS => return Some(Self::InputEnds),
            "runsv started, wants up" => return Some(Self::Began(Want::Up)),
            "runsv started, wants down" => return Some(Self::Began(Want::Down)),
            _ => {}
        }
        let behind = |start: &str| line.strip_prefix(start);
        if let Some(word) = behind("told ") {
            NAMES.iter().find(|(name, _)| *name == word).map(|(_, command)| Self::Told(*command))
        } else if let Some(word) = behind("started ./run, pid ") {
            pid(word).map(Self::Started)
        } else if let Some(words) = behind("./run ended: ") {
            let (how, lived) = words.rsplit_once(", after ")?;
            Some(Self::Ended(ExitStatus::parse(how)?, seconds(lived)?))
        } else if let Some(word) = behind("started ./finish, pid ") {
            pid(word).map(Self::Finishing)
        } else if let Some(words) = behind("./finish ended: ") {
            ExitStatus::parse(words).map(Self::Finished)
        } else if let Some(words) = behind("rests ") {
            seconds(words.strip_suffix(" before the next start")?).map(Self::Rests)
        } else if let Some(words) = behind("waits for control/") {
            let (name, word) = words.split_once(", pid ")?;
            let [byte] = name.as_bytes() else { return None };
            pid(word).map(|pid| Self::Asks(*byte, pid))
        } else if let Some(words) = behind("sent ") {
            let (signal, word) = words.split_once(" to pid ")?;
            let signal = Signal::parse_displayed(signal)?;
            pid(word).map(|pid| Self::Sent(signal, pid))
        } else {
            pid(behind("waits for the rest of process group ")?).map(Self::GroupLives)
        }
    }
}

/// A time to the millisecond.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} s", self.0.as_secs_f64())
    }
}

fn seconds(words: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(words.strip_suffix(" s")?.parse().ok()?).ok()
}

fn pid(word: &str) -> Option<Pid> {
    word.parse().ok().filter(|pid| *pid > 0).map(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let pid = Pid::from_raw(7);
        let killed = ExitStatus::Killed { signal: Signal::SEGV, core: true };
        let mut notes: Vec<(HistoryEvent, &str)> = vec![
            (HistoryEvent::Began(Want::Up), "runsv started, wants up"),
            (HistoryEvent::Began(Want::Down), "runsv started, wants down"),
            (HistoryEvent::ToldToLeave, "told exit by TERM to runsv"),
            (HistoryEvent::Started(pid), "started ./run, pid 7"),
            (
                HistoryEvent::Ended(killed, Duration::from_secs(60)),
                "./run ended: SIGSEGV (core dumped), after 60.000 s",
            ),
            (
                HistoryEvent::Ended(ExitStatus::Exited(3), Duration::from_millis(250)),
                "./run ended: exit 3, after 0.250 s",
            ),
            (HistoryEvent::Finishing(pid), "started ./finish, pid 7"),
            (HistoryEvent::Finished(ExitStatus::Exited(0)), "./finish ended: exit 0"),
            (HistoryEvent::Rests(Duration::from_millis(990)), "rests 0.990 s before the next start"),
            (HistoryEvent::Asks(b't', pid), "waits for control/t, pid 7"),
            (HistoryEvent::Sent(Signal::TERM, pid), "sent SIGTERM to pid 7"),
            (HistoryEvent::Sent(Signal(64), pid), "sent signal 64 to pid 7"),
            (HistoryEvent::GroupLives(pid), "waits for the rest of process group 7"),
            (HistoryEvent::InputEnds, "closed the input, waits for its end"),
        ];
        notes.extend([
            (HistoryEvent::Told(Command::Interrupt), "told interrupt"),
            (HistoryEvent::Told(Command::Usr1), "told 1"),
        ]);
        for (note, line) in notes {
            assert_eq!(note.to_string(), line);
            assert_eq!(HistoryEvent::parse(line), Some(note), "{line}");
        }
        for (_, command) in Command::ALL {
            assert_eq!(
                HistoryEvent::parse(&HistoryEvent::Told(command).to_string()),
                Some(HistoryEvent::Told(command))
            );
        }
    }

    #[test]
    fn what_nobody_has_written_is_no_note() {
        for line in [
            "",
            "told",
            "told nonsense",
            "./run ended: exi",
            "./run ended: exit 3, after -1.000 s",
            "./run ended: exit 3, after 1e400 s",
            "sent SIGTERM to pid -7",
            "waits for control/tt, pid 7",
            "unable to start ./run: access denied",
        ] {
            assert_eq!(HistoryEvent::parse(line), None, "{line}");
        }
    }
}
