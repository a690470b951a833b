//! The command line, by runit's rules for what is an option (RSD-1).

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::event_loop::RunsvdirOptions;

/// The usage, after the program's name.
const USAGE: &str = "[-P] dir";

/// Reads the command line; `Err` is the usage text, which runit follows with an empty line (GEN-2).
///
/// Only the first argument can be an option, and only its second character counts: `P` is the option, `-`
/// is nothing, and with anything else it is the directory. The directory follows, even one without a
/// name, then the log; the rest is ignored.
pub fn read(arguments: Vec<OsString>) -> Result<RunsvdirOptions, String> {
    let (has_sessions, operands) = match arguments.get(1).map(|first| first.as_bytes()) {
        Some([b'-', b'P', ..]) => (true, 2),
        Some([b'-', b'-', ..]) => (false, 2),
        _ => (false, 1),
    };
    let program = arguments.first().map_or("runsvdir".into(), |name| name.to_string_lossy().into_owned());
    let log = Some(operands + 1).filter(|log| *log < arguments.len());
    match arguments.into_iter().nth(operands).map(PathBuf::from) {
        Some(directory) => Ok(RunsvdirOptions { directory, has_sessions, log }),
        None => Err(format!("usage: {program} {USAGE}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(arguments: &[&str]) -> Option<(String, bool, Option<usize>)> {
        let all = ["runsvdir"].iter().chain(arguments).map(OsString::from).collect();
        let options = read(all).ok()?;
        Some((options.directory.to_string_lossy().into_owned(), options.has_sessions, options.log))
    }

    #[test]
    fn only_the_second_character_of_the_first_argument_makes_an_option() {
        assert_eq!(reads(&["s"]), Some(("s".into(), false, None)));
        assert_eq!(reads(&["-P", "s"]), Some(("s".into(), true, None)));
        assert_eq!(reads(&["-Pxyz", "s"]), Some(("s".into(), true, None)));
        assert_eq!(reads(&["--", "-P"]), Some(("-P".into(), false, None)));
        assert_eq!(reads(&["--help", "s"]), Some(("s".into(), false, None)));
        assert_eq!(reads(&["-x"]), Some(("-x".into(), false, None)));
        assert_eq!(reads(&[""]), Some((String::new(), false, None)));
        assert_eq!(reads(&["-"]), Some(("-".into(), false, None)));
        assert_eq!(reads(&["-P", "-P"]), Some(("-P".into(), true, None)));
    }

    #[test]
    fn the_log_is_known_by_its_place_among_the_arguments() {
        assert_eq!(reads(&["s", "log: ..."]), Some(("s".into(), false, Some(2))));
        assert_eq!(reads(&["-P", "s", "log: ...", "x", "-y"]), Some(("s".into(), true, Some(3))));
        assert_eq!(reads(&["s", ""]), Some(("s".into(), false, Some(2))));
    }

    #[test]
    fn without_a_directory_the_usage_is_said() {
        for arguments in [&[] as &[&str], &["-P"], &["--"], &["--foo"]] {
            assert_eq!(reads(arguments), None, "{arguments:?}");
        }
        let usage = |name: &[&str]| read(name.iter().map(OsString::from).collect()).err();
        assert_eq!(usage(&["/bin/x"]).as_deref(), Some("usage: /bin/x [-P] dir"));
        assert_eq!(usage(&[]).as_deref(), Some("usage: runsvdir [-P] dir"));
    }
}
