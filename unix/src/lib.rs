//! Unix plumbing, shared by the whole tree: how a process is started, reaped and signalled, how a
//! program waits, and how a failure is said in runit's words.
//!
//! This is the only crate with `unsafe` code; each block says why it is sound.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

pub mod clock;
mod descriptors;
pub mod entry;
pub mod failure;
pub mod group;
pub mod open;
mod outbox;
pub mod phrase;
pub mod poller;
pub mod printable;
pub mod priority;
pub mod proc;
pub mod process_1;
pub mod read;
pub mod reap;
pub mod replace;
pub mod session;
pub mod signal;
pub mod spawn;
mod start_failure;
pub mod title;

pub use clock::Now;
pub use failure::{Failure, Reporter};
pub use group::Group;
pub use open::{Unopened, open_fifo, open_regular, open_to_read};
pub use poller::Poller;
pub use printable::printable;
pub use read::{read_end, read_start};
pub use reap::{Ending, has_children, reap_next};
pub use replace::replace;
pub use session::{Remains, Session};
pub use signal::Signal;
pub use spawn::Program;

pub use nix::errno::Errno;
pub use nix::unistd::Pid;
