//! Watches every directory and link on a path, by the walk that the kernel makes.

use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use nix::sys::statfs::{self, FsType};
use sys::inotify::AddWatchFlags;

use super::{ITSELF, NAMES, PathWatcher};

/// How many links a path may lead through, as in the kernel.
const MOST_LINKS: usize = 40;

/// What of a path's last component is watched.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    /// The thing itself: it exists once.
    Itself,
    /// Its name in its parent: there may be a thousand like it.
    Name,
}

impl PathWatcher {
    /// Watches all that `path` passes through, links included: the walk that the kernel makes. Gives the
    /// names on the way.
    pub(super) fn trace(&mut self, path: &Path, last: Last) -> Vec<OsString> {
        let mut way = Vec::new();
        let mut here = PathBuf::new();
        let mut rest: Vec<OsString> = reversed(path);
        let mut links = 0;
        while let Some(name) = rest.pop() {
            if name == "/" {
                here = PathBuf::from("/");
                continue;
            }
            if name == ".." {
                go_up(&mut here);
                continue;
            }
            if self.names_left == 0 {
                self.is_blind = true;
                return way;
            }
            self.names_left -= 1;
            let parent = if here == Path::new("") { PathBuf::from(".") } else { here.clone() };
            here.push(&name);
            way.push(name.clone());
            if rest.is_empty() && last == Last::Name {
                self.name_in(&parent, &name);
            } else if self.visited.contains(&here) {
                continue;
            } else if !self.itself(&here) {
                self.name_in(&parent, &name);
                // It may have come just before that was watched.
                if !self.itself(&here) {
                    way.extend(rest);
                    return way;
                }
            }
            match fs_err::read_link(&here) {
                Ok(target) if links < MOST_LINKS => {
                    links += 1;
                    here.pop();
                    rest.extend(reversed(&target));
                }
                Ok(_) => return way,
                Err(_) => drop(self.visited.insert(here.clone())),
            }
        }
        way
    }

    /// Watches one thing, not what it may lead to; false if it is not there.
    fn itself(&mut self, path: &Path) -> bool {
        let flags = ITSELF | AddWatchFlags::IN_ATTRIB | AddWatchFlags::IN_DONT_FOLLOW;
        // The attributes of a link change when it is overwritten; those of a directory mean nothing.
        let is_link = fs_err::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
        let flags = if is_link { flags } else { flags.difference(AddWatchFlags::IN_ATTRIB) };
        match self.add(path, flags) {
            Some(descriptor) => {
                self.point(descriptor);
                true
            }
            None => fs_err::symlink_metadata(path).is_ok(),
        }
    }

    /// Watches what happens to one name in a directory.
    fn name_in(&mut self, parent: &Path, name: &OsStr) {
        let descriptor = if let Some(known) = self.parents.get(parent) {
            *known
        } else {
            let descriptor = self.add(parent, NAMES);
            self.distrust_if_changed_elsewhere(parent);
            self.parents.insert(parent.to_owned(), descriptor);
            descriptor
        };
        if let Some(descriptor) = descriptor {
            self.point(descriptor).names.insert(name.to_owned());
        }
    }

    pub(super) fn distrust_if_changed_elsewhere(&mut self, path: &Path) {
        let kind = statfs::statfs(path).map(|system| system.filesystem_type());
        self.is_blind |= kind.is_ok_and(is_changed_elsewhere);
    }
}

/// The names in a path, the last one first; the root is a name of its own.
fn reversed(path: &Path) -> Vec<OsString> {
    let is_step = |component: &Component| *component != Component::CurDir;
    path.components().rev().filter(is_step).map(|component| component.as_os_str().to_owned()).collect()
}

/// Goes to the parent of a directory. Its path has no links.
fn go_up(here: &mut PathBuf) {
    match here.components().next_back() {
        Some(Component::Normal(_)) => drop(here.pop()),
        Some(Component::RootDir) => {}
        _ => here.push(".."),
    }
}

/// File systems that another machine may change without this kernel knowing. Those without a name in
/// nix are 9p, the two newer ones of SMB, and Ceph.
fn is_changed_elsewhere(kind: FsType) -> bool {
    const UNNAMED: [u32; 4] = [0x0102_1997, 0xfe53_4d42, 0xff53_4d42, 0x00c3_6400];
    [
        statfs::NFS_SUPER_MAGIC,
        statfs::FUSE_SUPER_MAGIC,
        statfs::SMB_SUPER_MAGIC,
        statfs::NCP_SUPER_MAGIC,
        statfs::AFS_SUPER_MAGIC,
        statfs::CODA_SUPER_MAGIC,
    ]
    .contains(&kind)
        || u32::try_from(i128::from(kind.0) & 0xffff_ffff).is_ok_and(|number| UNNAMED.contains(&number))
}
