//! Every clause of the contract, tried on our programs and on the original's; a folder for each program.

mod coverage;
mod divergences;
mod harness;

mod runsv {
    mod command_line;
    pub mod control;
    mod control_scripts;
    pub mod deaths;
    mod ending;
    pub mod environment;
    pub mod hanging_files;
    mod layout;
    mod logging;
    mod process_group;
    mod readiness;
    mod record;
}

mod runsvdir {
    mod arrival;
    pub mod scanning;
}

mod sv {
    mod extensions;
    mod health;
    pub mod lines;
    pub mod lsb;
    pub mod waiting;
    pub mod words;
}

mod init {
    mod acceptance;
    pub mod command;
    mod critical;
    mod dependencies;
    mod docker;
    mod hooks;
    mod hosted;
    mod hostile;
    mod hung_file_system;
    mod interrupted_steps;
    mod isolation;
    pub mod messages;
    mod odd_files;
    mod other_supervisors;
    mod signals;
    mod start_order;
    pub mod stop;
    mod terminal;
}

mod interop {
    mod foreign_clients;
    mod mixed_pairs;
    mod real_daemons;
}

mod property {
    pub mod random_walk;
}

/// A `./run` that ignores TERM and says when it does.
const IGNORES_TERM: &str = "trap '' TERM; echo >ready; exec sleep 1000";

/// Each letter on a line of its own.
fn one_a_line(letters: &str) -> String {
    letters.chars().flat_map(|letter| [letter, '\n']).collect()
}

/// A command prefix that slows down each `close` of the program behind it, so that a signal or a byte can
/// arrive between any two of them. strace itself is out of the way.
const CLOSES_SLOWLY: &[&str] =
    &["strace", "-D", "-o", "/dev/null", "-e", "trace=close", "-e", "inject=close:delay_exit=30000"];

/// Sends a program this signal until it is gone.
#[track_caller]
fn tell_until_it_has_left(program: &tests::StartedProgram, signal: nix::sys::signal::Signal) {
    tests::eventually("it has left", || {
        let is_alive = program.is_alive();
        if is_alive {
            program.signal(signal);
        }
        !is_alive
    });
}
