//! State: the words of a status line (SV-21).

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;

use servicedir::{State, Status, Tai64n, Want};

/// Appends `run: NAME: (pid 7) 3s, ...`, without a line end.
///
/// An unknown state byte has no word (SV-42).
pub fn write_status(
    text: &mut Vec<u8>,
    name: &OsStr,
    status: &Status,
    has_down: bool,
    is_ready: Option<bool>,
    now: Tai64n,
) {
    text.extend_from_slice(match status.state {
        Some(State::Down) => b"down: ",
        Some(State::Run) => b"run: ",
        Some(State::Finish) => b"finish: ",
        None => b"",
    });
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(b": ");
    // Writing to a Vec cannot fail.
    if status.state != Some(State::Down) {
        let _ = write!(text, "(pid {}) ", status.pid);
    }
    let _ = write!(text, "{}s", status.since.age_at(now));
    for words in facts(status, has_down, is_ready) {
        text.extend_from_slice(b", ");
        text.extend_from_slice(words.as_bytes());
    }
}

/// The words after the seconds: what differs from the normal state. A service that says itself when it is
/// ready has one more than with runit.
pub fn facts(status: &Status, has_down: bool, is_ready: Option<bool>) -> impl Iterator<Item = &'static str> {
    let has_process = status.pid != 0;
    [
        (has_process && has_down, "normally down"),
        (!has_process && !has_down, "normally up"),
        (has_process && status.is_paused, "paused"),
        (!has_process && status.want == Want::Up, "want up"),
        (has_process && matches!(status.want, Want::Down | Want::Exit), "want down"),
        (has_process && status.got_term, "got TERM"),
        (has_process && is_ready == Some(false), "not ready"),
    ]
    .into_iter()
    .filter_map(|(is_so, words)| is_so.then_some(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SINCE: Tai64n = Tai64n { seconds: (1 << 62) + 1000, nanoseconds: 5 };

    fn line(status: Status, has_down: bool, age: u64) -> String {
        let mut text = Vec::new();
        let now = Tai64n { seconds: SINCE.seconds + age, nanoseconds: 0 };
        write_status(&mut text, OsStr::new("a"), &status, has_down, None, now);
        String::from_utf8(text).expect("a text")
    }

    fn service(state: State, pid: u32) -> Status {
        Status { since: SINCE, pid, is_paused: false, want: Want::Up, got_term: false, state: Some(state) }
    }

    #[test]
    fn the_originals_real_lines_come_out_letter_for_letter() {
        let run = |pid| service(State::Run, pid);
        let down = Status { want: Want::Down, ..service(State::Down, 0) };
        let finish = |pid| service(State::Finish, pid);
        for (status, has_down, age, expected) in [
            (run(20452), false, 1, "run: a: (pid 20452) 1s"),
            (run(20452), true, 1, "run: a: (pid 20452) 1s, normally down"),
            (
                Status { is_paused: true, ..run(20452) },
                true,
                1,
                "run: a: (pid 20452) 1s, normally down, paused",
            ),
            (
                Status { is_paused: true, want: Want::Down, got_term: true, ..run(20452) },
                true,
                2,
                "run: a: (pid 20452) 2s, normally down, paused, want down, got TERM",
            ),
            (Status { want: Want::Exit, ..run(30443) }, false, 0, "run: a: (pid 30443) 0s, want down"),
            (down, true, 0, "down: a: 0s"),
            (down, false, 0, "down: a: 0s, normally up"),
            (Status { want: Want::Up, ..down }, false, 0, "down: a: 0s, normally up, want up"),
            (Status { want: Want::Down, ..finish(5742) }, false, 3, "finish: a: (pid 5742) 3s, want down"),
            (finish(20497), true, 1, "finish: a: (pid 20497) 1s, normally down"),
            (finish(0), false, 1, "finish: a: (pid 0) 1s, normally up, want up"),
            (Status { state: None, ..run(7) }, false, 0, "a: (pid 7) 0s"),
            (Status { is_paused: true, ..down }, true, 4, "down: a: 4s"),
        ] {
            assert_eq!(line(status, has_down, age), expected);
        }
    }

    #[test]
    fn only_a_service_that_says_when_it_is_ready_can_be_not_ready() {
        let status = Status { got_term: true, ..service(State::Run, 7) };
        for (is_ready, expected) in
            [(None, "got TERM"), (Some(true), "got TERM"), (Some(false), "got TERM, not ready")]
        {
            assert_eq!(facts(&status, false, is_ready).collect::<Vec<_>>().join(", "), expected);
        }
    }

    #[test]
    fn a_time_in_the_future_is_no_seconds_ago() {
        let mut text = Vec::new();
        let now = Tai64n { seconds: SINCE.seconds - 9, nanoseconds: 0 };
        write_status(&mut text, OsStr::new("a"), &service(State::Run, 7), false, None, now);
        assert_eq!(text, b"run: a: (pid 7) 0s");
    }
}
