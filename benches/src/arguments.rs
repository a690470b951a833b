//! The command line.

use std::ffi::OsString;
use std::io;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, Command};
use fs_err as fs;

use crate::family::Family;
use crate::measures::MEASURES;

/// What was asked for.
#[derive(Debug)]
pub struct Wishes {
    /// Few runs: to see that everything works, not to believe the figures.
    pub is_quick: bool,
    /// The names of the measures; empty for all of them.
    pub measures: Vec<String>,
    /// nitro and dinit, if given.
    pub guests: &'static [Family],
}

/// Reads the command line; a mistake, and a cry for help, end the program.
pub fn read(arguments: &[OsString]) -> Wishes {
    let mut matches = grammar().get_matches_from(arguments);
    let nitro = matches.remove_one("nitro").map(Family::Nitro);
    let dinit = matches.remove_one("dinit").map(Family::Dinit);
    Wishes {
        guests: nitro.into_iter().chain(dinit).collect::<Vec<_>>().leak(),
        is_quick: matches.get_flag("quick"),
        measures: matches.remove_many("measure").into_iter().flatten().collect(),
    }
}

fn grammar() -> Command {
    let names = MEASURES.iter().map(|measure| measure.name);
    let about = MEASURES.iter().map(|measure| format!("  {:9} {}\n", measure.name, measure.about));
    Command::new("benches")
        .bin_name("benches")
        .about("Measures ours beside Debian's runit, s6 and tini, alternating in one run.")
        .after_help(format!("Measures:\n{}", about.collect::<String>()))
        .arg(
            Arg::new("quick")
                .long("quick")
                .action(ArgAction::SetTrue)
                .help("Few runs: shows that everything works, proves no figure"),
        )
        .arg(guest("nitro"))
        .arg(guest("dinit"))
        .arg(
            Arg::new("measure")
                .num_args(0..)
                .value_parser(PossibleValuesParser::new(names))
                .hide_possible_values(true)
                .help("What to measure [default: everything]"),
        )
}

fn guest(name: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name("PATH")
        .value_parser(program)
        .help(format!("The program {name}, to be measured as well where init is"))
}

/// Leaked: a family has the path, and is copied.
fn program(path: &str) -> io::Result<&'static str> {
    Ok(fs::canonicalize(path)?.to_string_lossy().into_owned().leak())
}
