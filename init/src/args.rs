//! The command line, and what it means.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command, value_parser};
use sys::Error;
use sys::error::words;

use crate::machine::Weight;

/// The default services directory (GEN-10).
const DIRECTORY: &str = "/etc/service";
/// The default directory of hooks.
const HOOKS: &str = "/etc/init";
/// The default grace: Docker's.
const GRACE: &str = "10";
/// A grace beyond this is a mistake; it also keeps sums of times within what a clock can say.
const LONGEST_GRACE: f64 = 1e7;

/// The whole of `--help`.
pub const HELP: &str = "\
init: process 1 of a container, for a tree of services that stops as well as it starts

usage: init [OPTIONS] [DIR] [-- COMMAND [ARG]...]

  DIR                 the services directory (default: $SVDIR, else /etc/service)
  COMMAND [ARG]...    runs beside the services; when it ends everything is stopped,
                      and its exit code is init's

options:
      --grace SEC     how long whoever stops the container waits before it kills it;
                      init has always left before (default: $INIT_GRACE, else 10)
      --hooks DIR     where start.d, drain.d and finish.d are (default: /etc/init)
  -g, --group         signals for COMMAND go to its whole process group
  -q, --quiet         say only what went wrong
  -v, --verbose       say more
  -h, --help          this text
  -V, --version       the version

signals:
  TERM INT PWR RTMIN+3  stop; a second one skips the drain, a third kills at once
  HUP                 without COMMAND: look at DIR again, now
  HUP QUIT USR1 USR2 ALRM WINCH CONT
                      with COMMAND: passed on to it

examples:
  init                              the services of /etc/service
  init --grace 30 /srv/services     under Kubernetes, whose patience is 30 s
  init -- nginx -g 'daemon off;'    one program, and the services it needs
  docker run -it IMAGE init -- sh   a shell, with its services around it

exit code: 0 after an orderly stop; COMMAND's, or 128 and its signal; 99 when something
had to be killed; that of a start hook that fails, or of a critical service that ends;
100 usage, 111 system trouble, 126 and 127 COMMAND cannot be run or is not there.
See init(8).
";

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Keep a container.
    Keep(Options),
    /// Print a text, and no more.
    Print(String),
}

/// What the command line and the environment say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The time from the request to stop to init's own end.
    pub grace: Duration,
    /// Where the hooks are.
    pub hooks: PathBuf,
    /// The services directory.
    pub directory: PathBuf,
    /// Whether that was said, and not just assumed.
    pub is_directory_given: bool,
    /// COMMAND and its arguments; empty for none.
    pub command: Vec<OsString>,
    /// Whether COMMAND's signals go to its whole group.
    pub is_group: bool,
    /// The least important line that is still said.
    pub loudness: Weight,
}

/// Reads the command line; `lookup` is the environment.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    lookup: impl Fn(&str) -> Option<OsString>,
) -> Result<Request, Error> {
    read(arguments, lookup).map_err(|mistake| {
        let mut line = mistake.to_bytes();
        line.extend_from_slice(b" (see init --help)");
        Error::plain(OsString::from_vec(line))
    })
}

fn read(
    arguments: impl IntoIterator<Item = OsString>,
    lookup: impl Fn(&str) -> Option<OsString>,
) -> Result<Request, Error> {
    let matches = grammar().try_get_matches_from(arguments).map_err(|error| mistake(&error))?;
    if matches.get_flag("help") {
        return Ok(Request::Print(HELP.to_owned()));
    }
    if matches.get_flag("version") {
        return Ok(Request::Print(format!("init {}\n", env!("CARGO_PKG_VERSION"))));
    }
    let set = |name: &str| lookup(name).filter(|value| !value.is_empty());
    let grace = match (matches.get_one::<OsString>("grace"), set("INIT_GRACE")) {
        (Some(word), _) => seconds("--grace", word)?,
        (None, Some(word)) => seconds("$INIT_GRACE", &word)?,
        (None, None) => seconds("", OsStr::new(GRACE))?,
    };
    let given = matches.get_one::<PathBuf>("directory").cloned().or_else(|| set("SVDIR").map(PathBuf::from));
    let command: Vec<OsString> =
        matches.get_many("command").map(|words| words.cloned().collect()).unwrap_or_default();
    let is_group = matches.get_flag("group");
    if is_group && command.is_empty() {
        return Err(Error::plain("--group is for a COMMAND, and there is none"));
    }
    Ok(Request::Keep(Options {
        grace,
        hooks: matches.get_one::<PathBuf>("hooks").cloned().unwrap_or_else(|| HOOKS.into()),
        is_directory_given: given.is_some(),
        directory: given.unwrap_or_else(|| DIRECTORY.into()),
        command,
        is_group,
        loudness: match (matches.get_flag("quiet"), matches.get_flag("verbose")) {
            (true, false) => Weight::Warning,
            (false, true) => Weight::Detail,
            _ => Weight::Info,
        },
    }))
}

fn grammar() -> Command {
    let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    Command::new("init")
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args_override_self(true)
        .arg(Arg::new("grace").long("grace").value_parser(value_parser!(OsString)).allow_hyphen_values(true))
        .arg(Arg::new("hooks").long("hooks").value_parser(value_parser!(PathBuf)))
        .arg(flag("group").short('g'))
        .arg(flag("quiet").short('q'))
        .arg(flag("verbose").short('v'))
        .arg(flag("help").short('h'))
        .arg(flag("version").short('V'))
        .arg(Arg::new("directory").value_parser(value_parser!(PathBuf)))
        .arg(Arg::new("command").last(true).num_args(0..).value_parser(value_parser!(OsString)))
}

/// A grace: seconds, with a fraction if need be.
fn seconds(source: &str, word: &OsStr) -> Result<Duration, Error> {
    word.to_str()
        .filter(|word| word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
        .and_then(|word| word.parse::<f64>().ok())
        .filter(|seconds| *seconds > 0.0 && *seconds <= LONGEST_GRACE)
        .map(Duration::from_secs_f64)
        .ok_or_else(|| {
            Error::plain(words([
                OsStr::new(source),
                OsStr::new(": not a number of seconds above 0, such as 10 or 0.5: "),
                word,
            ]))
        })
}

fn mistake(error: &clap::Error) -> Error {
    Error::plain(match error.kind() {
        ErrorKind::InvalidValue | ErrorKind::NoEquals => "an option lacks its value".to_owned(),
        ErrorKind::UnknownArgument => "an option is unknown, or there is more than one DIR".to_owned(),
        _ => error.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str], environment: &[(&str, &str)]) -> Result<Request, Error> {
        let words = std::iter::once("init").chain(words.iter().copied()).map(OsString::from);
        parse(words, |name| {
            environment.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        })
    }

    fn options(words: &[&str], environment: &[(&str, &str)]) -> Options {
        match parsed(words, environment) {
            Ok(Request::Keep(options)) => options,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_words_everything_has_its_default() {
        let options = options(&[], &[]);
        assert_eq!(options.grace, Duration::from_secs(10));
        assert_eq!((options.directory.to_str(), options.is_directory_given), (Some("/etc/service"), false));
        assert!(options.command.is_empty());
    }

    #[test]
    fn the_command_line_wins_over_the_environment() {
        let environment = [("SVDIR", "/a"), ("INIT_GRACE", "3")];
        let from_environment = options(&[], &environment);
        assert_eq!(
            (from_environment.directory, from_environment.grace),
            ("/a".into(), Duration::from_secs(3))
        );
        let options = options(&["--grace", "0.5", "/b"], &environment);
        assert_eq!((options.directory, options.grace), ("/b".into(), Duration::from_millis(500)));
    }

    #[test]
    fn the_commands_options_are_its_own() {
        let options = options(&["-g", "/srv", "--", "sh", "-c", "--", "-q"], &[]);
        assert_eq!(options.command, ["sh", "-c", "--", "-q"]);
        assert_eq!((options.directory.to_str(), options.loudness), (Some("/srv"), Weight::Info));
    }

    #[test]
    fn junk_is_refused() {
        for words in [
            &["--grace", "ten"][..],
            &["--grace", "-1"],
            &["--grace", "0"],
            &["--grace", "1e3"],
            &["--grace", "inf"],
            &["--grace", ""],
            &["--grace", "1.2.3"],
            &["--grace"],
            &["--unknown"],
            &["a", "b"],
            &["-g"],
        ] {
            assert!(parsed(words, &[]).is_err(), "{words:?}");
        }
        assert!(parsed(&[], &[("INIT_GRACE", "soon")]).is_err());
    }
}
