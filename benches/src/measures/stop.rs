//! From the signal to stop to the end of the pid namespace.

use std::thread;
use std::time::{Duration, Instant};

use super::{Measure, Runs, alternate, milliseconds};
use crate::Outcome;
use crate::family::Family;
use crate::table::{Goal, Row};
use crate::tree::{GROWN_UP, ServiceTree, signal};

pub(super) const MEASURE: Measure = Measure {
    name: "stop",
    about: "from TERM for process 1 (init, s6-svscan, ...; HUP for runit's runsvdir) to the end of its pid \
            namespace",
    note: "forking alone sends TERM to each service and waits for all; nitro is a child of tini, which hands \
           TERM on, as it takes none as process 1; runit's runsvdir does not wait for its runsvs: as process 1 \
           it ends at once, and the kernel kills every service before it has stopped; its figure is the price \
           of killing, not of stopping",
    run,
};

fn run(runs: Runs) -> Outcome<Vec<Row>> {
    let cases = [
        (100, 0, 15, 3, Goal::Either(20.0, 2.0)),
        (500, 0, 10, 1, Goal::Either(70.0, 2.5)),
        (100, 200, 10, 2, Goal::Value(215.0)),
        (500, 200, 10, 1, Goal::Value(260.0)),
    ];
    let mut rows = Vec::new();
    for (services, linger, full, quick, goal) in cases {
        let mut families = runs.hosts(services);
        families.push(Family::Fork);
        let [figures] = alternate(&families, runs.of(full, quick), |family| stop(family, services, linger))?;
        let need = if linger == 0 { "at once".to_owned() } else { format!("in {linger} ms") };
        let what = format!("stop of {services} services that end {need}, ms");
        rows.extend(figures.rows_with_goal(&what, Family::Fork, goal));
    }
    Ok(rows)
}

fn stop(family: Family, services: usize, linger: u64) -> Outcome<[f64; 1]> {
    let mut contained = ServiceTree::new(services)?.contain(family, Duration::from_millis(linger))?;
    contained.tree.events.nth(services)?;
    thread::sleep(GROWN_UP);
    let first = contained.namespace.first()?;
    let start = Instant::now();
    signal(first, family.stop_signal())?;
    contained.namespace.await_end()?;
    Ok([milliseconds(start.elapsed())])
}
