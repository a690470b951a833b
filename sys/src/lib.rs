//! Unix plumbing, shared by the whole tree: how a process is started, reaped and signalled, how a
//! program waits, and how a failure is said in runit's words.
//!
//! This is the only crate with `unsafe` code; each block says why it is sound.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

pub mod clock;
pub mod errno_text;
pub mod error;
pub mod fs;
pub mod inotify;
pub mod log;
mod output_queue;
pub mod poller;
pub mod printable;
pub mod process;
pub mod procfs;
pub mod signal;
mod signal_reader;
pub mod thread;

pub use clock::Now;
pub use error::Error;
pub use fs::file_id::FileId;
pub use fs::open::{OpenError, open_fifo, open_null, open_record, open_regular, open_to_read};
pub use fs::read::{read_end, read_start};
pub use fs::replace::replace;
pub use inotify::FileWatches;
pub use log::Logger;
pub use poller::Poller;
pub use printable::printable;
pub use process::group::ProcessGroup;
pub use process::reap::{ExitStatus, has_children, reap_next, stop_of};
pub use process::session::{Remains, Session};
pub use process::spawn::Program;
pub use signal::Signal;
pub use signal_reader::{ReceivedSignal, SignalReader, SignalSender};

pub use nix::errno::Errno;
pub use nix::unistd::Pid;
