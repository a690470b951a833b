//! Messages on stderr: runit's one line, in one write that never blocks.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::error::Error;
use crate::output_queue::OutputQueue;
use crate::printable::printable;
use crate::signal::{Signal, SignalSet};

/// How long a repeated error is only counted. After a longer pause it is written again.
const REPEAT_WINDOW: Duration = Duration::from_secs(60);

/// How many different errors are remembered.
const REMEMBERED: usize = 16;

/// How long a fatal message waits for a reader that is only slow.
const FATAL_TIMEOUT: Duration = Duration::from_millis(100);

/// Says things on stderr, for one program (and one service), and never waits for a reader: what cannot
/// be written now is kept, up to 64 KiB, and written with the next message or [`flush`](Self::flush).
///
/// A repeated warning is written once and then counted: it is written again at the 10th, 100th, ...
/// time, with the count.
#[derive(Debug, Default)]
pub struct Logger {
    prefix: OsString,
    logged: Vec<LoggedMessage>,
    kept: Option<Vec<u8>>,
    queue: OutputQueue,
}

#[derive(Debug)]
struct LoggedMessage {
    message: Vec<u8>,
    times: u64,
    last: Instant,
}

impl Logger {
    /// For messages that begin with `prefix`, such as `runsv web`.
    pub fn new(prefix: impl Into<OsString>) -> Self {
        Self { prefix: prefix.into(), ..Self::default() }
    }

    /// `PREFIX: fatal: MESSAGE`, the last one of the program.
    pub fn fatal(&mut self, failure: &Error) {
        let line = self.line("fatal: ", &failure.to_bytes());
        self.write(&line);
        self.conclude(FATAL_TIMEOUT);
    }

    /// `PREFIX: warning: MESSAGE`, unless it is a repetition.
    pub fn warn(&mut self, failure: &Error) {
        self.log_once("warning: ", failure.to_bytes());
    }

    /// `PREFIX: fatal: MESSAGE` on behalf of a child that could not start, unless it is a
    /// repetition.
    pub fn fatal_in_child(&mut self, failure: &Error) {
        self.log_once("fatal: ", failure.to_bytes());
    }

    /// `PREFIX: MESSAGE`.
    pub fn say(&mut self, message: &str) {
        let line = self.line("", message.as_bytes());
        self.write(&line);
    }

    /// Keeps lines from now on instead of writing them, for [`Logger::take_kept`]: a program
    /// that reads its own stderr needs no pipe for them.
    pub fn keep(&mut self) {
        self.kept.get_or_insert_default();
    }

    /// The lines kept since the last time, each with its line end.
    pub fn take_kept(&mut self) -> Vec<u8> {
        self.kept.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Forgets which messages were written: something has changed, so none is a repetition.
    pub fn forget(&mut self) {
        self.logged.clear();
    }

    fn log_once(&mut self, severity: &str, message: Vec<u8>) {
        let now = Instant::now();
        self.logged.retain(|logged| now.saturating_duration_since(logged.last) < REPEAT_WINDOW);
        let mut line = self.line(severity, &message);
        if let Some(logged) = self.logged.iter_mut().find(|logged| logged.message == message) {
            logged.times += 1;
            logged.last = now;
            if !is_power_of_ten(logged.times) {
                return;
            }
            line.extend_from_slice(format!(" ({} times)", logged.times).as_bytes());
        } else {
            if self.logged.len() == REMEMBERED {
                self.logged.remove(0);
            }
            self.logged.push(LoggedMessage { message, times: 1, last: now });
        }
        self.write(&line);
    }

    fn write(&mut self, line: &[u8]) {
        let line = whole_line(line);
        match &mut self.kept {
            Some(kept) => kept.extend(line),
            None => self.queue.post(line, |dropped| notice(&self.prefix, dropped)),
        }
    }

    /// Writes as much as there is room for of what could not be written before.
    pub fn flush(&mut self) {
        self.queue.flush(|dropped| notice(&self.prefix, dropped));
    }

    /// Gives a reader that is only slow this long for what could not be written before.
    pub fn conclude(&mut self, timeout: Duration) {
        self.queue.conclude(timeout, |dropped| notice(&self.prefix, dropped));
    }

    /// What will have room for messages that could not be written yet, if there are any.
    pub fn unsaid(&self) -> Option<BorrowedFd<'_>> {
        self.queue.unsaid()
    }

    /// Where messages go, once there was one.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.queue.descriptor()
    }

    fn line(&self, severity: &str, message: &[u8]) -> Vec<u8> {
        [self.prefix.as_bytes(), b": ", severity.as_bytes(), message].concat()
    }
}

/// The line that reports lines for which there was no room.
fn notice(prefix: &OsStr, dropped: usize) -> Vec<u8> {
    let text = format!(": warning: {dropped} lines dropped: stderr was not read");
    whole_line(&[prefix.as_bytes(), text.as_bytes()].concat())
}

/// Writes a line to stderr in one go. A reader that is gone is no reason to die.
pub fn write_line(line: &[u8]) {
    write_text(std::io::stderr(), &whole_line(line));
}

/// Writes how a program is to be called, and the empty line that follows (GEN-2).
pub fn write_usage(usage: &[u8]) {
    write_text(std::io::stderr(), &[&whole_line(usage)[..], b"\n"].concat());
}

/// A line with its end, which no name in it can anticipate.
fn whole_line(line: &[u8]) -> Vec<u8> {
    [&*printable(line), b"\n"].concat()
}

/// Writes a text of the program's own to a descriptor in one go, whether or not it is read.
pub fn write_text(descriptor: impl AsFd, text: &[u8]) {
    write_unbroken(descriptor.as_fd(), text);
}

fn write_unbroken(descriptor: BorrowedFd<'_>, mut text: &[u8]) {
    while !text.is_empty() {
        match without_sigpipe(|| nix::unistd::write(descriptor, text)) {
            Ok(written) => text = text.get(written..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(_) => break,
        }
    }
}

/// Writes without being ended by it: a SIGPIPE that the write itself causes is taken off again before
/// it can be delivered. The disposition of SIGPIPE is inherited and stays as it is.
pub fn without_sigpipe(write: impl FnOnce() -> Result<usize, Errno>) -> Result<usize, Errno> {
    let broken_pipe = SignalSet::of(&[Signal::PIPE]);
    let before = broken_pipe.block();
    let written = write();
    if written == Err(Errno::EPIPE) && !before.contains(Signal::PIPE) {
        broken_pipe.take_pending();
    }
    before.set_as_mask();
    written
}

fn is_power_of_ten(mut number: u64) -> bool {
    while number >= 10 && number.is_multiple_of(10) {
        number /= 10;
    }
    number == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_in_runits_words() {
        let failure = Error::new("unable to lock supervise/lock", Errno::EAGAIN);
        let logger = Logger::new("runsv ./web");
        assert_eq!(
            logger.line("fatal: ", &failure.to_bytes()),
            b"runsv ./web: fatal: unable to lock supervise/lock: temporary failure"
        );
    }

    #[test]
    fn a_name_ends_no_line() {
        let mut logger = Logger::new("runsvdir a\nb");
        logger.keep();
        logger.say("c\x1b[2J\n");
        assert_eq!(logger.take_kept(), b"runsvdir a?b: c?[2J?\n");
    }

    #[test]
    fn a_warning_that_is_kept_is_not_lost() {
        let mut logger = Logger::new("runsvdir s");
        logger.keep();
        logger.warn(&Error::plain("log service disabled."));
        logger.warn(&Error::plain("log service disabled."));
        assert_eq!(logger.take_kept(), b"runsvdir s: warning: log service disabled.\n");
        assert_eq!(logger.take_kept(), b"");
    }

    #[test]
    fn only_every_power_of_ten_is_said_again() {
        let logged: Vec<u64> = (1..=1000).filter(|times| is_power_of_ten(*times)).collect();
        assert_eq!(logged, [1, 10, 100, 1000]);
    }
}
