//! Effects: the end of all that is written to stderr, shown in this process's own title (RSD-17).

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag};
use sys::process::title::ShownArgument;
use sys::{Errno, Error, Poller};

/// The shortest argument that is accepted.
const SHORTEST: usize = 7;

/// So much of the argument stays as it is: `log: `.
const HEAD: usize = 5;

/// How often a dot shows that time passes.
const DOT: Duration = Duration::from_secs(900);

/// How many reads before other events have their turn.
const READS_PER_TURN: usize = 64;

/// The log in the title.
pub struct RollingLog {
    shown: ShownArgument,
    text: Vec<u8>,
    reader: OwnedFd,
    next_dot: Instant,
}

impl RollingLog {
    /// Makes stderr, for this process and all that it starts, a pipe that is read here, and shows
    /// what comes through it in the argument with this index.
    ///
    /// Only the reading end does not block: the other end is the stderr of services, and their writes
    /// must not be refused (B37).
    pub fn start(index: usize, poller: &Poller, token: usize, now: Instant) -> Result<Self, Vec<Error>> {
        let disabled = |why: &str| vec![Error::plain(why), Error::plain("log service disabled.")];
        let Some(shown) = ShownArgument::find(index) else {
            return Err(disabled("unable to find log in memory."));
        };
        let text = shown.text();
        if text.len() < SHORTEST {
            return Err(disabled("log must have at least seven characters."));
        }
        let (reader, writer) =
            nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(|_| disabled("unable to create pipe for log."))?;
        let settle = || -> io::Result<()> {
            nix::fcntl::fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
            poller.watch(&reader, token)?;
            nix::unistd::dup2_stderr(&writer)?;
            Ok(())
        };
        settle().map_err(|_| disabled("unable to set filedescriptor for log."))?;
        let mut log = Self { shown, text, reader, next_dot: now };
        log.tick(now);
        Ok(log)
    }

    /// Shows what was written; true if there is more.
    pub fn read(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let mut news = Vec::new();
        let mut has_more = true;
        for _ in 0..READS_PER_TURN {
            match nix::unistd::read(&self.reader, &mut buffer) {
                Ok(0) => has_more = false,
                Ok(length) => news.extend_from_slice(buffer.get(..length).unwrap_or_default()),
                Err(Errno::EINTR) => {}
                Err(_) => has_more = false,
            }
            if !has_more {
                break;
            }
        }
        self.add(&news);
        has_more
    }

    /// Shows `news` at the end, without its NUL bytes.
    pub fn add(&mut self, news: &[u8]) {
        if !news.is_empty() {
            roll(&mut self.text, news);
            self.shown.show(&self.text);
        }
    }

    /// Shows a dot if it is time for one.
    pub fn tick(&mut self, now: Instant) {
        if self.next_dot <= now {
            self.add(b".");
            self.next_dot = now + DOT;
        }
    }

    /// When the next dot is due.
    pub fn next_deadline(&self) -> Instant {
        self.next_dot
    }
}

/// Pushes `news` into `text` from the right; its head stays.
fn roll(text: &mut [u8], news: &[u8]) {
    let Some(tail) = text.get_mut(HEAD..) else { return };
    let length = tail.len();
    let news: Vec<u8> = news.iter().copied().filter(|byte| *byte != 0).collect();
    let last = news.get(news.len().saturating_sub(length)..).unwrap_or_default();
    tail.rotate_left(last.len());
    if let Some(place) = tail.get_mut(length - last.len()..) {
        place.copy_from_slice(last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rolled(text: &str, news: &str) -> String {
        let mut text = text.as_bytes().to_vec();
        roll(&mut text, news.as_bytes());
        String::from_utf8_lossy(&text).into_owned()
    }

    #[test]
    fn the_last_bytes_are_shown_behind_the_head() {
        assert_eq!(rolled("1234567", "file does not exist\n"), "12345t\n");
        assert_eq!(rolled("log: ......", "ab"), "log: ....ab");
        assert_eq!(rolled("log: ......", "abcdef"), "log: abcdef");
        assert_eq!(rolled("log: ......", ""), "log: ......");
    }

    #[test]
    fn nul_bytes_are_left_out() {
        assert_eq!(rolled("log: ....", "a\0b\0"), "log: ..ab");
        assert_eq!(rolled("log: ....", "\0"), "log: ....");
    }
}
