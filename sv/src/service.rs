//! Hands: a service, by the name it was called (SV-10).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use servicedir::client::{Client, ClientError};
use servicedir::{Command, ServiceDir, Status};
use sys::FileId;
use sys::errno_text::errno_of;

/// A service as it was named, and where that is.
pub struct Service {
    /// As it was typed, and is printed (SV-12).
    pub name: OsString,
    client: Option<Client>,
}

impl Service {
    /// The services called so, below `base` unless the name says otherwise. Every question to
    /// one goes to the same place (DEV-10).
    ///
    /// When all of them are below it, that becomes the working directory: a thousand short paths
    /// are found sooner.
    pub fn find_all(names: Vec<OsString>, base: &Path) -> Vec<Self> {
        let is_entered = names.iter().all(|name| is_below_base(name)) && nix::unistd::chdir(base).is_ok();
        let find = |name: OsString| {
            let path = if is_entered { Some(PathBuf::from(&name)) } else { place(&name, base) };
            Self { client: path.map(|path| Client::of(ServiceDir::at(path))), name }
        };
        names.into_iter().map(find).collect()
    }

    /// Whoever can be asked, unless there is no such place.
    pub fn client(&self) -> Result<&Client, ClientError> {
        self.client.as_ref().ok_or(ClientError::Directory(Errno::ENOENT))
    }

    /// How it is.
    pub fn status(&self) -> Result<Status, ClientError> {
        self.client()?.status()
    }

    /// Tells it something; nothing is told in no commands.
    pub fn send(&self, commands: &[Command]) -> Result<(), ClientError> {
        if commands.is_empty() { Ok(()) } else { self.client()?.send(commands) }
    }
}

/// What makes two paths the same directory: its device and number.
pub fn identity(path: &Path) -> Option<FileId> {
    FileId::at(path).ok()
}

/// The names of all services below `base`, sorted, as runsvdir sees them: directories, through links
/// or not, that do not begin with a dot. A link that leads nowhere was meant to be one.
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

/// Where a service is; nowhere, if its name or the directory of services is empty.
fn place(name: &OsStr, base: &Path) -> Option<PathBuf> {
    if is_below_base(name) {
        return (!base.as_os_str().is_empty()).then(|| base.join(name));
    }
    (!name.is_empty()).then(|| name.into())
}

/// Whether a name is not a path by itself.
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
