//! sv status of a large tree.

use std::process::Command;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use super::{Figures, Measure, Runs, milliseconds, time};
use crate::Outcome;
use crate::family::Family;
use crate::table::{Goal, Row};
use crate::tree::Running;

pub(super) const MEASURE: Measure = Measure {
    name: "status",
    about: "sv status of 1000 running services: wall time, and CPU time of user and system",
    note: "output to /dev/null; s6-svstat takes one directory at a time, so it has no figure here",
    run,
};

const SERVICES: usize = 1000;

fn run(runs: Runs) -> Outcome<Vec<Row>> {
    let families = [Family::Ours, Family::Runit];
    let trees =
        families.iter().map(|&family| Running::settled(family, SERVICES)).collect::<Outcome<Vec<_>>>()?;
    let [mut wall, mut cpu] = [(); 2].map(|()| Figures::beside_runit());
    for _ in 0..runs.of(30, 5) {
        for running in &trees {
            let mut command = status(running)?;
            let before = cpu_of_children()?;
            wall.push(running.family, time(&mut command)?);
            cpu.push(running.family, cpu_of_children()? - before);
        }
    }
    Ok([
        wall.rows_with_goal("sv status of 1000, wall, ms", Family::Runit, Goal::Ratio(1.0)),
        cpu.rows("sv status of 1000, user + sys, ms"),
    ]
    .concat())
}

fn status(running: &Running) -> Outcome<Command> {
    let mut command = running.family.command("sv")?;
    command.env("SVDIR", running.tree.services()).arg("status");
    command.args((0..SERVICES).map(|number| format!("s{number}")));
    Ok(command)
}

/// What our children that were waited for have used, in milliseconds.
fn cpu_of_children() -> Outcome<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = (usage.user_time() + usage.system_time()).num_microseconds();
    Ok(milliseconds(Duration::from_micros(u64::try_from(micros)?)))
}
