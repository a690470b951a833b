//! The services of a directory, with a clock of the test's own.

use sys::Pid;

use super::*;
use crate::state::arrival::LONGEST_ARRIVAL;
use crate::state::scanned_service::LEAVE_TIMEOUT;

const HOME: FileId = FileId { device: 1, inode: 1 };
const WEB: FileId = FileId { device: 1, inode: 10 };
const NEWER_WEB: FileId = FileId { device: 1, inode: 11 };
const MOMENT: Duration = Duration::from_millis(1);

/// Services with a clock of their own.
struct ServicesFixture {
    services: Services<Pid>,
    now: Instant,
}

fn directory(name: &str, identity: FileId) -> ScanEntry {
    let what = EntryKind::Directory { identity, is_fresh: false, is_remade: false, is_temporary: false };
    ScanEntry { name: name.into(), what }
}

fn fresh(name: &str, identity: FileId) -> ScanEntry {
    let what = EntryKind::Directory { identity, is_fresh: true, is_remade: false, is_temporary: false };
    ScanEntry { name: name.into(), what }
}

fn temporary(name: &str, identity: FileId) -> ScanEntry {
    let what = EntryKind::Directory { identity, is_fresh: false, is_remade: false, is_temporary: true };
    ScanEntry { name: name.into(), what }
}

fn remade(name: &str, identity: FileId) -> ScanEntry {
    let what = EntryKind::Directory { identity, is_fresh: false, is_remade: true, is_temporary: false };
    ScanEntry { name: name.into(), what }
}

fn hidden(name: &str) -> ScanEntry {
    ScanEntry { name: name.into(), what: EntryKind::Hidden(Errno::ENOENT) }
}

fn start(name: &str, identity: FileId) -> ScanAction<Pid> {
    ScanAction::Start(identity, name.into())
}

impl ServicesFixture {
    fn new() -> Self {
        Self { services: Services::default(), now: Instant::now() }
    }

    /// With a directory that holds nothing.
    fn watching() -> Self {
        let mut fixture = Self::new();
        fixture.sees([]);
        fixture
    }

    /// With one supervisor, that has run for a minute.
    fn with_web() -> Self {
        let mut fixture = Self::new();
        fixture.sees([directory("web", WEB)]);
        assert_eq!(fixture.asks(), [start("web", WEB)]);
        fixture.started(WEB, 7);
        fixture.passes(Duration::from_secs(60));
        fixture
    }

    fn sees(&mut self, entries: impl IntoIterator<Item = ScanEntry>) {
        self.sees_in(HOME, entries);
    }

    fn sees_in(&mut self, home: FileId, entries: impl IntoIterator<Item = ScanEntry>) {
        let entries = entries.into_iter().collect();
        self.scans(Listing { home, entries, is_forced: false, is_thorough: false, is_home_fresh: false });
    }

    fn scans(&mut self, listing: Listing) {
        self.services.scanned(listing, self.now);
    }

    fn passes(&mut self, time: Duration) {
        self.now += time;
    }

    fn started(&mut self, identity: FileId, pid: i32) {
        self.attempted(identity, StartAttempt::Started(Pid::from_raw(pid)));
    }

    fn attempted(&mut self, identity: FileId, outcome: StartAttempt<Pid>) {
        self.services.attempted(identity, outcome, self.now);
    }

    fn is_killed(&mut self, pid: i32) {
        let status = ExitStatus::Killed { signal: sys::Signal::KILL, core: false };
        self.services.exited(Pid::from_raw(pid), status, self.now);
    }

    fn dies(&mut self, pid: i32, code: u8) {
        self.services.exited(Pid::from_raw(pid), ExitStatus::Exited(code), self.now);
    }

    /// What is asked for now, apart from watches.
    fn asks(&mut self) -> Vec<ScanAction<Pid>> {
        self.services.settle(self.now);
        let is_of_watch =
            |action: &ScanAction<Pid>| matches!(action, ScanAction::Watch(..) | ScanAction::Forget(_));
        std::iter::from_fn(|| self.services.next_action()).filter(|action| !is_of_watch(action)).collect()
    }

    fn changes_name(&mut self, name: &str) {
        self.services.changed_names(&HashSet::from([name.into()]), self.now);
    }

    fn is_quiet_for(&mut self, time: Duration) {
        let end = self.now + time;
        if let Some(deadline) = self.services.next_deadline() {
            assert!(deadline >= end, "something is due {:?} too early", end - deadline);
        }
        self.now += time.saturating_sub(MOMENT);
        assert_eq!(self.asks(), []);
        self.now = end;
    }
}

#[test]
fn directories_that_are_there_are_started_at_once_in_the_order_of_their_names() {
    let mut fixture = ServicesFixture::new();
    let inodes = |inode| FileId { device: 1, inode };
    fixture.sees([directory("a", inodes(9)), directory("b", inodes(3)), directory("c", inodes(5))]);
    let started = [start("a", inodes(9)), start("b", inodes(3)), start("c", inodes(5))];
    assert_eq!(fixture.asks(), started);
    assert_eq!(fixture.services.next_deadline(), None);
}

#[test]
fn two_names_of_one_directory_have_one_runsv_and_are_named_once() {
    let mut fixture = ServicesFixture::new();
    fixture.sees([directory("a", WEB), directory("b", WEB)]);
    assert_eq!(fixture.asks(), [ScanAction::NameTwin("b".into(), "a".into()), start("a", WEB)]);
    fixture.started(WEB, 7);
    fixture.sees([directory("a", WEB), directory("b", WEB)]);
    assert_eq!(fixture.asks(), []);
    fixture.sees([directory("b", WEB)]);
    assert_eq!(fixture.asks(), []);
}

#[test]
fn a_directory_that_is_made_in_its_place_is_started_when_nothing_in_it_has_changed_for_a_second() {
    let mut fixture = ServicesFixture::watching();
    fixture.sees([fresh("web", WEB)]);
    for _ in 0..10 {
        fixture.is_quiet_for(QUIET_IN_PLACE.saturating_sub(MOMENT));
        assert!(fixture.services.changed_inside(WEB, fixture.now));
    }
    fixture.is_quiet_for(QUIET_IN_PLACE);
    assert_eq!(fixture.asks(), [start("web", WEB)]);
    assert!(!fixture.services.changed_inside(WEB, fixture.now));
}

#[test]
fn a_directory_that_is_changed_again_and_again_is_started_late() {
    let mut fixture = ServicesFixture::watching();
    fixture.sees([fresh("web", WEB)]);
    for _ in 0..LONGEST_ARRIVAL.as_secs() * 2 {
        assert_eq!(fixture.asks(), []);
        assert!(fixture.services.changed_inside(WEB, fixture.now));
        fixture.passes(QUIET_IN_PLACE / 2);
    }
    assert_eq!(fixture.asks(), [start("web", WEB)]);
}

#[test]
fn a_directory_that_arrives_whole_is_started_when_its_name_has_not_changed_for_a_moment() {
    let mut fixture = ServicesFixture::watching();
    fixture.sees([directory("temporary", WEB)]);
    fixture.is_quiet_for(QUIET_WHOLE.saturating_sub(MOMENT));
    fixture.sees([directory("web", WEB)]);
    fixture.changes_name("web");
    fixture.is_quiet_for(QUIET_WHOLE);
    assert_eq!(fixture.asks(), [start("web", WEB)]);
}

#[test]
fn a_name_that_looks_temporary_has_a_second_to_be_changed() {
    let mut fixture = ServicesFixture::watching();
    fixture.sees([temporary("CuqX3zYb", WEB)]);
    fixture.is_quiet_for(QUIET_IN_PLACE.saturating_sub(MOMENT));
    fixture.sees([directory("web", WEB)]);
    fixture.is_quiet_for(QUIET_WHOLE);
    assert_eq!(fixture.asks(), [start("web", WEB)]);
}

#[test]
fn a_directory_that_arrives_whole_and_is_changed_waits_for_more_changes() {
    let mut fixture = ServicesFixture::watching();
    fixture.sees([directory("web", WEB)]);
    fixture.passes(MOMENT);
    assert!(fixture.services.changed_inside(WEB, fixture.now));
    fixture.is_quiet_for(QUIET_IN_PLACE);
    assert_eq!(fixture.asks(), [start("web", WEB)]);
}

#[test]
fn in_a_services_directory_that_is_made_in_its_place_everything_is() {
    let mut fixture = ServicesFixture::new();
    let entries = vec![directory("web", WEB)];
    let of_a_moment_ago =
        Listing { home: HOME, entries, is_forced: false, is_thorough: false, is_home_fresh: true };
    fixture.scans(of_a_moment_ago);
    fixture.is_quiet_for(QUIET_IN_PLACE);
    assert_eq!(fixture.asks(), [start("web", WEB)]);
}

#[test]
fn nothing_is_said_of_a_name_that_is_there_for_a_moment_only() {
    let mut fixture = ServicesFixture::watching();
    fixture.sees([hidden("temporary")]);
    fixture.is_quiet_for(QUIET_WHOLE.saturating_sub(MOMENT));
    fixture.sees([hidden("web")]);
    fixture.is_quiet_for(QUIET_WHOLE);
    assert_eq!(fixture.asks(), [ScanAction::Warn("web".into(), Errno::ENOENT)]);
    fixture.sees([hidden("web")]);
    fixture.changes_name("web");
    assert_eq!(fixture.services.next_deadline(), None);
}

#[test]
fn a_dead_runsv_is_replaced_at_once_but_not_within_a_second_of_its_start() {
    let mut fixture = ServicesFixture::with_web();
    fixture.is_killed(7);
    assert_eq!(fixture.asks(), [start("web", WEB)]);
    fixture.started(WEB, 8);
    fixture.passes(MOMENT * 300);
    fixture.is_killed(8);
    fixture.is_quiet_for(MOMENT * 700);
    assert_eq!(fixture.asks(), [start("web", WEB)]);
}

#[test]
fn a_runsv_that_exited_on_command_is_replaced_a_second_later() {
    let mut fixture = ServicesFixture::with_web();
    fixture.dies(7, 0);
    fixture.is_quiet_for(Duration::from_secs(1));
    assert_eq!(fixture.asks(), [start("web", WEB)]);
    fixture.started(WEB, 8);
    fixture.passes(Duration::from_secs(60));
    fixture.dies(8, 0);
    assert_eq!(fixture.asks(), []);
    let entries = vec![directory("web", WEB)];
    fixture.scans(Listing { home: HOME, entries, is_forced: true, is_thorough: true, is_home_fresh: false });
    assert_eq!(fixture.asks(), [start("web", WEB)]);
}

#[test]
fn a_runsv_that_keeps_refusing_is_tried_more_and_more_rarely() {
    let mut fixture = ServicesFixture::with_web();
    fixture.dies(7, 111);
    for (pid, pause) in [(8, 1), (9, 2), (10, 4), (11, 5), (12, 5)] {
        assert_eq!(fixture.asks(), [start("web", WEB)]);
        fixture.started(WEB, pid);
        fixture.dies(pid, 111);
        fixture.is_quiet_for(Duration::from_secs(pause));
    }
}

#[test]
fn a_forced_scan_ends_a_long_pause_but_not_the_second_after_a_start() {
    let mut fixture = ServicesFixture::with_web();
    fixture.dies(7, 111);
    for pid in 8..12 {
        fixture.asks();
        fixture.started(WEB, pid);
        fixture.dies(pid, 111);
        fixture.passes(Duration::from_secs(if pid == 11 { 0 } else { 5 }));
    }
    let entries = vec![directory("web", WEB)];
    fixture.scans(Listing { home: HOME, entries, is_forced: true, is_thorough: true, is_home_fresh: false });
    fixture.is_quiet_for(Duration::from_secs(1));
    assert_eq!(fixture.asks(), [start("web", WEB)]);
}

#[test]
fn an_entry_that_is_gone_means_one_term() {
    let mut fixture = ServicesFixture::with_web();
    fixture.sees([]);
    assert_eq!(fixture.asks(), [ScanAction::Terminate(Pid::from_raw(7))]);
    fixture.sees([]);
    assert_eq!(fixture.asks(), []);
    fixture.dies(7, 0);
    assert_eq!(fixture.asks(), []);
    assert_eq!(fixture.services.name_of(WEB), None);
}

#[test]
fn several_entries_that_are_gone_are_stopped_in_one_scan() {
    let mut fixture = ServicesFixture::new();
    let identity = |inode| FileId { device: 1, inode };
    fixture.sees((10..15).map(|inode| directory(&format!("s{inode}"), identity(inode))));
    fixture.asks();
    for (inode, pid) in (10..15).zip(100..) {
        fixture.started(identity(inode), pid);
    }
    fixture.sees([]);
    assert_eq!(fixture.asks().len(), 5);
}

#[test]
fn an_entry_that_cannot_be_read_keeps_its_runsv_and_is_reported_once() {
    let mut fixture = ServicesFixture::with_web();
    fixture.sees([hidden("web")]);
    fixture.is_quiet_for(QUIET_WHOLE);
    assert_eq!(fixture.asks(), [ScanAction::Warn("web".into(), Errno::ENOENT)]);
    fixture.sees([hidden("web")]);
    assert_eq!(fixture.asks(), []);
}

#[test]
fn a_runsv_that_dies_while_its_entry_cannot_be_read_is_replaced_when_it_can() {
    let mut fixture = ServicesFixture::with_web();
    fixture.sees([hidden("web")]);
    fixture.passes(QUIET_WHOLE);
    fixture.asks();
    fixture.is_killed(7);
    assert_eq!(fixture.asks(), []);
    assert_eq!(fixture.services.next_deadline(), None);
    fixture.sees([directory("web", WEB)]);
    assert_eq!(fixture.asks(), [start("web", WEB)]);
}

#[test]
fn a_replacement_that_cannot_be_read_does_not_bring_the_old_one_back() {
    let mut fixture = ServicesFixture::with_web();
    fixture.sees([directory("web", NEWER_WEB)]);
    fixture.asks();
    fixture.sees([hidden("web")]);
    fixture.dies(7, 0);
    fixture.asks();
    assert_eq!(fixture.services.name_of(WEB), None);
    assert_eq!(fixture.services.name_of(NEWER_WEB), Some(OsStr::new("web")));
}

#[test]
fn a_renamed_entry_keeps_its_runsv_and_the_next_one_has_the_new_name() {
    let mut fixture = ServicesFixture::with_web();
    fixture.sees([directory("www", WEB)]);
    assert_eq!(fixture.asks(), []);
    fixture.is_killed(7);
    assert_eq!(fixture.asks(), [start("www", WEB)]);
}

#[test]
fn a_replaced_directory_is_started_when_the_old_runsv_has_gone() {
    let mut fixture = ServicesFixture::with_web();
    fixture.sees([directory("web", NEWER_WEB)]);
    assert_eq!(fixture.asks(), [ScanAction::Terminate(Pid::from_raw(7))]);
    fixture.is_quiet_for(LEAVE_TIMEOUT);
    assert_eq!(fixture.asks(), [ScanAction::Complain("web".into(), Pid::from_raw(7))]);
    fixture.passes(Duration::from_secs(30));
    assert_eq!(fixture.asks(), []);
    assert_eq!(fixture.services.next_deadline(), None);
    fixture.dies(7, 0);
    assert_eq!(fixture.asks(), [start("web", NEWER_WEB)]);
}

#[test]
fn nothing_is_said_of_a_runsv_that_takes_its_time_to_leave_while_no_service_waits() {
    let mut fixture = ServicesFixture::with_web();
    fixture.sees([]);
    assert_eq!(fixture.asks(), [ScanAction::Terminate(Pid::from_raw(7))]);
    assert_eq!(fixture.services.next_deadline(), None);
    fixture.passes(LEAVE_TIMEOUT * 2);
    assert_eq!(fixture.asks(), []);
    fixture.sees([directory("web", WEB)]);
    assert_eq!(fixture.asks(), [ScanAction::Complain("web".into(), Pid::from_raw(7))]);
    fixture.sees([directory("web", WEB)]);
    assert_eq!(fixture.asks(), []);
}

#[test]
fn when_the_whole_directory_is_switched_no_service_waits_for_another() {
    let mut fixture = ServicesFixture::with_web();
    let elsewhere = FileId { device: 1, inode: 2 };
    fixture.sees_in(elsewhere, [directory("web", NEWER_WEB)]);
    let terminate = ScanAction::Terminate(Pid::from_raw(7));
    assert_eq!(fixture.asks(), [terminate, start("web", NEWER_WEB)]);
}

#[test]
fn an_entry_that_comes_back_is_started_when_its_old_runsv_has_gone() {
    let mut fixture = ServicesFixture::with_web();
    fixture.sees([]);
    fixture.asks();
    fixture.sees([directory("web", WEB)]);
    assert_eq!(fixture.asks(), []);
    fixture.dies(7, 0);
    fixture.is_quiet_for(QUIET_WHOLE);
    assert_eq!(fixture.asks(), [start("web", WEB)]);
}

#[test]
fn a_directory_made_anew_with_the_number_of_the_old_one_is_noticed() {
    let mut fixture = ServicesFixture::with_web();
    fixture.sees([remade("web", WEB)]);
    assert_eq!(fixture.asks(), [ScanAction::Terminate(Pid::from_raw(7))]);
    fixture.dies(7, 0);
    fixture.is_quiet_for(QUIET_IN_PLACE);
    assert_eq!(fixture.asks(), [start("web", WEB)]);
}

#[test]
fn a_runsv_that_is_not_ours_is_left_alone_and_followed_at_once() {
    let mut fixture = ServicesFixture::new();
    fixture.sees([directory("web", WEB)]);
    fixture.asks();
    fixture.attempted(WEB, StartAttempt::Occupied { is_watched: true });
    assert_eq!(fixture.services.next_deadline(), None);
    fixture.services.vacated(WEB);
    assert_eq!(fixture.asks(), [start("web", WEB)]);
    fixture.attempted(WEB, StartAttempt::Occupied { is_watched: false });
    fixture.is_quiet_for(Duration::from_secs(1));
    assert_eq!(fixture.asks(), [start("web", WEB)]);
    fixture.attempted(WEB, StartAttempt::Occupied { is_watched: true });
    fixture.sees([]);
    assert_eq!(fixture.asks(), []);
}

#[test]
fn without_processes_every_service_waits_a_second() {
    let mut fixture = ServicesFixture::new();
    fixture.sees([directory("a", WEB), directory("b", NEWER_WEB)]);
    fixture.services.settle(fixture.now);
    assert_eq!(fixture.services.next_action(), Some(start("a", WEB)));
    fixture.attempted(WEB, StartAttempt::NoProcess);
    assert!(!fixture.services.has_actions());
    fixture.is_quiet_for(Duration::from_secs(1));
    assert_eq!(fixture.asks(), [start("a", WEB), start("b", NEWER_WEB)]);
}
