//! State: values, and their form as JSON (RFC 8259).

use std::fmt::{self, Write as _};

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number without a fraction.
    Number(u64),
    /// A text.
    Text(String),
    /// Members, in this order.
    Object(Vec<(&'static str, Json)>),
}

impl From<bool> for Json {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u64> for Json {
    fn from(value: u64) -> Self {
        Self::Number(value)
    }
}

impl From<u32> for Json {
    fn from(value: u32) -> Self {
        Self::Number(value.into())
    }
}

impl From<String> for Json {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<&str> for Json {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl<T: Into<Json>> From<Option<T>> for Json {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(value) => write!(f, "{value}"),
            Self::Text(text) => write_text(f, text),
            Self::Object(members) => {
                f.write_char('{')?;
                for (number, (name, value)) in members.iter().enumerate() {
                    if number > 0 {
                        f.write_char(',')?;
                    }
                    write_text(f, name)?;
                    write!(f, ":{value}")?;
                }
                f.write_char('}')
            }
        }
    }
}

/// An array with each member on a line of its own: valid JSON that is legible and works with grep.
pub fn lines(members: &[Json]) -> String {
    if members.is_empty() {
        return "[]\n".to_owned();
    }
    let lines: Vec<String> = members.iter().map(Json::to_string).collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}

fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for letter in text.chars() {
        match letter {
            '"' => f.write_str("\\\""),
            '\\' => f.write_str("\\\\"),
            '\n' => f.write_str("\\n"),
            '\t' => f.write_str("\\t"),
            // The characters that RFC 8259 wants escaped, and those that act on a terminal or break a line in
            // JavaScript.
            '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{2028}' | '\u{2029}' => {
                write!(f, "\\u{:04x}", u32::from(letter))
            }
            _ => f.write_char(letter),
        }?;
    }
    f.write_char('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_without_a_blank() {
        let value = Json::Object(vec![
            ("name", "web".into()),
            ("pid", Some(7_u32).into()),
            ("up", true.into()),
            ("log", Json::Null),
            ("more", Json::Object(Vec::new())),
            ("uptime", u64::MAX.into()),
        ]);
        let text = r#"{"name":"web","pid":7,"up":true,"log":null,"more":{},"uptime":18446744073709551615}"#;
        assert_eq!(value.to_string(), text);
        assert_eq!(Json::from(None::<u32>), Json::Null);
    }

    #[test]
    fn characters_with_a_meaning_are_escaped() {
        let text = |text: &str| Json::from(text).to_string();
        assert_eq!(text(r#"a"b\c/d"#), r#""a\"b\\c/d""#);
        assert_eq!(text("\n\t\r\0\x1b\x7f\u{2028}"), r#""\n\t\u000d\u0000\u001b\u007f\u2028""#);
        assert_eq!(text("ä€🙂\u{fffd}"), "\"ä€🙂\u{fffd}\"");
        assert_eq!(Json::from("x\ny".to_owned()).to_string(), r#""x\ny""#);
    }

    #[test]
    fn a_list_has_a_line_for_each_member() {
        assert_eq!(lines(&[]), "[]\n");
        assert_eq!(lines(&[Json::Null]), "[\nnull\n]\n");
        assert_eq!(lines(&[1_u64.into(), 2_u64.into()]), "[\n1,\n2\n]\n");
    }
}
