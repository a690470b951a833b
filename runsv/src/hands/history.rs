//! Hands: how what happened to a service is written down.

use servicedir::{Command, Want};
use unix::{Ending, Signal};

use crate::machine::Note;

/// A note as a line of the history, in the words of the manual.
pub fn describe(note: Note) -> String {
    match note {
        Note::Began(want) => {
            format!("runsv started, wants {}", if want == Want::Up { "up" } else { "down" })
        }
        Note::Told(command) => format!("told {}", name(command)),
        Note::ToldToLeave => "told exit by TERM to runsv".to_owned(),
        Note::Started(pid) => format!("started ./run, pid {pid}"),
        Note::Ended(ending, lived) => {
            format!("./run ended: {ending}, after {:.3} s", lived.as_secs_f64())
        }
        Note::Finishing(pid) => format!("started ./finish, pid {pid}"),
        Note::Finished(ending) => format!("./finish ended: {ending}"),
        Note::Rests(time) => format!("rests {:.3} s before the next start", time.as_secs_f64()),
        Note::Asks(hook, pid) => format!("waits for control/{}, pid {pid}", char::from(hook.byte())),
        Note::Sent(signal, pid) => format!("sent {signal} to pid {pid}"),
        Note::GroupLives(leader) => format!("waits for the rest of process group {leader}"),
        Note::InputEnds => "closed the input, waits for its end".to_owned(),
    }
}

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

fn name(command: Command) -> &'static str {
    match command {
        Command::Up => "up",
        Command::Down => "down",
        Command::Once => "once",
        Command::Exit => "exit",
        Command::Pause => "pause",
        Command::Cont => "cont",
        Command::Hup => "hup",
        Command::Alarm => "alarm",
        Command::Interrupt => "interrupt",
        Command::Quit => "quit",
        Command::Usr1 => "1",
        Command::Usr2 => "2",
        Command::Term => "term",
        Command::Kill => "kill",
    }
}
