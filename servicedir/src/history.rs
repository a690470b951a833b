//! `supervise/.history`: what happened to a service lately, in a file that does not grow without
//! bounds. runsv writes it, `sv why` reads it; nothing else depends on it.
//!
//! The name begins with a dot because whoever lists `supervise/` expects runit's files there.
//!
//! Each line is `@` and the 24 hexadecimal digits of a TAI64N label, a space, and a few words.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::SystemTime;

use fs_err::os::unix::fs::OpenOptionsExt as _;
use fs_err::{File, OpenOptions};

use crate::layout::ServiceDir;
use crate::status::Stamp;

/// When the file has this many bytes, the older half of it goes.
pub const LIMIT: u64 = 8192;

/// How many lines wait for news at the most.
const WAITING: usize = 8;

/// The writer's end.
pub struct History {
    path: PathBuf,
    file: Option<(File, u64)>,
    waiting: VecDeque<String>,
}

impl History {
    /// For the service at `dir`; nothing is opened before there is something to write.
    pub fn new(dir: &ServiceDir) -> Self {
        Self { path: dir.file("supervise/.history"), file: None, waiting: VecDeque::new() }
    }

    /// The file is in a new place: opens it again with the next line.
    pub fn start_anew(&mut self) {
        self.file = None;
    }

    /// Adds a line, if there is a file; else it waits for news.
    pub fn add(&mut self, words: &str) -> io::Result<()> {
        if self.waiting.len() == WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back(format!("{} {words}\n", Stamp::of(SystemTime::now()).label()));
        if self.file.is_some() { self.flush() } else { Ok(()) }
    }

    /// Adds a line that makes what waits worth a file: of a service that just runs there is
    /// nothing to tell that its status does not.
    pub fn add_news(&mut self, words: &str) -> io::Result<()> {
        self.add(words)?;
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        let lines: String = self.waiting.drain(..).collect();
        let result = self.write(lines.as_bytes());
        if result.is_err() {
            self.file = None;
        }
        result
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let (mut file, size) = match self.file.take() {
            Some((_, size)) if size >= LIMIT => self.shorten()?,
            Some(open) => open,
            None => {
                let file = OpenOptions::new()
                    .append(true)
                    .create(true)
                    .mode(0o644)
                    .custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits())
                    .open(&self.path)?;
                let size = file.metadata()?.len();
                (file, size)
            }
        };
        file.write_all(line)?;
        self.file = Some((file, size.saturating_add(u64::try_from(line.len()).unwrap_or(0))));
        Ok(())
    }

    /// Puts a file with the newer half in the place of the old one.
    fn shorten(&self) -> io::Result<(File, u64)> {
        let text = fs_err::read(&self.path)?;
        let middle = text.get(text.len() / 2..).unwrap_or_default();
        let start = middle.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let rest = middle.get(start..).unwrap_or_default();
        let fresh = self.path.with_file_name(".history.new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&fresh)?;
        file.write_all(rest)?;
        fs_err::rename(&fresh, &self.path)?;
        Ok((file, u64::try_from(rest.len()).unwrap_or(0)))
    }
}

/// One line of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub when: Stamp,
    /// What.
    pub what: String,
}

/// What is remembered of the service at `dir`, oldest first; lines nobody could have written are
/// left out.
pub fn read(dir: &ServiceDir) -> io::Result<Vec<Entry>> {
    let text = fs_err::read(dir.file("supervise/.history"))?;
    Ok(String::from_utf8_lossy(&text).lines().filter_map(parse).collect())
}

fn parse(line: &str) -> Option<Entry> {
    let (label, what) = line.strip_prefix('@')?.split_once(' ')?;
    let (seconds, nanoseconds) = label.split_at_checked(16)?;
    let when = Stamp {
        seconds: u64::from_str_radix(seconds, 16).ok()?,
        nanoseconds: u32::from_str_radix(nanoseconds, 16).ok()?,
    };
    Some(Entry { when, what: what.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_is_bounded_and_keeps_the_newest() {
        let dir = std::env::temp_dir().join(format!("history-{}", std::process::id()));
        fs_err::create_dir_all(dir.join("supervise")).expect("a directory");
        let service = ServiceDir::at(&dir);
        let mut history = History::new(&service);
        for number in 0..2000 {
            history.add_news(&format!("event {number}")).expect("a line");
        }
        let size = fs_err::metadata(dir.join("supervise/.history")).expect("a file").len();
        let entries = read(&service).expect("a history");
        fs_err::remove_dir_all(&dir).expect("cleaned up");
        assert!(size <= LIMIT + 100, "{size} bytes");
        assert!(entries.len() > 50);
        assert_eq!(entries.last().map(|entry| entry.what.as_str()), Some("event 1999"));
        assert!(entries.is_sorted_by_key(|entry| entry.when));
    }

    #[test]
    fn there_is_no_file_before_there_is_news() {
        let dir = std::env::temp_dir().join(format!("history-quiet-{}", std::process::id()));
        fs_err::create_dir_all(dir.join("supervise")).expect("a directory");
        let service = ServiceDir::at(&dir);
        let mut history = History::new(&service);
        for number in 0..20 {
            history.add(&format!("event {number}")).expect("a line");
        }
        assert!(read(&service).is_err());
        history.add_news("news").expect("a line");
        let entries = read(&service).expect("a history");
        fs_err::remove_dir_all(&dir).expect("cleaned up");
        let words: Vec<&str> = entries.iter().map(|entry| entry.what.as_str()).collect();
        assert_eq!(words.len(), WAITING);
        assert_eq!((words[0], words[WAITING - 1]), ("event 13", "news"));
    }

    #[test]
    fn a_line_that_is_none_is_left_out() {
        assert_eq!(parse("junk"), None);
        assert_eq!(parse("@zz x"), None);
        let entry = parse("@400000006b00f7383856c484 told down").expect("an entry");
        assert_eq!(
            (entry.when.label().as_str(), entry.what.as_str()),
            ("@400000006b00f7383856c484", "told down")
        );
    }
}
