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
    let wishes = match cli::read(arguments) {
        Ok(wishes) => wishes,
        Err(usage) => {
            write_usage(usage.as_bytes());
            return USAGE;
        }
    };
    let who = words(["runsvdir ".as_ref(), wishes.directory.as_os_str()]);
    let supervision = EventLoop::new(wishes, Logger::new(&who));
    let mut supervision = match supervision {
        Ok(supervision) => supervision,
        Err(failure) => {
            Logger::new(who).fatal(&failure);
            return FATAL;
        }
    };
    match supervision.run() {
        Exit::Leave => 0,
        Exit::Hangup => HANGUP,
    }
}
