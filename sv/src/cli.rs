//! State: the command line and the environment (SV-1, SV-2, SV-3, GEN-4).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

use crate::verb::Verb;

/// How sv was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// As `sv`: services are arguments, the exit code counts failures.
    Sv,
    /// As a service, by a link in `/etc/init.d`: LSB's exit codes (SV-60).
    Script,
}

/// A parsed command line.
#[derive(Debug, PartialEq, Eq)]
pub struct Invocation {
    /// The command.
    pub verb: Verb,
    /// The services, as they were typed.
    pub names: Vec<OsString>,
    /// Whether `-v` or `-w` asks to wait and report.
    pub is_verbose: bool,
    /// How long to wait at most.
    pub limit: Duration,
    /// Whether to print JSON.
    pub is_json: bool,
}

/// Why the command line cannot be carried out.
#[derive(Debug, PartialEq, Eq)]
pub enum UsageError {
    /// Only the version was asked for.
    Version,
    /// An option that does not exist.
    IllegalOption(u8),
    /// An option without its argument.
    MissingArgument(u8),
    /// A word is missing, or means nothing.
    Usage,
}

/// How long sv waits by default.
const LIMIT: Duration = Duration::from_secs(7);

/// The base name of the program, which decides the mode and stands in messages (GEN-5).
pub fn program_name(program: Option<OsString>) -> (OsString, Mode) {
    let program = program.unwrap_or_else(|| "sv".into());
    let base = program.as_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let mode = if base == b"sv" { Mode::Sv } else { Mode::Script };
    (OsStr::from_bytes(base).to_owned(), mode)
}

/// Parses the arguments (without the program's name) and the value of `SVWAIT`.
pub fn parse(
    arguments: Vec<OsString>,
    svwait: Option<OsString>,
    name: &OsStr,
    mode: Mode,
) -> Result<Invocation, UsageError> {
    let mut words = arguments.into_iter();
    let SvOptions { is_json, has_v, limit: given } = SvOptions::read(&mut words, mode)?;
    let is_verbose = has_v || given.is_some();
    let limit = given.or(svwait).map_or(LIMIT, |text| Duration::from_secs(number(text.as_bytes())));
    let word = words.next().ok_or(UsageError::Usage)?;
    let names: Vec<OsString> = match mode {
        Mode::Sv => words.collect(),
        Mode::Script => vec![name.to_owned()],
    };
    let verb = Verb::parse(word.as_bytes(), mode).ok_or(UsageError::Usage)?;
    if (names.is_empty() && !verb.may_be_alone()) || (is_json && !verb.has_json()) {
        return Err(UsageError::Usage);
    }
    Ok(Invocation { verb, names, is_verbose, limit, is_json })
}

/// The options before the command.
#[derive(Default)]
struct SvOptions {
    is_json: bool,
    has_v: bool,
    limit: Option<OsString>,
}

impl SvOptions {
    /// Takes the options from the arguments, as runit's getopt does: letters may share one dash, the value
    /// of `-w` is the rest of its argument or the next one, and the first word without a dash ends them.
    fn read(arguments: &mut std::vec::IntoIter<OsString>, mode: Mode) -> Result<Self, UsageError> {
        let mut options = Self::default();
        while let Some(argument) = arguments.as_slice().first() {
            match argument.as_bytes() {
                b"--json" if mode == Mode::Sv => {
                    options.is_json = true;
                    arguments.next();
                }
                // The original has no long options: whatever begins with two dashes ends the options.
                [b'-', b'-', ..] => {
                    arguments.next();
                    break;
                }
                [b'-', _, ..] => {
                    let argument = arguments.next().unwrap_or_default();
                    options.read_letters(argument.as_bytes().get(1..).unwrap_or_default(), arguments)?;
                }
                _ => break,
            }
        }
        Ok(options)
    }

    /// Reads the letters behind one dash.
    fn read_letters(
        &mut self,
        mut letters: &[u8],
        arguments: &mut std::vec::IntoIter<OsString>,
    ) -> Result<(), UsageError> {
        while let [letter, rest @ ..] = letters {
            match letter {
                b'v' => self.has_v = true,
                b'V' => return Err(UsageError::Version),
                b'w' => {
                    let is_joined = !rest.is_empty();
                    let joined = is_joined.then(|| OsStr::from_bytes(rest).to_owned());
                    let value = joined.or_else(|| arguments.next());
                    self.limit = Some(value.ok_or(UsageError::MissingArgument(b'w'))?);
                    return Ok(());
                }
                _ => return Err(UsageError::IllegalOption(*letter)),
            }
            letters = rest;
        }
        Ok(())
    }
}

/// Digits from the start; no digits are 0 (GEN-7).
fn number(text: &[u8]) -> u64 {
    text.iter()
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0, |number: u64, byte| number.saturating_mul(10).saturating_add(u64::from(byte - b'0')))
}

/// The usage text.
pub fn usage(name: &OsStr, mode: Mode) -> Vec<u8> {
    let rest: &[u8] = match mode {
        Mode::Sv => b" [-v] [-w sec] command service ...",
        Mode::Script => b" [-w sec] command",
    };
    [b"usage: ", name.as_bytes(), rest].concat()
}

impl UsageError {
    /// The line before the usage text, if there is one.
    pub fn message(&self, name: &OsStr) -> Option<OsString> {
        let (what, letter): (&[u8], u8) = match self {
            Self::Usage => return None,
            Self::Version => return Some(concat!("sv ", env!("CARGO_PKG_VERSION")).into()),
            Self::IllegalOption(letter) => (b": illegal option -- ", *letter),
            Self::MissingArgument(letter) => (b": option requires an argument -- ", *letter),
        };
        Some(OsString::from_vec([name.as_bytes(), what, &[letter]].concat()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_follows_the_command_is_taken_as_it_is(
            options in prop::collection::vec("-v|-w[0-9]{1,3}|-vw[0-9]|--json", 0..4),
            names in prop::collection::vec("-?-?[a-z0-9=-]{1,6}", 1..4),
        ) {
            let arguments = options.iter().map(String::as_str).chain(["status"]).chain(names.iter().map(|it| &**it));
            let invocation = parse(arguments.map(OsString::from).collect(), None, OsStr::new("sv"), Mode::Sv);
            let invocation = invocation.expect("a good command line");
            prop_assert_eq!(invocation.names, names.iter().map(OsString::from).collect::<Vec<_>>());
            prop_assert_eq!(invocation.is_verbose, options.iter().any(|option| option != "--json"));
            prop_assert_eq!(invocation.is_json, options.iter().any(|option| option == "--json"));
        }
    }

    fn sv(line: &str) -> Result<Invocation, UsageError> {
        let arguments = line.split_whitespace().map(OsString::from).collect();
        parse(arguments, None, OsStr::new("sv"), Mode::Sv)
    }

    fn waiting(line: &str) -> (bool, u64, Vec<OsString>) {
        let invocation = sv(line).expect("a good command line");
        (invocation.is_verbose, invocation.limit.as_secs(), invocation.names)
    }

    fn names(names: &[&str]) -> Vec<OsString> {
        names.iter().map(OsString::from).collect()
    }

    #[test]
    fn options_come_joined_separate_and_before_the_command() {
        assert_eq!(waiting("up a"), (false, 7, names(&["a"])));
        assert_eq!(waiting("-v up a b"), (true, 7, names(&["a", "b"])));
        assert_eq!(waiting("-w3 up a"), (true, 3, names(&["a"])));
        assert_eq!(waiting("-vw3 up a"), (true, 3, names(&["a"])));
        assert_eq!(waiting("-w 3 -v -v up a"), (true, 3, names(&["a"])));
        assert_eq!(waiting("-w5 -w 1x up a"), (true, 1, names(&["a"])));
        assert_eq!(waiting("-wv up a"), (true, 0, names(&["a"])));
        assert_eq!(waiting("-w -5 up a"), (true, 0, names(&["a"])));
        assert_eq!(waiting("up a -v -w 3 --"), (false, 7, names(&["a", "-v", "-w", "3", "--"])));
        assert_eq!(waiting("-- up -x"), (false, 7, names(&["-x"])));
        assert_eq!(waiting("--verbose up a"), (false, 7, names(&["a"])));
        assert_eq!(waiting("-v --wait=3 up a"), (true, 7, names(&["a"])));
    }

    #[test]
    fn a_value_may_look_like_an_option_and_a_name_like_anything() {
        assert_eq!(waiting("-w 3 status a -v"), (true, 3, names(&["a", "-v"])));
        assert_eq!(waiting("-w -- up -v b"), (true, 0, names(&["-v", "b"])));
        assert_eq!(waiting("up a --json"), (false, 7, names(&["a", "--json"])));
    }

    #[test]
    fn json_is_an_option_before_the_command_only() {
        let is_json = |line: &str| sv(line).map(|invocation| (invocation.is_json, invocation.names));
        assert_eq!(is_json("--json list"), Ok((true, names(&[]))));
        assert_eq!(is_json("-w3 --json -v --json status a"), Ok((true, names(&["a"]))));
        assert_eq!(is_json("status --json a"), Ok((false, names(&["--json", "a"]))));
        assert_eq!(is_json("list --json"), Ok((false, names(&["--json"]))));
        assert_eq!(is_json("-- list"), Ok((false, names(&[]))));
        // Any other word ends the options, as it always has.
        for line in ["--json=1 status a", "--jso status a", "--jsonx status a", "-w --json status a"] {
            assert_eq!(is_json(line), Ok((false, names(&["a"]))), "{line}");
        }
        for line in ["--json", "--json up a", "--json why a", "--json lint", "--json status"] {
            assert_eq!(is_json(line), Err(UsageError::Usage), "{line}");
        }
        let script = parse(names(&["--json", "status"]), None, OsStr::new("ssh"), Mode::Script);
        assert_eq!(script.map(|invocation| invocation.is_json), Ok(false));
    }

    #[test]
    fn each_mistake_has_its_error() {
        assert_eq!(sv("-x status a"), Err(UsageError::IllegalOption(b'x')));
        assert_eq!(sv("-vx status a"), Err(UsageError::IllegalOption(b'x')));
        for line in
            ["-v- status a", "-v-x status -- a", "-v-- status -- a", "-v-json status a", "-v-w3 status a"]
        {
            assert_eq!(sv(line), Err(UsageError::IllegalOption(b'-')), "{line}");
        }
        assert_eq!(sv("-h"), Err(UsageError::IllegalOption(b'h')));
        assert_eq!(sv("-w"), Err(UsageError::MissingArgument(b'w')));
        assert_eq!(sv("-V -x"), Err(UsageError::Version));
        for line in ["", "-v", "up", "-", "- status a", "status", "--help", "--", "restar a"] {
            assert_eq!(sv(line), Err(UsageError::Usage), "{line}");
        }
    }

    #[test]
    fn the_option_beats_the_environment_and_the_environment_beats_seven() {
        let limit = |line: &str, svwait: &str| {
            let arguments = line.split_whitespace().map(OsString::from).collect();
            let invocation = parse(arguments, Some(svwait.into()), OsStr::new("sv"), Mode::Sv);
            invocation.map(|invocation| (invocation.is_verbose, invocation.limit.as_secs()))
        };
        assert_eq!(limit("up a", "30"), Ok((false, 30)));
        assert_eq!(limit("-w 2 up a", "30"), Ok((true, 2)));
        assert_eq!(limit("up a", "soon"), Ok((false, 0)));
        assert_eq!(limit("up a", "99999999999999999999999"), Ok((false, u64::MAX)));
    }

    #[test]
    fn a_script_is_its_own_service() {
        let (name, mode) = program_name(Some("/etc/init.d/ssh".into()));
        assert_eq!((name.as_os_str(), mode), (OsStr::new("ssh"), Mode::Script));
        let invocation = parse(names(&["status", "b"]), None, &name, mode).expect("a good command line");
        assert_eq!(invocation.names, names(&["ssh"]));
        assert_eq!(usage(&name, mode), b"usage: ssh [-w sec] command");
        assert_eq!(program_name(Some("./sv".into())).1, Mode::Sv);
        assert_eq!(program_name(None).1, Mode::Sv);
    }

    #[test]
    fn messages_are_the_originals() {
        let usage_error = UsageError::MissingArgument(b'w');
        assert_eq!(
            usage_error.message(OsStr::new("sv")),
            Some("sv: option requires an argument -- w".into())
        );
        assert_eq!(UsageError::Usage.message(OsStr::new("sv")), None);
    }
}
