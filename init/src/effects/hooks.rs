//! Effects: finds hooks.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sys::errno_text::errno_of;
use sys::error::words;
use sys::{Errno, Error};

use super::spawn::executable;
use crate::state::HookStage;

/// The hooks of a stage in the order of their names, and an error for each that cannot be run.
///
/// Directories, hidden files and editors' backups are no hooks. Without a directory there are none.
pub fn find(hooks: &Path, stage: HookStage) -> (Vec<PathBuf>, Vec<Error>) {
    let directory = hooks.join(stage.directory());
    let entries = match fs_err::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if errno_of(&error) == Errno::ENOENT => return (Vec::new(), Vec::new()),
        Err(error) => {
            let text = words([OsStr::new("unable to read "), directory.as_os_str()]);
            return (Vec::new(), vec![Error::of_io(text)(error)]);
        }
    };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .filter(|entry| {
            let name = entry.file_name();
            !name.as_bytes().starts_with(b".") && !name.as_bytes().ends_with(b"~")
        })
        .map(|entry| entry.path())
        .filter(|path| !path.is_dir())
        .collect();
    paths.sort_unstable();
    let mut usable = Vec::new();
    let mut unusable = Vec::new();
    for path in paths {
        match executable(&path) {
            Ok(()) => usable.push(path),
            Err(why) => {
                unusable.push(Error::new(words([OsStr::new("unable to run hook "), path.as_os_str()]), why));
            }
        }
    }
    (usable, unusable)
}
