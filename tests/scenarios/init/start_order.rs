//! `dependencies.d`, the order in which services are started: one that needs others waits until they are up.

use std::time::Duration;

use nix::sys::signal::Signal;
use tests::namespace::PidNamespace;
use tests::{Builder, RawStatus, Service, Suite, TestTree, nothing_happens_for};

use crate::init::stop::{PATIENT, begun, ended_in_order, patient, said, stopped_in_order};

/// How long a process has to live to count as up, where it does not say so.
const LIFE: Duration = Duration::from_millis(420);

/// The same by the clock of the records, which may be corrected meanwhile.
const LIFE_BY_WALL_CLOCK: Duration = Duration::from_millis(410);

/// Longer than that.
const LONG: Duration = Duration::from_millis(900);

const SLEEPS: &str = "exec sleep 1000";

/// A service that needs others.
fn needing(tree: &TestTree, name: &str, needs: &[&str]) -> Builder {
    let service = tree.service(name).run("echo >>started; exec sleep 1000");
    needs.iter().fold(service, |service, need| service.file(&format!("dependencies.d/{need}"), ""))
}

/// `web` waits for `db`, which runs and is not up: it is down, and wanted up, however long that takes.
#[track_caller]
fn begun_and_waiting(db: Builder) -> (PidNamespace, Service, Service) {
    let db = db.made();
    let web = needing(db.tree(), "web", &["db"]).made();
    let container = begun(db.tree(), PATIENT);
    db.eventually_runs();
    web.eventually("it is supervised", Service::is_supervised);
    waits(&web);
    (container, db, web)
}

/// The time between two starts.
fn between(before: RawStatus, after: RawStatus) -> Duration {
    let since_start = |status: RawStatus| Duration::new(status.seconds, status.nanos);
    since_start(after).checked_sub(since_start(before)).expect("a later start")
}

#[track_caller]
fn waits(web: &Service) {
    nothing_happens_for(LONG, "it waits", || !web.has("started"));
    web.sv("status").says("down: web: Ns, normally up, want up\n", 0);
    let why = web.sv("why").stdout;
    assert!(why.contains("wanted up: under init it waits for db ("), "{why}");
}

/// `web`, which runs, is restarted: it waits for `db`, and only then.
#[track_caller]
fn waits_at_its_next_start(container: &PidNamespace, db: &Service, web: &Service) {
    web.control("t");
    web.eventually_down();
    nothing_happens_for(LONG * 2, "it waits", || web.lines("started").len() == 1);
    db.write("ok", "");
    web.eventually_lines("started", 2);
    stopped_in_order(container);
}

#[track_caller]
fn warns_once(container: &PidNamespace, warning: &str) {
    let warning = format!("init: warning: {warning}\n");
    container.eventually_says(&warning);
    let end = stopped_in_order(container);
    assert_eq!(end.stderr.matches(&warning).count(), 1, "{}", end.stderr);
    assert_eq!(end.stderr.matches("warning").count(), 1, "{}", end.stderr);
}

#[test]
fn a_service_waits_until_the_check_of_what_it_needs_succeeds() {
    let tree = Suite::ours().tree();
    let (container, db, web) = begun_and_waiting(tree.service("db").run(SLEEPS).check("test -e ok"));
    db.write("ok", "");
    web.eventually_has("started");
    web.eventually_runs();
    stopped_in_order(&container);
}

/// However young its process is.
#[test]
fn what_is_up_by_its_check_at_once_is_waited_for_no_longer() {
    let tree = Suite::ours().tree();
    let names: Vec<String> = (0..40).map(|number| format!("s{number:02}")).collect();
    let chain: Vec<Service> = (0..names.len())
        .map(|place| {
            let needs = names[..place].last().map(String::as_str);
            needing(&tree, &names[place], needs.as_slice()).check("exit 0").made()
        })
        .collect();
    let container = begun(&tree, PATIENT);
    let last = chain.last().expect("many").eventually_runs();
    let took = between(chain[0].eventually_runs(), last);
    assert!(took < LIFE * 20, "{took:?}");
    stopped_in_order(&container);
}

#[test]
fn a_service_waits_until_what_it_needs_says_that_it_is_ready() {
    let tree = Suite::ours().tree();
    let db = tree.service("db").run("until test -e go; do sleep .02; done; echo >&3; exec sleep 1000");
    let (container, db, web) = begun_and_waiting(db.file("notification-fd", "3\n"));
    db.sv("status").says("run: db: (pid N) Ns, not ready\n", 0);
    db.write("go", "");
    web.eventually_has("started");
    assert!(db.has("supervise/ready"));
    stopped_in_order(&container);
}

#[test]
fn a_service_waits_until_what_it_needs_has_lived_for_a_while() {
    let tree = Suite::ours().tree();
    let services = [("db", &[][..]), ("app", &["db"]), ("web", &["app", "db"])]
        .map(|(name, needs)| needing(&tree, name, needs).made());
    let container = begun(&tree, PATIENT);
    let [db, app, web] = services.each_ref().map(Service::eventually_runs);
    assert!(
        between(db, app) >= LIFE_BY_WALL_CLOCK && between(app, web) >= LIFE_BY_WALL_CLOCK,
        "{db:?}, {app:?}, {web:?}"
    );
    stopped_in_order(&container);
}

#[test]
fn with_verbose_what_a_service_waits_for_is_said_each_second() {
    let tree = Suite::ours().tree();
    let db = tree.service("db").run(SLEEPS).check("test -e ok").made();
    let cache = tree.service("cache").run(SLEEPS).check("test -e ok").made();
    let web = needing(&tree, "web", &["db", "cache"]).made();
    let container = patient(&tree, &["-v"]).start_as_process_1();
    let line = "init: web waits for cache, db\n";
    tests::eventually("it is said twice", || container.stderr().matches(line).count() >= 2);
    cache.write("ok", "");
    container.eventually_says("init: web waits for db\n");
    db.write("ok", "");
    web.eventually_has("started");
    stopped_in_order(&container);
}

#[test]
fn what_is_down_on_purpose_is_not_waited_for() {
    let tree = Suite::ours().tree();
    let db = tree.service("db").run("echo >>started; exec sleep 1000").down().made();
    let web = needing(&tree, "web", &["db"]).made();
    let container = begun(&tree, PATIENT);
    web.eventually_has("started");
    warns_once(&container, "web depends on db, which is down on purpose; ignored");
    assert!(!db.has("started"));
}

#[test]
fn what_is_not_there_is_not_waited_for() {
    let tree = Suite::ours().tree();
    let web = needing(&tree, "web", &["absent"]).made();
    let container = begun(&tree, PATIENT);
    web.eventually_has("started");
    web.sv("restart");
    web.eventually_lines("started", 2);
    warns_once(&container, "web depends on absent, which is not running; ignored");
}

/// One entry of the cycle is ignored, and the rest of the order is kept.
#[test]
fn a_cycle_holds_no_service() {
    let tree = Suite::ours().tree();
    let egg = needing(&tree, "egg", &["hen"]).made();
    let hen = needing(&tree, "hen", &["egg"]).check("test -e ok").made();
    let container = begun(&tree, PATIENT);
    hen.eventually_has("started");
    nothing_happens_for(LONG, "the egg waits", || !egg.has("started"));
    hen.write("ok", "");
    egg.eventually_has("started");
    egg.eventually_runs();
    warns_once(&container, "hen depends on egg, which closes a cycle; ignored");
}

/// It is wanted up, and may be up one day; but a user may decide that it is not to be waited for.
#[test]
fn what_cannot_come_up_is_waited_for_until_it_is_told_down() {
    let tree = Suite::ours().tree();
    let db = tree.service("db").run("exit 1").made();
    let web = needing(&tree, "web", &["db"]).made();
    let container = begun(&tree, PATIENT);
    web.eventually("it is supervised", Service::is_supervised);
    waits(&web);
    db.sv("down");
    web.eventually_has("started");
    stopped_in_order(&container);
}

/// `u` and `o` do not change the order, and `d` takes back what was wanted.
#[test]
fn a_service_that_waits_obeys_its_clients_when_it_may_start() {
    let tree = Suite::ours().tree();
    let db = tree.service("db").run(SLEEPS).check("test -e ok").made();
    let services = ["told-up", "told-down", "told-once"].map(|name| needing(&tree, name, &["db"]).made());
    let container = begun(&tree, PATIENT);
    for (service, byte) in services.iter().zip(["u", "d", "o"]) {
        service.eventually("it is supervised", Service::is_supervised);
        service.control(byte);
    }
    nothing_happens_for(LONG, "they wait", || !services.iter().any(|service| service.has("started")));
    db.write("ok", "");
    let [up, down, once] = &services;
    assert_eq!((up.eventually_runs().want, once.eventually_runs().want), (b'u', b'd'));
    nothing_happens_for(LONG, "it stays down", || !down.has("started"));
    stopped_in_order(&container);
}

/// A stop does not let it go.
#[test]
fn a_service_that_waits_is_not_started_in_a_stop() {
    let tree = Suite::ours().tree();
    let (container, db, web) = begun_and_waiting(tree.service("db").run(SLEEPS).check("test -e ok"));
    db.write_script("finish", "sleep 1");
    container.signal(Signal::SIGTERM);
    let end = ended_in_order(&container);
    said(&end, "init: 2 services stopped in ");
    assert!(!web.has("started"), "{}", end.stderr);
}

/// A service that came later, too.
#[test]
fn a_service_that_comes_later_waits_and_is_waited_for() {
    let tree = Suite::ours().tree();
    let container = begun(&tree, PATIENT);
    let db = tree.service("db").run(SLEEPS).check("test -e ok").made();
    db.eventually_runs();
    let web = needing(&tree, "web", &["db"]).made();
    web.eventually("it is supervised", Service::is_supervised);
    waits(&web);
    db.write("ok", "");
    web.eventually_has("started");
    stopped_in_order(&container);
}

/// Order is for starts: what runs is not disturbed, and waits again at its next start.
#[test]
fn a_service_that_runs_is_not_disturbed_by_what_it_needs() {
    let tree = Suite::ours().tree();
    let db = tree.service("db").run(SLEEPS).check("test -e ok").file("ok", "").made();
    let web = needing(&tree, "web", &["db"]).made();
    let container = begun(&tree, PATIENT);
    let before = web.eventually_runs().pid;
    db.remove("ok");
    let old = db.status().pid;
    db.control("t");
    db.eventually_runs_anew(old);
    nothing_happens_for(LONG, "it goes on", || web.status().pid == before);
    waits_at_its_next_start(&container, &db, &web);
}

/// Its logger does not wait. `control/u` is a part of the start.
#[test]
fn the_logger_of_a_service_that_waits_runs() {
    let tree = Suite::ours().tree();
    let db = tree.service("db").run(SLEEPS).check("test -e ok").made();
    let web = needing(&tree, "web", &["db"]).log("exec cat >>../log.txt").control('u', "echo >>preparing");
    let web = web.made();
    let container = begun(&tree, PATIENT);
    web.eventually("it is supervised", Service::is_supervised);
    web.log().eventually_runs();
    nothing_happens_for(LONG, "it waits", || !web.has("started") && !web.has("preparing"));
    db.write("ok", "");
    web.eventually_has("started");
    assert_eq!(web.lines("preparing").len(), 1);
    stopped_in_order(&container);
}

/// What was not there when it was first looked for is waited for at the next start.
#[test]
fn what_comes_later_is_waited_for_at_the_next_start() {
    let tree = Suite::ours().tree();
    let web = needing(&tree, "web", &["db"]).made();
    let container = begun(&tree, PATIENT);
    web.eventually_lines("started", 1);
    container.eventually_says("web depends on db, which is not running; ignored\n");
    let db = tree.service("db").run(SLEEPS).check("test -e ok").made();
    db.eventually_runs();
    waits_at_its_next_start(&container, &db, &web);
}

/// The directory is read when a service ends.
#[test]
fn a_dependency_that_was_added_counts_at_the_next_start() {
    let tree = Suite::ours().tree();
    let db = tree.service("db").run(SLEEPS).check("test -e ok").made();
    let web = needing(&tree, "web", &[]).made();
    let container = begun(&tree, PATIENT);
    web.eventually_runs();
    db.eventually_runs();
    fs_err::create_dir(web.path("dependencies.d")).expect("a directory");
    web.write("dependencies.d/db", "");
    restarted(&web);
    nothing_happens_for(LONG, "it waits", || web.lines("started").len() == 1);
    db.write("ok", "");
    web.eventually_lines("started", 2);
    web.eventually_runs();
    db.remove("ok");
    let old = db.status().pid;
    db.control("t");
    db.eventually_runs_anew(old);
    web.remove("dependencies.d/db");
    restarted(&web);
    web.eventually_lines("started", 3);
    stopped_in_order(&container);
}

/// A service that waits has no end at which the directory would be read again.
#[test]
fn a_service_that_waits_is_let_go_when_it_needs_nothing_any_more() {
    for is_commanded in [true, false] {
        let tree = Suite::ours().tree();
        let (container, _db, web) = begun_and_waiting(tree.service("db").run(SLEEPS).check("exit 1"));
        web.remove("dependencies.d/db");
        if is_commanded {
            web.control("u");
        } else {
            container.signal(Signal::SIGALRM);
        }
        web.eventually_has("started");
        stopped_in_order(&container);
    }
}

/// It is down before it is told up again.
#[track_caller]
fn restarted(web: &Service) {
    web.control("d");
    web.eventually_down();
    web.control("u");
}

#[test]
fn a_need_that_was_removed_is_not_waited_for() {
    let tree = Suite::ours().tree();
    let (container, db, web) = begun_and_waiting(tree.service("db").run(SLEEPS).check("test -e ok"));
    fs_err::rename(db.dir(), tree.root().join("away")).expect("it can be moved away");
    web.eventually_has("started");
    stopped_in_order(&container);
}
