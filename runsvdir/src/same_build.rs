//! Hands: whether the runsv that would be executed was built from the same sources as this program.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use fs_err as fs;
use nix::unistd::{AccessFlags, access};
use unix::Errno;
use unix::open_to_read;
use unix::phrase::errno_of;
use unix::search::is_in;

/// What was found out about a file, for as long as it is the same file.
#[derive(Default)]
pub struct SameBuild {
    known: Option<(Version, bool)>,
}

/// The mode bits of a program that is somebody else when it is executed.
const IDENTITY: u32 = 0o6000;

/// Tells a file from another one in its place, and from itself after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl SameBuild {
    /// Whether the first of these files that exists may be executed, and is `runsv` built from the
    /// same sources as this program.
    pub fn is_first_of(&mut self, candidates: &[CString]) -> bool {
        let mut candidates = candidates.iter().map(|path| Path::new(OsStr::from_bytes(path.to_bytes())));
        let found = candidates.find_map(|path| match fs::metadata(path) {
            Err(error) if errno_of(&error) == Errno::ENOENT => None,
            found => Some((path, found)),
        });
        let Some((path, Ok(about))) = found else { return false };
        let version = Version {
            device: about.dev(),
            inode: about.ino(),
            size: about.len(),
            changed: (about.ctime(), about.ctime_nsec()),
        };
        if let Some((known, answer)) = self.known
            && known == version
        {
            return answer;
        }
        let answer = about.is_file()
            && about.mode() & IDENTITY == 0
            && access(path, AccessFlags::X_OK).is_ok()
            && open_to_read(path).and_then(|program| is_in(program, runsv::MARK.as_bytes())).unwrap_or(false);
        self.known = Some((version, answer));
        answer
    }
}
