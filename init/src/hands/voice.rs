//! Hands: what init says, on a standard error that may be read by nobody, or not now.
//!
//! A write to a full pipe waits for its reader, and process 1 must wait for nobody: not one service
//! would be told to stop. What cannot be written now is kept, up to a limit, and written later.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use fs_err::os::unix::fs::OpenOptionsExt;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{SFlag, fstat};
use unix::failure::without_sigpipe;
use unix::signal::SignalSet;
use unix::{Errno, Failure, Reporter, Signal};

/// How many bytes of lines are kept.
const LIMIT: usize = 64 * 1024;

/// A pipe that has room at all takes so much in one piece.
const PIECE: usize = 4096;

/// Says things for init, and never waits for who should read them.
pub struct Voice {
    reporter: Reporter,
    output: Option<Output>,
    waiting: VecDeque<Vec<u8>>,
    /// How many bytes of them.
    size: usize,
    /// Whether a part of the first of them is written.
    is_begun: bool,
    /// How many lines there was no room for, neither there nor here.
    lost: usize,
}

/// Where lines go.
struct Output {
    descriptor: OwnedFd,
    manner: Manner,
}

/// How to write without waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// It is an opening of our own, and set so.
    Set,
    /// Each call says so: a socket cannot be opened again.
    Said,
    /// Asking first: it is shared with the services, which are not to be surprised by a descriptor
    /// that does not wait. A file always has room.
    Asked,
}

impl Output {
    /// The standard error, as it was handed to init.
    fn standard_error() -> Option<Self> {
        std::io::stderr().as_fd().try_clone_to_owned().ok().map(Self::like)
    }

    /// A way to what `inherited` leads to.
    fn like(inherited: OwnedFd) -> Self {
        let kind = fstat(&inherited)
            .map_or(SFlag::S_IFREG, |about| SFlag::from_bits_truncate(about.st_mode) & SFlag::S_IFMT);
        let asked = |descriptor| Self { descriptor, manner: Manner::Asked };
        match kind {
            SFlag::S_IFSOCK => Self { descriptor: inherited, manner: Manner::Said },
            // A second opening of a file would begin at its beginning.
            SFlag::S_IFIFO | SFlag::S_IFCHR => match reopen(&inherited) {
                Some(descriptor) => Self { descriptor, manner: Manner::Set },
                None => asked(inherited),
            },
            _ => asked(inherited),
        }
    }

    fn write(&self, text: &[u8]) -> Result<usize, Errno> {
        // A terminal may stop who writes to it in the background, and COMMAND has the foreground.
        let before = SignalSet::of(&[Signal::TTOU]).block();
        let written = self.write_some(text);
        before.set_as_mask();
        written
    }

    fn write_some(&self, text: &[u8]) -> Result<usize, Errno> {
        let descriptor = &self.descriptor;
        match self.manner {
            Manner::Set => without_sigpipe(|| nix::unistd::write(descriptor, text)),
            Manner::Said => {
                send(descriptor.as_raw_fd(), text, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)
            }
            Manner::Asked if self.has_room_within(Duration::ZERO) => {
                let piece = text.get(..PIECE).unwrap_or(text);
                without_sigpipe(|| nix::unistd::write(descriptor, piece))
            }
            Manner::Asked => Err(Errno::EAGAIN),
        }
    }

    fn has_room_within(&self, patience: Duration) -> bool {
        let mut asked = [PollFd::new(self.descriptor.as_fd(), PollFlags::POLLOUT)];
        let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::ZERO);
        // What cannot be asked is tried.
        poll(&mut asked, patience).map_or(true, |ready| ready > 0)
    }
}

/// Opens what a descriptor leads to once more; not where /proc is missing, or the right to.
fn reopen(inherited: &OwnedFd) -> Option<OwnedFd> {
    let path = format!("/proc/self/fd/{}", inherited.as_raw_fd());
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = fs_err::OpenOptions::new().write(true).custom_flags(flags.bits()).open(path).ok()?;
    Some(file.into_file().into())
}

impl Voice {
    /// A voice on init's standard error.
    pub fn new() -> Self {
        Self::on(Output::standard_error())
    }

    fn on(output: Option<Output>) -> Self {
        let mut reporter = Reporter::new("init");
        reporter.keep();
        Self { reporter, output, waiting: VecDeque::new(), size: 0, is_begun: false, lost: 0 }
    }

    /// `init: MESSAGE`.
    pub fn say(&mut self, message: &str) {
        self.reporter.say(message);
        self.pass_on();
    }

    /// `init: warning: MESSAGE`, unless it was said a moment ago.
    pub fn warn(&mut self, failure: &Failure) {
        self.reporter.warn(failure);
        self.pass_on();
    }

    /// `init: fatal: MESSAGE`.
    pub fn fatal(&mut self, failure: &Failure) {
        self.reporter.fatal(failure);
        self.pass_on();
    }

    /// Takes over what the reporter has made of it.
    fn pass_on(&mut self) {
        let line = self.reporter.take_kept();
        if !line.is_empty() {
            self.keep(line);
            self.flush();
        }
    }

    /// The oldest lines go when there are too many: who comes to read wants to know how it stands.
    fn keep(&mut self, line: Vec<u8>) {
        self.size += line.len();
        self.waiting.push_back(line);
        let oldest = usize::from(self.is_begun);
        while self.size > LIMIT
            && let Some(line) = self.waiting.remove(oldest)
        {
            self.size -= line.len();
            self.lost += 1;
        }
    }

    /// Writes as much as there is room for; before anything else, how many lines are missing.
    pub fn flush(&mut self) {
        loop {
            let is_notice = self.lost > 0 && !self.is_begun;
            let line = if is_notice { Some(self.notice()) } else { self.waiting.front().cloned() };
            let Some(line) = line else { return };
            match self.output.as_ref().map_or(Err(Errno::EBADF), |output| output.write(&line)) {
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                Ok(written) if written > 0 => self.written(is_notice, &line, written),
                // It never will be.
                Ok(_) | Err(_) => self.written(is_notice, &line, line.len()),
            }
        }
    }

    fn notice(&mut self) -> Vec<u8> {
        let missing = format!("warning: nobody has read this for long: {} lines are missing", self.lost);
        self.reporter.say(&missing);
        self.reporter.take_kept()
    }

    /// The line that was next is dealt with, and so much of it is written.
    fn written(&mut self, is_notice: bool, line: &[u8], length: usize) {
        if is_notice {
            self.lost = 0;
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
    pub fn unsaid(&self) -> Option<BorrowedFd<'_>> {
        self.descriptor().filter(|_| !self.waiting.is_empty())
    }

    /// Where lines go.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.output.as_ref().map(|output| output.descriptor.as_fd())
    }

    /// Gives a reader that is only slow a moment for what is left.
    pub fn conclude(&mut self, patience: Duration) {
        let end = Instant::now() + patience;
        while !self.waiting.is_empty()
            && let Some(output) = &self.output
            && output.has_room_within(end.saturating_duration_since(Instant::now()))
            && Instant::now() < end
        {
            self.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, Read, pipe};
    use std::os::unix::net::UnixStream;

    use super::*;

    /// Everything that a full output was told, once somebody reads it.
    fn read_later(mut reader: impl Read, mut voice: Voice) -> String {
        let mut text = Vec::new();
        let mut piece = [0; 4096];
        while voice.unsaid().is_some() {
            let length = reader.read(&mut piece).expect("a pipe");
            text.extend_from_slice(&piece[..length]);
            voice.flush();
        }
        drop(voice);
        reader.read_to_end(&mut text).expect("the end of a pipe");
        String::from_utf8(text).expect("a text")
    }

    fn on_a_pipe(manner: Manner) -> (PipeReader, Voice) {
        let (reader, writer) = pipe().expect("a pipe");
        let output = match manner {
            Manner::Set => Output::like(writer.into()),
            manner => Output { descriptor: writer.into(), manner },
        };
        assert_eq!(output.manner, manner);
        (reader, Voice::on(Some(output)))
    }

    #[test]
    fn what_nobody_reads_is_kept_and_the_oldest_is_lost_and_counted() {
        for manner in [Manner::Set, Manner::Asked] {
            let (reader, mut voice) = on_a_pipe(manner);
            // Far more than a pipe and the voice can hold.
            let count = 20_000;
            for number in 0..count {
                voice.say(&format!("line {number}"));
            }
            assert!(voice.size <= LIMIT && voice.unsaid().is_some());
            let text = read_later(reader, voice);
            let (mut said, mut missing) = (0, 0);
            for line in text.lines() {
                match line.strip_prefix("init: warning: nobody has read this for long: ") {
                    Some(rest) => {
                        missing = rest.split(' ').next().expect("a word").parse().expect("a number");
                    }
                    None => said += 1,
                }
            }
            assert!(missing > 0);
            assert_eq!(said + missing, count, "{manner:?}");
            assert!(text.ends_with(&format!("init: line {}\n", count - 1)));
        }
    }

    #[test]
    fn a_socket_that_is_full_is_not_waited_for() {
        let (writer, reader) = UnixStream::pair().expect("sockets");
        let output = Output::like(writer.into());
        assert_eq!(output.manner, Manner::Said);
        let mut voice = Voice::on(Some(output));
        for number in 0..20_000 {
            voice.say(&format!("line {number}"));
        }
        assert!(voice.unsaid().is_some());
        assert!(read_later(reader, voice).ends_with("init: line 19999\n"));
    }

    #[test]
    fn the_inherited_descriptor_waits_as_before() {
        let (_reader, writer) = pipe().expect("a pipe");
        let mut voice = Voice::on(Some(Output::like(writer.try_clone().expect("a copy").into())));
        voice.say("a line");
        let flags = nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_GETFL).expect("flags");
        assert!(!OFlag::from_bits_truncate(flags).contains(OFlag::O_NONBLOCK));
    }

    #[test]
    fn a_reader_that_is_gone_is_no_reason_to_keep_anything() {
        let (reader, mut voice) = on_a_pipe(Manner::Set);
        drop(reader);
        voice.say("a line");
        assert!(voice.unsaid().is_none() && voice.size == 0);
    }

    #[test]
    fn a_file_is_written_where_it_ends() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log");
        fs_err::write(&path, "before\n").expect("a file");
        let file = fs_err::OpenOptions::new().append(true).open(&path).expect("a file");
        let mut voice = Voice::on(Some(Output::like(file.into_file().into())));
        voice.say("a line");
        let text = fs_err::read_to_string(&path).expect("a file");
        assert_eq!(text, "before\ninit: a line\n");
    }
}
