//! What a service needs: the names in its `dependencies.d`, which init heeds and sv examines.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;

use crate::layout::ServiceDir;

/// The directory with an entry for each service that is needed.
pub const DIRECTORY: &str = "dependencies.d";

/// The names in it, in order, but for hidden ones; none if it cannot be read. Almost no service has any: then
/// this is one system call.
pub fn names(service: &ServiceDir) -> Vec<OsString> {
    let entries = fs_err::read_dir(service.file(DIRECTORY));
    let names = entries.into_iter().flatten().filter_map(Result::ok).map(|entry| entry.file_name());
    let mut names: Vec<OsString> = names.filter(|name| !name.as_bytes().starts_with(b".")).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_in_order_without_hidden_ones() {
        let dir = tempfile::tempdir().expect("a directory");
        let service = ServiceDir::at(dir.path());
        assert_eq!(names(&service), [] as [OsString; 0]);
        fs_err::create_dir(service.file(DIRECTORY)).expect("a directory");
        for name in ["web", "db", ".hidden"] {
            fs_err::write(service.file(DIRECTORY).join(name), "").expect("an entry");
        }
        assert_eq!(names(&service), ["db", "web"]);
    }
}
