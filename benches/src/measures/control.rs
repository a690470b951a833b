//! sv start, stop and restart of a service that reacts at once, with a check and without.

use std::os::unix::fs::symlink;
use std::thread;

use fs_err as fs;

use super::{Figures, HOSTS, Measure, Runs, time};
use crate::Outcome;
use crate::beacon::NOTIFICATION_FD;
use crate::family::{Family, Request, SUPERVISORS};
use crate::table::{Goal, Row};
use crate::tree::{GROWN_UP, Running, ServiceTree};

pub(super) const MEASURE: Measure = Measure {
    name: "control",
    about: "sv stop, start, restart (s6-svc -wD -d, -wu -u, -wr -r) of a service that reacts at once",
    note: "the service is older than 1 s, so no supervisor holds it back; \
           the original's sv looks, sleeps 420 ms, and looks again; \
           without a check, ours waits until a process has lived for 420 ms; the check is /bin/true; \
           s6-supervise rests for a second before every restart",
    run,
};

pub(super) const READY: Measure = Measure {
    name: "ready",
    about: "sv start (s6-svc -wU -u) of a service that is ready at once and says so, under init",
    note: "the service writes to its notification-fd; the original knows nothing of it, and looks after 420 ms",
    run: run_ready,
};

/// Where a process has to live for as long as lies between two looks of the original's.
const NOT_LATER: Goal = Goal::Ratio(1.05);

fn run(runs: Runs) -> Outcome<Vec<Row>> {
    let trees = SUPERVISORS.iter().map(|&family| Running::settled(family, 1)).collect::<Outcome<Vec<_>>>()?;
    let trees: Vec<_> = trees.iter().collect();
    let [mut stop, mut start, mut restart] = [(); 3].map(|()| Figures::of_supervisors());
    for _ in 0..runs.of(25, 3) {
        ask(Request::Stop, &trees, &mut stop)?;
        ask(Request::Start, &trees, &mut start)?;
        thread::sleep(GROWN_UP);
        ask(Request::Restart, &trees, &mut restart)?;
        thread::sleep(GROWN_UP);
    }
    // s6 has no such file.
    let trees: Vec<_> = trees.into_iter().filter(|running| running.family != Family::S6).collect();
    for running in &trees {
        symlink("/bin/true", running.tree.service(0).join("check"))?;
    }
    let [mut checked_start, mut checked_restart] = [(); 2].map(|()| Figures::beside_runit());
    for _ in 0..runs.of(25, 3) {
        ask(Request::Stop, &trees, &mut Figures::beside_runit())?;
        ask(Request::Start, &trees, &mut checked_start)?;
        thread::sleep(GROWN_UP);
        ask(Request::Restart, &trees, &mut checked_restart)?;
        thread::sleep(GROWN_UP);
    }
    let rows = |figures: Figures, what, goal| figures.rows_with_goal(what, Family::Runit, goal);
    Ok([
        rows(stop, "sv stop, ms", Goal::Ratio(0.01)),
        rows(checked_start, "sv start with a check, ms", Goal::Ratio(0.02)),
        rows(checked_restart, "sv restart with a check, ms", Goal::Ratio(0.02)),
        rows(start, "sv start without a check, ms", NOT_LATER),
        rows(restart, "sv restart without a check, ms", NOT_LATER),
    ]
    .concat())
}

fn run_ready(runs: Runs) -> Outcome<Vec<Row>> {
    let trees = HOSTS.iter().map(|&family| ready(family)).collect::<Outcome<Vec<_>>>()?;
    let trees: Vec<_> = trees.iter().collect();
    let [mut stop, mut start] = [(); 2].map(|()| Figures::of(&HOSTS));
    for _ in 0..runs.of(25, 3) {
        ask(Request::Stop, &trees, &mut stop)?;
        ask(Request::Ready, &trees, &mut start)?;
        thread::sleep(GROWN_UP);
    }
    Ok(start.rows_with_goal("sv start of what says that it is ready, ms", Family::Runit, Goal::Ratio(0.01)))
}

/// A service that says that it is ready, if it can be said.
fn ready(family: Family) -> Outcome<Running> {
    let tree = ServiceTree::new(1)?;
    if family != Family::Runit {
        fs::write(tree.service(0).join(NOTIFICATION_FD), "3\n")?;
    }
    tree.start(family)?.settle(1)
}

fn ask(request: Request, trees: &[&Running], figures: &mut Figures) -> Outcome<()> {
    for running in trees {
        let took = time(&mut running.family.control(request, &running.tree.service(0))?)?;
        figures.push(running.family, took);
    }
    Ok(())
}
