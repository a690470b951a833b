//! Opening files in directories of other users, where something else may stand in their place.
//!
//! No opening here waits, gives the process a controlling terminal, or is inherited. A FIFO or a file of
//! `supervise/` is opened under its own name, not through a symbolic link, and the type is checked on the
//! descriptor: what a check before the opening has seen may have been exchanged since.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::sys::stat::{Mode, SFlag, fstat};

use crate::error::{Error, words};

/// Why a file was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenError {
    /// The system's reason.
    Why(Errno),
    /// A symbolic link is in its place.
    Link,
    /// Something else is: what it is not.
    Other(&'static str),
}

impl OpenError {
    /// `TEXT: REASON`, as other failures are said.
    pub fn failure(self, text: impl Into<OsString>) -> Error {
        let what = match self {
            Self::Why(why) => return Error::new(text, why),
            Self::Link => "is a symbolic link",
            Self::Other(what) => what,
        };
        Error::plain(words([text.into().as_os_str(), ": ".as_ref(), what.as_ref()]))
    }
}

impl From<Errno> for OpenError {
    fn from(why: Errno) -> Self {
        Self::Why(why)
    }
}

impl From<OpenError> for io::Error {
    fn from(unopened: OpenError) -> Self {
        match unopened {
            OpenError::Why(why) => why.into(),
            OpenError::Link => Errno::ELOOP.into(),
            OpenError::Other(what) => Self::new(io::ErrorKind::InvalidInput, what),
        }
    }
}

/// Opens a FIFO, and nothing else, not through a symbolic link.
pub fn open_fifo(path: &Path, access: OFlag) -> Result<File, OpenError> {
    open_own(path, access, Mode::empty(), SFlag::S_IFIFO, "not a fifo").map(|(file, _)| file)
}

/// Opens a regular file, and nothing else, not through a symbolic link. `mode` is for one that the flags
/// create.
pub fn open_regular(path: &Path, flags: OFlag, mode: Mode) -> Result<File, OpenError> {
    open_own(path, flags, mode, SFlag::S_IFREG, "not a regular file").map(|(file, _)| file)
}

/// Opens a regular file that is there to read it, in the same way; with its mode.
pub fn open_record(path: &Path) -> Result<(File, Mode), OpenError> {
    open_own(path, OFlag::O_RDONLY, Mode::empty(), SFlag::S_IFREG, "not a regular file")
}

/// Opens for reading whatever is there, symbolic links followed: a file that its owner may put anywhere.
pub fn open_to_read(path: &Path) -> io::Result<File> {
    open(path, OFlag::O_RDONLY, Mode::empty()).map_err(io::Error::from)
}

/// Opens /dev/null, for reading and writing.
pub fn open_null() -> io::Result<File> {
    open(Path::new("/dev/null"), OFlag::O_RDWR, Mode::empty()).map_err(io::Error::from)
}

fn open_own(
    path: &Path,
    flags: OFlag,
    mode: Mode,
    kind: SFlag,
    otherwise: &'static str,
) -> Result<(File, Mode), OpenError> {
    let file = open(path, flags | OFlag::O_NOFOLLOW, mode).map_err(|why| match why {
        // A loop on the way there has the same number.
        Errno::ELOOP if path.is_symlink() => OpenError::Link,
        why => OpenError::Why(why),
    })?;
    // A file that is made here and now is a regular one.
    if flags.contains(OFlag::O_CREAT | OFlag::O_EXCL) {
        return Ok((file, mode));
    }
    let found = fstat(&file)?.st_mode;
    if SFlag::from_bits_truncate(found) & SFlag::S_IFMT == kind {
        Ok((file, Mode::from_bits_truncate(found)))
    } else {
        Err(OpenError::Other(otherwise))
    }
}

/// The bare call: sv opens thousands of files in a few milliseconds. musl's `open` adds a call of `fcntl` to
/// each with `O_CLOEXEC`, its `openat` does not.
fn open(path: &Path, flags: OFlag, mode: Mode) -> Result<File, Errno> {
    let flags = flags | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    loop {
        match nix::fcntl::openat(AT_FDCWD, path, flags, mode) {
            Err(Errno::EINTR) => {}
            opened => return opened.map(File::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    const SMALL: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

    /// A directory with a FIFO, a file, a socket, a directory, and a link to each of them and to nothing.
    fn with_one_of_each(test: impl FnOnce(&Path)) {
        let directory = tempfile::tempdir().expect("a new directory");
        let path = |name: &str| directory.path().join(name);
        nix::unistd::mkfifo(&path("fifo"), SMALL).expect("a fifo");
        fs_err::write(path("file"), "precious").expect("a file");
        let _socket = UnixListener::bind(path("socket")).expect("a socket");
        fs_err::create_dir(path("directory")).expect("a directory");
        for name in ["fifo", "file", "socket", "directory", "nothing"] {
            symlink(name, path(&format!("to-{name}"))).expect("a link");
        }
        symlink("/dev/zero", path("to-zero")).expect("a link");
        test(directory.path());
    }

    #[test]
    fn a_fifo_is_opened_under_its_own_name_only() {
        with_one_of_each(|directory| {
            let opened = |name: &str, access| open_fifo(&directory.join(name), access).map(drop);
            assert_eq!(opened("fifo", OFlag::O_WRONLY), Err(OpenError::Why(Errno::ENXIO)));
            for access in [OFlag::O_RDONLY, OFlag::O_RDWR] {
                assert_eq!(opened("fifo", access), Ok(()));
                assert_eq!(opened("file", access), Err(OpenError::Other("not a fifo")));
                for name in ["to-fifo", "to-file", "to-socket", "to-directory", "to-nothing", "to-zero"] {
                    assert_eq!(opened(name, access), Err(OpenError::Link), "{name}");
                }
            }
            assert_eq!(opened("directory", OFlag::O_RDONLY), Err(OpenError::Other("not a fifo")));
            assert_eq!(opened("directory", OFlag::O_WRONLY), Err(OpenError::Why(Errno::EISDIR)));
            assert_eq!(opened("socket", OFlag::O_WRONLY), Err(OpenError::Why(Errno::ENXIO)));
            assert_eq!(opened("missing", OFlag::O_WRONLY), Err(OpenError::Why(Errno::ENOENT)));
        });
    }

    #[test]
    fn a_regular_file_is_opened_and_made_under_its_own_name_only() {
        with_one_of_each(|directory| {
            let create = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC;
            let opened = |name: &str| open_regular(&directory.join(name), create, SMALL).map(drop);
            for name in ["to-fifo", "to-file", "to-nothing", "to-zero"] {
                assert_eq!(opened(name), Err(OpenError::Link), "{name}");
            }
            assert!(!directory.join("nothing").exists());
            assert_eq!(fs_err::read(directory.join("file")).expect("a file"), b"precious");
            let _reader = open_fifo(&directory.join("fifo"), OFlag::O_RDONLY).expect("a reader");
            assert_eq!(opened("fifo"), Err(OpenError::Other("not a regular file")));
            assert_eq!(opened("fresh"), Ok(()));
        });
    }

    #[test]
    fn a_loop_on_the_way_is_the_systems_reason() {
        with_one_of_each(|directory| {
            symlink("knot", directory.join("knot")).expect("a link");
            let lost = open_regular(&directory.join("knot/lock"), OFlag::O_RDONLY, SMALL);
            assert_eq!(lost.map(drop), Err(OpenError::Why(Errno::ELOOP)));
        });
    }

    #[test]
    fn what_is_wrong_is_said_behind_the_text() {
        let said = |unopened: OpenError| {
            String::from_utf8(unopened.failure("unable to open x").to_bytes()).expect("a text")
        };
        assert_eq!(said(OpenError::Why(Errno::EACCES)), "unable to open x: access denied");
        assert_eq!(said(OpenError::Other("not a fifo")), "unable to open x: not a fifo");
    }
}
