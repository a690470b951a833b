//! Hands: what the history of a service tells, in the machines' words.

use servicedir::history::{self, HistoryEntry};
use servicedir::{Command, HistoryEvent, ServiceDir, Tai64n, Want};

use crate::machine::{Account, Deed, Told};

/// How a service has ended since then, as far as its runsv has written that down.
pub fn account(service: &ServiceDir, since: Tai64n) -> Account {
    let mut account = Account::default();
    let entries = history::read(service).unwrap_or_default();
    for entry in entries.iter().filter(|entry| entry.when >= since) {
        match deed(&entry.what) {
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
    entries.iter().map(|entry| (time(entry.when), deed(&entry.what))).collect()
}

fn deed(what: &str) -> Deed {
    match HistoryEvent::parse(what) {
        Some(HistoryEvent::Began(want)) => Deed::Began { is_wanted_up: want == Want::Up },
        Some(HistoryEvent::Told(command)) => told(command).map_or(Deed::Other, Deed::Told),
        Some(HistoryEvent::ToldToLeave) => Deed::Told(Told::NotUp),
        Some(HistoryEvent::Started(_)) => Deed::Started,
        Some(HistoryEvent::Ended(ending, _)) => Deed::Ended(Some(ending)),
        Some(HistoryEvent::Finished(ending)) => Deed::Finished(Some(ending)),
        Some(HistoryEvent::Sent(signal, _)) => Deed::Sent(signal),
        None if what.starts_with("./run ended: ") => Deed::Ended(None),
        Some(
            HistoryEvent::Finishing(_)
            | HistoryEvent::Rests(_)
            | HistoryEvent::Asks(..)
            | HistoryEvent::GroupLives(_)
            | HistoryEvent::InputEnds,
        )
        | None => Deed::Other,
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
            assert_eq!(deed(line), wanted, "{line}");
        }
    }
}
