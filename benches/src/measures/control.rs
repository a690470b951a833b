//! sv start, stop and restart of a service that reacts at once.

use std::thread;

use super::{Figures, Measure, Runs, time};
use crate::Outcome;
use crate::family::{Family, Request, SUPERVISORS};
use crate::table::{Goal, Row};
use crate::tree::{GROWN_UP, Running};

pub(super) const MEASURE: Measure = Measure {
    name: "control",
    about: "sv stop, start, restart (s6-svc -wD -d, -wu -u, -wr -r) of a prompt service",
    note: "the service is older than 1 s, so no supervisor holds it back; \
           the original's sv looks, sleeps 420 ms, and looks again; \
           s6-supervise rests for a second before every restart",
    run,
};

fn run(runs: Runs) -> Outcome<Vec<Row>> {
    let trees = SUPERVISORS.iter().map(|&family| Running::settled(family, 1)).collect::<Outcome<Vec<_>>>()?;
    let mut stop = Figures::of_supervisors();
    let mut start = Figures::of_supervisors();
    let mut restart = Figures::of_supervisors();
    for _ in 0..runs.of(25, 3) {
        ask(Request::Stop, &trees, &mut stop)?;
        ask(Request::Start, &trees, &mut start)?;
        thread::sleep(GROWN_UP);
        ask(Request::Restart, &trees, &mut restart)?;
        thread::sleep(GROWN_UP);
    }
    let rows = |figures: Figures, what| figures.rows_with_goal(what, Family::Runit, Goal::Ratio(0.01));
    Ok([rows(stop, "sv stop, ms"), rows(start, "sv start, ms"), rows(restart, "sv restart, ms")].concat())
}

fn ask(request: Request, trees: &[Running], figures: &mut Figures) -> Outcome<()> {
    for running in trees {
        let took = time(&mut running.family.control(request, &running.tree.service(0))?)?;
        figures.push(running.family, took);
    }
    Ok(())
}
