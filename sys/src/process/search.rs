//! Where the file of a program may be.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt as _;

use crate::process::spawn::c_string;

/// Where a program called `name` may be, in GEN-9's order: as it is if it has a slash, else along
/// PATH. Its default is `/bin:/usr/bin`; an empty element means the working directory.
pub fn along_path(name: &OsStr) -> Vec<CString> {
    if name.as_bytes().contains(&b'/') {
        return vec![c_string(name)];
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    path.as_bytes()
        .split(|byte| *byte == b':')
        .map(|directory| {
            let mut candidate = if directory.is_empty() { b".".to_vec() } else { directory.to_vec() };
            candidate.push(b'/');
            candidate.extend_from_slice(name.as_bytes());
            c_string(OsStr::from_bytes(&candidate))
        })
        .collect()
}

/// Where a program of this tree may be: next to the one that runs, then along PATH, so that an
/// image with an empty environment works.
pub fn beside_or_along_path(name: &str) -> Vec<CString> {
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join(name)));
    beside.map(c_string).into_iter().chain(along_path(OsStr::new(name))).collect()
}
