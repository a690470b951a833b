//! Forking alone: starts every service of a directory, ends it, and does no other work of a supervisor's.
//!
//! No supervisor can be faster.

use std::path::Path;
use std::process::{Command, ExitCode};

use fs_err as fs;
use nix::sys::signal::{SigSet, Signal};

use crate::tree::signal;
use crate::{Outcome, beacon};

/// The name of the program.
pub const NAME: &str = "fork";

/// Starts them; at TERM sends TERM to each, and leaves when all have ended.
pub fn run(services: &Path) -> Outcome<ExitCode> {
    let mut children = Vec::new();
    for entry in fs::read_dir(services)? {
        let dir = entry?.path();
        children.push(Command::new(dir.join(beacon::NAME)).current_dir(&dir).spawn()?);
    }
    // Not before: a service inherits what is blocked.
    let term = SigSet::from(Signal::SIGTERM);
    term.thread_block()?;
    term.wait()?;
    for child in &children {
        signal(child.id(), Signal::SIGTERM)?;
    }
    for child in &mut children {
        child.wait()?;
    }
    Ok(ExitCode::SUCCESS)
}
