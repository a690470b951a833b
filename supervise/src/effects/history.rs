//! Effects: which events are written to the history.

use servicedir::HistoryEvent;
use sys::{ExitStatus, Signal};

/// Whether an event is worth a history file: the status files do not tell of it.
pub fn is_news(event: HistoryEvent) -> bool {
    match event {
        HistoryEvent::Began(_)
        | HistoryEvent::Told(_)
        | HistoryEvent::ToldToLeave
        | HistoryEvent::Started(_)
        | HistoryEvent::Sent(..)
        | HistoryEvent::InputEnds => false,
        HistoryEvent::Ended(..)
        | HistoryEvent::Finishing(_)
        | HistoryEvent::Finished(_)
        | HistoryEvent::StaysDown
        | HistoryEvent::Rests(_)
        | HistoryEvent::Asks(..)
        | HistoryEvent::GroupLives(_)
        | HistoryEvent::NotStarted(..) => true,
    }
}

/// Whether an event is an end in failure. init reports such ends when it stops a service.
pub fn is_bad_news(event: HistoryEvent) -> bool {
    let (HistoryEvent::Ended(exit_status, _) | HistoryEvent::Finished(exit_status)) = event else {
        return false;
    };
    !exit_status.is_success() && exit_status != ExitStatus::Killed { signal: Signal::TERM, core: false }
}
