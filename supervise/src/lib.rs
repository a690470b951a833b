//! One service and its log service: what runsv(8) does, as a library.
//!
//! [`state`] decides: events and the time come in, actions go out. [`effects`] carries actions out and
//! reports the outcomes. [`startup`] opens a service directory. What the directory and its `supervise/`
//! look like is crate `servicedir`'s.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

pub mod effects;
pub mod event_source;
pub mod startup;
pub mod state;
