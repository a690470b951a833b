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
    about: "from TERM for process 1 (init; s6-svscan; HUP for runit's runsvdir) to the end of its pid namespace",
    note: "runit's runsvdir does not wait for its runsvs: as process 1 it ends at once, and the kernel kills \
           every service before it has stopped; its figure is the price of killing, not of stopping",
    run,
};

fn run(runs: Runs) -> Outcome<Vec<Row>> {
    let cases = [
        (100, 0, 15, 3, Goal::Ratio(1.0)),
        (500, 0, 10, 1, Goal::Ratio(1.0)),
        (100, 200, 10, 2, Goal::Value(220.0)),
    ];
    let mut rows = Vec::new();
    for (services, linger, full, quick, goal) in cases {
        let [figures] = alternate(runs.of(full, quick), |family| stop(family, services, linger))?;
        let need = if linger == 0 { "at once".to_owned() } else { format!("in {linger} ms") };
        let what = format!("stop of {services} services that end {need}, ms");
        rows.extend(figures.rows_with_goal(&what, Family::S6, goal));
    }
    Ok(rows)
}

fn stop(family: Family, services: usize, linger: u64) -> Outcome<[f64; 1]> {
    let mut contained = ServiceTree::new(services)?.contain(family, Duration::from_millis(linger))?;
    contained.tree.events.nth(services)?;
    thread::sleep(GROWN_UP);
    let first = contained.namespace.first()?;
    let start = Instant::now();
    signal(first, contained.stop)?;
    contained.namespace.await_end()?;
    Ok([milliseconds(start.elapsed())])
}
