//! How often a tree wakes when there is nothing to do.

use std::thread;
use std::time::{Duration, Instant};

use super::{Figures, Measure, Runs};
use crate::family::{Family, SUPERVISORS};
use crate::table::{Goal, Row};
use crate::tree::Running;
use crate::{Outcome, proc};

pub(super) const MEASURE: Measure = Measure {
    name: "idle",
    about: "how often the runsvdir and 100 runsvs of an idle tree wake in a minute",
    note: "voluntary context switches of all of them, the three trees side by side over the same time",
    run,
};

const SERVICES: usize = 100;

fn run(runs: Runs) -> Outcome<Vec<Row>> {
    let trees =
        SUPERVISORS.iter().map(|&family| Running::settled(family, SERVICES)).collect::<Outcome<Vec<_>>>()?;
    thread::sleep(runs.of(Duration::from_secs(5), Duration::from_secs(2)));
    let before = trees.iter().map(wakeups).collect::<Outcome<Vec<_>>>()?;
    let start = Instant::now();
    thread::sleep(runs.of(Duration::from_secs(120), Duration::from_secs(10)));
    let minutes = start.elapsed().as_secs_f64() / 60.0;
    let mut figures = Figures::of_supervisors();
    for (running, before) in trees.iter().zip(before) {
        let more = u32::try_from(wakeups(running)? - before)?;
        figures.push(running.family, f64::from(more) / minutes);
    }
    Ok(figures.rows_with_goal("idle tree of 100 services, wake-ups per min", Family::Runit, Goal::Value(1.0)))
}

fn wakeups(running: &Running) -> Outcome<u64> {
    let mut wakeups = proc::wakeups(running.scanner())?;
    for supervisor in running.supervisors()? {
        wakeups += proc::wakeups(supervisor)?;
    }
    Ok(wakeups)
}
