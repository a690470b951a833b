//! Services that wait for others, with invented time.

use sys::ExitStatus;

use super::*;
use crate::state::tests::dice;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// Services, and what their supervisors say.
struct Tree {
    set: ServiceSet,
    now: Instant,
    names: Vec<String>,
}

impl Tree {
    fn new() -> Self {
        Self { set: ServiceSet::default(), now: Instant::now(), names: Vec::new() }
    }

    /// Services that are wanted up, each with its needs.
    fn of(services: &[(&str, &[&str])]) -> Self {
        let mut tree = Self::new();
        for (name, needs) in services {
            let id = tree.opens(name, needs);
            tree.wants(id, true);
        }
        tree.set.settle(tree.now);
        tree
    }

    fn opens(&mut self, name: &str, needs: &[&str]) -> SupervisorId {
        let id = SupervisorId(self.names.len().try_into().unwrap_or_default());
        self.names.push(name.to_owned());
        self.set.opened(id, name, &owned(needs));
        id
    }

    /// The supervisor that has begun last for this name.
    fn id(&self, name: &str) -> SupervisorId {
        let place = self.names.iter().rposition(|known| known == name).expect("a service");
        SupervisorId(place.try_into().unwrap_or_default())
    }

    /// A service is down, and wanted up or not.
    fn wants(&mut self, id: SupervisorId, is_wanted_up: bool) {
        self.set.reported(id, ServiceReport { is_wanted_up, ..ServiceReport::default() }, self.now);
    }

    fn ends(&mut self, name: &str) {
        self.wants(self.id(name), true);
    }

    /// A service runs since now.
    fn runs(&mut self, name: &str, is_ready: Option<bool>) {
        self.report(name, self.now, is_ready);
    }

    fn report(&mut self, name: &str, since: Instant, is_ready: Option<bool>) {
        let running_since = Some(since);
        let report = ServiceReport {
            is_wanted_up: true,
            running_since,
            is_ready,
            is_gone: false,
            ..ServiceReport::default()
        };
        self.set.reported(self.id(name), report, self.now);
    }

    fn checked(&mut self, name: &str, result: CheckResult) {
        self.set.checked(self.id(name), result, self.now);
    }

    /// A service runs, and its `check` says that it is up.
    fn comes_up(&mut self, name: &str) {
        self.runs(name, None);
        self.checked(name, CheckResult::Up);
    }

    fn needs(&mut self, name: &str, needs: &[&str]) {
        self.set.set_needs(self.id(name), &owned(needs));
        self.set.settle(self.now);
    }

    fn closes(&mut self, name: &str) {
        self.set.closed(self.id(name), self.now);
        self.set.settle(self.now);
    }

    fn passes(&mut self, time: Duration) {
        self.now += time;
        self.set.tick(self.now);
    }

    fn due(&self) -> Option<Duration> {
        self.set.next_deadline().map(|due| due.saturating_duration_since(self.now))
    }

    /// What was requested since the last call: `release web`.
    fn requested(&mut self) -> Vec<String> {
        let say = |action| match action {
            LifecycleAction::Release(id) => ("release", id),
            LifecycleAction::Hold(id) => ("hold", id),
            LifecycleAction::Check(id) => ("check", id),
            other => panic!("{other:?}"),
        };
        let actions = self.set.take_actions().into_iter().map(say);
        actions.map(|(what, id)| format!("{what} {}", self.set.name(id).unwrap_or_default())).collect()
    }

    fn waiting(&self) -> Vec<String> {
        self.set.waiting().map(|(name, needs, _)| format!("{name}: {}", needs.join(" "))).collect()
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

#[test]
fn a_service_waits_until_the_check_of_what_it_needs_succeeds() {
    let mut tree = Tree::of(&[("web", &["db"]), ("db", &[])]);
    assert_eq!((tree.requested(), tree.waiting()), (owned(&[]), owned(&["web: db"])));
    tree.runs("db", None);
    for pause in [10, 20, 40, 80, 160, 320, 420, 420] {
        assert_eq!(tree.requested(), ["check db"]);
        assert_eq!(tree.due(), None, "one check runs at a time");
        tree.checked("db", CheckResult::NotUp);
        assert_eq!(tree.due(), Some(MS * pause));
        tree.passes(MS * (pause - 1));
        assert_eq!(tree.requested(), owned(&[]));
        tree.passes(MS);
    }
    assert_eq!(tree.requested(), ["check db"]);
    tree.checked("db", CheckResult::Up);
    assert_eq!((tree.requested(), tree.waiting()), (owned(&["release web"]), owned(&[])));
    assert!(!tree.set.is_any_waiting() && tree.due().is_none());
}

#[test]
fn a_service_waits_until_what_it_needs_says_that_it_is_ready() {
    let mut tree = Tree::of(&[("web", &["db"]), ("db", &[])]);
    tree.runs("db", Some(false));
    let since = tree.now;
    assert_eq!(tree.requested(), ["check db"]);
    tree.checked("db", CheckResult::Missing);
    assert_eq!(tree.due(), None, "time alone changes nothing");
    tree.passes(SECOND * 60);
    assert_eq!(tree.waiting(), ["web: db"]);
    tree.report("db", since, Some(true));
    assert_eq!(tree.requested(), ["release web"]);
}

#[test]
fn without_either_a_service_is_up_after_0_42_s() {
    let mut tree = Tree::of(&[("web", &["db"]), ("db", &[])]);
    tree.runs("db", None);
    assert_eq!(tree.requested(), ["check db"]);
    tree.passes(MS * 100);
    tree.checked("db", CheckResult::Missing);
    assert_eq!(tree.due(), Some(MS * 320), "its time counts, not the one of its check");
    tree.passes(MS * 319);
    assert_eq!(tree.requested(), owned(&[]));
    tree.passes(MS);
    assert_eq!(tree.requested(), ["release web"]);
}

#[test]
fn a_check_is_run_only_while_another_service_waits() {
    let mut tree = Tree::of(&[("web", &[]), ("db", &[])]);
    tree.runs("db", None);
    assert_eq!(tree.requested(), owned(&[]));
    let app = tree.opens("app", &["db"]);
    tree.wants(app, true);
    tree.set.settle(tree.now);
    assert_eq!((tree.requested(), tree.waiting()), (owned(&["check db"]), owned(&["app: db"])));
    tree.closes("app");
    tree.checked("db", CheckResult::NotUp);
    assert_eq!((tree.requested(), tree.due()), (owned(&[]), None));
}

#[test]
fn a_result_that_comes_after_the_end_of_the_process_is_of_no_use() {
    let mut tree = Tree::of(&[("web", &["db"]), ("db", &[])]);
    tree.runs("db", None);
    tree.ends("db");
    tree.checked("db", CheckResult::Up);
    assert_eq!(tree.waiting(), ["web: db"]);
    tree.passes(MS);
    tree.runs("db", None);
    assert_eq!(tree.requested(), ["check db", "check db"]);
}

#[test]
fn what_will_not_come_up_holds_no_service_and_is_said_once() {
    let mut tree = Tree::new();
    tree.set.found_occupied("other");
    for (name, needs, is_wanted_up) in [
        ("web", vec!["off", "ghost", "other", "web", "app"], true),
        ("off", vec![], false),
        ("app", vec!["web"], true),
    ] {
        let id = tree.opens(name, &needs);
        tree.wants(id, is_wanted_up);
    }
    for _ in 0..2 {
        tree.set.settle(tree.now);
    }
    let mut warnings = tree.set.take_warnings();
    warnings.sort();
    assert_eq!(
        warnings,
        [
            "web depends on app, which closes a cycle; ignored",
            "web depends on ghost, which is not running; ignored",
            "web depends on off, which is down on purpose; ignored",
            "web depends on other, which has another supervisor; ignored",
            "web depends on web, which closes a cycle; ignored",
        ]
    );
    assert_eq!((tree.requested(), tree.waiting()), (owned(&["release web"]), owned(&["app: web"])));
}

#[test]
fn a_need_that_is_put_down_on_purpose_lets_go() {
    let mut tree = Tree::of(&[("web", &["db"]), ("db", &[])]);
    tree.wants(tree.id("db"), false);
    assert_eq!(tree.requested(), ["release web"]);
    tree.wants(tree.id("db"), true);
    assert_eq!(tree.requested(), ["hold web"]);
    tree.closes("db");
    assert_eq!(tree.requested(), ["release web"]);
}

#[test]
fn a_need_that_crashes_holds_the_next_start_of_its_dependents() {
    let mut tree = Tree::of(&[("web", &["db", "cache"]), ("db", &[]), ("cache", &[])]);
    tree.comes_up("db");
    assert_eq!(tree.requested(), ["check db"]);
    tree.comes_up("cache");
    assert_eq!(tree.requested(), ["check cache", "release web"]);
    tree.runs("web", None);
    tree.ends("db");
    assert_eq!(tree.requested(), ["hold web"]);
    assert_eq!(tree.waiting(), owned(&[]), "it runs, and goes on");
    tree.ends("cache");
    tree.ends("web");
    assert_eq!(tree.waiting(), ["web: db cache"]);
    tree.comes_up("db");
    assert_eq!(tree.requested(), ["check db"]);
    tree.comes_up("cache");
    assert_eq!(tree.requested(), ["check cache", "release web"]);
}

#[test]
fn needs_that_change_count_from_the_next_start() {
    let mut tree = Tree::of(&[("web", &[]), ("db", &[]), ("cache", &[])]);
    tree.runs("web", None);
    tree.ends("web");
    tree.needs("web", &["db", "ghost"]);
    assert_eq!(tree.requested(), owned(&[]), "it is held already");
    assert_eq!(tree.set.take_warnings(), ["web depends on ghost, which is not running; ignored"]);
    tree.needs("web", &["cache"]);
    assert_eq!((tree.requested(), tree.waiting()), (owned(&[]), owned(&["web: cache"])));
    tree.comes_up("db");
    assert_eq!(tree.requested(), owned(&[]));
    tree.needs("web", &[]);
    assert_eq!((tree.requested(), tree.waiting()), (owned(&["release web"]), owned(&[])));
}

#[test]
fn a_need_that_appears_later_counts() {
    let mut tree = Tree::of(&[("web", &["db"])]);
    assert_eq!(tree.requested(), ["release web"]);
    assert_eq!(tree.set.take_warnings(), ["web depends on db, which is not running; ignored"]);
    let db = tree.opens("db", &[]);
    tree.wants(db, true);
    tree.set.settle(tree.now);
    assert_eq!((tree.requested(), tree.waiting()), (owned(&["hold web"]), owned(&["web: db"])));
}

/// A directory that was renamed keeps its supervisor, and that its name. Another one may have the name by now.
#[test]
fn the_last_of_two_supervisors_of_one_name_counts() {
    let mut tree = Tree::of(&[("web", &["db"]), ("db", &[])]);
    let old = tree.id("db");
    let new = tree.opens("db", &[]);
    tree.wants(new, true);
    tree.needs("web", &["db", "ghost"]);
    tree.wants(old, false);
    tree.set.closed(old, tree.now);
    let last = tree.requested().pop();
    assert!(last.is_none_or(|last| last == "hold web") && tree.waiting() == ["web: db"]);
    tree.comes_up("db");
    assert_eq!(tree.requested(), ["check db", "release web"]);
    tree.ends("db");
    let web = tree.opens("web", &["db", "ghost"]);
    tree.wants(web, true);
    tree.set.settle(tree.now);
    assert_eq!((tree.requested(), tree.waiting().len()), (owned(&["hold web"]), 2), "a service begins held");
}

#[test]
fn the_stop_gets_every_service_that_is_there() {
    let mut tree = Tree::of(&[("web", &["db"]), ("db", &[]), ("old", &[])]);
    tree.closes("old");
    let (mut graph, services) = tree.set.take_for_stop();
    let ids: Vec<_> = services.iter().map(|(id, ..)| *id).collect();
    assert_eq!(ids, [tree.id("web"), tree.id("db")]);
    let (web, db) = (graph.node("web"), graph.node("db"));
    assert_eq!(graph.needs(web), [db]);
    assert!(tree.set.take_actions().is_empty() && tree.set.next_deadline().is_none());
}

#[test]
fn the_ends_of_a_service_are_counted_while_it_is_there() {
    let mut tree = Tree::of(&[("web", &[])]);
    let end = HistoryEvent::Ended(ExitStatus::Exited(1), SECOND);
    let count = |tree: &mut Tree| tree.set.happened(SupervisorId(0), end, tree.now).map(|end| end.in_a_row);
    assert_eq!([count(&mut tree), count(&mut tree)], [Some(1), Some(2)]);
    tree.closes("web");
    assert_eq!(count(&mut tree), None);
}

/// Holds and releases services.
fn perform(tree: &mut Tree, held: &mut HashMap<SupervisorId, bool>, seed: u64) {
    for action in tree.set.take_actions() {
        let (id, is_held) = match action {
            LifecycleAction::Hold(id) => (id, true),
            LifecycleAction::Release(id) => (id, false),
            _ => continue,
        };
        // One that has closed since is of no interest.
        if let Some(before) = held.get_mut(&id) {
            assert_eq!(std::mem::replace(before, is_held), !is_held, "{seed}");
        }
    }
}

/// Whatever happens, a service is held exactly while something that it needs is not up, and what others wait for
/// is looked at.
#[test]
fn a_random_walk_holds_what_has_to_wait_and_nothing_else() {
    const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
    for seed in 1..=500_u64 {
        let mut dice = dice(seed);
        let mut tree = Tree::new();
        let mut held: HashMap<SupervisorId, bool> = HashMap::new();
        for step in 0..200 {
            let needs: Vec<&str> = NAMES.into_iter().filter(|_| dice(3) == 0).collect();
            let known: Vec<SupervisorId> =
                held.keys().copied().collect::<BTreeSet<_>>().into_iter().collect();
            let id = known.get(dice(known.len().max(1))).copied().unwrap_or(SupervisorId(0));
            let running_since = (dice(3) > 0).then_some(tree.now);
            let is_ready = [None, Some(false), Some(true)][dice(3)];
            let report = ServiceReport {
                is_wanted_up: dice(4) > 0,
                running_since,
                is_ready,
                is_gone: false,
                ..ServiceReport::default()
            };
            let result = [CheckResult::Missing, CheckResult::Up, CheckResult::NotUp][dice(3)];
            match dice(8) {
                0 => drop(held.insert(tree.opens(NAMES[dice(6)], &needs), !needs.is_empty())),
                1 if dice(3) == 0 => {
                    tree.set.closed(id, tree.now);
                    held.remove(&id);
                }
                1 | 2 => {
                    // The host has performed all that was asked for before it holds a service.
                    perform(&mut tree, &mut held, seed);
                    tree.set.set_needs(id, &owned(&needs));
                    held.entry(id).and_modify(|is_held| *is_held = true);
                }
                3 | 4 => tree.set.reported(id, report, tree.now),
                5 | 6 => tree.set.checked(id, result, tree.now),
                _ => tree.passes(MS * u32::try_from(dice(500)).unwrap_or(0)),
            }
            if dice(2) == 0 {
                continue;
            }
            tree.set.settle(tree.now);
            tree.set.tick(tree.now);
            perform(&mut tree, &mut held, seed);
            for (id, is_held) in &held {
                let node = tree.set.services[id].node;
                let needs = tree.set.graph.needs(node);
                assert_eq!(*is_held, needs.iter().any(|need| tree.set.blocks(*need)), "{seed} {step}");
                for need in needs.iter().filter_map(|need| tree.set.current(*need)) {
                    let need_state = &tree.set.services[&need];
                    let is_open = need_state.blocks && need_state.report.running_since.is_some();
                    let is_looked_at = match need_state.check {
                        CheckState::Unknown => false,
                        CheckState::Runs { .. } => true,
                        CheckState::Missing => {
                            need_state.report.is_ready == Some(false) || tree.due().is_some()
                        }
                        CheckState::Passed | CheckState::Failed { .. } => tree.due().is_some(),
                    };
                    assert!(!is_open || is_looked_at, "{seed} {step}: {need_state:?}");
                }
            }
        }
    }
}

/// Each service needs all earlier ones, so that there is one order in which they can start.
#[test]
fn many_services_in_one_order_need_few_events() {
    const COUNT: usize = 2000;
    let names: Vec<String> = (0..COUNT).map(|number| format!("s{number}")).collect();
    let mut tree = Tree::new();
    // Their supervisors begin in another order: 1201 and 2000 have no common divisor.
    let order = (0..COUNT).map(|number| number * 1201 % COUNT);
    let ids: HashMap<usize, SupervisorId> = order
        .map(|number| {
            let needs: Vec<&str> = names.iter().take(number).map(String::as_str).collect();
            let id = tree.opens(&names[number], &needs);
            tree.wants(id, true);
            (number, id)
        })
        .collect();
    tree.set.settle(tree.now);
    let mut events = 0;
    for number in 0..COUNT {
        let id = ids[&number];
        let is_free = |action: &LifecycleAction| *action == LifecycleAction::Release(id);
        let actions = tree.set.take_actions();
        assert!(
            number == 0 && actions.is_empty() || actions.len() == 1 && actions.iter().all(is_free),
            "{number}"
        );
        let running_since = Some(tree.now);
        let report = ServiceReport { is_wanted_up: true, running_since, ..ServiceReport::default() };
        tree.set.reported(id, report, tree.now);
        if number + 1 < COUNT {
            assert_eq!(tree.set.take_actions(), [LifecycleAction::Check(id)]);
            tree.set.checked(id, CheckResult::Missing, tree.now);
            assert!(tree.set.is_any_waiting());
            tree.now = tree.set.next_deadline().expect("0.42 s of its life");
            tree.set.tick(tree.now);
            events += 3;
        }
    }
    assert!(events <= 3 * COUNT && !tree.set.is_any_waiting() && tree.set.take_actions().is_empty());
}
