//! State: times as text, short (`2h 10m`) and exact (RFC 3339).

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

/// `2026-11-21T05:47:00.123456Z`; nothing for a label that is no time after 1970 and before 10000.
pub fn rfc3339(stamp: Tai64n) -> Option<String> {
    let since = stamp.time().duration_since(UNIX_EPOCH).ok().filter(|since| since.as_secs() > 0)?;
    let (seconds, micros) = (since.as_secs(), since.subsec_micros());
    let (year, month, day) = date(seconds / DAY)?;
    let (hour, minute, second) = (seconds % DAY / HOUR, seconds % HOUR / MINUTE, seconds % MINUTE);
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z"))
}

/// Year, month and day of a number of days since 1970-01-01.
fn date(mut days: u64) -> Option<(u64, u64, u64)> {
    /// The days of 400 years, after which the calendar repeats itself.
    const ERA: u64 = 146_097;
    let mut year = 1970 + days / ERA * 400;
    days %= ERA;
    while days >= days_of_year(year) {
        days -= days_of_year(year);
        year += 1;
    }
    let february = days_of_year(year) - 337;
    for (month, length) in (1..).zip([31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]) {
        if days < length {
            return (year <= 9999).then_some((year, month, days + 1));
        }
        days -= length;
    }
    None
}

fn days_of_year(year: u64) -> u64 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    if is_leap { 366 } else { 365 }
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
