//! Hands: which of what happened to a service is news.

use servicedir::Note;
use sys::{Ending, Signal};

/// Whether a note is worth a file of its own: what the status files do not tell.
pub fn is_news(note: Note) -> bool {
    match note {
        Note::Began(_)
        | Note::Told(_)
        | Note::ToldToLeave
        | Note::Started(_)
        | Note::Sent(..)
        | Note::InputEnds => false,
        Note::Ended(..)
        | Note::Finishing(_)
        | Note::Finished(_)
        | Note::Rests(_)
        | Note::Asks(..)
        | Note::GroupLives(_) => true,
    }
}

/// Whether a note tells of an end that was not in order: init says so when it stops a service.
pub fn is_bad_news(note: Note) -> bool {
    let (Note::Ended(ending, _) | Note::Finished(ending)) = note else { return false };
    !ending.is_success() && ending != Ending::Killed { signal: Signal::TERM, core: false }
}
