//! `dependencies.d`, the order in which services go down; and `critical`, a service that must not end.

use nix::sys::signal::Signal;
use tests::namespace::PidNamespace;
use tests::{Builder, Output, Service, Suite, TestTree};

use crate::init::stop::{PATIENT, begun, said, saves_for, stopped_in_order};

/// A service that writes when it is told to end and when it has, to a file for all of them.
fn telling(tree: &TestTree, name: &str, needs: &[&str]) -> Builder {
    let log = tree.root().join("order").display().to_string();
    let body = format!(
        "trap 'kill $!; echo {name} told >>{log}; sleep .5; echo {name} ended >>{log}; exit 0' TERM
         echo >ready; while :; do sleep 1000 & wait; done"
    );
    needs.iter().fold(tree.service(name).run(&body), |service, need| {
        service.file(&format!("dependencies.d/{need}"), "")
    })
}

/// The whole of a life: started, stopped, and in which order.
#[track_caller]
fn order_of(tree: &TestTree, services: &[Service]) -> (Vec<String>, Output) {
    let container = begun(tree, PATIENT);
    for service in services {
        service.eventually_has("ready");
        // It may be ready before its record is written, and init goes by that.
        service.eventually_runs();
    }
    let end = stopped_in_order(&container);
    let order = fs_err::read_to_string(tree.root().join("order")).expect("an order");
    (order.lines().map(str::to_owned).collect(), end)
}

#[track_caller]
fn place(order: &[String], line: &str) -> usize {
    order.iter().position(|other| other == line).unwrap_or_else(|| panic!("no {line:?} in {order:?}"))
}

#[test]
fn dependents_go_down_before_what_they_need() {
    let tree = Suite::ours().tree();
    let services = [
        telling(&tree, "db", &[]).made(),
        telling(&tree, "app", &["db"]).made(),
        telling(&tree, "web", &["app"]).made(),
        telling(&tree, "other", &[]).made(),
    ];
    let (order, end) = order_of(&tree, &services);
    assert_eq!(order.len(), 8, "{order:?}");
    assert!(place(&order, "web ended") < place(&order, "app told"), "{order:?}");
    assert!(place(&order, "app ended") < place(&order, "db told"), "{order:?}");
    assert!(place(&order, "other told") < place(&order, "app told"), "{order:?}\n{}", end.stderr);
}

#[test]
fn many_services_that_each_need_all_before_them_are_stopped() {
    let tree = Suite::ours().tree();
    let names: Vec<String> = (0..120).map(|number| format!("s{number:03}")).collect();
    let services: Vec<Service> = (0..names.len())
        .map(|count| {
            let service = tree.service(&names[count]).run("exec sleep 1000").check("exit 0");
            let depends =
                |service: Builder, need: &String| service.file(&format!("dependencies.d/{need}"), "");
            names[..count].iter().fold(service, depends).made()
        })
        .collect();
    let container = begun(&tree, PATIENT);
    for service in &services {
        service.eventually("it is supervised", Service::is_supervised);
        service.eventually_runs();
    }
    let end = stopped_in_order(&container);
    let said_at = |name: &str| end.stderr.find(&format!("init: {name}: stopped after"));
    assert!(said_at("s119").is_some() && said_at("s119") < said_at("s000"), "{}", end.stderr);
}

#[test]
fn several_dependents_go_down_together_before_what_they_need() {
    let tree = Suite::ours().tree();
    let services = [
        telling(&tree, "db", &[]).made(),
        telling(&tree, "one", &["db"]).made(),
        telling(&tree, "two", &["db"]).made(),
    ];
    let (order, _) = order_of(&tree, &services);
    let told = ["one", "two"].map(|name| place(&order, &format!("{name} told")));
    let ended = ["one", "two"].map(|name| place(&order, &format!("{name} ended")));
    assert!(told.iter().max() < ended.iter().min(), "at once: {order:?}");
    assert!(ended.iter().max() < Some(&place(&order, "db told")), "{order:?}");
}

#[test]
fn a_cycle_is_said_once_and_every_service_is_stopped() {
    let tree = Suite::ours().tree();
    let services = [
        telling(&tree, "egg", &["hen"]).made(),
        telling(&tree, "hen", &["egg"]).made(),
        telling(&tree, "narcissus", &["narcissus"]).made(),
    ];
    let (order, end) = order_of(&tree, &services);
    assert_eq!(order.len(), 6, "{order:?}");
    let warnings: Vec<&str> = end.stderr.lines().filter(|line| line.starts_with("init: warning: ")).collect();
    let about = |name: &str| warnings.iter().filter(|line| line.contains(name)).count();
    assert_eq!(about("hen"), 1, "{}", end.stderr);
}

#[test]
fn an_unknown_name_is_said_once_and_holds_no_service_up() {
    let tree = Suite::ours().tree();
    let services = [telling(&tree, "web", &["nobody"]).made(), telling(&tree, "db", &[]).made()];
    let (order, end) = order_of(&tree, &services);
    assert_eq!(order.len(), 4, "{order:?}");
    assert_eq!(end.stderr.matches("nobody").count(), 1, "{}", end.stderr);
}

/// A dependent that does not end gets its share of the time and no more: what it needs gets a share of its
/// own.
#[test]
fn a_deaf_dependent_does_not_take_all_the_time() {
    let tree = Suite::ours().tree();
    let db = telling(&tree, "db", &[]).made();
    let deaf = tree.service("deaf").run(crate::IGNORES_TERM).file("dependencies.d/db", "").made();
    let container = begun(&tree, "12");
    db.eventually_has("ready");
    deaf.eventually_has("ready");
    container.signal(Signal::SIGTERM);
    let end = container.finished();
    assert_eq!(end.code(), Some(99), "{}", end.stderr);
    said(&end, "1 killed: deaf; exit 99");
    let order = fs_err::read_to_string(tree.root().join("order")).unwrap_or_default();
    assert_eq!(order, "db told\ndb ended\n", "{}", end.stderr);
}

/// What is needed is down already.
#[test]
fn a_need_that_is_down_holds_no_service_up() {
    let tree = Suite::ours().tree();
    let services = [telling(&tree, "web", &["db"]).made()];
    telling(&tree, "db", &[]).down().made();
    let (order, end) = order_of(&tree, &services);
    assert_eq!(order, ["web told", "web ended"], "{}", end.stderr);
}

// Critical services.

/// A critical service that does this as soon as there are a container to end and a service to save.
#[track_caller]
fn critical(tree: &TestTree, body: &str) -> PidNamespace {
    let saver = tree.service("saver").run(&saves_for("0")).made();
    let heart = tree
        .service("heart")
        .run(&format!("until [ -e go ]; do sleep .01; done; {body}"))
        .file("critical", "")
        .made();
    let container = begun(tree, PATIENT);
    saver.eventually_has("ready");
    heart.write("go", "");
    container
}

#[track_caller]
fn ends_with(tree: &TestTree, container: &PidNamespace, code: i32) -> Output {
    let end = container.finished();
    assert_eq!(end.code(), Some(code), "{}", end.stderr);
    assert_eq!(tree.at("saver").read("saved"), "saved\n", "the others go down in order");
    end
}

#[test]
fn a_critical_services_end_is_the_containers_with_its_code() {
    let tree = Suite::ours().tree();
    let container = critical(&tree, "exit 7");
    let end = ends_with(&tree, &container, 7);
    said(&end, "heart: critical, ended with exit 7: stopping");
}

#[test]
fn a_critical_services_death_is_128_and_the_signal() {
    let tree = Suite::ours().tree();
    let container = critical(&tree, "kill -SEGV $$");
    ends_with(&tree, &container, 139);
}

#[test]
fn a_critical_service_that_ends_well_ends_the_container_well() {
    let tree = Suite::ours().tree();
    let container = critical(&tree, "exit 0");
    ends_with(&tree, &container, 0);
}

/// Only its own end counts: neither a restart through sv nor a requested stop does.
#[test]
fn a_requested_end_of_a_critical_service_is_no_reason() {
    let tree = Suite::ours().tree();
    let container = critical(&tree, "echo >>beats; exec sleep 1000");
    let heart = tree.at("heart");
    heart.eventually_lines("beats", 1);
    heart.control("t");
    heart.eventually_lines("beats", 2);
    heart.control("d");
    heart.eventually_down();
    heart.control("u");
    heart.eventually_lines("beats", 3);
    assert!(container.is_alive(), "{}", container.stderr());
    container.signal(Signal::SIGTERM);
    ends_with(&tree, &container, 0);
}

#[test]
fn a_service_that_came_later_can_be_critical() {
    let tree = Suite::ours().tree();
    let container = begun(&tree, PATIENT);
    let saver = tree.service("saver").run(&saves_for("0")).made();
    saver.eventually_has("ready");
    tree.service("late").run("sleep 1; exit 8").file("critical", "").made();
    ends_with(&tree, &container, 8);
}
