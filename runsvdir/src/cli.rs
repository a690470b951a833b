//! The command line: clap's, after runit's odd rules for what is an option (RSD-1).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::{Arg, ArgAction, Command, value_parser};

use crate::event_loop::RunsvdirOptions;

/// What is said to a wrong command line, after the program's name.
const USAGE: &str = "[-P] dir";

/// Reads the command line; `Err` is the usage text and, as ever in runit, an empty line (GEN-2).
pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<RunsvdirOptions, String> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    if arguments.is_empty() {
        arguments.push("runsvdir".into());
    }
    let program = arguments.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let skipped = end_options(&mut arguments);
    let Ok(matches) = command().try_get_matches_from(arguments) else {
        return Err(format!("usage: {program} {USAGE}"));
    };
    let Some(directory) = matches.get_one::<OsString>("dir").map(PathBuf::from) else {
        return Err(format!("usage: {program} {USAGE}"));
    };
    let log = matches.contains_id("log").then_some(skipped + 2);
    Ok(RunsvdirOptions { directory, has_sessions: matches.get_flag("P"), log })
}

fn command() -> Command {
    Command::new("runsvdir")
        .disable_help_flag(true)
        .disable_version_flag(true)
        .arg(Arg::new("P").short('P').action(ArgAction::SetTrue))
        // Even one without a name is a directory.
        .arg(Arg::new("dir").required(true).value_parser(value_parser!(OsString)))
        .arg(Arg::new("log").value_parser(value_parser!(OsString)))
        // Whatever follows is ignored.
        .arg(Arg::new("rest").num_args(0..).value_parser(value_parser!(OsString)))
}

/// Only the first argument can be an option, and only its second character counts: `P` is the
/// option, `-` is nothing, and with anything else it is the directory. Puts this so that clap sees
/// it. How many of the arguments were not operands.
fn end_options(arguments: &mut Vec<OsString>) -> usize {
    let first = arguments.get(1).map_or(OsStr::new(""), OsString::as_os_str);
    let (replacement, skipped): (&[&str], usize) = match first.as_bytes() {
        [b'-', b'P', ..] => (&["-P", "--"], 1),
        [b'-', b'-', ..] => (&["--"], 1),
        _ => (&["--"], 0),
    };
    arguments.splice(1..=skipped, replacement.iter().map(OsString::from));
    skipped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(arguments: &[&str]) -> Option<(String, bool, Option<usize>)> {
        let all = ["runsvdir"].iter().chain(arguments).map(OsString::from);
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
        let usage = read([OsString::from("/bin/x")]).err();
        assert_eq!(usage.as_deref(), Some("usage: /bin/x [-P] dir"));
    }
}
