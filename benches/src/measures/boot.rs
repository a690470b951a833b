//! From the start of the scanner to the moment when every service runs.

use std::time::Duration;

use super::{Measure, Runs, alternate, milliseconds};
use crate::family::{Family, SUPERVISORS};
use crate::table::{Goal, Row};
use crate::tree::ServiceTree;
use crate::{Outcome, proc};

pub(super) const MEASURE: Measure = Measure {
    name: "boot",
    about: "from the start of runsvdir (s6-svscan) to the last of 10, 100, 1000 ./run executing: wall and CPU time",
    note: "service directories without supervise/ each time, so that making it is part of the boot; the directory \
           of them looks old, because the original waits for a second before it believes a new one; the CPU time is \
           that of scanner, supervisors and services, which the start of each ./run is part of",
    run,
};

pub(super) const UNDER_INIT: Measure = Measure {
    name: "init-boot",
    about: "from the start of init (runsvdir, s6-svscan, ...) to the last of 100, 1000 ./run executing",
    note: "as in boot; forking alone starts the services one after the other and supervises none",
    run: run_init,
};

/// What the wall time and the processor time may be of runit's.
const GOALS: [Goal; 2] = [Goal::Ratio(0.8), Goal::Ratio(0.7)];

fn run(runs: Runs) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    for (services, full, quick, has_goals) in [(10, 20, 3, false), (100, 15, 3, true), (1000, 7, 1, true)] {
        let figures = alternate(&SUPERVISORS, runs.of(full, quick), |family| boot(family, services))?;
        for ((figures, unit), goal) in figures.into_iter().zip(["ms", "CPU ms"]).zip(GOALS) {
            let what = format!("boot of {services} services, {unit}");
            rows.extend(if has_goals {
                figures.rows_with_goal(&what, Family::Runit, goal)
            } else {
                figures.rows(&what)
            });
        }
    }
    Ok(rows)
}

fn run_init(runs: Runs) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    for (services, full, quick) in [(100, 15, 3), (1000, 7, 1)] {
        let mut families = runs.hosts(services);
        families.push(Family::Fork);
        let [wall, _] = alternate(&families, runs.of(full, quick), |family| boot(family, services))?;
        let what = format!("boot of {services} services under init, ms");
        rows.extend(wall.rows_with_goal(&what, Family::Runit, Goal::Ratio(0.4)));
    }
    Ok(rows)
}

/// The wall time, and the processor time of the scanner, the supervisors and the services.
fn boot(family: Family, services: usize) -> Outcome<[f64; 2]> {
    let mut running = ServiceTree::new(services)?.start(family)?;
    let last = running.tree.events.nth(services)?;
    let cpu = Duration::from_nanos(proc::cpu_time_of_tree(running.scanner())?);
    Ok([milliseconds(last.at - running.begin), milliseconds(cpu)])
}
