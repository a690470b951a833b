//! Effects: reads the files of a service that are for init: what it needs, and whether it is critical.

use std::path::Path;

use servicedir::{ServiceDir, dependencies, word};
use sys::errno_text::errno_of;
use sys::{Errno, Error, Logger};

/// The names in `dependencies.d` of the working directory, in order.
pub fn needs() -> Vec<String> {
    let names = dependencies::names(&ServiceDir::at("."));
    // Only names that are text count.
    names.into_iter().filter_map(|name| name.into_string().ok()).collect()
}

/// How many unasked ends in a row are too many, if there is a file `critical` in the working directory. Only
/// the name counts, whatever kind of file it is; a regular file may have a number in it.
pub fn critical_limit(name: &str, logger: &mut Logger) -> Option<u32> {
    let path = Path::new("critical");
    let about = fs_err::symlink_metadata(path).ok()?;
    let word = match word::read(path) {
        Ok(word) => word.unwrap_or_default(),
        Err(error) if errno_of(&error) == Errno::ENOENT || !about.is_file() => String::new(),
        Err(error) => {
            logger.warn(&Error::of_io(format!("unable to read {name}/critical"))(error));
            String::new()
        }
    };
    if word.is_empty() {
        return Some(1);
    }
    let limit = word.parse().ok().filter(|limit| *limit > 0);
    if limit.is_none() {
        logger.warn(&Error::plain(format!("bad content of {name}/critical: expected a number of ends")));
    }
    limit.or(Some(1))
}
