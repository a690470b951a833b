//! Lines for the standard error, which may be read by no process, or not now.
//!
//! A write to a full pipe waits for the pipe's reader, and a supervisor must not: no service would be
//! started again or stopped. What cannot be written now is kept, up to a limit, and written later.
//! The description that other processes share stays as it is: a service's own writes wait as ever.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use fs_err::os::unix::fs::OpenOptionsExt;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{SFlag, fstat};

use crate::log::without_sigpipe;
use crate::procfs;
use crate::signal::{Signal, SignalSet};

/// How many bytes of lines are kept.
const LIMIT: usize = 64 * 1024;

/// A pipe that has room at all takes so much in one piece.
const PIECE: usize = 4096;

/// Writes lines, and keeps those that cannot be written now.
#[derive(Debug, Default)]
pub(crate) struct OutputQueue {
    /// Found out when there is a first line.
    output: Option<OutputTarget>,
    waiting: VecDeque<Vec<u8>>,
    /// How many bytes of them.
    size: usize,
    /// Whether a part of the first of them is written.
    is_begun: bool,
    /// How many lines there was no room for, neither there nor here.
    dropped: usize,
}

/// Where lines go, and how to write there without waiting.
#[derive(Debug)]
struct OutputTarget {
    /// Shared with other processes.
    inherited: BorrowedFd<'static>,
    mode: WriteMode,
}

#[derive(Debug)]
enum WriteMode {
    /// Through an opening of its own, which is set so.
    Reopened(OwnedFd),
    /// Each call says so: a socket cannot be opened again.
    Socket,
    /// Asking for room first. A file always has some. For a pipe this is a makeshift: another process may
    /// fill it after the answer.
    Asked,
}

impl OutputTarget {
    fn standard_error() -> Self {
        // SAFETY: the number is never closed in a process that has this, only replaced.
        Self::like(unsafe { BorrowedFd::borrow_raw(libc::STDERR_FILENO) })
    }

    fn like(inherited: BorrowedFd<'static>) -> Self {
        let kind = fstat(inherited)
            .map_or(SFlag::S_IFREG, |about| SFlag::from_bits_truncate(about.st_mode) & SFlag::S_IFMT);
        let mode = match kind {
            SFlag::S_IFSOCK => WriteMode::Socket,
            // A second opening of a file would begin at its beginning.
            SFlag::S_IFIFO | SFlag::S_IFCHR => {
                reopen(inherited).map_or(WriteMode::Asked, WriteMode::Reopened)
            }
            _ => WriteMode::Asked,
        };
        Self { inherited, mode }
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        match &self.mode {
            WriteMode::Reopened(own) => own.as_fd(),
            WriteMode::Socket | WriteMode::Asked => self.inherited,
        }
    }

    fn write(&self, text: &[u8]) -> Result<usize, Errno> {
        // A terminal may stop a process that writes to it in the background.
        let before = SignalSet::of(&[Signal::TTOU]).block();
        let written = self.write_some(text);
        before.set_as_mask();
        written
    }

    fn write_some(&self, text: &[u8]) -> Result<usize, Errno> {
        match &self.mode {
            WriteMode::Reopened(own) => without_sigpipe(|| nix::unistd::write(own, text)),
            WriteMode::Socket => {
                send(self.inherited.as_raw_fd(), text, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)
            }
            WriteMode::Asked if self.has_room_within(Duration::ZERO) => {
                let piece = text.get(..PIECE).unwrap_or(text);
                without_sigpipe(|| nix::unistd::write(self.inherited, piece))
            }
            WriteMode::Asked => Err(Errno::EAGAIN),
        }
    }

    fn has_room_within(&self, timeout: Duration) -> bool {
        let mut asked = [PollFd::new(self.descriptor(), PollFlags::POLLOUT)];
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::ZERO);
        // What cannot be asked is tried.
        poll(&mut asked, timeout).map_or(true, |ready| ready > 0)
    }
}

/// Opens what a descriptor leads to once more; not where /proc is missing, or the right to.
fn reopen(inherited: BorrowedFd<'_>) -> Option<OwnedFd> {
    let path = procfs::own_descriptor(inherited.as_raw_fd());
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = fs_err::OpenOptions::new().write(true).custom_flags(flags.bits()).open(path).ok()?;
    Some(file.into_file().into())
}

impl OutputQueue {
    /// Takes a line, with its end, and writes what there is room for. The oldest lines are dropped when
    /// there are too many: the newest show the present state. `notice` makes the line that reports it.
    pub(crate) fn post(&mut self, line: Vec<u8>, notice: impl Fn(usize) -> Vec<u8>) {
        self.size += line.len();
        self.waiting.push_back(line);
        let oldest = usize::from(self.is_begun);
        while self.size > LIMIT
            && let Some(line) = self.waiting.remove(oldest)
        {
            self.size -= line.len();
            self.dropped += 1;
        }
        self.flush(notice);
    }

    /// Writes as much as there is room for; before anything else, how many lines were dropped.
    pub(crate) fn flush(&mut self, notice: impl Fn(usize) -> Vec<u8>) {
        loop {
            let is_notice = self.dropped > 0 && !self.is_begun;
            let line = if is_notice { Some(notice(self.dropped)) } else { self.waiting.front().cloned() };
            let Some(line) = line else { return };
            match self.output.get_or_insert_with(OutputTarget::standard_error).write(&line) {
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                Ok(written) if written > 0 => self.written(is_notice, &line, written),
                // It never will be.
                Ok(_) | Err(_) => self.written(is_notice, &line, line.len()),
            }
        }
    }

    /// The line that was next is dealt with, and so much of it is written.
    fn written(&mut self, is_notice: bool, line: &[u8], length: usize) {
        if is_notice {
            self.dropped = 0;
        } else {
            self.size -= self.waiting.pop_front().map_or(0, |line| line.len());
        }
        let rest = line.get(length..).unwrap_or_default();
        self.is_begun = !rest.is_empty();
        if self.is_begun {
            self.size += rest.len();
            self.waiting.push_front(rest.to_vec());
        }
    }

    /// What will have room for the lines that wait, if any do.
    pub(crate) fn unsaid(&self) -> Option<BorrowedFd<'_>> {
        self.descriptor().filter(|_| !self.waiting.is_empty())
    }

    /// Where lines go, once there was one.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.output.as_ref().map(OutputTarget::descriptor)
    }

    /// Gives a reader that is only slow a moment for what is left.
    pub(crate) fn conclude(&mut self, timeout: Duration, notice: impl Fn(usize) -> Vec<u8>) {
        let end = Instant::now() + timeout;
        while !self.waiting.is_empty()
            && let Some(output) = &self.output
            && output.has_room_within(end.saturating_duration_since(Instant::now()))
            && Instant::now() < end
        {
            self.flush(&notice);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, Read, pipe};
    use std::os::unix::net::UnixStream;

    use super::*;

    /// An queue for a descriptor that is open until the end of the test.
    fn on(descriptor: &impl AsFd) -> OutputQueue {
        // SAFETY: each test keeps it open for as long as the queue.
        let inherited = unsafe { BorrowedFd::borrow_raw(descriptor.as_fd().as_raw_fd()) };
        OutputQueue { output: Some(OutputTarget::like(inherited)), ..OutputQueue::default() }
    }

    /// An queue for which the pipe cannot be opened again.
    fn without_proc(descriptor: &impl AsFd) -> OutputQueue {
        let mut queue = on(descriptor);
        queue.output.as_mut().expect("an output").mode = WriteMode::Asked;
        queue
    }

    fn notice(dropped: usize) -> Vec<u8> {
        format!("{dropped} dropped\n").into_bytes()
    }

    fn say(queue: &mut OutputQueue, line: &str) {
        queue.post(format!("{line}\n").into_bytes(), notice);
    }

    /// Everything that was written to a full output, once it is read.
    fn read_later(mut reader: impl Read, writer: impl AsFd, mut queue: OutputQueue) -> String {
        let mut text = Vec::new();
        let mut piece = [0; 4096];
        while queue.unsaid().is_some() {
            let length = reader.read(&mut piece).expect("a pipe");
            text.extend_from_slice(&piece[..length]);
            queue.flush(notice);
        }
        drop((queue, writer));
        reader.read_to_end(&mut text).expect("the end of a pipe");
        String::from_utf8(text).expect("a text")
    }

    #[test]
    fn what_is_not_read_is_kept_and_the_oldest_is_dropped_and_counted() {
        for way in [on, without_proc] {
            let (reader, writer) = pipe().expect("a pipe");
            let mut queue = way(&writer);
            // Far more than a pipe and the queue can hold.
            let count = 20_000;
            for number in 0..count {
                say(&mut queue, &format!("line {number}"));
            }
            assert!(queue.size <= LIMIT && queue.unsaid().is_some());
            let text = read_later(reader, writer, queue);
            let (mut said, mut dropped) = (0, 0);
            for line in text.lines() {
                match line.strip_suffix(" dropped") {
                    Some(number) => dropped = number.parse().expect("a number"),
                    None => said += 1,
                }
            }
            assert!(dropped > 0);
            assert_eq!(said + dropped, count);
            assert!(text.ends_with(&format!("line {}\n", count - 1)));
        }
    }

    #[test]
    fn a_socket_that_is_full_is_not_waited_for() {
        let (writer, reader) = UnixStream::pair().expect("sockets");
        let mut queue = on(&writer);
        for number in 0..20_000 {
            say(&mut queue, &format!("line {number}"));
        }
        assert!(queue.unsaid().is_some());
        assert!(read_later(reader, writer, queue).ends_with("line 19999\n"));
    }

    #[test]
    fn the_inherited_descriptor_waits_as_before() {
        let (_reader, writer): (PipeReader, _) = pipe().expect("a pipe");
        let mut queue = on(&writer);
        say(&mut queue, "a line");
        assert!(matches!(queue.output, Some(OutputTarget { mode: WriteMode::Reopened(_), .. })));
        let flags = nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_GETFL).expect("flags");
        assert!(!OFlag::from_bits_truncate(flags).contains(OFlag::O_NONBLOCK));
    }

    #[test]
    fn where_no_reader_is_left_nothing_is_kept() {
        let (reader, writer) = pipe().expect("a pipe");
        let mut queue = on(&writer);
        drop(reader);
        say(&mut queue, "a line");
        assert!(queue.unsaid().is_none() && queue.size == 0);
    }

    #[test]
    fn a_file_is_written_where_it_ends() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log");
        fs_err::write(&path, "before\n").expect("a file");
        let file = fs_err::OpenOptions::new().append(true).open(&path).expect("a file");
        let mut queue = on(file.file());
        say(&mut queue, "a line");
        let text = fs_err::read_to_string(&path).expect("a file");
        assert_eq!(text, "before\na line\n");
    }
}
