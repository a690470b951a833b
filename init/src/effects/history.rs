//! Effects: reads the history of a service.

use servicedir::history::{self, HistoryEntry};
use servicedir::{Command, HistoryEvent, ServiceDir, Tai64n, Want};

use crate::state::{CommandEffect, PastEvent, ServiceEnd};

/// How a service has ended since then, as far as its runsv has written it.
pub fn service_end(service: &ServiceDir, since: Tai64n) -> ServiceEnd {
    let mut service_end = ServiceEnd::default();
    let entries = history::read(service).unwrap_or_default();
    for entry in entries.iter().filter(|entry| entry.when >= since) {
        match past_event(&entry.event) {
            PastEvent::Ended(ending) => service_end.run = ending,
            PastEvent::Finished(ending) => service_end.finish = ending,
            PastEvent::Sent(signal) => service_end.sent.push(signal),
            PastEvent::SupervisorStarted { .. }
            | PastEvent::Commanded(_)
            | PastEvent::Started
            | PastEvent::Other => {}
        }
    }
    service_end
}

/// What these entries mean, each with its time in nanoseconds.
pub fn past_events(entries: &[HistoryEntry]) -> Vec<(u128, PastEvent)> {
    let time = |when: Tai64n| u128::from(when.seconds) * 1_000_000_000 + u128::from(when.nanoseconds);
    entries.iter().map(|entry| (time(entry.when), past_event(&entry.event))).collect()
}

fn past_event(event: &Result<HistoryEvent, String>) -> PastEvent {
    let event = match event {
        Ok(event) => *event,
        Err(text) if text.starts_with("./run ended: ") => return PastEvent::Ended(None),
        Err(_) => return PastEvent::Other,
    };
    match event {
        HistoryEvent::Began(want) => PastEvent::SupervisorStarted { is_wanted_up: want == Want::Up },
        HistoryEvent::Told(command) => effect_of(command).map_or(PastEvent::Other, PastEvent::Commanded),
        HistoryEvent::ToldToLeave => PastEvent::Commanded(CommandEffect::NotUp),
        HistoryEvent::Started(_) => PastEvent::Started,
        HistoryEvent::Ended(ending, _) => PastEvent::Ended(Some(ending)),
        HistoryEvent::Finished(ending) => PastEvent::Finished(Some(ending)),
        HistoryEvent::Sent(signal, _) => PastEvent::Sent(signal),
        HistoryEvent::NotStarted(..)
        | HistoryEvent::Finishing(_)
        | HistoryEvent::StaysDown
        | HistoryEvent::Rests(_)
        | HistoryEvent::Asks(..)
        | HistoryEvent::GroupLives(_)
        | HistoryEvent::InputEnds => PastEvent::Other,
    }
}

fn effect_of(command: Command) -> Option<CommandEffect> {
    match command {
        Command::Up => Some(CommandEffect::Up),
        Command::Down | Command::Exit | Command::Once => Some(CommandEffect::NotUp),
        // These end no service.
        Command::Pause | Command::Cont => None,
        other => other.signal().map(CommandEffect::Signal),
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
            ("runsv started, wants up", PastEvent::SupervisorStarted { is_wanted_up: true }),
            ("runsv started, wants down", PastEvent::SupervisorStarted { is_wanted_up: false }),
            ("started ./run, pid 7", PastEvent::Started),
            ("./run ended: exit 3, after 1.000 s", PastEvent::Ended(Some(ExitStatus::Exited(3)))),
            ("./run ended: SIGSEGV (core dumped), after 1.000 s", PastEvent::Ended(Some(killed))),
            ("./run ended: exi", PastEvent::Ended(None)),
            ("./finish ended: exit 0", PastEvent::Finished(Some(ExitStatus::Exited(0)))),
            ("sent SIGTERM to pid 7", PastEvent::Sent(Signal::TERM)),
            ("sent signal 64 to pid 7", PastEvent::Sent(Signal(64))),
            ("told exit by TERM to runsv", PastEvent::Commanded(CommandEffect::NotUp)),
            ("told interrupt", PastEvent::Commanded(CommandEffect::Signal(Signal::INT))),
            ("told cont", PastEvent::Other),
            ("rests 1.000 s before the next start", PastEvent::Other),
        ] {
            assert_eq!(past_event(&HistoryEntry::new(when, line).event), wanted, "{line}");
        }
    }
}
