//! Putting a small file in the place of another, as cheaply as the file system allows.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::errno::Errno;

/// Puts `fresh` in the place of `place`, as a rename does: readers see the old file or the new one.
///
/// Where something is to be replaced the two change places, and the old one is removed under the
/// fresh name. A rename over a file makes ext4 allocate and start to write the new one's blocks,
/// and free the old one's, which takes ten times as long, and what a supervisor says of its service
/// is not meant to outlive the machine.
pub fn replace(fresh: &Path, place: &Path) -> Result<(), Errno> {
    if exchange(fresh, place).is_ok() {
        match nix::unistd::unlink(fresh) {
            // Whatever was there is no file: it goes back, and a rename says what is wrong with it.
            Err(Errno::EISDIR | Errno::EPERM) => exchange(fresh, place)?,
            // The fresh one is in its place, and what may be left of the old one does no harm.
            _ => return Ok(()),
        }
    }
    rename(fresh, place)
}

/// The same where nothing is there: [`replace`] would have to find out.
pub fn rename(fresh: &Path, place: &Path) -> Result<(), Errno> {
    nix::fcntl::renameat(nix::fcntl::AT_FDCWD, fresh, nix::fcntl::AT_FDCWD, place)
}

/// Lets two files change places. Not every file system can.
fn exchange(one: &Path, other: &Path) -> Result<(), Errno> {
    let path = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL);
    let (one, other) = (path(one)?, path(other)?);
    // Not every C library has a function for it.
    // SAFETY: both are pointers to strings with a zero at the end that live until the call is over.
    let result = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            libc::AT_FDCWD,
            one.as_ptr(),
            libc::AT_FDCWD,
            other.as_ptr(),
            libc::RENAME_EXCHANGE,
        )
    };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_a_directory(test: impl FnOnce(&Path)) {
        let directory = tempfile::tempdir().expect("a new directory");
        fs_err::write(directory.path().join("fresh"), "new").expect("a file");
        test(directory.path());
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs_err::read_dir(directory)
            .expect("a directory")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_was_there_is_gone() {
        in_a_directory(|directory| {
            let place = directory.join("place");
            fs_err::write(&place, "old").expect("a file");
            replace(&directory.join("fresh"), &place).expect("room");
            assert_eq!(fs_err::read_to_string(&place).expect("a file"), "new");
            assert_eq!(names(directory), ["place"]);
        });
    }

    #[test]
    fn an_empty_place_is_taken() {
        in_a_directory(|directory| {
            replace(&directory.join("fresh"), &directory.join("place")).expect("room");
            assert_eq!(names(directory), ["place"]);
        });
    }

    #[test]
    fn a_directory_is_not_replaced() {
        in_a_directory(|directory| {
            let (fresh, place) = (directory.join("fresh"), directory.join("place"));
            fs_err::create_dir(&place).expect("a directory");
            assert_eq!(replace(&fresh, &place), Err(Errno::EISDIR));
            assert!(place.is_dir());
            assert_eq!(names(directory), ["fresh", "place"]);
        });
    }

    #[test]
    fn without_a_fresh_file_there_is_nothing_to_do() {
        in_a_directory(|directory| {
            let (missing, place) = (directory.join("missing"), directory.join("fresh"));
            assert_eq!(replace(&missing, &place), Err(Errno::ENOENT));
            assert_eq!(names(directory), ["fresh"]);
        });
    }
}
