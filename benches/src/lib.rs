//! benches: measures ours beside Debian's runit, s6 and tini, alternating in one run.
//!
//! The program is started five times over, told apart by the name it is given:
//!
//! * by a person it builds the static release ([`release`]) and starts that release's `benches`
//!   in a pid namespace, so that nothing it starts outlives it ([`namespace`]);
//! * as `measure` it does the work: [`measures`] start [`tree`]s of services by the words of each
//!   [`family`], take [`sample`]s and make the rows of a [`table`];
//! * as `run` it is the service itself ([`beacon`]); its start is an event ([`events`]);
//! * as `fork` it starts services and ends them, without supervising them ([`forking`]);
//! * as `namespace` and `process-1` it makes something process 1 of a pid namespace.

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

pub mod arguments;
pub mod beacon;
pub mod events;
pub mod family;
pub mod forking;
pub mod machine;
pub mod measures;
pub mod namespace;
pub mod proc;
pub mod release;
pub mod sample;
pub mod table;
pub mod tree;

/// What can go wrong says so in one line; no caller distinguishes causes.
pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// The name under which the release's `benches` measures.
pub const MEASURE: &str = "measure";

/// Something was missing, or went wrong.
const FAILURE: u8 = 111;

/// The program, under each of its names.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let (name, rest) = arguments.split_first().map_or((OsStr::new(""), &[][..]), |(name, rest)| (name, rest));
    let name = Path::new(name).file_name().and_then(OsStr::to_str);
    let outcome = match name {
        Some(beacon::NAME) => beacon::run(),
        Some(forking::NAME) => forking::run(rest.first().map_or(Path::new("."), Path::new)),
        Some(namespace::OUTER) => namespace::contain(rest),
        Some(namespace::INNER) => namespace::become_process_1(rest),
        Some(MEASURE) => measures::run(&arguments::read(&arguments)),
        _ => release::measure(&arguments::read(&arguments), rest),
    };
    outcome.unwrap_or_else(|failure| {
        eprintln!("benches: fatal: {failure}");
        FAILURE.into()
    })
}
