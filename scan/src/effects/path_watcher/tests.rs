//! The watcher on real directories.

use std::os::unix::fs::symlink;

use super::*;
use crate::state::scan_schedule::DirectoryChange;

/// A place of its own with a watch.
struct WatcherFixture {
    place: tempfile::TempDir,
    watch: PathWatcher,
    poller: Poller,
}

impl WatcherFixture {
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

    fn scans(&mut self, path: &str) {
        self.watch.begin(&self.poller, 0);
        self.watch.directory(&self.path(path));
        assert!(self.watch.end());
        self.watch.take_changes();
        self.watch.begin(&self.poller, 0);
        let fresh: Vec<OsString> = self.watch.fresh.iter().cloned().collect();
        self.watch.reported(&fresh);
    }

    fn is_reported(&mut self) -> bool {
        !self.watch.take_changes().directory.is_empty()
    }
}

#[test]
fn names_that_come_and_go_are_reported_but_not_those_with_a_dot() {
    let mut fixture = WatcherFixture::new();
    fixture.make("service");
    fixture.scans("service");
    fixture.make("service/.hidden");
    assert!(!fixture.is_reported());
    fixture.make("service/web");
    assert!(fixture.is_reported());
    fs_err::remove_dir(fixture.path("service/web")).expect("no directory");
    assert_eq!(fixture.watch.take_changes().directory, [DirectoryChange::DirectoryRemoved]);
}

#[test]
fn a_link_on_the_way_that_points_elsewhere_now_is_reported() {
    let mut fixture = WatcherFixture::new();
    fixture.make("default");
    fixture.make("single");
    fixture.point("current", "default");
    fixture.point("service", "current");
    fixture.scans("service");
    fixture.point("current", "single");
    assert!(fixture.is_reported());
    fixture.scans("service");
    fixture.make("default/web");
    assert!(!fixture.is_reported());
    fixture.make("single/web");
    assert!(fixture.is_reported());
}

#[test]
fn a_missing_directory_is_reported_when_any_part_of_its_path_comes() {
    let mut fixture = WatcherFixture::new();
    fixture.scans("a/b/service");
    fixture.make("unrelated");
    assert!(!fixture.is_reported());
    fixture.make("a");
    assert!(fixture.is_reported());
    fixture.scans("a/b/service");
    fixture.make("elsewhere/service");
    fixture.rename("elsewhere", "a/b");
    assert!(fixture.is_reported());
}

#[test]
fn a_parent_that_is_moved_away_is_reported() {
    let mut fixture = WatcherFixture::new();
    fixture.make("a/b/service");
    fixture.scans("a/b/service");
    fixture.rename("a", "z");
    assert!(fixture.is_reported());
}

#[test]
fn what_a_link_leads_to_is_reported_and_nothing_else_there() {
    let mut fixture = WatcherFixture::new();
    fixture.make("service");
    fixture.make("sv/web");
    let link = fixture.path("service/web");
    symlink("../sv/web", &link).expect("a link");
    fixture.watch.begin(&fixture.poller, 0);
    // A relative target is taken from the working directory, which here is another one.
    fixture.watch.trace(&fixture.path("sv/web"), Last::Name);
    fixture.watch.end();
    fixture.make("sv/db");
    assert!(!fixture.is_reported());
    fixture.rename("sv/web", "sv/old");
    assert!(fixture.is_reported());
    fixture.make("sv/web");
    assert!(fixture.is_reported());
    assert!(fixture.watch.made_in_place().contains(OsStr::new("web")));
}

#[test]
fn only_a_directory_made_in_its_place_is_fresh() {
    let mut fixture = WatcherFixture::new();
    fixture.make("service");
    fixture.make("moved");
    fixture.scans("service");
    fixture.make("service/made");
    fixture.rename("moved", "service/moved");
    let fresh = fixture.watch.made_in_place();
    assert!(fresh.contains(OsStr::new("made")) && !fresh.contains(OsStr::new("moved")));
    assert!(!fresh.has_home && !fresh.is_unknown);
}

#[test]
fn a_directory_stays_fresh_until_it_is_reported_also_under_another_name() {
    let mut fixture = WatcherFixture::new();
    fixture.make("service");
    fixture.scans("service");
    fixture.make("service/made");
    fixture.make("service/other");
    fixture.watch.begin(&fixture.poller, 0);
    fixture.watch.reported(&[OsString::from("other")]);
    fixture.rename("service/made", "service/web");
    let web = [OsString::from("web")];
    for _ in 0..2 {
        assert_eq!(fixture.watch.made_in_place().names, HashSet::from(web.clone()));
        // It was made while that scan was under way.
        fixture.watch.reported(&web);
    }
    fixture.watch.begin(&fixture.poller, 0);
    fixture.watch.reported(&web);
    fixture.rename("service/web", "service/www");
    assert!(fixture.watch.made_in_place().names.is_empty());
}

#[test]
fn inside_a_directory_that_is_made_everything_is_reported_until_it_is_forgotten() {
    let mut fixture = WatcherFixture::new();
    fixture.make("web/log");
    let web = FileId { device: 1, inode: 1 };
    fixture.watch.begin(&fixture.poller, 0);
    fixture.watch.inside(web, fixture.path("web").as_os_str());
    fixture.watch.end();
    for file in ["web/run", "web/log/run"] {
        fs_err::write(fixture.path(file), "").expect("a file");
        let changes = fixture.watch.take_changes();
        assert_eq!(changes, Changes { inside: HashSet::from([web]), ..Changes::default() }, "{file}");
    }
    fixture.watch.forget(web);
    fixture.make("web/more");
    assert_eq!(fixture.watch.take_changes(), Changes::default());
}
