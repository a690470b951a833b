//! Unix plumbing, shared by the whole tree: how a process is started, reaped and signalled, how a
//! program waits, and how a failure is said in runit's words.
//!
//! This is the only crate with `unsafe` code; each block says why it is sound.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

pub mod clock;
pub mod dispositions;
pub mod failure;
pub mod fork;
pub mod heap;
pub mod lease;
pub mod phrase;
pub mod poller;
pub mod printable;
pub mod priority;
pub mod proc;
pub mod process_1;
pub mod read;
pub mod reap;
pub mod replace;
pub mod search;
pub mod signal;
pub mod spawn;
pub mod title;

pub use clock::Now;
pub use failure::{Failure, Reporter};
pub use poller::Poller;
pub use printable::printable;
pub use read::{open_to_read, read_end, read_start};
pub use reap::{Ending, has_children, reap_next};
pub use replace::replace;
pub use signal::Signal;
pub use spawn::Program;

pub use nix::errno::Errno;
pub use nix::unistd::Pid;
