//! What dies is there again: a supervisor with its service, and a service alone.

use std::thread;
use std::time::Instant;

use super::{Figures, Measure, Runs, milliseconds};
use crate::family::{Family, SUPERVISORS};
use crate::table::{Goal, Row};
use crate::tree::{GROWN_UP, ServiceTree, end, reap};
use crate::{Outcome, proc};

pub(super) const RUNSV: Measure = Measure {
    name: "runsv",
    about: "from KILL for a runsv and its ./run to the ./run of the next runsv",
    note: "both are older than 1 s; ./run is killed right after its runsv, which would otherwise leave it behind",
    run: replace_supervisor,
};

pub(super) const RUN: Measure = Measure {
    name: "run",
    about: "from KILL for a ./run to the next one executing",
    note: "the service is older than 1 s, so that runsv starts it at once; s6-supervise rests for a second always",
    run: restart_service,
};

fn replace_supervisor(runs: Runs) -> Outcome<Vec<Row>> {
    let figures = kill_again_and_again(runs.of(25, 3), |run| {
        let supervisor = proc::parent(run)?;
        let start = Instant::now();
        end(supervisor)?;
        end(run)?;
        // It has become a child of this process, which must reap it.
        reap(run)?;
        Ok(start)
    })?;
    Ok(figures.rows_with_goal("dead runsv and its ./run replaced, ms", Family::Runit, Goal::Value(50.0)))
}

fn restart_service(runs: Runs) -> Outcome<Vec<Row>> {
    let figures = kill_again_and_again(runs.of(25, 3), |run| {
        let start = Instant::now();
        end(run)?;
        Ok(start)
    })?;
    Ok(figures.rows_with_goal("end of ./run to the next, ms", Family::Runit, Goal::Ratio(1.0)))
}

fn kill_again_and_again(runs: usize, kill: impl Fn(u32) -> Outcome<Instant>) -> Outcome<Figures> {
    let mut trees = Vec::new();
    for family in SUPERVISORS {
        let mut running = ServiceTree::new(1)?.start(family)?;
        let run = running.tree.events.one()?.pid;
        trees.push((running, run));
    }
    let mut figures = Figures::of_supervisors();
    for _ in 0..runs {
        thread::sleep(GROWN_UP);
        for (running, run) in &mut trees {
            let start = kill(*run)?;
            let next = running.tree.events.one()?;
            figures.push(running.family, milliseconds(next.at - start));
            *run = next.pid;
        }
    }
    Ok(figures)
}
