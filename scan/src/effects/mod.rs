//! What touches the disk: the scan, and the watch for changes.

pub mod path_watcher;
pub mod scan;
