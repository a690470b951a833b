//! Effects: adds services to the services directory, and removes them from it: symbolic links only.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use servicedir::ServiceDir;
use servicedir::client::{Client, ClientError};
use sys::Error;
use sys::errno_text::errno_of;
use sys::error::words;

use crate::service::identity;

/// The directory of service directories, unless `SVSOURCE` names another.
const SOURCES: &str = "/etc/sv";

/// A link that was made or removed, or did not have to be.
pub struct LinkChange {
    /// The service's name in the services directory.
    pub name: OsString,
    /// The client of the service directory itself.
    pub service: Client,
}

/// Links a service directory into `base`, where runsvdir scans: the one at a path, or the one of this name
/// among the sources.
///
/// An existing entry is never replaced.
pub fn enable(word: &OsStr, base: &Path) -> Result<LinkChange, ClientError> {
    let source = source(word).map_err(|why| refusal("unable to find the service directory", why))?;
    let name = source.file_name().map(OsStr::to_owned).unwrap_or_default();
    if name.is_empty() || name.as_bytes().starts_with(b".") {
        return Err(plain("runsvdir ignores names that begin with a dot"));
    }
    // The message has the whole path, which shows a mistake in the name or in `SVSOURCE`.
    for file in [source.clone(), source.join("run")] {
        let text = || words(["unable to find ".as_ref(), file.as_os_str()]);
        fs_err::metadata(&file).map_err(|error| refusal(text(), errno_of(&error)))?;
    }
    let change = LinkChange { service: Client::of(ServiceDir::at(&source)), name };
    let link = base.join(&change.name);
    match nix::unistd::symlinkat(&source, nix::fcntl::AT_FDCWD, &link) {
        Ok(()) => Ok(change),
        Err(Errno::EEXIST) if identity(&link).is_some_and(|it| Some(it) == identity(&source)) => Ok(change),
        Err(why) => {
            Err(ClientError::Trouble(Error::new(words(["unable to link ".as_ref(), link.as_os_str()]), why)))
        }
    }
}

/// Removes the link to a service from `base`; runsvdir then stops the service.
///
/// A directory in `base` is never removed: it may be the only copy.
pub fn disable(word: &OsStr, base: &Path) -> Result<LinkChange, ClientError> {
    let (name, parent) = split(word, base);
    if name.is_empty() || identity(&parent) != identity(base) {
        return Err(ClientError::Trouble(Error::plain(words([
            "not an entry of ".as_ref(),
            base.as_os_str(),
        ]))));
    }
    let link = base.join(&name);
    let text = || words(["unable to remove ".as_ref(), link.as_os_str()]);
    let about = fs_err::symlink_metadata(&link)
        .map_err(|error| ClientError::Trouble(Error::new(text(), errno_of(&error))))?;
    if !about.is_symlink() {
        let down = link.join("down");
        let advice = words([
            "a directory, not a symlink, is not removed; to keep it down: touch ".as_ref(),
            down.as_os_str(),
            " && sv down ".as_ref(),
            &name,
        ]);
        return Err(ClientError::Trouble(Error::plain(advice)));
    }
    // Resolved before the link is removed.
    let service = fs_err::canonicalize(&link).unwrap_or_else(|_| link.clone());
    fs_err::remove_file(&link).map_err(|error| ClientError::Trouble(Error::new(text(), errno_of(&error))))?;
    Ok(LinkChange { service: Client::of(ServiceDir::at(service)), name })
}

/// The absolute path of the service directory.
fn source(word: &OsStr) -> Result<PathBuf, Errno> {
    if word.is_empty() {
        return Err(Errno::ENOENT);
    }
    let path = if word.as_bytes().contains(&b'/') || word.as_bytes().starts_with(b".") {
        PathBuf::from(word)
    } else {
        std::env::var_os("SVSOURCE").filter(|it| !it.is_empty()).unwrap_or_else(|| SOURCES.into()).into()
    };
    let path = if path.as_os_str() == word { path } else { path.join(word) };
    let path = std::path::absolute(path).map_err(|error| errno_of(&error))?;
    // `.` and what ends with `..` have another name.
    if path.file_name().is_some() && !word.as_bytes().ends_with(b".") {
        return Ok(path.components().collect());
    }
    fs_err::canonicalize(path).map_err(|error| errno_of(&error))
}

/// A name and the directory it is in: `base`, unless the word is a path.
fn split(word: &OsStr, base: &Path) -> (OsString, PathBuf) {
    if !word.as_bytes().contains(&b'/') {
        return (word.to_owned(), base.to_owned());
    }
    let path = std::path::absolute(word).unwrap_or_default();
    let name = path.file_name().map(OsStr::to_owned).unwrap_or_default();
    (name, path.parent().map(Path::to_owned).unwrap_or_default())
}

fn refusal(text: impl Into<OsString>, why: Errno) -> ClientError {
    ClientError::Trouble(Error::new(text, why))
}

fn plain(text: &str) -> ClientError {
    ClientError::Trouble(Error::plain(text))
}
