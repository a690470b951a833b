//! Effects: the pipe from a service to its log service, kept open over restarts of both (RSV-18).

use std::os::fd::OwnedFd;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags};
use sys::Errno;

/// The pipe.
pub struct LogPipe {
    /// Where the log service reads.
    pub reader: OwnedFd,
    /// Where the service writes; closed when the supervisor leaves.
    pub writer: Option<OwnedFd>,
    inode: u64,
}

impl LogPipe {
    /// Makes the pipe.
    pub fn new() -> Result<Self, Errno> {
        let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        let inode = nix::sys::stat::fstat(&reader)?.st_ino;
        Ok(Self { reader, writer: Some(writer), inode })
    }

    /// Closes the write end; whether something unread is left in the pipe.
    pub fn close_writer(&mut self) -> bool {
        self.writer = None;
        let mut asked = [nix::poll::PollFd::new(std::os::fd::AsFd::as_fd(&self.reader), PollFlags::POLLIN)];
        nix::poll::poll(&mut asked, nix::poll::PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
            && asked
                .first()
                .and_then(PollFd::revents)
                .is_some_and(|events| events.contains(PollFlags::POLLIN))
    }

    /// The number by which /proc knows the pipe.
    pub fn inode(&self) -> u64 {
        self.inode
    }
}
