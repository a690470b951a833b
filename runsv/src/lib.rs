//! runsv: starts and monitors a service, and optionally its log service.
//!
//! Crate `supervise` decides and acts; `event_loop` hosts it.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

mod event_loop;

use std::ffi::{OsStr, OsString};

use sys::Logger;
use sys::error::words;
use sys::log::write_usage;

/// Exit code of a failed start, and of a child that cannot be started (RSV-3).
pub const TROUBLE: u8 = 111;

/// Exit code of wrong usage (RSV-1).
const USAGE: u8 = 1;

/// Runs the program; returns its exit code.
pub fn run(args: Vec<OsString>) -> u8 {
    let mut args = args.into_iter();
    let name = args.next().unwrap_or_else(|| "runsv".into());
    let Some(dir) = parse(args) else {
        write_usage(words(["usage: ".as_ref(), &name, " dir".as_ref()]).as_encoded_bytes());
        return USAGE;
    };
    keep(&dir)
}

fn keep(dir: &OsStr) -> u8 {
    let logger = || Logger::new(words(["runsv ".as_ref(), dir]));
    match event_loop::supervise(dir, logger()) {
        Ok(()) => 0,
        Err(failure) => {
            logger().fatal(&failure);
            TROUBLE
        }
    }
}

/// The one argument, which is a directory even if it begins with a dash: there are no options (RSV-1).
fn parse(mut args: impl Iterator<Item = OsString>) -> Option<OsString> {
    args.next().filter(|_| args.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Option<String> {
        parse(args.iter().map(OsString::from)).and_then(|dir| dir.into_string().ok())
    }

    #[test]
    fn exactly_one_argument_is_a_directory_whatever_it_looks_like() {
        for dir in ["web", "--", "-V", "--help", "", "-"] {
            assert_eq!(parsed(&[dir]).as_deref(), Some(dir));
        }
        assert_eq!(parsed(&[]), None);
        assert_eq!(parsed(&["a", "b"]), None);
        assert_eq!(parsed(&["--", "a"]), None);
    }
}
