//! Every clause of the behaviour, tried on our programs and on the original's.

mod command_line;
mod control;
mod coverage;
mod daemons;
mod deaths;
mod divergences;
mod docker;
mod ending;
mod environment;
mod foreign;
mod fork_server;
mod harness;
mod hooks;
mod init;
mod init_acceptance;
mod init_command;
mod init_critical;
mod init_hooks;
mod init_hostile;
mod init_odd_files;
mod init_order;
mod init_voice;
mod init_windows;
mod layout;
mod logging;
mod mixed;
mod obstacles;
mod record;
mod runsvdir;
mod sv_lines;
mod sv_lsb;
mod sv_people;
mod sv_waiting;
mod sv_words;
mod walk;

/// A `./run` that ignores TERM and says when it does.
const IGNORES_TERM: &str = "trap '' TERM; echo >ready; exec sleep 1000";

/// Each letter on a line of its own.
fn one_a_line(letters: &str) -> String {
    letters.chars().flat_map(|letter| [letter, '\n']).collect()
}
