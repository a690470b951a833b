//! The FIFOs of a supervised service: `supervise/control`, which takes commands, and `supervise/ok`, which is
//! open for reading while a supervisor lives.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt as _;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use sys::error::words;
use sys::{Errno, Error, OpenError, open_fifo};

use crate::layout::ServiceDir;

/// A FIFO that never reports the end of its input, because this process holds both ends, in one
/// descriptor, which only Linux has for a FIFO.
pub struct ControlFifo {
    both_ends: File,
}

impl ControlFifo {
    /// Makes and opens `supervise/control` (LAY-7).
    pub fn open(dir: &ServiceDir) -> Result<Self, Error> {
        let path = dir.control();
        let name = path.as_os_str();
        // If it is there already it is used as it is; for anything else, what follows fails.
        if nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o600)).is_err() {
            let about = fs_err::symlink_metadata(&path)
                .map_err(Error::of_io(words(["unable to stat ".as_ref(), name])))?;
            if !about.file_type().is_fifo() {
                return Err(Error::plain(words([name, " exists but is not a fifo".as_ref()])));
            }
        }
        let both_ends = open_fifo(&path, OFlag::O_RDWR)
            .map_err(|why| why.failure(words(["unable to open ".as_ref(), name])))?;
        Ok(Self { both_ends })
    }

    /// Takes one byte out; `None` when there is none now.
    pub fn read_byte(&self) -> Option<u8> {
        let mut byte = [0];
        loop {
            match nix::unistd::read(&self.both_ends, &mut byte) {
                Ok(1) => return byte.first().copied(),
                Err(Errno::EINTR) => {}
                _ => return None,
            }
        }
    }
}

impl AsFd for ControlFifo {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.both_ends.as_fd()
    }
}

/// The reading end of `supervise/ok`: while it is open, a client can open the FIFO for writing. `None` if
/// `supervise/ok` is no FIFO, which is accepted (LAY-14) and not used.
pub struct OkFifo {
    _reader: Option<File>,
}

impl OkFifo {
    /// Makes and opens `supervise/ok`.
    pub fn open(dir: &ServiceDir) -> Result<Self, Error> {
        let path = dir.ok();
        let _ = nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o600));
        match open_fifo(&path, OFlag::O_RDONLY) {
            Ok(reader) => Ok(Self { _reader: Some(reader) }),
            Err(OpenError::Other(_)) => Ok(Self { _reader: None }),
            Err(why) => Err(why.failure(words(["unable to read ".as_ref(), path.as_os_str()]))),
        }
    }
}
