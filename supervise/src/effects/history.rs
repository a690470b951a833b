//! Effects: which of what happened to a service is news.

use servicedir::HistoryEvent;
use sys::{ExitStatus, Signal};

/// Whether a note is worth a file of its own: what the status files do not tell.
pub fn is_news(note: HistoryEvent) -> bool {
    match note {
        HistoryEvent::Began(_)
        | HistoryEvent::Told(_)
        | HistoryEvent::ToldToLeave
        | HistoryEvent::Started(_)
        | HistoryEvent::Sent(..)
        | HistoryEvent::InputEnds => false,
        HistoryEvent::Ended(..)
        | HistoryEvent::Finishing(_)
        | HistoryEvent::Finished(_)
        | HistoryEvent::Rests(_)
        | HistoryEvent::Asks(..)
        | HistoryEvent::GroupLives(_) => true,
    }
}

/// Whether a note tells of an end that was not in order: init says so when it stops a service.
pub fn is_bad_news(note: HistoryEvent) -> bool {
    let (HistoryEvent::Ended(exit_status, _) | HistoryEvent::Finished(exit_status)) = note else {
        return false;
    };
    !exit_status.is_success() && exit_status != ExitStatus::Killed { signal: Signal::TERM, core: false }
}
