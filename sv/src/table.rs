//! State: services in aligned columns (`sv list`).

use servicedir::{State, Tai64n, Want};

use crate::details::Details;
use crate::line::facts;
use crate::time::human;

/// What a state looks like on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tint {
    Plain,
    Green,
    Yellow,
    Red,
}

impl Tint {
    fn start(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Green => "\x1b[32m",
            Self::Yellow => "\x1b[33m",
            Self::Red => "\x1b[31m",
        }
    }
}

/// A column's head, and its text for each service.
const HEADS: [&str; 6] = ["NAME", "STATE", "PID", "UPTIME", "LOG", "NOTES"];

type Cells = [(String, Tint); HEADS.len()];

/// The table, with its head; empty without services.
pub fn table(services: &[Details], now: Tai64n, has_colour: bool) -> String {
    let rows: Vec<Cells> = services.iter().map(|details| row(details, now)).collect();
    if rows.is_empty() {
        return String::new();
    }
    let head = HEADS.map(|head| (head.to_owned(), Tint::Plain));
    let mut widths = HEADS.map(str::len);
    for row in &rows {
        for (width, (text, _)) in widths.iter_mut().zip(row) {
            *width = (*width).max(text.chars().count());
        }
    }
    let mut text = String::new();
    for row in std::iter::once(&head).chain(&rows) {
        let mut line = String::new();
        for (width, (cell, tint)) in widths.iter().zip(row) {
            let gap = " ".repeat(width - cell.chars().count() + 2);
            if has_colour && *tint != Tint::Plain {
                line.extend([tint.start(), cell, "\x1b[0m", &gap]);
            } else {
                line.extend([cell, gap.as_str()]);
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn row(details: &Details, now: Tai64n) -> Cells {
    let plain = |text: String| (text, Tint::Plain);
    let none = || plain("-".to_owned());
    let name = plain(printable(&details.name.to_string_lossy()));
    let log = details.log.as_ref().map_or_else(none, |log| state(log));
    let mut notes = notes(details);
    if let Some(log) = &details.log {
        notes.extend(self::notes(log).into_iter().map(|note| format!("log: {note}")));
    }
    let notes = plain(printable(&notes.join(", ")));
    let Ok(status) = &details.status else {
        return [name, state(details), none(), none(), log, notes];
    };
    let pid = if status.pid == 0 { none() } else { plain(status.pid.to_string()) };
    [name, state(details), pid, plain(human(status.since.age_at(now))), log, notes]
}

fn state(details: &Details) -> (String, Tint) {
    let Ok(status) = &details.status else { return ("fail".to_owned(), Tint::Red) };
    let is_expected = status.want != Want::Up && details.has_down == Ok(true);
    let (word, tint) = match status.state {
        Some(State::Run) if status.is_paused || status.got_term => ("run", Tint::Yellow),
        Some(State::Run) => ("run", Tint::Green),
        Some(State::Down) if is_expected => ("down", Tint::Plain),
        Some(State::Down) => ("down", Tint::Yellow),
        Some(State::Finish) => ("finish", Tint::Yellow),
        None => ("?", Tint::Red),
    };
    (word.to_owned(), tint)
}

/// The words of `sv status` after the seconds, and the result of the check if it was run.
fn notes(details: &Details) -> Vec<String> {
    let mut notes: Vec<String> = details.error().into_iter().collect();
    if let Ok(status) = &details.status {
        // If the file cannot be checked, the current state counts as the normal one.
        let has_down = details.has_down.unwrap_or(status.pid == 0);
        notes.extend(facts(status, has_down).map(str::to_owned));
    }
    match details.is_ready {
        Some(true) => notes.push("ready".to_owned()),
        Some(false) => notes.push("not ready".to_owned()),
        None => {}
    }
    notes
}

/// Replaces control characters.
fn printable(text: &str) -> String {
    String::from_utf8_lossy(&sys::printable(text.as_bytes())).into_owned()
}
