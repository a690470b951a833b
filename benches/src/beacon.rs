//! The service that is measured with: says that it runs, says it again at USR1, and does nothing else.
//!
//! It is a link named `run` to a static program, so that it costs next to nothing beside what
//! starts it.

use std::env;
use std::io::Write;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use fs_err::{self as fs, OpenOptions};
use nix::sys::signal::{SigSet, Signal};

use crate::Outcome;

/// The name of a service's program.
pub const NAME: &str = "run";

/// The variable that names the FIFO to say it to.
pub const EVENTS: &str = "BENCHES_EVENTS";

/// The variable that tells how many milliseconds to go on after TERM.
pub const LINGER: &str = "BENCHES_LINGER_MS";

/// The file of a service directory with the number of the descriptor to say it to, too, when ready.
pub const NOTIFICATION_FD: &str = "notification-fd";

/// Says its process id, then waits for its end.
pub fn run() -> Outcome<ExitCode> {
    let linger = env::var(LINGER).ok().map(|text| text.parse()).transpose()?.map(Duration::from_millis);
    let mut awaited = SigSet::from(Signal::SIGUSR1);
    if linger.is_some() {
        awaited.add(Signal::SIGTERM);
    }
    // Before any process knows of this one, and can send it.
    awaited.thread_block()?;
    let path = env::var_os(EVENTS).ok_or("no FIFO in the environment")?;
    let mut fifo = OpenOptions::new().write(true).open(path)?;
    if let Ok(number) = fs::read_to_string(NOTIFICATION_FD) {
        OpenOptions::new().write(true).open(format!("/dev/fd/{}", number.trim()))?.write_all(b"\n")?;
    }
    loop {
        fifo.write_all(&std::process::id().to_le_bytes())?;
        if awaited.wait()? == Signal::SIGTERM {
            thread::sleep(linger.unwrap_or_default());
            return Ok(ExitCode::SUCCESS);
        }
    }
}
