//! Hands: to be told of changes, by inotify, to the services directory, to whatever its path and
//! its links pass through, and inside directories that are being made.
//!
//! What was told is only a hint: it says when to look, never what is there.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use nix::sys::statfs::{self, FsType};
use servicedir::ServiceDir;
use sys::errno_text::errno_of;
use sys::{Errno, Poller};

use crate::state::scan_schedule::DirectoryChange;
use crate::state::services::Identity;

/// The path itself is removed, moved, or (a link) overwritten.
const ITSELF: AddWatchFlags = AddWatchFlags::IN_DELETE_SELF.union(AddWatchFlags::IN_MOVE_SELF);

/// Names come and go.
const NAMES: AddWatchFlags = ITSELF
    .union(AddWatchFlags::IN_CREATE)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_MOVED_TO);

/// Anything that may make a service complete, or shows that somebody is still at it.
const CONTENT: AddWatchFlags = NAMES
    .union(AddWatchFlags::IN_MODIFY)
    .union(AddWatchFlags::IN_CLOSE_WRITE)
    .union(AddWatchFlags::IN_ATTRIB);

/// To what is watched already, for which nix has no name.
const ADD: AddWatchFlags = AddWatchFlags::from_bits_retain(0x2000_0000);

/// How many links a path may lead through, as in the kernel.
const MOST_LINKS: usize = 40;

/// How many names of paths one scan watches; the rest is left to the scans that come by time.
const MOST_NAMES: usize = 20_000;

/// File systems that others may change without this kernel knowing. Those without a name in nix
/// are 9p, the two newer ones of SMB, and Ceph.
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

/// What was told since the last time.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// What concerns the directory as a whole.
    pub changes: Vec<DirectoryChange>,
    /// Names in the services directory to which something happened.
    pub names: HashSet<OsString>,
    /// Service directories that are watched from inside, in which something happened.
    pub inside: HashSet<Identity>,
}

/// What was made in place and was in no complete scan since.
#[derive(Debug, Clone, Default)]
pub struct MadeInPlace {
    names: HashSet<OsString>,
    /// The services directory, or a directory on the way to it, is among them.
    pub has_home: bool,
    /// It is not known what was made in place.
    pub is_unknown: bool,
}

impl MadeInPlace {
    /// Whether the directory with this name may have been made in place.
    pub fn contains(&self, name: &OsStr) -> bool {
        self.is_unknown || self.names.contains(name)
    }
}

/// Everything that is watched.
#[derive(Default)]
pub struct PathWatcher {
    inotify: Option<Inotify>,
    spots: HashMap<WatchDescriptor, WatchPoint>,
    told: Changes,
    /// Names of directories that were made in place, until a scan has reported them.
    fresh: HashSet<OsString>,
    /// Those that were known when the scan began.
    fresh_before: HashSet<OsString>,
    /// Renames of such directories whose other half has not come yet.
    moving: HashSet<u32>,
    /// The names on the way to the services directory.
    way_home: HashSet<OsString>,
    /// Changes were lost since the last look.
    has_lost: bool,
    /// Counts the looks: what no look needs any more is not watched any more.
    round: u64,
    /// Directories of this round that need no second visit.
    visited: HashSet<PathBuf>,
    parents: HashMap<PathBuf, Option<WatchDescriptor>>,
    /// How many more names this round may watch.
    names_left: usize,
    is_blind: bool,
}

/// One thing that is watched, and why.
#[derive(Default)]
struct WatchPoint {
    round: u64,
    is_home: bool,
    names: HashSet<OsString>,
    /// The service directories that are incomplete as long as something happens here, or only to this
    /// name.
    inside: Vec<(Identity, Option<OsString>)>,
}

/// What of a path's last component is watched.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    /// The thing itself: it exists once.
    Itself,
    /// Its name in its parent: there may be a thousand like it.
    Name,
}

impl PathWatcher {
    /// Begins a look: what is not asked for again until its end will not be watched after it.
    pub fn begin(&mut self, poller: &Poller, token: usize) {
        self.round += 1;
        self.forget_paths();
        self.names_left = MOST_NAMES;
        self.is_blind = false;
        if self.inotify.is_none() {
            self.inotify = open_inotify(poller, token);
        }
        self.drain();
        self.fresh_before = self.fresh.clone();
    }

    /// Ends a look that saw everything. Whether every change will be told from now on.
    pub fn end(&mut self) -> bool {
        let round = self.round;
        let inotify = self.inotify.as_ref();
        self.spots.retain(|descriptor, spot| {
            let is_needed = spot.round == round;
            if !is_needed {
                spot.is_home = false;
                spot.names.clear();
            }
            if !is_needed && spot.inside.is_empty() {
                // What is not there any more is not watched any more anyway.
                let _ = inotify.map(|inotify| inotify.rm_watch(*descriptor));
            }
            is_needed || !spot.inside.is_empty()
        });
        !self.is_blind && self.inotify.is_some()
    }

    /// Watches the services directory, and all that `path` passes through.
    pub fn directory(&mut self, path: &Path) {
        self.way_home = self.trace(path, Last::Itself).into_iter().collect();
        if let Some(descriptor) = self.add(path, NAMES) {
            self.spot(descriptor).is_home = true;
            self.distrust_if_changed_elsewhere(path);
        }
        // From now on relative paths begin elsewhere.
        self.forget_paths();
    }

    /// Watches what an entry that is a link leads to; gives the names on the way there.
    pub fn link(&mut self, name: &OsStr) -> Vec<OsString> {
        fs_err::read_link(name).map(|target| self.trace(&target, Last::Name)).unwrap_or_default()
    }

    /// Watches inside a service directory, and where its `supervise` directories are to be.
    pub fn inside(&mut self, identity: Identity, name: &OsStr) {
        let service = ServiceDir::at(name);
        let log = service.log();
        for path in [service.path().to_owned(), log.path().to_owned(), service.path().join("control")] {
            self.add_inside(identity, &path, CONTENT, None);
        }
        for supervise in [service.supervise(), log.supervise()] {
            let Ok(target) = fs_err::read_link(&supervise) else { continue };
            let target = supervise.parent().unwrap_or(Path::new(".")).join(target);
            if let (Some(parent), Some(name)) = (target.parent(), target.file_name()) {
                self.add_inside(identity, parent, NAMES, Some(name));
            }
        }
    }

    fn add_inside(&mut self, identity: Identity, path: &Path, flags: AddWatchFlags, only: Option<&OsStr>) {
        let Some(descriptor) = self.add(path, flags) else { return };
        let inside = &mut self.spots.entry(descriptor).or_default().inside;
        let reason = (identity, only.map(OsStr::to_owned));
        if !inside.contains(&reason) {
            inside.push(reason);
        }
    }

    /// Watches no longer inside this directory.
    pub fn forget(&mut self, identity: Identity) {
        let (round, inotify) = (self.round, self.inotify.as_ref());
        self.spots.retain(|descriptor, spot| {
            let reasons = spot.inside.len();
            spot.inside.retain(|(whose, _)| *whose != identity);
            let is_needed = spot.round == round || !spot.inside.is_empty() || reasons == 0;
            if !is_needed {
                let _ = inotify.map(|inotify| inotify.rm_watch(*descriptor));
            }
            is_needed
        });
    }

    /// What was made in place, as far as it is known by now.
    pub fn made_in_place(&mut self) -> MadeInPlace {
        self.drain();
        MadeInPlace {
            names: self.fresh.clone(),
            has_home: !self.fresh.is_disjoint(&self.way_home),
            is_unknown: self.has_lost || self.is_blind || self.inotify.is_none(),
        }
    }

    /// A scan is complete, and has reported what was made in place under these names. What was made while
    /// it was under way the next one reports.
    pub fn reported(&mut self, names: &[OsString]) {
        self.has_lost = false;
        for name in names.iter().chain(&self.way_home) {
            if self.fresh_before.remove(name) {
                self.fresh.remove(name);
            }
        }
    }

    /// All that was told since this was asked last.
    pub fn take_told(&mut self) -> Changes {
        self.drain();
        std::mem::take(&mut self.told)
    }

    /// Reads what is told.
    fn drain(&mut self) {
        while let Some(Ok(events)) = self.inotify.as_ref().map(Inotify::read_events) {
            for event in events {
                self.take_in(event);
            }
        }
    }

    fn take_in(&mut self, event: InotifyEvent) {
        let told = &mut self.told;
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            self.has_lost = true;
            told.changes.push(DirectoryChange::Lost);
            told.inside.extend(self.spots.values().flat_map(|spot| &spot.inside).map(|(whose, _)| *whose));
            return;
        }
        if event.mask.contains(AddWatchFlags::IN_IGNORED) {
            self.spots.remove(&event.wd);
            return;
        }
        let Some(spot) = self.spots.get(&event.wd) else { return };
        let concerns = |only: &Option<OsString>| only.is_none() || *only == event.name;
        told.inside.extend(spot.inside.iter().filter(|(_, only)| concerns(only)).map(|(whose, _)| *whose));
        let is_relevant = match &event.name {
            Some(name) => spot.names.contains(name) || (spot.is_home && !is_hidden(name)),
            None => spot.round > 0,
        };
        // A directory may be watched from inside, too; for a scan only names and links count.
        if !is_relevant || !event.mask.intersects(NAMES | AddWatchFlags::IN_ATTRIB) {
            return;
        }
        let is_directory = event.mask.contains(AddWatchFlags::IN_ISDIR);
        let is_removed = (is_directory && event.mask.contains(AddWatchFlags::IN_DELETE))
            || event.mask.contains(AddWatchFlags::IN_DELETE_SELF);
        told.changes.push(if is_removed {
            DirectoryChange::DirectoryRemoved
        } else {
            DirectoryChange::Something
        });
        let Some(name) = event.name else { return };
        if spot.is_home {
            told.names.insert(name.clone());
        }
        // A directory that is renamed is as incomplete as it was.
        let is_fresh = match event.mask {
            mask if mask.contains(AddWatchFlags::IN_CREATE) => is_directory,
            mask if mask.contains(AddWatchFlags::IN_MOVED_TO) => self.moving.remove(&event.cookie),
            _ => false,
        };
        let was_fresh = if is_fresh { !self.fresh.insert(name) } else { self.fresh.remove(&name) };
        if was_fresh && event.mask.contains(AddWatchFlags::IN_MOVED_FROM) {
            self.moving.insert(event.cookie);
        }
    }

    /// Watches all that `path` passes through, links included: the walk that the kernel makes. Gives the
    /// names that it has met.
    fn trace(&mut self, path: &Path, last: Last) -> Vec<OsString> {
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

    fn forget_paths(&mut self) {
        self.visited.clear();
        self.parents.clear();
    }

    /// Watches one thing, not what it may lead to; false if it is not there.
    fn itself(&mut self, path: &Path) -> bool {
        let flags = ITSELF | AddWatchFlags::IN_ATTRIB | AddWatchFlags::IN_DONT_FOLLOW;
        // The attributes of a link tell that it was overwritten; those of a directory tell nothing.
        let is_link = fs_err::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
        let flags = if is_link { flags } else { flags.difference(AddWatchFlags::IN_ATTRIB) };
        match self.add(path, flags) {
            Some(descriptor) => {
                self.spot(descriptor);
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
            self.spot(descriptor).names.insert(name.to_owned());
        }
    }

    fn add(&mut self, path: &Path, flags: AddWatchFlags) -> Option<WatchDescriptor> {
        match self.inotify.as_ref()?.add_watch(path, flags | ADD) {
            Ok(descriptor) => Some(descriptor),
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => None,
            Err(_) => {
                self.is_blind = true;
                None
            }
        }
    }

    /// The spot with this descriptor, as something that this round needs.
    fn spot(&mut self, descriptor: WatchDescriptor) -> &mut WatchPoint {
        let round = self.round;
        let spot = self.spots.entry(descriptor).or_default();
        if spot.round != round {
            spot.round = round;
            spot.is_home = false;
            spot.names.clear();
        }
        spot
    }

    fn distrust_if_changed_elsewhere(&mut self, path: &Path) {
        let kind = statfs::statfs(path).map(|system| system.filesystem_type());
        self.is_blind |= kind.is_ok_and(is_changed_elsewhere);
    }
}

/// The names in a path, the last one first; the root is a name of its own.
fn reversed(path: &Path) -> Vec<OsString> {
    let is_step = |component: &Component| *component != Component::CurDir;
    path.components().rev().filter(is_step).map(|component| component.as_os_str().to_owned()).collect()
}

/// Goes to the parent of a directory, in whose path there are no links.
fn go_up(here: &mut PathBuf) {
    match here.components().next_back() {
        Some(Component::Normal(_)) => drop(here.pop()),
        Some(Component::RootDir) => {}
        _ => here.push(".."),
    }
}

/// Names with a dot in front are not services.
pub fn is_hidden(name: &OsStr) -> bool {
    name.as_bytes().first() == Some(&b'.')
}

fn open_inotify(poller: &Poller, token: usize) -> Option<Inotify> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok()?;
    poller.watch(&inotify, token).map_err(|error| errno_of(&error)).ok()?;
    Some(inotify)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A place of its own with a watch.
    struct Scene {
        place: tempfile::TempDir,
        watch: PathWatcher,
        poller: Poller,
    }

    impl Scene {
        fn new() -> Self {
            let place = tempfile::tempdir().expect("a place for the test");
            Self { place, watch: PathWatcher::default(), poller: Poller::new(&[]).expect("a poller") }
        }

        fn path(&self, path: &str) -> PathBuf {
            self.place.path().join(path)
        }

        fn make(&self, path: &str) {
            fs_err::create_dir_all(self.path(path)).expect("a directory");
        }

        fn point(&self, link: &str, target: &str) {
            symlink(target, self.path("new link")).expect("a link");
            self.rename("new link", link);
        }

        fn rename(&self, from: &str, to: &str) {
            fs_err::rename(self.path(from), self.path(to)).expect("another name");
        }

        fn looks_at(&mut self, path: &str) {
            self.watch.begin(&self.poller, 0);
            self.watch.directory(&self.path(path));
            assert!(self.watch.end());
            self.watch.take_told();
            self.watch.begin(&self.poller, 0);
            let fresh: Vec<OsString> = self.watch.fresh.iter().cloned().collect();
            self.watch.reported(&fresh);
        }

        fn is_told(&mut self) -> bool {
            !self.watch.take_told().changes.is_empty()
        }
    }

    #[test]
    fn names_that_come_and_go_are_told_but_not_those_with_a_dot() {
        let mut scene = Scene::new();
        scene.make("service");
        scene.looks_at("service");
        scene.make("service/.hidden");
        assert!(!scene.is_told());
        scene.make("service/web");
        assert!(scene.is_told());
        fs_err::remove_dir(scene.path("service/web")).expect("no directory");
        assert_eq!(scene.watch.take_told().changes, [DirectoryChange::DirectoryRemoved]);
    }

    #[test]
    fn a_link_on_the_way_that_points_elsewhere_now_is_told() {
        let mut scene = Scene::new();
        scene.make("default");
        scene.make("single");
        scene.point("current", "default");
        scene.point("service", "current");
        scene.looks_at("service");
        scene.point("current", "single");
        assert!(scene.is_told());
        scene.looks_at("service");
        scene.make("default/web");
        assert!(!scene.is_told());
        scene.make("single/web");
        assert!(scene.is_told());
    }

    #[test]
    fn a_missing_directory_is_told_when_any_part_of_its_path_comes() {
        let mut scene = Scene::new();
        scene.looks_at("a/b/service");
        scene.make("unrelated");
        assert!(!scene.is_told());
        scene.make("a");
        assert!(scene.is_told());
        scene.looks_at("a/b/service");
        scene.make("elsewhere/service");
        scene.rename("elsewhere", "a/b");
        assert!(scene.is_told());
    }

    #[test]
    fn a_parent_that_is_moved_away_is_told() {
        let mut scene = Scene::new();
        scene.make("a/b/service");
        scene.looks_at("a/b/service");
        scene.rename("a", "z");
        assert!(scene.is_told());
    }

    #[test]
    fn what_a_link_leads_to_is_told_and_nothing_else_there() {
        let mut scene = Scene::new();
        scene.make("service");
        scene.make("sv/web");
        let link = scene.path("service/web");
        symlink("../sv/web", &link).expect("a link");
        scene.watch.begin(&scene.poller, 0);
        // A relative target is taken from the working directory, which here is another one.
        scene.watch.trace(&scene.path("sv/web"), Last::Name);
        scene.watch.end();
        scene.make("sv/db");
        assert!(!scene.is_told());
        scene.rename("sv/web", "sv/old");
        assert!(scene.is_told());
        scene.make("sv/web");
        assert!(scene.is_told());
        assert!(scene.watch.made_in_place().contains(OsStr::new("web")));
    }

    #[test]
    fn only_a_directory_made_in_its_place_is_fresh() {
        let mut scene = Scene::new();
        scene.make("service");
        scene.make("moved");
        scene.looks_at("service");
        scene.make("service/made");
        scene.rename("moved", "service/moved");
        let fresh = scene.watch.made_in_place();
        assert!(fresh.contains(OsStr::new("made")) && !fresh.contains(OsStr::new("moved")));
        assert!(!fresh.has_home && !fresh.is_unknown);
    }

    #[test]
    fn a_directory_stays_fresh_until_it_is_reported_also_under_another_name() {
        let mut scene = Scene::new();
        scene.make("service");
        scene.looks_at("service");
        scene.make("service/made");
        scene.make("service/other");
        scene.watch.begin(&scene.poller, 0);
        scene.watch.reported(&[OsString::from("other")]);
        scene.rename("service/made", "service/web");
        let web = [OsString::from("web")];
        for _ in 0..2 {
            assert_eq!(scene.watch.made_in_place().names, HashSet::from(web.clone()));
            // It was made while that scan was under way.
            scene.watch.reported(&web);
        }
        scene.watch.begin(&scene.poller, 0);
        scene.watch.reported(&web);
        scene.rename("service/web", "service/www");
        assert!(scene.watch.made_in_place().names.is_empty());
    }

    #[test]
    fn inside_a_directory_that_is_made_everything_is_told_until_it_is_forgotten() {
        let mut scene = Scene::new();
        scene.make("web/log");
        let web = Identity { device: 1, inode: 1 };
        scene.watch.begin(&scene.poller, 0);
        scene.watch.inside(web, scene.path("web").as_os_str());
        scene.watch.end();
        for file in ["web/run", "web/log/run"] {
            fs_err::write(scene.path(file), "").expect("a file");
            let told = scene.watch.take_told();
            assert_eq!(told, Changes { inside: HashSet::from([web]), ..Changes::default() }, "{file}");
        }
        scene.watch.forget(web);
        scene.make("web/more");
        assert_eq!(scene.watch.take_told(), Changes::default());
    }
}
