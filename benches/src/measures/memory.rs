//! What an idle tree costs in memory, and the programs on disk.

use std::thread;
use std::time::Duration;

use fs_err as fs;

use super::{Figures, Measure, Runs};
use crate::Outcome;
use crate::family::{Family, SUPERVISORS};
use crate::proc::{self, Memory};
use crate::sample::Sample;
use crate::table::{Goal, Row};
use crate::tree::Running;

pub(super) const MEASURE: Measure = Measure {
    name: "memory",
    about: "private (USS) and proportional (PSS) memory of idle runsvs, of runsvdir, and of supervision under \
            init; sizes on disk",
    note: "runsv: each of 20 in one tree, so that its text is shared among 20; runsvdir: one, so that all of \
           its static program that was read counts as private, which the system can drop and read again, \
           unlike what was written; supervision: private memory and page tables of all processes but the \
           1000 services, divided by 1000; theirs share libc with the rest of the machine, ours need none (nor \
           is it counted on disk)",
    run,
};

const SERVICES: usize = 20;

fn run(runs: Runs) -> Outcome<Vec<Row>> {
    let mut supervisors = Kinds::new();
    let mut scanners = Kinds::new();
    for family in SUPERVISORS {
        let running = Running::settled(family, SERVICES)?;
        thread::sleep(runs.of(Duration::from_secs(5), Duration::from_secs(1)));
        for supervisor in running.supervisors()? {
            supervisors.push(family, proc::memory(supervisor)?);
        }
        scanners.push(family, proc::memory(running.scanner())?);
    }
    let mut rows = supervisors.rows("runsv");
    for row in rows.iter_mut().take(1) {
        row.goal = Some(Goal::Ratio(0.6));
    }
    rows.extend(scanners.rows("runsvdir"));
    rows.extend(supervision(runs)?);
    rows.extend(size(&SUPERVISORS, Family::supervisor)?.rows("runsv on disk, KiB"));
    rows.extend(size(&SUPERVISORS, Family::scanner)?.rows("runsvdir on disk, KiB"));
    rows.extend(size(&[Family::Ours, Family::Runit], |_| "sv")?.rows("sv on disk, KiB"));
    Ok(rows)
}

/// What supervision takes for a service, in one process or in many.
fn supervision(runs: Runs) -> Outcome<Vec<Row>> {
    const SERVICES: u32 = 1000;
    let families = runs.hosts(SERVICES as usize);
    let mut figures = Figures::of(&families);
    for family in families {
        let running = Running::settled(family, SERVICES as usize)?;
        thread::sleep(runs.of(Duration::from_secs(5), Duration::from_secs(1)));
        let mut sum = 0;
        for pid in running.supervision()? {
            let memory = proc::memory(pid)?;
            sum += memory.private + memory.page_tables;
        }
        figures.push(family, f64::from(sum) / f64::from(SERVICES));
    }
    let what = format!("supervision of {SERVICES} under init, KiB a service");
    Ok(figures.rows_with_goal(&what, Family::Runit, Goal::Value(6.0)))
}

/// The kinds of memory of one program.
#[derive(Debug)]
struct Kinds {
    private: Figures,
    written: Figures,
    proportional: Figures,
}

impl Kinds {
    fn new() -> Self {
        let [private, written, proportional] = std::array::from_fn(|_| Figures::of_supervisors());
        Self { private, written, proportional }
    }

    fn push(&mut self, family: Family, memory: Memory) {
        self.private.push(family, memory.private.into());
        self.written.push(family, memory.written.into());
        self.proportional.push(family, memory.proportional.into());
    }

    /// The rows, private memory beside runit's first.
    fn rows(self, program: &str) -> Vec<Row> {
        let rows = [
            self.private.rows(&format!("{program}, private memory, KiB")),
            self.written.rows(&format!("{program}, of that written, KiB")),
            self.proportional.rows(&format!("{program}, PSS, KiB")),
        ];
        rows.concat()
    }
}

/// The size of a program of each family.
fn size(families: &[Family], program: impl Fn(Family) -> &'static str) -> Outcome<Figures> {
    let size = |&family: &Family| {
        let bytes = fs::metadata(family.place()?.join(program(family)))?.len();
        Ok((family, Sample::from_iter([f64::from(u32::try_from(bytes)?) / 1024.0])))
    };
    Ok(Figures(families.iter().map(size).collect::<Outcome<_>>()?))
}
