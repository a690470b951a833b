//! Reads the status record, independently of the programs' own reader.

use std::fmt;

/// The 20 bytes of `supervise/status`, in parts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RawStatus {
    /// The TAI64 label: 2^62 + 10 + seconds since 1970.
    pub seconds: u64,
    /// The fraction of a second.
    pub nanos: u32,
    /// The process, 0 without one.
    pub pid: u32,
    /// 1 when paused.
    pub paused: u8,
    /// `u` or `d`.
    pub want: u8,
    /// 1 when a TERM was sent to the living process.
    pub got_term: u8,
    /// 0 down, 1 run, 2 finish.
    pub state: u8,
}

/// The state byte of a service without a process.
pub const DOWN: u8 = 0;
/// The state byte while `./run` is alive.
pub const RUN: u8 = 1;
/// The state byte while `./finish` is alive.
pub const FINISH: u8 = 2;

/// The label of 1970, with the constant ten seconds.
const EPOCH: u64 = (1 << 62) + 10;

impl RawStatus {
    /// The parts of a record; nothing when it is too short. What follows 20 bytes is ignored.
    pub fn read(record: &[u8]) -> Option<Self> {
        let record: &[u8; 20] = record.first_chunk()?;
        Some(Self {
            seconds: u64::from_be_bytes(*record.first_chunk()?),
            nanos: u32::from_be_bytes(*record[8..].first_chunk()?),
            pid: u32::from_le_bytes(*record[12..].first_chunk()?),
            paused: record[16],
            want: record[17],
            got_term: record[18],
            state: record[19],
        })
    }

    /// The last four bytes: paused, want, got TERM, state.
    pub fn flags(&self) -> [u8; 4] {
        [self.paused, self.want, self.got_term, self.state]
    }

    /// The clock part, in order of time.
    pub fn time(&self) -> (u64, u32) {
        (self.seconds, self.nanos)
    }

    /// Seconds since 1970.
    pub fn unix_seconds(&self) -> u64 {
        self.seconds.checked_sub(EPOCH).expect("a label of 1970 or later")
    }
}

/// Seconds since 1970, with the fraction, are what a failing assertion should show.
impl fmt::Debug for RawStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {}.{:09}, ", self.seconds.wrapping_sub(EPOCH), self.nanos)?;
        write!(f, "pid {}, paused {}, ", self.pid, self.paused)?;
        write!(f, "want {:?}, got TERM {}, state {}", char::from(self.want), self.got_term, self.state)
    }
}
