//! State: times as text, short (`2h 10m`) and exact (RFC 3339).

use std::fmt::Write as _;
use std::time::UNIX_EPOCH;

use servicedir::Tai64n;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// `3s`, `5m`, `2h 10m`, `4d 3h`: two units at most, and the smaller one only from an hour on.
pub fn human(seconds: u64) -> String {
    let (big, small) = match seconds {
        ..MINUTE => return format!("{seconds}s"),
        MINUTE..HOUR => return format!("{}m", seconds / MINUTE),
        HOUR..DAY => ((seconds / HOUR, 'h'), (seconds % HOUR / MINUTE, 'm')),
        DAY.. => ((seconds / DAY, 'd'), (seconds % DAY / HOUR, 'h')),
    };
    match small {
        (0, _) => format!("{}{}", big.0, big.1),
        (number, unit) => format!("{}{} {number}{unit}", big.0, big.1),
    }
}

/// `2026-11-21T05:47:00.123456Z`; `None` for a label that is no time after 1970 and before 10000.
pub fn rfc3339(label: Tai64n) -> Option<String> {
    let time = label.time();
    time.duration_since(UNIX_EPOCH).ok().filter(|since| since.as_secs() > 0)?;
    let mut text = String::new();
    write!(text, "{}", humantime::format_rfc3339_micros(time)).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn an_age_has_two_units_at_the_most() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (359, "5m"),
            (3600, "1h"),
            (7800, "2h 10m"),
            (86_399, "23h 59m"),
            (86_400, "1d"),
            (356_400, "4d 3h"),
            (86_400 * 400 + 59, "400d"),
        ] {
            assert_eq!(human(seconds), text);
        }
    }

    fn at(seconds: u64) -> Option<String> {
        rfc3339(Tai64n::of(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)))
    }

    #[test]
    fn a_time_is_printed_in_utc() {
        for (seconds, text) in [
            (1, "1970-01-01T00:00:01.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (1_795_240_019, "2026-11-21T05:46:59.000000Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
            (253_402_300_799, "9999-12-31T23:59:59.000000Z"),
        ] {
            assert_eq!(at(seconds).as_deref(), Some(text));
        }
        let stamp = Tai64n::of(SystemTime::UNIX_EPOCH + Duration::from_micros(1_000_042));
        assert_eq!(rfc3339(stamp).as_deref(), Some("1970-01-01T00:00:01.000042Z"));
    }

    #[test]
    fn a_time_outside_the_calendar_is_not_printed() {
        assert_eq!(at(253_402_300_800), None);
        assert_eq!(rfc3339(Tai64n { seconds: u64::MAX, nanoseconds: u32::MAX }), None);
        for seconds in [0, 1 << 62] {
            assert_eq!(rfc3339(Tai64n { seconds, nanoseconds: 500 }), None);
        }
    }
}
