//! From the start of the scanner to the moment when every service runs.

use super::{Measure, Runs, alternate, milliseconds};
use crate::Outcome;
use crate::family::Family;
use crate::table::{Goal, Row};
use crate::tree::Tree;

pub(super) const MEASURE: Measure = Measure {
    name: "boot",
    about: "from the start of runsvdir (s6-svscan) to the last of 10, 100, 1000 ./run executing",
    note: "service directories without supervise/ each time, so that making it is part of the boot; the directory \
           of them looks old, because the original waits for a second before it believes a new one",
    run,
};

fn run(runs: Runs) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    for (services, full, quick, goal) in [(10, 20, 3, None), (100, 15, 3, Some(0.5)), (1000, 7, 1, Some(0.5))]
    {
        let figures = alternate(runs.of(full, quick), |family| boot(family, services))?;
        let what = format!("boot of {services} services, ms");
        rows.extend(match goal {
            Some(ratio) => figures.rows_with_goal(&what, Family::Runit, Goal::Ratio(ratio)),
            None => figures.rows(&what),
        });
    }
    Ok(rows)
}

fn boot(family: Family, services: usize) -> Outcome<f64> {
    let mut running = Tree::new(services)?.start(family)?;
    let last = running.tree.events.nth(services)?;
    Ok(milliseconds(last.at - running.begin))
}
