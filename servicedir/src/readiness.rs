//! `supervise/ready` and `supervise/.notification`: what a `./run` has said of itself.
//!
//! Both are about one process, and `.notification` names it: what a supervisor that was killed has left, or
//! one of runit has not removed, says nothing about another process.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use sys::open_regular;

use crate::layout::ServiceDir;
use crate::notification::LONGEST_TEXT;
use crate::status::{State, Status};
use crate::tai64n::Tai64n;

/// How long a process has to live to count as up that has no `check` and no way to say that it is ready: what
/// the reads of the original's sv, which are so far apart (SV-34), give.
pub const MIN_UPTIME: Duration = Duration::from_millis(420);

/// In the mode of `status`: the `./run` that it is about can say something of itself. This file is read
/// anyway, and one that runit's runsv writes has another mode.
pub const SAYS: Mode = Mode::S_IXUSR;

/// More than `.notification` ever has.
const LIMIT: u64 = LONGEST_TEXT as u64 + 64;

/// Whether a `./run` that says itself when it is ready has done so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readiness {
    /// The start of the process, as in its status.
    pub since: Tai64n,
    /// The process.
    pub pid: u32,
    /// Since when it is ready.
    pub ready: Option<Tai64n>,
}

impl Readiness {
    /// The content of `.notification`, with the text that the process has last said.
    pub fn to_text(self, text: &str) -> String {
        format!("{} {}\n{text}", self.since.label(), self.pid)
    }
}

/// What a `./run` that lives has said of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Announcement {
    /// Since when it is ready.
    pub ready: Option<Tai64n>,
    /// Its state, in its own words; it may be empty.
    pub text: String,
}

impl Announcement {
    /// Whether it is ready.
    pub fn is_ready(&self) -> bool {
        self.ready.is_some()
    }
}

/// What the `./run` of this status has said; `None` if it has no way to say anything.
pub fn read(dir: &ServiceDir, status: &Status) -> Option<Announcement> {
    if status.state != Some(State::Run) || status.pid == 0 {
        return None;
    }
    let content = String::from_utf8_lossy(&read_file(&dir.notification())?).into_owned();
    let (process, text) = content.split_once('\n')?;
    let (label, pid) = process.split_once(' ')?;
    let is_its = (Tai64n::from_label(label)?, pid.parse().ok()?) == (status.since, status.pid);
    let ready = || read_file(&dir.ready()).and_then(|content| Tai64n::from_bytes(&content));
    is_its.then(|| Announcement { ready: ready(), text: text.to_owned() })
}

fn read_file(path: &Path) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    let file = open_regular(path, OFlag::O_RDONLY, Mode::empty()).ok()?;
    file.take(LIMIT).read_to_end(&mut content).ok()?;
    Some(content)
}
