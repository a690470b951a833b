//! Hands: what the history of a service tells, in the machines' words.

use servicedir::history::{self, Entry};
use servicedir::{ServiceDir, Stamp};
use unix::{Ending, Signal};

use crate::machine::{Account, Deed, Told};

/// How a service has ended since then, as far as its runsv has written that down.
pub fn account(service: &ServiceDir, since: Stamp) -> Account {
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
pub fn deeds(entries: &[Entry]) -> Vec<(u128, Deed)> {
    let time = |when: Stamp| u128::from(when.seconds) * 1_000_000_000 + u128::from(when.nanoseconds);
    entries.iter().map(|entry| (time(entry.when), deed(&entry.what))).collect()
}

fn deed(what: &str) -> Deed {
    if let Some(want) = what.strip_prefix("runsv started, wants ") {
        Deed::Began { is_wanted_up: want == "up" }
    } else if what.starts_with("started ./run") {
        Deed::Started
    } else if let Some(rest) = what.strip_prefix("./run ended: ") {
        Deed::Ended(rest.split_once(',').and_then(|(how, _)| ending(how)))
    } else if let Some(how) = what.strip_prefix("./finish ended: ") {
        Deed::Finished(ending(how))
    } else if let Some(rest) = what.strip_prefix("sent ") {
        rest.split_once(" to ").and_then(|(name, _)| signal(name)).map_or(Deed::Other, Deed::Sent)
    } else if let Some(word) = what.strip_prefix("told ") {
        told(word).map_or(Deed::Other, Deed::Told)
    } else {
        Deed::Other
    }
}

fn told(word: &str) -> Option<Told> {
    Some(match word.split(' ').next()? {
        "up" => Told::Up,
        "down" | "exit" | "once" => Told::NotUp,
        "term" => Told::Signal(Signal::TERM),
        "kill" => Told::Signal(Signal::KILL),
        "hup" => Told::Signal(Signal::HUP),
        "alarm" => Told::Signal(Signal::ALRM),
        "interrupt" => Told::Signal(Signal::INT),
        "quit" => Told::Signal(Signal::QUIT),
        "1" => Told::Signal(Signal::USR1),
        "2" => Told::Signal(Signal::USR2),
        _ => return None,
    })
}

/// `exit 3`, `SIGSEGV (core dumped)`, `signal 64`.
fn ending(how: &str) -> Option<Ending> {
    if let Some(code) = how.strip_prefix("exit ") {
        return code.parse().ok().map(Ending::Exited);
    }
    let (name, core) = how.strip_suffix(" (core dumped)").map_or((how, false), |name| (name, true));
    Some(Ending::Killed { signal: signal(name)?, core })
}

fn signal(name: &str) -> Option<Signal> {
    Signal::parse(name.strip_prefix("signal ").unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_runsv_writes_it() {
        let killed = Ending::Killed { signal: Signal::SEGV, core: true };
        for (line, wanted) in [
            ("runsv started, wants up", Deed::Began { is_wanted_up: true }),
            ("runsv started, wants down", Deed::Began { is_wanted_up: false }),
            ("started ./run, pid 7", Deed::Started),
            ("./run ended: exit 3, after 1.000 s", Deed::Ended(Some(Ending::Exited(3)))),
            ("./run ended: SIGSEGV (core dumped), after 1.000 s", Deed::Ended(Some(killed))),
            ("./run ended: exi", Deed::Ended(None)),
            ("./finish ended: exit 0", Deed::Finished(Some(Ending::Exited(0)))),
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
