//! TAI64N labels (GEN-8): the time stamps of the status record and of log lines.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A TAI64N label (GEN-8), as the record holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tai64n {
    /// 2^62 + 10 + Unix seconds.
    pub seconds: u64,
    /// Below 10^9.
    pub nanoseconds: u32,
}

impl Tai64n {
    /// The label of the Unix epoch; runit's ten seconds are constant, there is no leap table.
    const EPOCH: u64 = (1 << 62) + 10;

    /// The label of a moment, at the original's resolution: the microsecond's middle.
    pub fn of(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { seconds: Self::EPOCH + since.as_secs(), nanoseconds: since.subsec_micros() * 1000 + 500 }
    }

    /// The moment of the label.
    pub fn time(self) -> SystemTime {
        let since =
            Duration::new(self.seconds.saturating_sub(Self::EPOCH), self.nanoseconds.min(999_999_999));
        UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
    }

    /// Whole seconds of `now` less whole seconds of this label, never below 0 (REC-5).
    pub fn age_at(self, now: Self) -> u64 {
        now.seconds.saturating_sub(self.seconds)
    }

    /// The time from an earlier label to this one; none if that is not the earlier one.
    pub fn since(self, earlier: Self) -> Duration {
        self.time().duration_since(earlier.time()).unwrap_or_default()
    }

    /// Reads what [`label`](Self::label) writes.
    pub fn from_label(label: &str) -> Option<Self> {
        let digits = label.strip_prefix('@')?;
        let (seconds, nanoseconds) = digits.split_at_checked(16).filter(|(_, rest)| rest.len() == 8)?;
        // A sign is no digit.
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        Some(Self {
            seconds: u64::from_str_radix(seconds, 16).ok().filter(|_| is_hex)?,
            nanoseconds: u32::from_str_radix(nanoseconds, 16).ok()?,
        })
    }

    /// The 12 bytes of the label.
    pub fn to_bytes(self) -> [u8; 12] {
        let mut label = [0; 12];
        let bytes = self.seconds.to_be_bytes().into_iter().chain(self.nanoseconds.to_be_bytes());
        for (place, byte) in label.iter_mut().zip(bytes) {
            *place = byte;
        }
        label
    }

    /// Reads the 12 bytes of a label.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (seconds, nanoseconds) = bytes.split_first_chunk()?;
        let nanoseconds = nanoseconds.try_into().ok()?;
        Some(Self { seconds: u64::from_be_bytes(*seconds), nanoseconds: u32::from_be_bytes(nanoseconds) })
    }

    /// `@` and 24 hexadecimal digits.
    pub fn label(self) -> String {
        format!("@{:016x}{:08x}", self.seconds, self.nanoseconds)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WHEN: Tai64n = Tai64n { seconds: 0x4000_0000_6b00_f738, nanoseconds: 0x3856_c484 };

    #[test]
    fn a_stamp_is_runits_label_of_the_time() {
        let time = UNIX_EPOCH + Duration::new(0x6b00_f738 - 10, 945_210_123);
        assert_eq!(Tai64n::of(time), Tai64n { seconds: 0x4000_0000_6b00_f738, nanoseconds: 945_210_500 });
        assert_eq!(Tai64n::of(time).label(), "@400000006b00f7383856c484");
        assert_eq!(Tai64n::of(time).time(), UNIX_EPOCH + Duration::new(0x6b00_f738 - 10, 945_210_500));
    }

    #[test]
    fn a_label_from_the_future_is_no_age() {
        let later = Tai64n { seconds: WHEN.seconds + 5, ..WHEN };
        assert_eq!((WHEN.age_at(later), later.age_at(WHEN)), (5, 0));
    }

    #[test]
    fn only_a_label_is_read() {
        for text in
            ["", "@", "@400000006b00f7383856c48", "400000006b00f7383856c484", "@400000006b00f738+856c484"]
        {
            assert_eq!(Tai64n::from_label(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_label_is_read_as_it_was_written(seconds: u64, nanoseconds: u32) {
            let label = Tai64n { seconds, nanoseconds };
            prop_assert_eq!(Tai64n::from_label(&label.label()), Some(label));
            let _ = (label.time(), label.age_at(WHEN), WHEN.age_at(label));
        }

        #[test]
        fn any_text_is_a_label_or_none(text in "@?[0-9a-fA-F+]{0,30}|\\PC*") {
            if let Some(label) = Tai64n::from_label(&text) {
                prop_assert_eq!(label.label(), text.to_ascii_lowercase());
            }
        }

        #[test]
        fn every_time_is_kept_to_the_microsecond(seconds in 0..1_u64 << 40, micros in 0..1_000_000_u32) {
            let time = UNIX_EPOCH + Duration::new(seconds, micros * 1000);
            prop_assert_eq!(Tai64n::of(time).time(), time + Duration::from_nanos(500));
        }
    }
}
