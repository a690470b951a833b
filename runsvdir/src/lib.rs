//! runsvdir: starts a runsv for each directory in the services directory, and keeps it running.
//!
//! Crate `scan` decides which services should run, and scans and watches the directory. Here `event_loop`
//! hosts it, `runsv_starter` starts runsvs, and `rolling_log` shows stderr in the title.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

use std::ffi::OsString;

use sys::Logger;
use sys::error::words;
use sys::log::write_usage;

use crate::event_loop::{EventLoop, Exit};

mod cli;
mod event_loop;
mod rolling_log;
mod runsv_starter;

/// The command line was wrong.
const USAGE: u8 = 1;

/// Something was missing at start-up.
pub const FATAL: u8 = 100;

/// Every runsv was asked to leave.
const HANGUP: u8 = 111;

/// The program.
pub fn run(arguments: Vec<OsString>) -> u8 {
    let options = match cli::read(arguments) {
        Ok(options) => options,
        Err(usage) => {
            write_usage(usage.as_bytes());
            return USAGE;
        }
    };
    let name = words(["runsvdir ".as_ref(), options.directory.as_os_str()]);
    let started = EventLoop::new(options, Logger::new(&name));
    let mut event_loop = match started {
        Ok(event_loop) => event_loop,
        Err(failure) => {
            Logger::new(name).fatal(&failure);
            return FATAL;
        }
    };
    match event_loop.run() {
        Exit::Leave => 0,
        Exit::Hangup => HANGUP,
    }
}
