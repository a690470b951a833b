//! The service that is measured with: says that it runs, and does nothing else.
//!
//! It is a link named `run` to a static program, so that it costs next to nothing beside what
//! starts it.

use std::env;
use std::io::Write;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use fs_err::OpenOptions;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::pause;

use crate::Outcome;

/// The name of a service's program.
pub const NAME: &str = "run";

/// The variable that names the FIFO to say it to.
pub const EVENTS: &str = "BENCHES_EVENTS";

/// The variable that tells how many milliseconds to go on after TERM.
pub const LINGER: &str = "BENCHES_LINGER_MS";

/// Says its process id, then waits for its end.
pub fn run() -> Outcome<ExitCode> {
    let linger = env::var(LINGER).ok().map(|text| text.parse()).transpose()?.map(Duration::from_millis);
    let term = SigSet::from(Signal::SIGTERM);
    if linger.is_some() {
        // Before any process knows of this one, and can send it.
        term.thread_block()?;
    }
    let fifo = env::var_os(EVENTS).ok_or("no FIFO in the environment")?;
    OpenOptions::new().write(true).open(fifo)?.write_all(&std::process::id().to_le_bytes())?;
    let Some(linger) = linger else {
        loop {
            pause();
        }
    };
    term.wait()?;
    thread::sleep(linger);
    Ok(ExitCode::SUCCESS)
}
