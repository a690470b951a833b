//! A directory of services: which of them should run, and when to scan it again.
//!
//! [`state`] decides, without a system call or a clock. [`effects`] scans the directory and watches it.
//! The host starts and ends the supervisors: as processes, as runsvdir does, or in its own.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

pub mod effects;
pub mod state;
