//! State: how a service says that it is ready: `notification-fd` as in s6, and the messages of `sd_notify(3)`.

use std::time::Duration;

/// The longest text of a service that is kept, in bytes.
pub const LONGEST_TEXT: usize = 256;

/// What a datagram of `sd_notify(3)` says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// `READY=1`: yes. `STOPPING=1`: no longer.
    pub is_ready: Option<bool>,
    /// `EXTEND_TIMEOUT_USEC=`: the limit of a stop is not to be reached before this time has passed.
    pub extension: Option<Duration>,
    /// `STATUS=`: a text for people.
    pub text: Option<String>,
}

impl Message {
    /// Reads a datagram: assignments, each on a line. Those that are not known have no effect; of several of
    /// a kind the last one counts, and a service that stops is not ready.
    pub fn parse(datagram: &[u8]) -> Self {
        let mut message = Self::default();
        for line in datagram.split(|byte| *byte == b'\n') {
            let Some(place) = line.iter().position(|byte| *byte == b'=') else { continue };
            let (name, value) = line.split_at(place);
            match (name, value.get(1..).unwrap_or_default()) {
                (b"READY", b"1") => message.is_ready = message.is_ready.or(Some(true)),
                (b"STOPPING", b"1") => message.is_ready = Some(false),
                (b"EXTEND_TIMEOUT_USEC", value) => {
                    message.extension = number(value).map(Duration::from_micros).or(message.extension);
                }
                (b"STATUS", value) => message.text = Some(bounded(&String::from_utf8_lossy(value))),
                _ => {}
            }
        }
        message
    }
}

/// The number in `notification-fd`: none of the standard descriptors, which have another use.
pub fn parse_descriptor(word: &str) -> Option<i32> {
    number(word.as_bytes()).filter(|number| *number > 2)
}

/// Digits only: a sign is none.
fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    let digits = std::str::from_utf8(digits).ok()?;
    digits.parse().ok().filter(|_| digits.bytes().all(|digit| digit.is_ascii_digit()))
}

/// The beginning of a text, whole characters.
fn bounded(text: &str) -> String {
    let mut end = text.len().min(LONGEST_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(is_ready: Option<bool>, extension: Option<u64>, text: Option<&str>) -> Message {
        let text = text.map(str::to_owned);
        Message { is_ready, extension: extension.map(Duration::from_micros), text }
    }

    #[test]
    fn a_datagram_is_assignments_on_lines() {
        for (datagram, expected) in [
            ("READY=1", message(Some(true), None, None)),
            ("READY=1\n", message(Some(true), None, None)),
            ("STATUS=two = words\nREADY=1\nMAINPID=7", message(Some(true), None, Some("two = words"))),
            ("STOPPING=1\nREADY=1", message(Some(false), None, None)),
            ("READY=1\nSTOPPING=1", message(Some(false), None, None)),
            ("EXTEND_TIMEOUT_USEC=2500", message(None, Some(2500), None)),
            ("STATUS=", message(None, None, Some(""))),
            ("STATUS=one\nSTATUS=two", message(None, None, Some("two"))),
            ("READY=0\nREADY= 1\nready=1\nREADY\n=1\n\n", Message::default()),
            ("EXTEND_TIMEOUT_USEC=+5\nWATCHDOG=1\nFDSTORE=1", Message::default()),
            ("EXTEND_TIMEOUT_USEC=99999999999999999999", Message::default()),
            ("", Message::default()),
        ] {
            assert_eq!(Message::parse(datagram.as_bytes()), expected, "{datagram:?}");
        }
    }

    #[test]
    fn a_descriptor_is_a_number_above_the_standard_ones() {
        for (word, number) in [
            ("3", Some(3)),
            ("007", Some(7)),
            ("2147483647", Some(i32::MAX)),
            ("2", None),
            ("-3", None),
            ("+3", None),
            ("2147483648", None),
            ("", None),
            ("3 4", None),
            ("stdout", None),
        ] {
            assert_eq!(parse_descriptor(word), number, "{word:?}");
        }
    }

    proptest! {
        #[test]
        fn any_datagram_is_a_message_of_bounded_size(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let message = Message::parse(&bytes);
            prop_assert!(message.text.is_none_or(|text| text.len() <= LONGEST_TEXT));
            let message = Message::parse(&[b"STATUS=", bytes.as_slice()].concat());
            prop_assert!(message.text.is_some_and(|text| text.len() <= LONGEST_TEXT));
        }

        #[test]
        fn what_is_not_known_changes_nothing(
            lines in proptest::collection::vec("[A-Z]{1,12}=[^\n]{0,20}", 0..6),
            micros in any::<u64>(),
        ) {
            let known = ["READY", "STOPPING", "STATUS", "EXTEND_TIMEOUT_USEC"];
            prop_assume!(lines.iter().all(|line| !known.contains(&line.split('=').next().unwrap_or_default())));
            let datagram = format!("{}\nREADY=1\nEXTEND_TIMEOUT_USEC={micros}\nSTATUS=x", lines.join("\n"));
            prop_assert_eq!(Message::parse(datagram.as_bytes()), message(Some(true), Some(micros), Some("x")));
        }

        #[test]
        fn any_word_is_a_descriptor_or_none(word in "[ -~]{0,12}|[0-9]{1,12}") {
            if let Some(number) = parse_descriptor(&word) {
                prop_assert!(number > 2 && word.trim_start_matches('0') == number.to_string());
            }
        }
    }
}
