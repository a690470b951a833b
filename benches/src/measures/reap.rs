//! Short-lived orphans, which process 1 must reap.

use std::process::Command;
use std::thread;
use std::time::Duration;

use super::{Figures, Measure, Runs, milliseconds};
use crate::family::Family;
use crate::namespace::MeasuredNamespace;
use crate::table::{Goal, Row};
use crate::tree::ServiceTree;
use crate::{Outcome, proc};

pub(super) const MEASURE: Measure = Measure {
    name: "reap",
    about: "20 000 short-lived orphans under init and under tini: CPU time of process 1, wall time, zombies left",
    note: "a shell makes them one after the other, so the wall time is mostly its own; \
           zombies are counted a second after the last",
    run,
};

/// Says that it begins, leaves orphans behind, says that it is done. Each is the child of a
/// subshell that does not wait for it.
const ORPHANS: &str = r#"printf go.. >"$BENCHES_EVENTS"
i=0; while [ $i -lt $1 ]; do (:&); i=$((i+1)); done
printf done >"$BENCHES_EVENTS"
exec sleep 1000"#;

const FAMILIES: [Family; 2] = [Family::Init, Family::Tini];

fn run(runs: Runs) -> Outcome<Vec<Row>> {
    let mut figures: [Figures; 3] = std::array::from_fn(|_| Figures::of(&FAMILIES));
    let [cpu, wall, zombies] = &mut figures;
    let orphans = runs.of(20_000, 2_000);
    for _ in 0..runs.of(5, 1) {
        for family in FAMILIES {
            let taken = reap(family, orphans)?;
            cpu.push(family, taken.cpu);
            wall.push(family, taken.wall);
            zombies.push(family, taken.zombies);
        }
    }
    let [cpu, wall, zombies] = figures;
    let rows = [
        cpu.rows_with_goal(
            &format!("{orphans} orphans, CPU of process 1, ms"),
            Family::Tini,
            Goal::Ratio(0.5),
        ),
        wall.rows(&format!("{orphans} orphans, wall, ms")),
        zombies.rows_with_goal(
            &format!("{orphans} orphans, zombies 1 s later"),
            Family::Tini,
            Goal::Value(0.0),
        ),
    ];
    Ok(rows.concat())
}

/// The figures of one run.
#[derive(Debug)]
struct Taken {
    cpu: f64,
    wall: f64,
    zombies: f64,
}

fn reap(family: Family, orphans: u32) -> Outcome<Taken> {
    let mut tree = ServiceTree::new(0)?;
    let mut namespace = MeasuredNamespace::start(&process_1(family, &tree, orphans)?)?;
    let begin = tree.events.one()?;
    let first = namespace.first()?;
    let cpu_before = proc::cpu_time(first)?;
    let end = tree.events.one()?;
    thread::sleep(Duration::from_secs(1));
    let cpu = Duration::from_nanos(proc::cpu_time(first)? - cpu_before);
    let zombies = proc::children(first)?.into_iter().filter(|&child| proc::is_zombie(child)).count();
    Ok(Taken {
        cpu: milliseconds(cpu),
        wall: milliseconds(end.at - begin.at),
        zombies: f64::from(u32::try_from(zombies)?),
    })
}

/// Process 1 with a shell as its main command.
fn process_1(family: Family, tree: &ServiceTree, orphans: u32) -> Outcome<Command> {
    let mut command = if family == Family::Init {
        family.first_process(tree)?
    } else {
        family.command(family.scanner())?
    };
    command.args(["--", "sh", "-c", ORPHANS, "sh", &orphans.to_string()]);
    tree.tell(&mut command, Duration::ZERO);
    Ok(command)
}
