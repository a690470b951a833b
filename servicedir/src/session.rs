//! `supervise/.session`: the session that `./run` leads with `process-group`. Where a runsv was killed, the
//! next one ends what is left of it.
//!
//! Processes are signalled because of this record, so it is trusted only if no other user can have
//! written it: neither the file nor `supervise/` belongs to, or can be written by, one. It also names the
//! directory it was written for: a service directory is often a copy of another.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::{Uid, geteuid};
use sys::error::words;
use sys::{Error, FileId, Session, open_regular};

use crate::layout::ServiceDir;

/// More than any record has.
const LIMIT: u64 = 256;

/// A record that was found.
#[derive(Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The session it names.
    pub session: Session,
    /// Whether no user but this one and root can have written it.
    pub is_trusted: bool,
}

/// Writes the record, beside its place and renamed into it.
pub fn write(dir: &ServiceDir, session: &Session) -> Result<(), Error> {
    let (place, fresh) = (dir.session(), dir.file("supervise/.session.new"));
    let unable = |verb: &str| words(["unable to ".as_ref(), verb.as_ref(), " ".as_ref(), fresh.as_os_str()]);
    let FileId { device, inode } = FileId::at(dir.supervise()).map_err(Error::of_io(unable("open")))?;
    // A runsv that was killed may have left one. One of another user is not written to.
    let _ = nix::unistd::unlink(&fresh);
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    let mut file = open_regular(&fresh, flags, mode).map_err(|why| why.failure(unable("open")))?;
    let line = format!("{device} {inode} {session}");
    file.write_all(line.as_bytes()).map_err(Error::of_io(unable("write")))?;
    sys::fs::replace::replace(&fresh, &place).map_err(Error::of(unable("rename")))
}

/// Removes the record: the session has ended.
pub fn remove(dir: &ServiceDir) {
    // Where it stays it names what is gone.
    let _ = nix::unistd::unlink(&dir.session());
}

/// Reads the record of the service at `dir`; none if it was written for another directory.
pub fn read(dir: &ServiceDir) -> Option<Recorded> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
    let supervise = nix::fcntl::open(&dir.supervise(), flags | OFlag::O_DIRECTORY, Mode::empty()).ok()?;
    let file = nix::fcntl::openat(&supervise, ".session", flags | OFlag::O_NOFOLLOW, Mode::empty()).ok()?;
    let (supervise, file) = (std::fs::File::from(supervise), std::fs::File::from(file));
    let (around, about) = (supervise.metadata().ok()?, file.metadata().ok()?);
    let mut line = String::new();
    if !about.is_file() || file.take(LIMIT).read_to_string(&mut line).is_err() {
        return None;
    }
    let mut words = line.splitn(3, ' ');
    let mut is_next = |number: u64| words.next().and_then(|word| word.parse().ok()) == Some(number);
    let FileId { device, inode } = FileId::of(&around);
    if !is_next(device) || !is_next(inode) {
        return None;
    }
    let session = Session::parse(words.next()?)?;
    Some(Recorded { session, is_trusted: is_ours(&around) && is_ours(&about) && about.nlink() == 1 })
}

/// Whether no user but this one and root can have written there.
fn is_ours(about: &std::fs::Metadata) -> bool {
    let others = Mode::S_IWGRP | Mode::S_IWOTH;
    [geteuid(), Uid::from_raw(0)].contains(&Uid::from_raw(about.uid())) && about.mode() & others.bits() == 0
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use proptest::prelude::*;

    use super::*;

    const LINE: &str = "375e23c3-b37b-43d2-8081-d5711e8cf998 4026531836 4711 1234567 301\n";

    fn service() -> (tempfile::TempDir, ServiceDir, Session) {
        let dir = tempfile::tempdir().expect("a directory");
        let service = ServiceDir::at(dir.path());
        fs_err::create_dir(service.supervise()).expect("a directory");
        set_mode(&service.supervise(), 0o700);
        let session = Session::parse(LINE).expect("a session");
        write(&service, &session).expect("a record");
        (dir, service, session)
    }

    fn set_mode(path: &std::path::Path, mode: u32) {
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a mode");
    }

    #[test]
    fn what_was_written_is_read_and_believed() {
        let (_dir, service, session) = service();
        assert_eq!(read(&service), Some(Recorded { session: session.clone(), is_trusted: true }));
        // Again, over what another one has left.
        fs_err::write(service.file("supervise/.session.new"), "half").expect("a file");
        write(&service, &session).expect("a record");
        assert_eq!(fs_err::metadata(service.session()).expect("a file").mode() & 0o777, 0o600);
        remove(&service);
        assert_eq!(read(&service), None);
    }

    #[test]
    fn what_another_user_can_have_written_is_not_believed() {
        let (_dir, service, session) = service();
        let is_believed = || read(&service).map(|recorded| recorded.is_trusted);
        for (path, mode) in [(service.session(), 0o600), (service.supervise(), 0o700)] {
            for others in [0o020, 0o002] {
                set_mode(&path, mode | others);
                assert_eq!(is_believed(), Some(false), "{mode:o} and {others:o}");
            }
            set_mode(&path, mode);
            if geteuid().is_root() {
                nix::unistd::chown(&path, Some(Uid::from_raw(65534)), None).expect("root");
                assert_eq!(is_believed(), Some(false), "{mode:o} of another user");
                nix::unistd::chown(&path, Some(Uid::from_raw(0)), None).expect("root");
            }
            assert_eq!(is_believed(), Some(true));
        }
        let second = service.file("second");
        fs_err::hard_link(service.session(), &second).expect("another name");
        assert_eq!(is_believed(), Some(false));
        remove(&service);
        std::os::unix::fs::symlink(&second, service.session()).expect("a link");
        assert_eq!(is_believed(), None);
        write(&service, &session).expect("a record");
        assert_eq!(is_believed(), Some(true));
    }

    #[test]
    fn a_copy_in_another_directory_says_nothing_and_nor_does_anything_else() {
        let (_dir, service, _) = service();
        let (_other_dir, other, _) = self::service();
        fs_err::copy(service.session(), other.session()).expect("a copy");
        assert_eq!(read(&other), None);
        for text in ["", LINE, "1 2 3\n", "1 2\n"] {
            fs_err::write(other.session(), text).expect("a file");
            assert_eq!(read(&other), None);
        }
        remove(&other);
        nix::unistd::mkfifo(&other.session(), Mode::S_IRUSR | Mode::S_IWUSR).expect("a fifo");
        assert_eq!(read(&other), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_bytes_are_a_record_of_this_directory_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let (_dir, service, _) = service();
            fs_err::write(service.session(), bytes).expect("a file");
            prop_assert_eq!(read(&service), None);
        }
    }
}
