//! State: the names that runsv, sv and init know, and the names that are probably one of them mistyped.

use strsim::osa_distance;

/// The names with a meaning in a service directory, but for `supervise`, which runsv creates.
pub const KNOWN: &[&str] = &[
    "run",
    "finish",
    "check",
    "down",
    "log",
    "control",
    "down-signal",
    "timeout-kill",
    "timeout-finish",
    "process-group",
    "notification-fd",
    "notify-socket",
    "dependencies.d",
    "critical",
];

/// Those in `log`.
pub const KNOWN_IN_LOG: &[&str] = &["run", "down", "check", "down-signal", "timeout-kill", "process-group"];

/// The names in `control` that runsv looks for.
pub const BYTES: &str = "tkpchaiq12udx";

/// Names that differ in length by more than this are not compared: a name may be 255 bytes long.
const MOST_BYTES: usize = 8;

/// The known name that this unknown one probably stands for.
pub fn intended<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    if known.contains(&name) || is_backup(name) {
        return None;
    }
    let stem = [".sh", ".bash", ".txt"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
    let stem = stem.to_lowercase();
    known.iter().find(|known| stem == **known || is_misspelt(&stem, known)).copied()
}

/// The byte that a name in `control` probably stands for.
pub fn intended_byte(name: &str) -> Option<char> {
    let word = name.to_lowercase();
    let word = word.strip_prefix("sig").unwrap_or(&word);
    Some(match word {
        "term" | "restart" | "try-restart" => 't',
        "kill" => 'k',
        "pause" => 'p',
        "cont" | "continue" => 'c',
        "hup" | "reload" => 'h',
        "alarm" | "alrm" => 'a',
        "interrupt" | "int" => 'i',
        "quit" => 'q',
        "usr1" => '1',
        "usr2" => '2',
        // There is none for once, but this one runs before every start.
        "up" | "start" | "o" | "once" => 'u',
        "down" | "stop" => 'd',
        "exit" | "shutdown" => 'x',
        _ => {
            return word
                .chars()
                .next()
                .filter(|byte| word.len() == 1 && name != word && BYTES.contains(*byte));
        }
    })
}

/// Whether a name may be another one mistyped.
pub fn is_close(name: &str, other: &str) -> bool {
    let (name, other) = (name.to_lowercase(), other.to_lowercase());
    if name.len().abs_diff(other.len()) > MOST_BYTES {
        return false;
    }
    name == other || osa_distance(&name, &other) <= if other.len() < 5 { 1 } else { 2 }
}

/// What editors and package managers leave beside a file.
fn is_backup(name: &str) -> bool {
    name.starts_with(['.', '#'])
        || name.ends_with('~')
        || [".bak", ".old", ".orig", ".new", ".swp", ".save", ".rpmnew", ".rpmsave", ".disabled"]
            .iter()
            .any(|end| name.ends_with(end))
        || name.contains(".dpkg-")
}

fn is_misspelt(name: &str, known: &str) -> bool {
    if name.len().abs_diff(known.len()) > MOST_BYTES {
        return false;
    }
    let is_plural = name.strip_suffix('s') == Some(known);
    let is_alike = name.chars().next() == known.chars().next() && !is_plural;
    match known.len() {
        // Many words are similar to a short one: only doubled letters and swapped neighbours count.
        ..4 => is_alike && (without_repeats(name) == known || is_transposed(name, known)),
        4..6 => is_alike && osa_distance(name, known) <= 1,
        _ => is_alike && osa_distance(name, known) <= 2,
    }
}

fn is_transposed(name: &str, known: &str) -> bool {
    name.len() == known.len() && osa_distance(name, known) == 1 && {
        let sorted = |word: &str| {
            let mut letters: Vec<char> = word.chars().collect();
            letters.sort_unstable();
            letters
        };
        sorted(name) == sorted(known)
    }
}

fn without_repeats(name: &str) -> String {
    let mut letters: Vec<char> = name.chars().collect();
    letters.dedup();
    letters.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_name_can_be_compared(name in any::<String>(), near in "[a-z.-]{1,14}") {
            for name in [&*name, &*near] {
                let known = intended(name, KNOWN);
                prop_assert!(known.is_none_or(|known| known != name));
                prop_assert!(intended_byte(name).is_none_or(|byte| BYTES.contains(byte)));
                prop_assert!(is_close(name, name));
            }
        }
    }

    #[test]
    fn a_name_that_is_nearly_a_known_one_is_found() {
        for (name, known) in [
            ("Run", "run"),
            ("RUN", "run"),
            ("runn", "run"),
            ("rnu", "run"),
            ("run.sh", "run"),
            ("finsh", "finish"),
            ("finnish", "finish"),
            ("Finish", "finish"),
            ("chek", "check"),
            ("dwon", "down"),
            ("Log", "log"),
            ("contol", "control"),
            ("down_signal", "down-signal"),
            ("timeout-kil", "timeout-kill"),
            ("process-groups", "process-group"),
            ("dependencies", "dependencies.d"),
        ] {
            let found = intended(name, KNOWN);
            // A plural is often a name of its own.
            assert_eq!(found, (name != "process-groups").then_some(known), "{name}");
        }
    }

    #[test]
    fn other_names_are_left_alone() {
        for name in [
            "run",
            "finish",
            "README",
            "README.md",
            "conf",
            "config",
            "env",
            "data",
            "main",
            "port",
            "logs",
            "blog",
            "runs",
            "rum",
            "pun",
            "checks",
            "count",
            "worker",
            "controls",
            "type",
            "root",
            "site",
            "run~",
            "run.bak",
            "run.dpkg-dist",
            ".run.swp",
            "supervise",
            "supervisor",
            "town",
            "current",
            "timeout",
        ] {
            assert_eq!(intended(name, KNOWN), None, "{name}");
        }
    }

    #[test]
    fn control_scripts_are_named_after_a_byte() {
        for (name, byte) in
            [("restart", 't'), ("TERM", 't'), ("SIGHUP", 'h'), ("T", 't'), ("o", 'u'), ("stop", 'd')]
        {
            assert_eq!(intended_byte(name), Some(byte), "{name}");
        }
        for name in ["t", "1", "README", "helper", "O2", "z", "Z"] {
            assert_eq!(intended_byte(name), None, "{name}");
        }
    }
}
