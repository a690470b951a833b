//! inotify: the kernel reports changes of files and directories.
//!
//! A report is a hint. It says when to read the disk again, never what is there.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::inotify::{InitFlags, Inotify};

pub use nix::sys::inotify::{AddWatchFlags, InotifyEvent, WatchDescriptor};

/// Adds to what is watched of a path already; nix has no name for it.
const MASK_ADD: AddWatchFlags = AddWatchFlags::from_bits_retain(0x2000_0000);

/// One inotify instance. Reading it does not block, and no program that is started inherits it.
///
/// The kernel limits the number of instances for each user. Without one nothing can be watched: each
/// [`add`](Self::add) fails, and there are no events. So it is with the default.
#[derive(Debug, Default)]
pub struct FileWatches {
    inotify: Option<Inotify>,
}

impl FileWatches {
    /// A new instance, if the kernel has one.
    pub fn open() -> Self {
        Self { inotify: Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).ok() }
    }

    /// Whether there is an instance.
    pub fn is_available(&self) -> bool {
        self.inotify.is_some()
    }

    /// The descriptor to poll; `None` without an instance.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// Watches a path for these changes, and for no others that it was watched for.
    pub fn add(&self, path: &Path, changes: AddWatchFlags) -> Result<WatchDescriptor, Errno> {
        self.inotify.as_ref().ok_or(Errno::EMFILE)?.add_watch(path, changes)
    }

    /// Watches a path for these changes, too.
    pub fn add_more(&self, path: &Path, changes: AddWatchFlags) -> Result<WatchDescriptor, Errno> {
        self.add(path, changes | MASK_ADD)
    }

    /// Ends a watch. The kernel has ended it itself if the file is gone.
    pub fn remove(&self, watch: WatchDescriptor) {
        let _ = self.inotify.as_ref().map(|inotify| inotify.rm_watch(watch));
    }

    /// The next events; `None` when there are none for now.
    pub fn read(&self) -> Option<Vec<InotifyEvent>> {
        self.inotify.as_ref()?.read_events().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_reported_until_the_watch_is_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        let watches = FileWatches::open();
        let watch = watches.add(dir.path(), AddWatchFlags::IN_CREATE).expect("a watch");
        assert!(watches.read().is_none());
        fs_err::write(dir.path().join("file"), "").expect("a file");
        let names: Vec<_> = watches.read().expect("an event").into_iter().map(|event| event.name).collect();
        assert_eq!(names, [Some("file".into())]);
        watches.remove(watch);
        fs_err::write(dir.path().join("another"), "").expect("a file");
        let events = watches.read().expect("the end of the watch");
        assert!(events.iter().all(|event| event.mask.contains(AddWatchFlags::IN_IGNORED)));
    }

    #[test]
    fn without_an_instance_nothing_can_be_watched() {
        let watches = FileWatches::default();
        assert!(!watches.is_available() && watches.descriptor().is_none() && watches.read().is_none());
        assert!(watches.add(Path::new("/"), AddWatchFlags::IN_CREATE).is_err());
    }
}
