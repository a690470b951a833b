//! The events of a history. Their texts are written and parsed here and nowhere else.

use std::fmt;
use std::time::Duration;

use nix::errno::Errno;
use sys::errno_text::phrase;
use sys::{ExitStatus, Pid, Signal};

use crate::command::Command;
use crate::status::Want;

/// Something that happened to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryEvent {
    /// runsv began, and wants the service like this: commands to an earlier runsv no longer count.
    Began(Want),
    /// A command came through `supervise/control`.
    Told(Command),
    /// runsv itself was sent TERM.
    ToldToLeave,
    /// `./run` was started.
    Started(Pid),
    /// A program could not be executed. The path is one of [`PROGRAMS`].
    NotStarted(&'static str, Errno),
    /// `./run` ended, after this time.
    Ended(ExitStatus, Duration),
    /// `./finish` was started.
    Finishing(Pid),
    /// `./finish` ended.
    Finished(ExitStatus),
    /// `./finish` ended with [`PERMANENT_FAILURE`]: the service is not wanted up any more.
    StaysDown,
    /// The service waits this long before its next start.
    Rests(Duration),
    /// The control script of this byte was started.
    Asks(u8, Pid),
    /// A signal was sent because of a command, a limit, or the end of a process group.
    Sent(Signal, Pid),
    /// `./run` has ended, other processes of its group have not.
    GroupLives(Pid),
    /// The log service reads to the end of its input.
    InputEnds,
}

/// The programs that [`HistoryEvent::NotStarted`] can name.
pub const PROGRAMS: [&str; 3] = ["./run", "log/./run", "./finish"];

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

/// The exit code of a `./finish` after which its service stays down, as with s6.
pub const PERMANENT_FAILURE: u8 = 125;

const STAYS_DOWN: &str = "stays down, since ./finish exited 125";
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
            Self::NotStarted(program, why) => write!(f, "unable to start {program}: {}", phrase(*why)),
            Self::Ended(ending, lived) => write!(f, "./run ended: {ending}, after {}", Seconds(*lived)),
            Self::Finishing(pid) => write!(f, "started ./finish, pid {pid}"),
            Self::Finished(ending) => write!(f, "./finish ended: {ending}"),
            Self::StaysDown => f.write_str(STAYS_DOWN),
            Self::Rests(time) => write!(f, "rests {} before the next start", Seconds(*time)),
            Self::Asks(byte, pid) => write!(f, "waits for control/{}, pid {pid}", char::from(*byte)),
            Self::Sent(signal, pid) => write!(f, "sent {signal} to pid {pid}"),
            Self::GroupLives(leader) => write!(f, "waits for the rest of process group {leader}"),
            Self::InputEnds => f.write_str(INPUT_ENDS),
        }
    }
}

impl HistoryEvent {
    /// Reads the text of a line; `None` for one that is no event known here: another message of a child
    /// that could not be started, or an event of a later version.
    pub fn parse(line: &str) -> Option<Self> {
        match line {
            TOLD_TO_LEAVE => return Some(Self::ToldToLeave),
            INPUT_ENDS => return Some(Self::InputEnds),
            STAYS_DOWN => return Some(Self::StaysDown),
            "runsv started, wants up" => return Some(Self::Began(Want::Up)),
            "runsv started, wants down" => return Some(Self::Began(Want::Down)),
            _ => {}
        }
        let behind = |start: &str| line.strip_prefix(start);
        if let Some(word) = behind("told ") {
            NAMES.iter().find(|(name, _)| *name == word).map(|(_, command)| Self::Told(*command))
        } else if let Some(word) = behind("started ./run, pid ") {
            pid(word).map(Self::Started)
        } else if let Some(words) = behind("unable to start ") {
            let (path, why) = words.split_once(": ")?;
            let program = PROGRAMS.into_iter().find(|program| *program == path)?;
            errno(why).map(|why| Self::NotStarted(program, why))
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

/// The error that a phrase stands for: the first of those that share it.
fn errno(words: &str) -> Option<Errno> {
    /// No error of the kernel has a higher number.
    const LAST: i32 = 133;
    (1..=LAST).map(Errno::from_raw).find(|errno| phrase(*errno) == words)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let pid = Pid::from_raw(7);
        let killed = ExitStatus::Killed { signal: Signal::SEGV, core: true };
        let mut events: Vec<(HistoryEvent, &str)> = vec![
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
            (HistoryEvent::NotStarted("./run", Errno::EACCES), "unable to start ./run: access denied"),
            (
                HistoryEvent::NotStarted("log/./run", Errno::ENOENT),
                "unable to start log/./run: file does not exist",
            ),
            (HistoryEvent::Finishing(pid), "started ./finish, pid 7"),
            (HistoryEvent::Finished(ExitStatus::Exited(0)), "./finish ended: exit 0"),
            (HistoryEvent::StaysDown, "stays down, since ./finish exited 125"),
            (HistoryEvent::Rests(Duration::from_millis(990)), "rests 0.990 s before the next start"),
            (HistoryEvent::Asks(b't', pid), "waits for control/t, pid 7"),
            (HistoryEvent::Sent(Signal::TERM, pid), "sent SIGTERM to pid 7"),
            (HistoryEvent::Sent(Signal(64), pid), "sent signal 64 to pid 7"),
            (HistoryEvent::GroupLives(pid), "waits for the rest of process group 7"),
            (HistoryEvent::InputEnds, "closed the input, waits for its end"),
        ];
        events.extend([
            (HistoryEvent::Told(Command::Interrupt), "told interrupt"),
            (HistoryEvent::Told(Command::Usr1), "told 1"),
        ]);
        for (event, line) in events {
            assert_eq!(event.to_string(), line);
            assert_eq!(HistoryEvent::parse(line), Some(event), "{line}");
        }
        for (_, command) in Command::ALL {
            assert_eq!(
                HistoryEvent::parse(&HistoryEvent::Told(command).to_string()),
                Some(HistoryEvent::Told(command))
            );
        }
    }

    #[test]
    fn a_text_that_no_runsv_writes_is_no_event() {
        for line in [
            "",
            "told",
            "told nonsense",
            "./run ended: exi",
            "./run ended: exit 3, after -1.000 s",
            "./run ended: exit 3, after 1e400 s",
            "sent SIGTERM to pid -7",
            "waits for control/tt, pid 7",
            "unable to start ./run: for a reason",
            "unable to start ./check: access denied",
            "unable to setup filedescriptor for ./run: file descriptor not open",
        ] {
            assert_eq!(HistoryEvent::parse(line), None, "{line}");
        }
    }
    fn any_exit_status() -> impl Strategy<Value = ExitStatus> {
        let signal = (1..=64).prop_map(Signal);
        prop_oneof![
            any::<u8>().prop_map(ExitStatus::Exited),
            (signal, any::<bool>()).prop_map(|(signal, core)| ExitStatus::Killed { signal, core }),
        ]
    }

    /// Times are kept to the millisecond.
    fn any_time() -> impl Strategy<Value = Duration> {
        (0..u64::from(u32::MAX)).prop_map(Duration::from_millis)
    }

    fn any_event() -> impl Strategy<Value = HistoryEvent> {
        let pid = || (1..=i32::MAX).prop_map(Pid::from_raw);
        let command = prop::sample::select(Command::ALL.to_vec()).prop_map(|(_, command)| command);
        let phrase_of_one = [Errno::ENOENT, Errno::EACCES, Errno::ENOEXEC, Errno::ETXTBSY, Errno::ELOOP];
        prop_oneof![
            prop::sample::select(vec![Want::Up, Want::Down]).prop_map(HistoryEvent::Began),
            command.prop_map(HistoryEvent::Told),
            Just(HistoryEvent::ToldToLeave),
            pid().prop_map(HistoryEvent::Started),
            (prop::sample::select(PROGRAMS.to_vec()), prop::sample::select(phrase_of_one.to_vec()))
                .prop_map(|(program, why)| HistoryEvent::NotStarted(program, why)),
            (any_exit_status(), any_time()).prop_map(|(how, time)| HistoryEvent::Ended(how, time)),
            pid().prop_map(HistoryEvent::Finishing),
            any_exit_status().prop_map(HistoryEvent::Finished),
            Just(HistoryEvent::StaysDown),
            any_time().prop_map(HistoryEvent::Rests),
            (prop::sample::select(b"tkpchaiq12udx".to_vec()), pid())
                .prop_map(|(byte, pid)| HistoryEvent::Asks(byte, pid)),
            ((1..=64).prop_map(Signal), pid()).prop_map(|(signal, pid)| HistoryEvent::Sent(signal, pid)),
            pid().prop_map(HistoryEvent::GroupLives),
            Just(HistoryEvent::InputEnds),
        ]
    }

    proptest! {
        #[test]
        fn every_event_is_read_as_it_was_written(event in any_event()) {
            prop_assert_eq!(HistoryEvent::parse(&event.to_string()), Some(event));
        }

        #[test]
        fn a_text_that_is_an_event_is_that_event(line in "(told |sent |rests |\\./run ended: |unable to start )?.{0,40}") {
            if let Some(event) = HistoryEvent::parse(&line) {
                prop_assert_eq!(HistoryEvent::parse(&event.to_string()), Some(event));
            }
        }
    }
}
