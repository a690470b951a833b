//! `supervise/.history`: the recent events of a service, in a file of bounded size. runsv writes it, `sv why`,
//! `sv health` and init read it. `docs/history-format.md` describes it for other programs.
//!
//! The name begins with a dot because programs that list `supervise/` expect only runit's files there.
//!
//! Each line is `@` and the 24 hexadecimal digits of a TAI64N label, a space, and the event's text
//! ([`HistoryEvent`]), or a message.

mod event;
mod unrequested_end;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use sys::{ExitStatus, open_regular};

use crate::layout::ServiceDir;
use crate::tai64n::Tai64n;

pub use event::{HistoryEvent, PERMANENT_FAILURE, PROGRAMS};
pub use unrequested_end::{UnrequestedEnd, unrequested_ends};

/// When the file has this many bytes, its older half is dropped.
pub const LIMIT: usize = 8192;

/// How many lines are kept in memory before there is a file.
const WAITING: usize = 8;

/// The writer's end.
pub struct History {
    path: PathBuf,
    /// The file, and how many bytes it has.
    file: Option<(File, usize)>,
    waiting: VecDeque<String>,
    /// Whether one of the waiting lines makes them worth a file.
    has_news: bool,
}

impl History {
    /// The history of the service at `dir`. No file is opened before there is something to write.
    pub fn new(dir: &ServiceDir) -> Self {
        Self { path: dir.history(), file: None, waiting: VecDeque::new(), has_news: false }
    }

    /// The path leads to another directory now: opens the file again for the next line.
    pub fn start_anew(&mut self) {
        self.file = None;
    }

    /// Whether another file would be opened or made if a line were added now.
    pub fn opens(&self, is_news: bool) -> bool {
        match &self.file {
            Some((file, size)) if is_linked(file) => *size >= LIMIT,
            _ => is_news || self.has_news,
        }
    }

    /// Adds a line to the file, or keeps it in memory while there is none: the first such line and the
    /// newest ones.
    pub fn add(&mut self, words: &str) -> io::Result<()> {
        if self.waiting.len() == WAITING {
            // The first line records the start of runsv.
            self.waiting.remove(1);
        }
        self.waiting.push_back(format!("{} {words}\n", Tai64n::of(SystemTime::now()).label()));
        if self.file.is_some() || self.has_news { self.flush() } else { Ok(()) }
    }

    /// Adds a line that is worth a file, and with it those that wait. The status files already tell all
    /// there is to tell of a service that just runs.
    pub fn add_news(&mut self, words: &str) -> io::Result<()> {
        self.has_news = true;
        self.add(words)
    }

    /// Writes the waiting lines; on failure they keep waiting.
    fn flush(&mut self) -> io::Result<()> {
        let lines: String = self.waiting.iter().map(String::as_str).collect();
        self.file = Some(self.write(lines.as_bytes())?);
        self.waiting.clear();
        self.has_news = false;
        Ok(())
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<(File, usize)> {
        let (mut file, size) = match self.file.take().filter(|(file, _)| is_linked(file)) {
            Some((_, size)) if size >= LIMIT => self.shorten()?,
            Some(open) => open,
            None => {
                let file = open(&self.path, ADD)?;
                let size = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
                (file, size)
            }
        };
        if let Err(error) = file.write_all(lines) {
            // Half a line would be read as one with the next.
            let _ = file.set_len(u64::try_from(size).unwrap_or(u64::MAX));
            return Err(error);
        }
        Ok((file, size.saturating_add(lines.len())))
    }

    /// Replaces the file by one with its newest lines only.
    fn shorten(&self) -> io::Result<(File, usize)> {
        let half = sys::read_end(open(&self.path, OFlag::O_RDONLY)?, LIMIT / 2)?;
        let start = half.iter().position(|byte| *byte == b'\n').map_or(half.len(), |end| end + 1);
        let rest = half.get(start..).unwrap_or_default();
        let fresh = self.path.with_file_name(".history.new");
        let mut file = open(&fresh, ADD | OFlag::O_TRUNC)?;
        file.write_all(rest)?;
        fs_err::rename(&fresh, &self.path)?;
        Ok((file, rest.len()))
    }
}

/// How the writer opens the file.
const ADD: OFlag = OFlag::O_WRONLY.union(OFlag::O_APPEND).union(OFlag::O_CREAT);

/// Whether the file still has its name: `supervise/` can be removed and made anew at any time.
fn is_linked(file: &File) -> bool {
    file.metadata().is_ok_and(|about| about.nlink() > 0)
}

fn open(path: &Path, flags: OFlag) -> io::Result<File> {
    Ok(open_regular(path, flags, Mode::from_bits_truncate(0o644))?)
}

/// One line of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The time of the event.
    pub when: Tai64n,
    /// The event; or the text of a line that is none known here.
    pub event: Result<HistoryEvent, String>,
}

impl HistoryEntry {
    /// The entry of a line's text.
    pub fn new(when: Tai64n, text: &str) -> Self {
        Self { when, event: HistoryEvent::parse(text).ok_or_else(|| text.to_owned()) }
    }

    /// If `./run` ended: its exit status, unless that cannot be read, as in a line that was cut off.
    pub fn end_of_run(&self) -> Option<Option<ExitStatus>> {
        match &self.event {
            Ok(HistoryEvent::Ended(exit_status, _)) => Some(Some(*exit_status)),
            Err(text) if text.starts_with("./run ended: ") => Some(None),
            _ => None,
        }
    }
}

/// The entries of the service at `dir`, oldest first. Lines without a label are left out.
pub fn read(dir: &ServiceDir) -> io::Result<Vec<HistoryEntry>> {
    let text = sys::read_end(open(&dir.history(), OFlag::O_RDONLY)?, 2 * LIMIT)?;
    Ok(String::from_utf8_lossy(&text).lines().filter_map(parse).collect())
}

fn parse(line: &str) -> Option<HistoryEntry> {
    let (label, text) = line.strip_prefix('@')?.split_once(' ')?;
    let (seconds, nanoseconds) = label.split_at_checked(16)?;
    let when = Tai64n {
        seconds: u64::from_str_radix(seconds, 16).ok()?,
        nanoseconds: u32::from_str_radix(nanoseconds, 16).ok()?,
    };
    Some(HistoryEntry::new(when, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Command;

    fn text(entry: &HistoryEntry) -> String {
        entry.event.as_ref().map_or_else(String::clone, ToString::to_string)
    }

    /// A service directory with a `supervise/`, which is there as long as the first part is kept.
    fn service() -> (tempfile::TempDir, ServiceDir) {
        let dir = tempfile::tempdir().expect("a directory");
        let service = ServiceDir::at(dir.path());
        fs_err::create_dir(service.supervise()).expect("a directory");
        (dir, service)
    }

    #[test]
    fn the_history_is_bounded_and_keeps_the_newest() {
        let (_dir, service) = service();
        let mut history = History::new(&service);
        for number in 0..2000 {
            history.add_news(&format!("event {number}")).expect("a line");
        }
        let size = fs_err::read(service.history()).expect("a file").len();
        let entries = read(&service).expect("a history");
        assert!(size <= LIMIT + 100, "{size} bytes");
        assert!(entries.len() > 50);
        assert_eq!(entries.last().map(text).as_deref(), Some("event 1999"));
        assert!(entries.is_sorted_by_key(|entry| entry.when));
    }

    #[test]
    fn there_is_no_file_before_there_is_news() {
        let (_dir, service) = service();
        let mut history = History::new(&service);
        for number in 0..20 {
            history.add(&format!("event {number}")).expect("a line");
        }
        assert!(read(&service).is_err());
        history.add_news("news").expect("a line");
        let entries = read(&service).expect("a history");
        let words: Vec<String> = entries.iter().map(text).collect();
        assert_eq!(words.len(), WAITING);
        assert_eq!([&words[0], &words[1], &words[WAITING - 1]], ["event 0", "event 14", "news"]);
    }

    #[test]
    fn what_cannot_be_written_waits() {
        let (_dir, service) = service();
        let place = service.history();
        fs_err::create_dir(&place).expect("a directory in its place");
        let mut history = History::new(&service);
        history.add_news("news").expect_err("no file");
        fs_err::remove_dir(&place).expect("room");
        history.add("more").expect("a line");
        let entries = read(&service).expect("a history");
        let words: Vec<String> = entries.iter().map(text).collect();
        assert_eq!(words, ["news", "more"]);
    }

    #[test]
    fn a_file_that_was_removed_is_made_anew() {
        let (_dir, service) = service();
        let mut history = History::new(&service);
        history.add_news("one").expect("a line");
        fs_err::remove_dir_all(service.supervise()).expect("it can be removed");
        history.add_news("two").expect_err("no directory");
        fs_err::create_dir(service.supervise()).expect("a directory");
        history.add("three").expect("a line");
        let entries = read(&service).expect("a history");
        let words: Vec<String> = entries.iter().map(text).collect();
        assert_eq!(words, ["two", "three"]);
    }

    #[test]
    fn a_fifo_does_not_block_and_a_huge_file_is_not_read() {
        let (_dir, service) = service();
        let file = service.history();
        nix::unistd::mkfifo(&file, nix::sys::stat::Mode::from_bits_truncate(0o600)).expect("a fifo");
        History::new(&service).add_news("news").expect_err("no reader");
        read(&service).expect_err("not a file");
        fs_err::remove_file(&file).expect("room");
        // It takes no room on the disk, but would in memory.
        let huge = File::create(&file).expect("a file");
        huge.set_len(1 << 40).expect("a hole");
        let mut history = History::new(&service);
        history.add_news("one").expect("a line");
        history.add_news("two").expect("a line");
        let entries = read(&service).expect("a history");
        let size = fs_err::read(&file).expect("a file").len();
        assert!(size <= LIMIT, "{size} bytes");
        assert_eq!(entries.last().map(text).as_deref(), Some("two"));
    }

    #[test]
    fn a_line_without_a_label_is_left_out_and_another_text_is_kept() {
        assert_eq!(parse("junk"), None);
        assert_eq!(parse("@zz x"), None);
        let entry = |text: &str| parse(&format!("@400000006b00f7383856c484 {text}")).expect("an entry");
        assert_eq!(entry("told down").when.label(), "@400000006b00f7383856c484");
        assert_eq!(entry("told down").event, Ok(HistoryEvent::Told(Command::Down)));
        assert_eq!(entry("told a joke").event, Err("told a joke".to_owned()));
    }
}
