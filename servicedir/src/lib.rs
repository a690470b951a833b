//! The contract on disk between a supervisor and its clients: names, bytes and pipes.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

pub mod client;
pub mod command;
pub mod control_fifo;
pub mod dependencies;
pub mod history;
pub mod layout;
pub mod lock;
pub mod notification;
pub mod readiness;
pub mod session;
pub mod status;
pub mod status_watcher;
pub mod status_writer;
pub mod tai64n;
pub mod word;

pub use command::Command;
pub use history::HistoryEvent;
pub use layout::ServiceDir;
pub use readiness::Readiness;
pub use status::{State, Status, Want};
pub use tai64n::Tai64n;
