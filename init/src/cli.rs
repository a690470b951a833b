//! The command line and the environment.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use sys::error::words;
use sys::{Error, Signal};

use crate::state::LogLevel;

/// The default services directory (GEN-10).
const DIRECTORY: &str = "/etc/service";
/// The default directory of hooks.
const HOOKS: &str = "/etc/init";
/// The default grace: Docker's.
const GRACE: &str = "10";
/// A longer grace is a mistake. The limit also keeps sums of times in the range of a clock.
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
      --drain SEC     how much of it drain hooks may take (default: half, but for a reserve)
      --hooks DIR     where start.d, drain.d and finish.d are (default: /etc/init)
      --stop-signal SIG
                      what COMMAND is sent at a stop (default: TERM, or the INT of init)
  -g, --group         signals for COMMAND go to its whole process group
  -q, --quiet         say only what went wrong
  -v, --verbose       say more
  -h, --help          this text
  -V, --version       the version

signals:
  TERM INT PWR RTMIN+3  stop; a second one skips the drain, a third kills at once
  QUIT HUP            without COMMAND: the same
  ALRM                without COMMAND: look at DIR again, now
  all others          with COMMAND: passed on to it, QUIT, HUP and ALRM as well

examples:
  init                              the services of /etc/service
  init --grace 30 /srv/services     under Kubernetes, whose allowance is 30 s
  init -- nginx -g 'daemon off;'    one program, and the services it needs
  docker run -it IMAGE init -- sh   a shell, with its services around it

exit code: 0 after an orderly stop; COMMAND's, or 128 and its signal; 99 when something
had to be killed; that of a start hook that fails, or of a critical service that ends;
100 usage, 111 system trouble, 126 and 127 COMMAND cannot be run or is not there.
See init(8).
";

/// What init is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InitRequest {
    /// Run a container.
    Run(InitOptions),
    /// Print a text and exit.
    Print(String),
}

/// What the command line and the environment say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitOptions {
    /// The time from the stop request to the exit of init.
    pub grace: Duration,
    /// The latest end of the drain, if it was said.
    pub drain: Option<Duration>,
    /// The directory of hooks.
    pub hooks: PathBuf,
    /// The services directory.
    pub directory: PathBuf,
    /// Whether the services directory was given, and is not the default.
    pub is_directory_given: bool,
    /// COMMAND and its arguments; empty for none.
    pub command: Vec<OsString>,
    /// What COMMAND is sent at a stop, if it was said.
    pub stop_signal: Option<Signal>,
    /// Whether signals for COMMAND go to its whole process group.
    pub is_group: bool,
    /// The least important level that is logged.
    pub verbosity: LogLevel,
}

/// Reads the command line; `lookup` is the environment.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    lookup: impl Fn(&str) -> Option<OsString>,
) -> Result<InitRequest, Error> {
    read(arguments, lookup).map_err(|mistake| {
        let mut line = mistake.to_bytes();
        line.extend_from_slice(b" (see init --help)");
        Error::plain(OsString::from_vec(line))
    })
}

fn read(
    arguments: impl IntoIterator<Item = OsString>,
    lookup: impl Fn(&str) -> Option<OsString>,
) -> Result<InitRequest, Error> {
    let given = GivenArguments::read(arguments.into_iter().skip(1))?;
    if given.is_help {
        return Ok(InitRequest::Print(HELP.to_owned()));
    }
    if given.is_version {
        return Ok(InitRequest::Print(format!("init {}\n", env!("CARGO_PKG_VERSION"))));
    }
    let set = |name: &str| lookup(name).filter(|value| !value.is_empty());
    let grace = match (given.grace, set("INIT_GRACE")) {
        (Some(word), _) => seconds("--grace", &word)?,
        (None, Some(word)) => seconds("$INIT_GRACE", &word)?,
        (None, None) => seconds("", OsStr::new(GRACE))?,
    };
    let stop_signal = given.stop_signal.as_deref().map(signal).transpose()?;
    if given.command.is_empty() {
        let name = if stop_signal.is_some() { "--stop-signal" } else { "--group" };
        if stop_signal.is_some() || given.is_group {
            return Err(Error::plain(format!("{name} is for a COMMAND, and there is none")));
        }
    }
    let directory = given.directory.or_else(|| set("SVDIR"));
    Ok(InitRequest::Run(InitOptions {
        grace,
        drain: given.drain.as_deref().map(|word| seconds("--drain", word)).transpose()?,
        hooks: given.hooks.map_or_else(|| HOOKS.into(), PathBuf::from),
        is_directory_given: directory.is_some(),
        directory: directory.map_or_else(|| DIRECTORY.into(), PathBuf::from),
        command: given.command,
        stop_signal,
        is_group: given.is_group,
        verbosity: match (given.is_quiet, given.is_verbose) {
            (true, false) => LogLevel::Warning,
            (false, true) => LogLevel::Detail,
            _ => LogLevel::Info,
        },
    }))
}

/// The arguments, sorted. Options may stand before and behind DIR; of one that is repeated the last counts.
#[derive(Default)]
struct GivenArguments {
    grace: Option<OsString>,
    drain: Option<OsString>,
    stop_signal: Option<OsString>,
    hooks: Option<OsString>,
    directory: Option<OsString>,
    command: Vec<OsString>,
    is_group: bool,
    is_quiet: bool,
    is_verbose: bool,
    is_help: bool,
    is_version: bool,
}

impl GivenArguments {
    fn read(mut arguments: impl Iterator<Item = OsString>) -> Result<Self, Error> {
        let mut given = Self::default();
        while let Some(argument) = arguments.next() {
            match argument.as_bytes() {
                b"--" => {
                    given.command = arguments.collect();
                    break;
                }
                [b'-', b'-', long @ ..] => given.read_long(long, &mut arguments)?,
                [b'-', letters @ ..] if !letters.is_empty() => {
                    for letter in letters {
                        *given.flag(&[*letter]).ok_or_else(unknown)? = true;
                    }
                }
                b"" => return Err(lacks_value()),
                _ if given.directory.is_some() => return Err(unknown()),
                _ => given.directory = Some(argument),
            }
        }
        Ok(given)
    }

    /// An option that begins with two dashes, with its value behind an equals sign or in the next argument.
    fn read_long(&mut self, option: &[u8], rest: &mut impl Iterator<Item = OsString>) -> Result<(), Error> {
        let mut parts = option.splitn(2, |byte| *byte == b'=');
        let name = parts.next().unwrap_or_default();
        let joined = parts.next().map(|value| OsStr::from_bytes(value).to_owned());
        match name {
            b"grace" | b"drain" | b"stop-signal" => {
                let value = Some(joined.or_else(|| rest.next()).ok_or_else(lacks_value)?);
                match name {
                    b"grace" => self.grace = value,
                    b"drain" => self.drain = value,
                    _ => self.stop_signal = value,
                }
            }
            b"hooks" => {
                // An option or `--` is not taken for the value.
                let is_value = |word: &OsString| word == "-" || !word.as_bytes().starts_with(b"-");
                let value = joined.or_else(|| rest.next().filter(is_value));
                self.hooks = Some(value.filter(|value| !value.is_empty()).ok_or_else(lacks_value)?);
            }
            // A single letter is a short option's name.
            [_, _, ..] => {
                let flag = self.flag(name).ok_or_else(unknown)?;
                if let Some(value) = joined {
                    return Err(Error::plain(words([
                        OsStr::new("unexpected value '"),
                        &value,
                        OsStr::new("' for '--"),
                        OsStr::from_bytes(name),
                        OsStr::new("' found; no more were expected"),
                    ])));
                }
                *flag = true;
            }
            _ => return Err(unknown()),
        }
        Ok(())
    }

    /// The option without a value that has this name.
    fn flag(&mut self, name: &[u8]) -> Option<&mut bool> {
        Some(match name {
            b"g" | b"group" => &mut self.is_group,
            b"q" | b"quiet" => &mut self.is_quiet,
            b"v" | b"verbose" => &mut self.is_verbose,
            b"h" | b"help" => &mut self.is_help,
            b"V" | b"version" => &mut self.is_version,
            _ => return None,
        })
    }
}

fn unknown() -> Error {
    Error::plain("an option is unknown, or there is more than one DIR")
}

fn lacks_value() -> Error {
    Error::plain("an option lacks its value")
}

/// Parses the name or the number of a signal.
fn signal(word: &OsStr) -> Result<Signal, Error> {
    word.to_str().and_then(Signal::parse).ok_or_else(|| {
        Error::plain(words([OsStr::new("--stop-signal: not the name or number of a signal: "), word]))
    })
}

/// Parses a time: seconds, with a fraction if needed.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str], environment: &[(&str, &str)]) -> Result<InitRequest, Error> {
        let words = std::iter::once("init").chain(words.iter().copied()).map(OsString::from);
        parse(words, |name| {
            environment.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        })
    }

    fn options(words: &[&str], environment: &[(&str, &str)]) -> InitOptions {
        match parsed(words, environment) {
            Ok(InitRequest::Run(options)) => options,
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
        assert_eq!((options.directory.to_str(), options.verbosity), (Some("/srv"), LogLevel::Info));
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
            &["--drain", "0"],
            &["--drain"],
            &["--stop-signal", "QUIT"],
            &["--stop-signal", "QUITE", "--", "x"],
            &["--stop-signal"],
        ] {
            assert!(parsed(words, &[]).is_err(), "{words:?}");
        }
        assert!(parsed(&[], &[("INIT_GRACE", "soon")]).is_err());
    }

    #[test]
    fn options_stand_anywhere_and_the_last_one_counts() {
        let parsed =
            options(&["-qv", "--grace=3", "/srv", "--grace", "4", "--hooks=/h", "--group", "--", "x"], &[]);
        assert_eq!((parsed.grace, parsed.hooks), (Duration::from_secs(4), "/h".into()));
        assert_eq!((parsed.verbosity, parsed.is_group), (LogLevel::Info, true));
        for word in ["QUIT", "sigquit", "3"] {
            let parsed = options(&["--stop-signal", word, "--", "x"], &[]);
            assert_eq!(parsed.stop_signal, Some(Signal::QUIT), "{word}");
        }
        assert_eq!(options(&["--verbose", "-"], &[]).directory, PathBuf::from("-"));
        assert!(options(&["--"], &[]).command.is_empty());
        assert!(matches!(parsed_text(&["-q", "-h"]), Some(text) if text == HELP));
    }

    fn parsed_text(words: &[&str]) -> Option<String> {
        match parsed(words, &[]) {
            Ok(InitRequest::Print(text)) => Some(text),
            _ => None,
        }
    }

    #[test]
    fn a_mistake_is_named() {
        for (words, text) in [
            (&["--hooks", "-q"][..], "an option lacks its value"),
            (&["--hooks="], "an option lacks its value"),
            (&[""], "an option lacks its value"),
            (&["--h"], "an option is unknown, or there is more than one DIR"),
            (&["-qx"], "an option is unknown, or there is more than one DIR"),
            (&["--quiet=1"], "unexpected value '1' for '--quiet' found; no more were expected"),
        ] {
            let mistake = parsed(words, &[]).expect_err("a mistake").to_bytes();
            assert_eq!(String::from_utf8_lossy(&mistake), format!("{text} (see init --help)"), "{words:?}");
        }
    }
}
