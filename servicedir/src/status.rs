//! The 20 bytes of `supervise/status` and the text of `supervise/stat` (REC).

use crate::tai64n::Tai64n;

/// What a service does; the number is the byte on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// No process.
    Down = 0,
    /// `./run` lives.
    Run = 1,
    /// `./finish` lives, or is due.
    Finish = 2,
}

/// What the supervisor is to make of a service. The record writes `d` for both Down and Exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Want {
    /// Keep it running.
    Up,
    /// Do not start it again.
    Down,
    /// Do not start it again, and end runsv when it is down.
    Exit,
    /// What a reader makes of a byte that no runsv writes.
    Unknown,
}

/// What runsv publishes about a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Since when (REC-2): the start of `./run`, also while `./finish` runs, or the time it went
    /// down.
    pub since: Tai64n,
    /// The process, 0 for none.
    pub pid: u32,
    /// Whether it was paused.
    pub is_paused: bool,
    /// What it is wanted to be.
    pub want: Want,
    /// Whether the living `./run` was sent TERM.
    pub got_term: bool,
    /// What it is. `None` stands for a byte no runsv writes, which readers pass over (SV-42).
    pub state: Option<State>,
}

/// The record's size; what follows is ignored by readers (REC-4).
pub const RECORD_SIZE: usize = 20;

impl Status {
    /// The record (REC-1).
    pub fn to_bytes(self) -> [u8; RECORD_SIZE] {
        let mut record = [0; RECORD_SIZE];
        let [paused, want, term, state] = [
            u8::from(self.is_paused),
            if self.want == Want::Up { b'u' } else { b'd' },
            u8::from(self.got_term),
            self.state.map_or(u8::MAX, |state| state as u8),
        ];
        let fields = self
            .since
            .to_bytes()
            .into_iter()
            .chain(self.pid.to_le_bytes())
            .chain([paused, want, term, state]);
        for (place, byte) in record.iter_mut().zip(fields) {
            *place = byte;
        }
        record
    }

    /// Reads a record; `None` if it is too short. `want` comes back as Down where it was Exit.
    pub fn from_bytes(record: &[u8]) -> Option<Self> {
        let (since, rest) = record.split_first_chunk::<12>()?;
        let (pid, rest) = rest.split_first_chunk::<4>()?;
        let ([paused, want, term, state], _) = rest.split_first_chunk::<4>()?;
        Some(Self {
            since: Tai64n::from_bytes(since)?,
            pid: u32::from_le_bytes(*pid),
            is_paused: *paused != 0,
            want: match want {
                b'u' => Want::Up,
                b'd' => Want::Down,
                _ => Want::Unknown,
            },
            got_term: *term != 0,
            state: match state {
                0 => Some(State::Down),
                1 => Some(State::Run),
                2 => Some(State::Finish),
                _ => None,
            },
        })
    }

    /// The line of `supervise/stat` (REC-6), with its line end.
    pub fn to_text(self) -> String {
        let mut text = String::from(match self.state {
            Some(State::Run) => "run",
            Some(State::Finish) => "finish",
            Some(State::Down) | None => "down",
        });
        if self.is_paused {
            text.push_str(", paused");
        }
        if self.got_term {
            text.push_str(", got TERM");
        }
        if self.state != Some(State::Down) {
            match self.want {
                Want::Up | Want::Unknown => {}
                Want::Down => text.push_str(", want down"),
                Want::Exit => text.push_str(", want exit"),
            }
        }
        text.push('\n');
        text
    }

    /// The text of `supervise/pid`: the process and a line end, or nothing.
    pub fn pid_text(self) -> String {
        if self.pid == 0 { String::new() } else { format!("{}\n", self.pid) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WHEN: Tai64n = Tai64n { seconds: 0x4000_0000_6b00_f738, nanoseconds: 0x3856_c484 };

    fn running() -> Status {
        Status {
            since: WHEN,
            pid: 20452,
            is_paused: false,
            want: Want::Up,
            got_term: false,
            state: Some(State::Run),
        }
    }

    fn hex(record: [u8; 20]) -> String {
        use std::fmt::Write as _;
        record.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    #[test]
    fn the_worked_examples_come_out_byte_for_byte() {
        assert_eq!(hex(running().to_bytes()), "400000006b00f7383856c484e44f000000750001");
        let paused = Status { is_paused: true, got_term: true, want: Want::Down, ..running() };
        assert_eq!(hex(paused.to_bytes()), "400000006b00f7383856c484e44f000001640101");
        assert_eq!(paused.to_text(), "run, paused, got TERM, want down\n");
        let leaving = Status { want: Want::Exit, state: Some(State::Finish), ..running() };
        assert_eq!(hex(leaving.to_bytes()), "400000006b00f7383856c484e44f000000640002");
        assert_eq!(leaving.to_text(), "finish, want exit\n");
        let down =
            Status { pid: 0, want: Want::Exit, is_paused: true, state: Some(State::Down), ..running() };
        assert_eq!(down.to_text(), "down, paused\n");
        assert_eq!((down.pid_text(), running().pid_text()), (String::new(), "20452\n".to_owned()));
    }

    #[test]
    fn what_was_written_is_read() {
        let status = Status { want: Want::Down, got_term: true, ..running() };
        assert_eq!(Status::from_bytes(&status.to_bytes()), Some(status));
        assert_eq!(Status::from_bytes(&status.to_bytes()[..19]), None);
        let longer = [&status.to_bytes()[..], b"more"].concat();
        assert_eq!(Status::from_bytes(&longer), Some(status));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_status_or_too_short(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let Some(status) = Status::from_bytes(&bytes) else {
                prop_assert!(bytes.len() < RECORD_SIZE);
                return Ok(());
            };
            let _ = (status.to_text(), status.pid_text(), status.since.time());
        }

        #[test]
        fn every_status_is_read_as_it_was_written(
            (seconds, nanoseconds, pid) in any::<(u64, u32, u32)>(),
            (is_paused, got_term, is_wanted) in any::<(bool, bool, bool)>(),
            state in proptest::sample::select(vec![State::Down, State::Run, State::Finish]),
        ) {
            let status = Status {
                since: Tai64n { seconds, nanoseconds },
                pid,
                is_paused,
                want: if is_wanted { Want::Up } else { Want::Down },
                got_term,
                state: Some(state),
            };
            prop_assert_eq!(Status::from_bytes(&status.to_bytes()), Some(status));
        }
    }
}
