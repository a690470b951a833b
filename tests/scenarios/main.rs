//! Every clause of the behaviour, tried on our programs and on the original's.

mod arrival;
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
mod process_group;
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

/// What closes each descriptor slowly, to be put in front of a program, and itself out of the way: who
/// is told something meanwhile is told it between any two of them.
const CLOSES_SLOWLY: &[&str] =
    &["strace", "-D", "-o", "/dev/null", "-e", "trace=close", "-e", "inject=close:delay_exit=30000"];

/// Sends a program this until it is gone.
#[track_caller]
fn tell_until_it_has_left(program: &tests::Program, signal: nix::sys::signal::Signal) {
    tests::eventually("it has left", || {
        let is_alive = program.is_alive();
        if is_alive {
            program.signal(signal);
        }
        !is_alive
    });
}
