//! What touches the disk: the scan, and the watch for changes and for the end of other supervisors.

pub mod occupants;
pub mod path_watcher;
pub mod scan;
