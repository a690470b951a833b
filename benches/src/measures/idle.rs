//! How often a tree wakes when there is nothing to do.

use std::thread;
use std::time::{Duration, Instant};

use super::{Figures, HOSTS, Measure, Runs};
use crate::family::{Family, SUPERVISORS};
use crate::table::{Goal, Row};
use crate::tree::Running;
use crate::{Outcome, proc};

pub(super) const MEASURE: Measure = Measure {
    name: "idle",
    about: "how often an idle tree wakes in a minute: runsvdir and 100 runsvs, and init with 1000 services",
    note: "context switches of all processes but the services, the trees side by side over the same time",
    run,
};

fn run(runs: Runs) -> Outcome<Vec<Row>> {
    let few = idle(runs, &SUPERVISORS, 100)?;
    let many = idle(runs, &HOSTS, 1000)?;
    Ok([
        few.rows_with_goal("idle tree of 100 services, wake-ups per min", Family::Runit, Goal::Value(1.0)),
        many.rows_with_goal(
            "idle init with 1000 services, wake-ups per min",
            Family::Runit,
            Goal::Value(0.0),
        ),
    ]
    .concat())
}

fn idle(runs: Runs, families: &[Family], services: usize) -> Outcome<Figures> {
    let trees =
        families.iter().map(|&family| Running::settled(family, services)).collect::<Outcome<Vec<_>>>()?;
    thread::sleep(runs.of(Duration::from_secs(5), Duration::from_secs(2)));
    let before = trees.iter().map(wakeups).collect::<Outcome<Vec<_>>>()?;
    let start = Instant::now();
    thread::sleep(runs.of(Duration::from_secs(120), Duration::from_secs(10)));
    let minutes = start.elapsed().as_secs_f64() / 60.0;
    let mut figures = Figures::of(families);
    for (running, before) in trees.iter().zip(before) {
        let more = u32::try_from(wakeups(running)? - before)?;
        figures.push(running.family, f64::from(more) / minutes);
    }
    Ok(figures)
}

fn wakeups(running: &Running) -> Outcome<u64> {
    running.supervision()?.into_iter().try_fold(0, |sum, pid| Ok(sum + proc::wakeups(pid)?))
}
