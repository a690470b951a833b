//! What is printed of names, files and processes: no control characters, which would drive a terminal or
//! begin another line.

use std::borrow::Cow;

/// Puts `?` in the place of each control character: of ASCII, and of the C1 set as UTF-8 encodes it.
pub fn printable(bytes: &[u8]) -> Cow<'_, [u8]> {
    let mut shown = Vec::new();
    let mut rest = bytes;
    while let Some((plain, behind)) = split_at_control(rest) {
        shown.extend_from_slice(plain);
        shown.push(b'?');
        rest = behind;
    }
    if shown.is_empty() {
        return Cow::Borrowed(bytes);
    }
    shown.extend_from_slice(rest);
    Cow::Owned(shown)
}

/// What is before the first control character, and what is behind it.
fn split_at_control(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (place, length) = (0..bytes.len()).find_map(|place| match bytes.get(place..)? {
        [0..=0x1f | 0x7f, ..] => Some((place, 1)),
        [0xc2, 0x80..=0x9f, ..] => Some((place, 2)),
        _ => None,
    })?;
    Some((bytes.get(..place)?, bytes.get(place + length..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_replaced_and_nothing_else() {
        for (text, shown) in [
            (&b"web"[..], &b"web"[..]),
            (b"", b""),
            (b"a\nb\x1b[31m\x7f\0", b"a?b?[31m??"),
            ("caf\u{e9} \u{a0} \u{2028}".as_bytes(), "caf\u{e9} \u{a0} \u{2028}".as_bytes()),
            ("\u{80}x\u{9b}2J\u{9f}".as_bytes(), b"?x?2J?"),
            // What is no UTF-8 stays as it is.
            (b"\xc2", b"\xc2"),
            (b"\xff\x9b\xc2\n", b"\xff\x9b\xc2?"),
            (b"\xc2\xc2\x85", b"\xc2?"),
        ] {
            assert_eq!(printable(text), shown, "{text:?}");
        }
        assert!(matches!(printable(b"web"), Cow::Borrowed(_)));
    }
}
