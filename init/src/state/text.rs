//! State: times and lists in messages.

use std::time::Duration;

/// `0.31 s`.
pub fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// `1 service`, `2 services`.
pub fn counted(number: usize, what: &str) -> String {
    if number == 1 { format!("{number} {what}") } else { format!("{number} {what}s") }
}

/// `a, b, c and 4 more`: no line is too long to read.
pub fn listed(names: &[String]) -> String {
    const MAX_NAMES: usize = 12;
    let text = names.iter().take(MAX_NAMES).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MAX_NAMES) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_cut() {
        let names: Vec<String> = (1..=14).map(|number| number.to_string()).collect();
        assert_eq!(listed(&names), "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 and 2 more");
        assert_eq!(listed(&names[..2]), "1, 2");
        assert_eq!((counted(1, "service"), counted(0, "service")), ("1 service".into(), "0 services".into()));
    }
}
