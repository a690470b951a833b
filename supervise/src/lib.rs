//! One service and its log service: what runsv(8) does, as a library that an event loop hosts.
//!
//! A [`Supervisor`] is what a host deals with. `startup` opens its directory, `event_source` reads its
//! commands, `state` decides: events and the time come in, actions go out; `effects` carries actions out
//! and reports the outcomes. The layout of the directory and of its `supervise/` is in crate `servicedir`.
//!
//! The process belongs to the host: its signals, the reaping of its children, its limits and its umask.
//! Only the working directory is changed here, to the directory of the service that is acted for.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

mod directory;
mod effects;
mod event_source;
mod notification;
mod reopening;
mod startup;
mod state;
mod supervisor;
mod takeover;

pub use event_source::EventPort;
pub use startup::{LOCK_RETRY_INTERVAL, Opening, Startup};
pub use supervisor::{Hosting, Supervisor};
