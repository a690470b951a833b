//! Where everything of a service directory is (LAY-1, LAY-3).

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// A directory with a `run`, and the names of everything in it.
///
/// The log service is one, too: [`ServiceDir::log`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceDir {
    path: PathBuf,
}

impl ServiceDir {
    /// The service directory at `path`. An empty path, or `.`, gives names without a directory in
    /// front, as they stand in runsv's messages.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self { path: if path.as_os_str() == "." { PathBuf::new() } else { path } }
    }

    /// The log service's directory.
    pub fn log(&self) -> Self {
        Self { path: self.file("log") }
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        if self.path.as_os_str().is_empty() { Path::new(".") } else { &self.path }
    }

    /// A file in it.
    pub fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        let name = name.as_ref();
        // Room for all of it at once: joining alone asks twice for memory.
        let mut path = PathBuf::with_capacity(self.path.as_os_str().len() + 1 + name.as_os_str().len());
        path.push(&self.path);
        path.push(name);
        path
    }

    /// `down`: do not start automatically.
    pub fn down(&self) -> PathBuf {
        self.file("down")
    }

    /// `finish`: run after each death of `run`.
    pub fn finish(&self) -> PathBuf {
        self.file("finish")
    }

    /// `check`: whether the service is available, for sv.
    pub fn check(&self) -> PathBuf {
        self.file("check")
    }

    /// `control/BYTE`: a custom control script.
    pub fn hook(&self, byte: u8) -> PathBuf {
        self.file(Path::new("control").join(OsStr::new(&char::from(byte).to_string())))
    }

    /// `supervise`, which may be a link.
    pub fn supervise(&self) -> PathBuf {
        self.file("supervise")
    }

    /// `supervise/control`: the FIFO for commands.
    pub fn control(&self) -> PathBuf {
        self.file("supervise/control")
    }

    /// `supervise/ok`: a FIFO with a reader while runsv lives.
    pub fn ok(&self) -> PathBuf {
        self.file("supervise/ok")
    }

    /// `supervise/lock`: held by runsv.
    pub fn lock(&self) -> PathBuf {
        self.file("supervise/lock")
    }

    /// `supervise/status`: the record of 20 bytes.
    pub fn status(&self) -> PathBuf {
        self.file("supervise/status")
    }

    /// `supervise/ready`: the moment at which `run` said that it is ready; runit has no such file.
    pub fn ready(&self) -> PathBuf {
        self.file("supervise/ready")
    }

    /// `supervise/.notification`: which `run` says itself when it is ready, and the text that it has last
    /// said of its state; runit has no such file.
    pub fn notification(&self) -> PathBuf {
        self.file("supervise/.notification")
    }

    /// `supervise/.history`: what happened lately, for `sv why`; runit has no such file.
    pub fn history(&self) -> PathBuf {
        self.file("supervise/.history")
    }

    /// `supervise/.session`: the session that `run` leads with `process-group`; runit has no such file.
    pub fn session(&self) -> PathBuf {
        self.file("supervise/.session")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use proptest::prelude::*;

    use super::*;
    use crate::command::Command;

    #[test]
    fn names_are_those_of_the_messages() {
        let here = ServiceDir::at(".");
        assert_eq!(here.lock(), Path::new("supervise/lock"));
        assert_eq!(here.log().control(), Path::new("log/supervise/control"));
        assert_eq!(here.hook(b't'), Path::new("control/t"));
        assert_eq!(ServiceDir::at("/etc/service/web").log().path(), Path::new("/etc/service/web/log"));
        assert_eq!(here.path(), Path::new("."));
    }

    proptest! {
        #[test]
        fn a_service_may_have_any_name(
            name in proptest::collection::vec(1_u8.., 1..300),
            (byte, _) in proptest::sample::select(Command::ALL.to_vec()),
        ) {
            let path = Path::new(OsStr::from_bytes(&name));
            let dir = ServiceDir::at(path);
            prop_assume!(path.as_os_str() != ".");
            prop_assert_eq!(dir.path(), path);
            prop_assert_eq!(dir.lock(), path.join("supervise/lock"));
            prop_assert!(dir.log().path().starts_with(path) && dir.hook(byte).starts_with(path));
        }
    }
}
