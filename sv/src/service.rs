//! Effects: a service, by the name on the command line (SV-10).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use servicedir::client::{Client, ClientError};
use servicedir::{Command, ServiceDir, Status, readiness};
use sys::FileId;
use sys::errno_text::errno_of;

/// A service name and the directory that it means.
pub struct NamedService {
    /// The name as it was typed, and is printed (SV-12).
    pub name: OsString,
    client: Option<Client>,
}

impl NamedService {
    /// Resolves names: below `base`, unless a name is a path. Each service keeps its path (DEV-10).
    ///
    /// If all of them are below `base`, it becomes the working directory: the kernel resolves a thousand
    /// short paths faster.
    pub fn find_all(names: Vec<OsString>, base: &Path) -> Vec<Self> {
        let is_entered = names.iter().all(|name| is_below_base(name)) && nix::unistd::chdir(base).is_ok();
        let find = |name: OsString| {
            let path = if is_entered { Some(PathBuf::from(&name)) } else { place(&name, base) };
            Self { client: path.map(|path| Client::of(ServiceDir::at(path))), name }
        };
        names.into_iter().map(find).collect()
    }

    /// The client of the service, unless the name means no directory.
    pub fn client(&self) -> Result<&Client, ClientError> {
        self.client.as_ref().ok_or(ClientError::Directory(Errno::ENOENT))
    }

    /// Its status.
    pub fn status(&self) -> Result<Status, ClientError> {
        self.client()?.status()
    }

    /// Whether the process of this status has said that it is ready; `None` if it cannot.
    pub fn is_ready(&self, status: &Status) -> Option<bool> {
        readiness::read(self.client().ok()?.dir(), status).map(|said| said.is_ready())
    }

    /// Sends commands, if there are any.
    pub fn send(&self, commands: &[Command]) -> Result<(), ClientError> {
        if commands.is_empty() { Ok(()) } else { self.client()?.send(commands) }
    }
}

/// The device and inode of a directory, which are the same for all its paths.
pub fn identity(path: &Path) -> Option<FileId> {
    FileId::at(path).ok()
}

/// The names of all services below `base`, sorted, as runsvdir sees them: directories and symbolic links to
/// them, but no name that begins with a dot. Dangling symbolic links are included: they are a mistake to show.
pub fn all(base: &Path) -> Result<Vec<OsString>, Errno> {
    let entries = fs_err::read_dir(base).map_err(|why| errno_of(&why))?;
    let is_service = |name: &OsString| {
        !name.as_bytes().starts_with(b".")
            && fs_err::metadata(base.join(name)).map_or(true, |about| about.is_dir())
    };
    let mut names: Vec<OsString> =
        entries.filter_map(Result::ok).map(|entry| entry.file_name()).filter(is_service).collect();
    names.sort_unstable();
    Ok(names)
}

/// The directory of a service; `None` if its name or the services directory is empty.
fn place(name: &OsStr, base: &Path) -> Option<PathBuf> {
    if is_below_base(name) {
        return (!base.as_os_str().is_empty()).then(|| base.join(name));
    }
    (!name.is_empty()).then(|| name.into())
}

/// Whether a name means an entry of the services directory, and is not a path.
pub fn is_below_base(name: &OsStr) -> bool {
    match name.as_bytes() {
        [] | [b'/' | b'.', ..] | [.., b'/'] => false,
        [..] => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_looks_like_a_path_is_one() {
        let place = |name: &str| place(OsStr::new(name), Path::new("/service"));
        for path in ["/a", "./a", "..", ".a", "a/", "a/b/"] {
            assert_eq!(place(path), Some(path.into()));
        }
        assert_eq!(place("a"), Some("/service/a".into()));
        assert_eq!(place("a/log"), Some("/service/a/log".into()));
        assert_eq!(place(""), None);
    }

    #[test]
    fn there_is_nothing_below_an_empty_svdir() {
        assert_eq!(place(OsStr::new("a"), Path::new("")), None);
        assert_eq!(place(OsStr::new("./a"), Path::new("")), Some("./a".into()));
    }
}
