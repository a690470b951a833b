//! State: values as JSON (RFC 8259).

use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

/// An array with each member on a line of its own: valid JSON that is legible and works with grep.
pub fn lines(members: &[impl Serialize]) -> String {
    if members.is_empty() {
        return "[]\n".to_owned();
    }
    let lines: Vec<String> = members.iter().map(line).collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}

fn line(value: &impl Serialize) -> String {
    let mut text = Vec::new();
    // Writing texts and numbers to a Vec cannot fail.
    let _ = value.serialize(&mut Serializer::with_formatter(&mut text, Printable));
    String::from_utf8_lossy(&text).into_owned()
}

/// Escapes also the characters that act on a terminal or break a line in JavaScript.
struct Printable;

impl Formatter for Printable {
    fn write_string_fragment<W: io::Write + ?Sized>(&mut self, out: &mut W, text: &str) -> io::Result<()> {
        let is_special = |letter: char| matches!(letter, '\x7f'..='\u{9f}' | '\u{2028}' | '\u{2029}');
        for piece in text.split_inclusive(is_special) {
            match piece.chars().next_back().filter(|last| is_special(*last)) {
                Some(special) => {
                    let plain = piece.strip_suffix(special).unwrap_or_default();
                    CompactFormatter.write_string_fragment(out, plain)?;
                    write!(out, "\\u{:04x}", u32::from(special))?;
                }
                None => CompactFormatter.write_string_fragment(out, piece)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn characters_with_a_meaning_are_escaped() {
        let text = |text: &str| line(&text);
        assert_eq!(text(r#"a"b\c/d"#), r#""a\"b\\c/d""#);
        assert_eq!(text("\n\t\r\0\x1b\x7f\u{2028}x"), r#""\n\t\r\u0000\u001b\u007f\u2028x""#);
        assert_eq!(text("ä€🙂\u{fffd}"), "\"ä€🙂\u{fffd}\"");
    }

    proptest! {
        #[test]
        fn every_text_is_read_as_it_was_written(text in any::<String>()) {
            let written = line(&text);
            prop_assert!(!written.contains(char::is_control), "{}", written);
            prop_assert_eq!(serde_json::from_str::<String>(&written).expect("JSON"), text);
        }
    }

    #[test]
    fn a_list_has_a_line_for_each_member() {
        assert_eq!(lines(&[0; 0]), "[]\n");
        assert_eq!(lines(&[None::<u64>]), "[\nnull\n]\n");
        assert_eq!(lines(&[1_u64, u64::MAX]), "[\n1,\n18446744073709551615\n]\n");
    }
}
