//! Hands: whether a service that must not end has ended by itself, and how.

use std::path::Path;

use servicedir::history::{self, Entry};
use servicedir::{ServiceDir, Stamp, State, Status, Want};
use unix::{Ending, Signal};

use super::census::status;

/// A service with a file `critical`.
pub struct Critical {
    service: ServiceDir,
    before: Option<Status>,
}

/// The services of a directory that are marked critical.
pub fn find(directory: &Path) -> Vec<(String, ServiceDir)> {
    let Ok(entries) = fs_err::read_dir(directory) else { return Vec::new() };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, ServiceDir::at(entry.path()))))
        .filter(|(name, service)| !name.starts_with('.') && service.file("critical").exists())
        .collect()
}

impl Critical {
    /// The service at this place, as it is now.
    pub fn new(service: ServiceDir) -> Self {
        let before = status(&service);
        Self { service, before }
    }

    /// If it has ended since then, and nobody asked it to: how, if that is known.
    ///
    /// The history, which our runsv keeps, knows it all. The original's runsv writes only a
    /// status: it tells that the service has ended, but not how.
    pub fn judge(&mut self, since: Stamp) -> Option<End> {
        let now = status(&self.service);
        let before = std::mem::replace(&mut self.before, now);
        let entries = history::read(&self.service).unwrap_or_default();
        if let Some(end) = last_end(&entries, since) {
            return (!end.is_requested).then_some(end);
        }
        let (before, now) = (before?, now?);
        let has_ended = before.state == Some(State::Run)
            && (now.state != Some(State::Run) || now.pid != before.pid)
            && before.want == Want::Up
            && !before.got_term;
        has_ended.then_some(End { ending: None, is_requested: false })
    }
}

/// An end of `./run`.
#[derive(Debug, PartialEq, Eq)]
pub struct End {
    /// How, if that is known.
    pub ending: Option<Ending>,
    is_requested: bool,
}

/// The last end that a history tells of.
fn last_end(entries: &[Entry], since: Stamp) -> Option<End> {
    let place = entries.iter().rposition(|entry| entry.when >= since && entry.what.starts_with(ENDED))?;
    let ending = entries.get(place).and_then(|entry| parse_ending(&entry.what));
    let life = entries.get(..place)?.iter().rev().take_while(|entry| !entry.what.starts_with(STARTED));
    let is_requested = life.into_iter().any(|entry| is_request(&entry.what));
    Some(End { ending, is_requested })
}

const STARTED: &str = "started ./run";
const ENDED: &str = "./run ended: ";

/// Whether somebody wanted `./run` to end.
fn is_request(what: &str) -> bool {
    let Some(command) = what.strip_prefix("told ") else { return false };
    ["down", "exit", "term", "kill", "interrupt", "quit"].iter().any(|word| command.starts_with(word))
}

/// `./run ended: exit 3, after 0.5 s`, or with a signal's name.
fn parse_ending(what: &str) -> Option<Ending> {
    let (how, _) = what.strip_prefix(ENDED)?.split_once(',')?;
    if let Some(code) = how.strip_prefix("exit ") {
        return code.parse().ok().map(Ending::Exited);
    }
    let (name, core) = how.strip_suffix(" (core dumped)").map_or((how, false), |name| (name, true));
    let signal = Signal::parse(name.strip_prefix("signal ").unwrap_or(name))?;
    Some(Ending::Killed { signal, core })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SINCE: Stamp = Stamp { seconds: 100, nanoseconds: 0 };

    fn told(lines: &[(u64, &str)]) -> Vec<Entry> {
        lines
            .iter()
            .map(|(seconds, what)| Entry {
                when: Stamp { seconds: *seconds, nanoseconds: 0 },
                what: (*what).to_owned(),
            })
            .collect()
    }

    #[test]
    fn an_end_of_its_own_is_told_with_its_code() {
        let entries = told(&[(101, "started ./run, pid 7"), (102, "./run ended: exit 3, after 1.000 s")]);
        let end = End { ending: Some(Ending::Exited(3)), is_requested: false };
        assert_eq!(last_end(&entries, SINCE), Some(end));
        let killed = "./run ended: SIGSEGV (core dumped), after 1.000 s";
        assert_eq!(parse_ending(killed), Some(Ending::Killed { signal: Signal::SEGV, core: true }));
        assert_eq!(parse_ending(killed).map(Ending::shell_code), Some(139));
    }

    #[test]
    fn a_requested_end_is_none_of_its_own() {
        let entries = told(&[
            (101, "started ./run, pid 7"),
            (102, "told term"),
            (102, "sent SIGTERM to pid 7"),
            (102, "./run ended: SIGTERM, after 1.000 s"),
            (102, "started ./run, pid 8"),
        ]);
        assert_eq!(last_end(&entries, SINCE).map(|end| end.is_requested), Some(true));
    }

    #[test]
    fn what_happened_in_an_earlier_container_is_over() {
        let entries = told(&[(98, "started ./run, pid 7"), (99, "./run ended: exit 3, after 1.000 s")]);
        assert_eq!(last_end(&entries, SINCE), None);
    }
}
