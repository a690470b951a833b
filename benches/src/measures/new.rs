//! A complete service directory that is linked into place.

use std::os::unix::fs::symlink;
use std::thread;
use std::time::{Duration, Instant};

use super::{Figures, Measure, Runs, milliseconds, time};
use crate::Outcome;
use crate::family::{Family, SUPERVISORS};
use crate::table::{Goal, Row};
use crate::tree::Running;

pub(super) const MEASURE: Measure = Measure {
    name: "new",
    about: "from the link to a new directory to its ./run executing",
    note: "the original looks every few seconds, so its figure depends on the moment: moments differ from run to \
           run; s6-svscan looks when it is told to, so its figure includes s6-svscanctl -a",
    run,
};

fn run(runs: Runs) -> Outcome<Vec<Row>> {
    let mut trees =
        SUPERVISORS.iter().map(|&family| Running::settled(family, 1)).collect::<Outcome<Vec<_>>>()?;
    let mut figures = Figures::of_supervisors();
    for number in 0..runs.of(25, 3) {
        for running in &mut trees {
            let family = running.family;
            let took = link(running, number).map_err(|failure| format!("{}: {failure}", family.name()))?;
            figures.push(family, took);
        }
        thread::sleep(moment(number));
    }
    Ok(figures.rows_with_goal("new directory, ms", Family::Runit, Goal::Value(50.0)))
}

fn link(running: &mut Running, number: usize) -> Outcome<f64> {
    let spare = running.tree.spare(number)?;
    let services = running.tree.services();
    let place = services.join(format!("n{number}"));
    running.tree.events.forget()?;
    let start = Instant::now();
    symlink(&spare, &place)?;
    if let Some(mut command) = running.family.rescan(&services)? {
        time(&mut command)?;
    }
    Ok(milliseconds(running.tree.events.one()?.at - start))
}

/// Another moment each time within the five seconds between two looks of the original, which
/// would otherwise be asked in step with its own clock.
fn moment(number: usize) -> Duration {
    Duration::from_millis(number as u64 * 1370 % 5000)
}
