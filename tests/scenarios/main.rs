//! Every clause of the behaviour, tried on our programs and on the original's.

mod command_line;
mod control;
mod daemons;
mod deaths;
mod ending;
mod environment;
mod harness;
mod hooks;
mod layout;
mod logging;
mod record;
mod runsvdir;
mod sv_lines;
mod sv_lsb;
mod sv_waiting;
mod sv_words;

/// A `./run` that ignores TERM and says when it does.
const IGNORES_TERM: &str = "trap '' TERM; echo >ready; exec sleep 1000";
