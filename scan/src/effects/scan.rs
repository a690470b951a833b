//! Effects: scans the services directory, and the directories in it.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use servicedir::Tai64n;
use sys::errno_text::errno_of;
use sys::error::words;
use sys::{Errno, Error, FileId, Poller, open_regular};

use crate::effects::path_watcher::{PathWatcher, is_hidden};
use crate::state::listing::{EntryKind, Listing, ScanEntry};
use crate::state::scan_schedule::ScanRequest;

/// The mark of a forced scan (RSD-14).
const MARK: &str = ".forced-rescan";

/// The services directory. Every scan of it, and every start from it, follows the path again: it may lead
/// elsewhere now.
pub struct ServicesDirectory {
    path: PathBuf,
    outside: OwnedFd,
    is_inside: bool,
}

/// A name that was read, and what is known of it without following it.
struct DirectoryName {
    name: OsString,
    is_link: bool,
}

impl ServicesDirectory {
    /// The directory at `path`, which need not exist. Remembers the working directory.
    pub fn new(path: PathBuf) -> Result<Self, Error> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let outside = nix::fcntl::open(".", flags, Mode::empty())
            .map_err(Error::of("unable to open current directory"))?;
        Ok(Self { path, outside, is_inside: false })
    }

    /// Makes it the working directory, for a moment: names are looked up, and supervisors are
    /// started, in it.
    pub fn enter(&mut self) -> Result<(), Error> {
        if !self.is_inside {
            nix::unistd::chdir(&self.path)
                .map_err(Error::of(self.message("unable to change directory to ")))?;
            self.is_inside = true;
        }
        Ok(())
    }

    /// Goes back to the working directory of before, so that the file system of this one can be unmounted.
    pub fn leave(&mut self) {
        if self.is_inside && nix::unistd::fchdir(&self.outside).is_ok() {
            self.is_inside = false;
        }
    }

    /// Scans all of it, and has every change watched from before the scan. It is the working directory
    /// afterwards. `is_remade` says whether the supervisor of the directory with this number works in another
    /// one, which was removed; it is asked in a thorough scan only.
    pub fn scan(
        &mut self,
        request: ScanRequest,
        is_remade: impl Fn(FileId) -> bool,
        watch: &mut PathWatcher,
        poller: &Poller,
        token: usize,
    ) -> Result<Listing, Error> {
        self.leave();
        watch.begin(poller, token);
        watch.directory(&self.path);
        fs_err::metadata(&self.path).map_err(Error::of_io(self.message("unable to stat ")))?;
        self.enter()?;
        let here = fs_err::metadata(".").map_err(Error::of_io(self.message("unable to stat ")))?;
        let mut names = self.names()?;
        names.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        let ways: Vec<Vec<OsString>> =
            names.iter().map(|name| if name.is_link { watch.link(&name.name) } else { Vec::new() }).collect();
        let found: Vec<_> = names.iter().map(|name| fs_err::metadata(&name.name)).collect();
        // Read only now: the events of all that was found above have been reported by now.
        let fresh = watch.made_in_place();
        let mut reported = Vec::new();
        let entries = names
            .into_iter()
            .zip(ways)
            .zip(found)
            .filter_map(|((DirectoryName { name, is_link }, way), found)| {
                let what = match found {
                    Ok(found) if found.is_dir() => {
                        let is_fresh = fresh.contains(&name) || way.iter().any(|name| fresh.contains(name));
                        let identity = FileId::of(&found);
                        let is_remade = request.is_thorough && is_remade(identity);
                        let is_temporary = is_link && is_temporary(&name);
                        reported.extend(way);
                        reported.push(name.clone());
                        EntryKind::Directory { identity, is_fresh, is_remade, is_temporary }
                    }
                    Ok(_) => EntryKind::Other,
                    Err(error) => EntryKind::Hidden(why_hidden(&name, errno_of(&error))?),
                };
                Some(ScanEntry { name, what })
            })
            .collect();
        watch.reported(&reported);
        let (is_forced, is_thorough) = (request.is_forced, request.is_thorough);
        let (home, is_home_fresh) = (FileId::of(&here), fresh.has_home);
        Ok(Listing { home, entries, is_forced, is_thorough, is_home_fresh })
    }

    /// Leaves the mark of a forced scan in the working directory, which is the one that was scanned.
    pub fn mark_forced(now: SystemTime) -> Result<(), Error> {
        let stamp = Tai64n::of(now).label();
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC;
        let mut file = open_regular(Path::new(MARK), flags, Mode::from_bits_truncate(0o644))
            .map_err(|_| Error::plain(format!("failed to open./{MARK}{stamp}")))?;
        std::io::Write::write_all(&mut file, stamp.as_bytes())
            .map_err(|_| Error::plain(format!("failed to write./{MARK}{stamp}")))
    }

    /// The names that may be services.
    fn names(&self) -> Result<Vec<DirectoryName>, Error> {
        let entries =
            fs_err::read_dir(".").map_err(Error::of_io(self.message("unable to open directory ")))?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(Error::of_io(self.message("unable to read directory ")))?;
            let (name, kind) = (entry.file_name(), entry.file_type());
            let is_link = kind.as_ref().is_ok_and(std::fs::FileType::is_symlink);
            let may_be_service = is_link || kind.map_or(true, |kind| kind.is_dir());
            if may_be_service && !is_hidden(&name) {
                names.push(DirectoryName { name, is_link });
            }
        }
        Ok(names)
    }

    fn message(&self, text: &str) -> OsString {
        words([OsStr::new(text), self.path.as_os_str()])
    }
}

/// Whether GNU's ln(1) may have made this name, which it gives a link for a moment with `-f`: `Cu` and
/// six letters or digits. A service that is really called so is started a little later.
fn is_temporary(name: &OsStr) -> bool {
    let rest = name.as_bytes().strip_prefix(b"Cu");
    rest.is_some_and(|rest| rest.len() == 6 && rest.iter().all(u8::is_ascii_alphanumeric))
}

/// Why a name cannot be read; `None` if it is simply not there any more.
fn why_hidden(name: &OsStr, why: Errno) -> Option<Errno> {
    match fs_err::symlink_metadata(name) {
        Err(error) if errno_of(&error) == Errno::ENOENT => None,
        _ => Some(why),
    }
}
