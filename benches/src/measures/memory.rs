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
    about: "private (USS) and proportional (PSS) memory of idle runsvs and of runsvdir; sizes on disk",
    note: "runsv: each of 20 in one tree; PSS shares a program's text among those 20; \
           on disk ours need no libc, theirs do (it is not counted)",
    run,
};

const SERVICES: usize = 20;

fn run(runs: Runs) -> Outcome<Vec<Row>> {
    let mut samples: [Figures; 4] = std::array::from_fn(|_| Figures::of_supervisors());
    let [private, proportional, scanner_private, scanner_proportional] = &mut samples;
    for family in SUPERVISORS {
        let running = Running::settled(family, SERVICES)?;
        thread::sleep(runs.of(Duration::from_secs(5), Duration::from_secs(1)));
        for supervisor in running.supervisors()? {
            push(proc::memory(supervisor)?, family, private, proportional);
        }
        push(proc::memory(running.scanner())?, family, scanner_private, scanner_proportional);
    }
    let [private, proportional, scanner_private, scanner_proportional] = samples;
    let rows = [
        private.rows_with_goal("runsv, private memory, KiB", Family::Runit, Goal::Ratio(0.7)),
        proportional.rows("runsv, PSS, KiB"),
        scanner_private.rows("runsvdir, private memory, KiB"),
        scanner_proportional.rows("runsvdir, PSS, KiB"),
        size(&SUPERVISORS, Family::supervisor)?.rows("runsv on disk, KiB"),
        size(&SUPERVISORS, Family::scanner)?.rows("runsvdir on disk, KiB"),
        size(&[Family::Ours, Family::Runit], |_| "sv")?.rows("sv on disk, KiB"),
    ];
    Ok(rows.concat())
}

fn push(memory: Memory, family: Family, private: &mut Figures, proportional: &mut Figures) {
    private.push(family, memory.private.into());
    proportional.push(family, memory.proportional.into());
}

/// The size of a program of each family.
fn size(families: &[Family], program: impl Fn(Family) -> &'static str) -> Outcome<Figures> {
    let size = |&family: &Family| {
        let bytes = fs::metadata(family.place()?.join(program(family)))?.len();
        Ok((family, Sample::from_iter([f64::from(u32::try_from(bytes)?) / 1024.0])))
    };
    Ok(Figures(families.iter().map(size).collect::<Outcome<_>>()?))
}
