//! The command line.

use std::ffi::OsString;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, Command};

use crate::measures::MEASURES;

/// What was asked for.
#[derive(Debug)]
pub struct Wishes {
    /// Few runs: to see that everything works, not to believe the figures.
    pub is_quick: bool,
    /// The names of the measures; empty for all of them.
    pub measures: Vec<String>,
}

/// Reads the command line; a mistake, and a cry for help, end the program.
pub fn read(arguments: &[OsString]) -> Wishes {
    let mut matches = grammar().get_matches_from(arguments);
    Wishes {
        is_quick: matches.get_flag("quick"),
        measures: matches.remove_many("measure").into_iter().flatten().collect(),
    }
}

fn grammar() -> Command {
    let names = MEASURES.iter().map(|measure| measure.name);
    let about = MEASURES.iter().map(|measure| format!("  {:8} {}\n", measure.name, measure.about));
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
        .arg(
            Arg::new("measure")
                .num_args(0..)
                .value_parser(PossibleValuesParser::new(names))
                .hide_possible_values(true)
                .help("What to measure [default: everything]"),
        )
}
