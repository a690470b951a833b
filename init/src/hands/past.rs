//! Hands: what the history of a service tells, in the machines' words.

use servicedir::history::{self, HistoryEntry};
use servicedir::{Command, HistoryEvent, ServiceDir, Tai64n, Want};

use crate::machine::{Account, Deed, Told};

/// How a service has ended since then, as far as its runsv has written that down.
pub fn account(service: &ServiceDir, since: Tai64n) -> Account {
    let mut account = Account::default();
    let entries = history::read(service).unwrap_or_default();
    for entry in entries.iter().filter(|entry| entry.when >= since) {
        match deed(&entry.event) {
            Deed::Ended(ending) => account.run = ending,
            Deed::Finished(ending) => account.finish = ending,
            Deed::Sent(signal) => account.sent.push(signal),
            Deed::Began { .. } | Deed::Told(_) | Deed::Started | Deed::Other => {}
        }
    }
    account
}

/// What these lines tell, each with its time in nanoseconds.
pub fn deeds(entries: &[HistoryEntry]) -> Vec<(u128, Deed)> {
    let time = |when: Tai64n| u128::from(when.seconds) * 1_000_000_000 + u128::from(when.nanoseconds);
    entries.iter().map(|entry| (time(entry.when), deed(&entry.event))).collect()
}

fn deed(event: &Result<HistoryEvent, String>) -> Deed {
    let event = match event {
        Ok(event) => *event,
        Err(text) if text.starts_with("./run ended: ") => return Deed::Ended(None),
        Err(_) => return Deed::Other,
    };
    match event {
        HistoryEvent::Began(want) => Deed::Began { is_wanted_up: want == Want::Up },
        HistoryEvent::Told(command) => told(command).map_or(Deed::Other, Deed::Told),
        HistoryEvent::ToldToLeave => Deed::Told(Told::NotUp),
        HistoryEvent::Started(_) => Deed::Started,
        HistoryEvent::Ended(ending, _) => Deed::Ended(Some(ending)),
        HistoryEvent::Finished(ending) => Deed::Finished(Some(ending)),
        HistoryEvent::Sent(signal, _) => Deed::Sent(signal),
        HistoryEvent::NotStarted(..)
        | HistoryEvent::Finishing(_)
        | HistoryEvent::Rests(_)
        | HistoryEvent::Asks(..)
        | HistoryEvent::GroupLives(_)
        | HistoryEvent::InputEnds => Deed::Other,
    }
}

fn told(command: Command) -> Option<Told> {
    match command {
        Command::Up => Some(Told::Up),
        Command::Down | Command::Exit | Command::Once => Some(Told::NotUp),
        // Nobody ends of these.
        Command::Pause | Command::Cont => None,
        other => other.signal().map(Told::Signal),
    }
}

#[cfg(test)]
mod tests {
    use sys::{ExitStatus, Signal};

    use super::*;

    #[test]
    fn a_line_is_read_as_runsv_writes_it() {
        let when = Tai64n { seconds: 0, nanoseconds: 0 };
        let killed = ExitStatus::Killed { signal: Signal::SEGV, core: true };
        for (line, wanted) in [
            ("runsv started, wants up", Deed::Began { is_wanted_up: true }),
            ("runsv started, wants down", Deed::Began { is_wanted_up: false }),
            ("started ./run, pid 7", Deed::Started),
            ("./run ended: exit 3, after 1.000 s", Deed::Ended(Some(ExitStatus::Exited(3)))),
            ("./run ended: SIGSEGV (core dumped), after 1.000 s", Deed::Ended(Some(killed))),
            ("./run ended: exi", Deed::Ended(None)),
            ("./finish ended: exit 0", Deed::Finished(Some(ExitStatus::Exited(0)))),
            ("sent SIGTERM to pid 7", Deed::Sent(Signal::TERM)),
            ("sent signal 64 to pid 7", Deed::Sent(Signal(64))),
            ("told exit by TERM to runsv", Deed::Told(Told::NotUp)),
            ("told interrupt", Deed::Told(Told::Signal(Signal::INT))),
            ("told cont", Deed::Other),
            ("rests 1.000 s before the next start", Deed::Other),
        ] {
            assert_eq!(deed(&HistoryEntry::new(when, line).event), wanted, "{line}");
        }
    }
}
