//! State: services in aligned columns (`sv list`).

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use servicedir::{State, Tai64n, Want};
use unicode_width::UnicodeWidthStr as _;

use crate::details::Details;
use crate::line::facts;
use crate::time::human;

const PLAIN: Style = Style::new();
const GREEN: Style = AnsiColor::Green.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();
const RED: Style = AnsiColor::Red.on_default();

/// The heads of the columns.
const HEADS: [&str; 6] = ["NAME", "STATE", "PID", "UPTIME", "LOG", "NOTES"];

/// The text of each column, and its style on a terminal.
type Cells = [(String, Style); HEADS.len()];

/// The table, with its head; empty without services.
pub fn table(services: &[Details], now: Tai64n, has_colour: bool) -> String {
    let rows: Vec<Cells> = services.iter().map(|details| row(details, now)).collect();
    if rows.is_empty() {
        return String::new();
    }
    let head = HEADS.map(|head| (head.to_owned(), PLAIN));
    let mut widths = [0; HEADS.len()];
    for row in std::iter::once(&head).chain(&rows) {
        for (width, (text, _)) in widths.iter_mut().zip(row) {
            *width = (*width).max(text.width());
        }
    }
    let mut text = String::new();
    for row in std::iter::once(&head).chain(&rows) {
        let mut line = String::new();
        for (width, (cell, style)) in widths.iter().zip(row) {
            let style = if has_colour { *style } else { PLAIN };
            let gap = width - cell.width() + 2;
            // Writing to a String cannot fail.
            let _ = write!(line, "{style}{cell}{style:#}{:gap$}", "");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn row(details: &Details, now: Tai64n) -> Cells {
    let plain = |text: String| (text, PLAIN);
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

fn state(details: &Details) -> (String, Style) {
    let Ok(status) = &details.status else { return ("fail".to_owned(), RED) };
    let is_expected = status.want != Want::Up && details.has_down == Ok(true);
    let (word, style) = match status.state {
        Some(State::Run) if status.is_paused || status.got_term => ("run", YELLOW),
        Some(State::Run) => ("run", GREEN),
        Some(State::Down) if is_expected => ("down", PLAIN),
        Some(State::Down) => ("down", YELLOW),
        Some(State::Finish) => ("finish", YELLOW),
        None => ("?", RED),
    };
    (word.to_owned(), style)
}

/// The words of `sv status` after the seconds, and whether it is ready, as far as that is known.
fn notes(details: &Details) -> Vec<String> {
    let mut notes: Vec<String> = details.error().into_iter().collect();
    if let Ok(status) = &details.status {
        // If the file cannot be checked, the current state counts as the normal one.
        let has_down = details.has_down.unwrap_or(status.pid == 0);
        notes.extend(facts(status, has_down, None).map(str::to_owned));
    }
    match details.is_ready() {
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use servicedir::client::ClientError;

    use super::*;
    use crate::service::NamedService;
    use crate::snapshot::Snapshot;

    #[test]
    fn columns_are_as_wide_as_their_texts_on_a_terminal() {
        let names = ["日本", "cafe\u{301}s", "web"].map(Into::into).to_vec();
        let services = NamedService::find_all(names, Path::new("/nonexistent"));
        let snapshot =
            || Snapshot { status: Err(ClientError::NotRunning), has_down: Ok(false), said: None, log: None };
        let details: Vec<_> = services.iter().map(|service| Details::of(service, snapshot())).collect();
        let now = Tai64n { seconds: 1 << 62, nanoseconds: 0 };
        assert_eq!(
            table(&details, now, false),
            "NAME   STATE  PID  UPTIME  LOG  NOTES\n\
             日本   fail   -    -       -    runsv not running\n\
             cafe\u{301}s  fail   -    -       -    runsv not running\n\
             web    fail   -    -       -    runsv not running\n"
        );
        assert!(table(&details, now, true).contains("web    \x1b[31mfail\x1b[0m   -"));
    }
}
