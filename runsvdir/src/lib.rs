//! runsvdir: starts a runsv for each directory in the services directory, and keeps it running.
//!
//! Two machines decide: the `roster` who should run, `rescan` when to look. Hands look
//! (`scan`), have changes told (`watch`), start runsvs (`start`) and show stderr in the
//! title (`rolling_log`). The loop in `supervise` connects them.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

use std::ffi::OsString;

use unix::Reporter;
use unix::failure::{words, write_usage};

use crate::supervise::{End, Supervision};

mod arguments;
mod rescan;
mod rolling_log;
mod roster;
mod scan;
mod start;
mod supervise;
mod watch;

/// The command line was wrong.
const USAGE: u8 = 1;

/// Something was missing at start-up.
pub const FATAL: u8 = 100;

/// Every runsv was asked to leave.
const HANGUP: u8 = 111;

/// The program.
pub fn run(arguments: Vec<OsString>) -> u8 {
    let wishes = match arguments::read(arguments) {
        Ok(wishes) => wishes,
        Err(usage) => {
            write_usage(usage.as_bytes());
            return USAGE;
        }
    };
    let who = words(["runsvdir ".as_ref(), wishes.directory.as_os_str()]);
    let supervision = Supervision::new(wishes, Reporter::new(&who));
    let mut supervision = match supervision {
        Ok(supervision) => supervision,
        Err(failure) => {
            Reporter::new(who).fatal(&failure);
            return FATAL;
        }
    };
    match supervision.run() {
        End::Leave => 0,
        End::Hangup => HANGUP,
    }
}
