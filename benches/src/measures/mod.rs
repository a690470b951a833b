//! What is measured, and the order of it.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use crate::arguments::Wishes;
use crate::family::{Family, SUPERVISORS};
use crate::sample::Sample;
use crate::table::{Goal, Row, Table};
use crate::tree::clear_away;
use crate::{Outcome, machine};

mod boot;
mod control;
mod deaths;
mod idle;
mod memory;
mod neighbour;
mod new;
mod reap;
mod status;
mod stop;

/// One chapter of the table.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it is about, in one line.
    pub about: &'static str,
    /// What a reader must know to judge its figures.
    note: &'static str,
    run: fn(Runs) -> Outcome<Vec<Row>>,
}

/// All of them, in order.
pub const MEASURES: &[Measure] = &[
    boot::MEASURE,
    boot::UNDER_INIT,
    control::MEASURE,
    control::READY,
    neighbour::MEASURE,
    new::MEASURE,
    deaths::RUNSV,
    deaths::RUN,
    status::MEASURE,
    memory::MEASURE,
    idle::MEASURE,
    stop::MEASURE,
    reap::MEASURE,
];

/// How much to do, and beside which programs.
#[derive(Clone, Copy, Debug)]
pub struct Runs {
    is_quick: bool,
    guests: &'static [Family],
}

impl Runs {
    /// So many, or that few if it must be quick.
    fn of<T>(self, full: T, quick: T) -> T {
        if self.is_quick { quick } else { full }
    }

    /// init, and the families that it is measured beside with so many services.
    fn hosts(self, services: usize) -> Vec<Family> {
        let guests = self.guests.iter().copied().filter(|guest| guest.can_keep(services));
        HOSTS.into_iter().chain(guests).collect()
    }
}

/// Takes the wanted measures and prints the table.
pub fn run(wishes: &Wishes) -> Outcome<ExitCode> {
    let outcome = measure(wishes);
    clear_away();
    outcome
}

fn measure(wishes: &Wishes) -> Outcome<ExitCode> {
    let is_wanted =
        |name: &str| wishes.measures.is_empty() || wishes.measures.iter().any(|wish| wish == name);
    let wanted: Vec<_> = MEASURES.iter().filter(|measure| is_wanted(measure.name)).collect();
    let description = machine::description()?;
    let mut rows = Vec::new();
    for measure in &wanted {
        eprintln!("benches: {}: {}", measure.name, measure.about);
        rows.extend((measure.run)(Runs { is_quick: wishes.is_quick, guests: wishes.guests })?);
    }
    println!("{description}\n\n{}", Table(&rows));
    println!("Ours and theirs are medians, ratio is ours divided by theirs.\n");
    for measure in &wanted {
        println!("- {}: {}", measure.name, measure.note);
    }
    let is_missed = rows.iter().any(|row| row.is_kept() == Some(false));
    Ok(if is_missed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// init and what is always beside it.
const HOSTS: [Family; 3] = [Family::Init, Family::Runit, Family::S6];

/// The figures of each family for one measure.
#[derive(Debug)]
struct Figures(Vec<(Family, Sample)>);

impl Figures {
    /// Nothing yet, for these.
    fn of(families: &[Family]) -> Self {
        Self(families.iter().map(|&family| (family, Sample::default())).collect())
    }

    /// Nothing yet, for the families with a process for each service.
    fn of_supervisors() -> Self {
        Self::of(&SUPERVISORS)
    }

    /// Nothing yet, for ours and the original.
    fn beside_runit() -> Self {
        Self::of(&[Family::Ours, Family::Runit])
    }

    /// Adds a figure of a family.
    fn push(&mut self, family: Family, figure: f64) {
        if let Some((_, sample)) = self.0.iter_mut().find(|(other, _)| *other == family) {
            sample.push(figure);
        }
    }

    /// A row for each other family.
    fn rows(self, what: &str) -> Vec<Row> {
        let (ours, theirs): (Vec<_>, Vec<_>) = self.0.into_iter().partition(|(family, _)| family.is_ours());
        let ours = ours.into_iter().next().map(|(_, sample)| sample).unwrap_or_default();
        let row =
            |(peer, theirs)| Row { what: what.to_owned(), ours: ours.clone(), peer, theirs, goal: None };
        theirs.into_iter().map(row).collect()
    }

    /// The same, with a goal for the row of one of them.
    fn rows_with_goal(self, what: &str, beside: Family, goal: Goal) -> Vec<Row> {
        let mut rows = self.rows(what);
        for row in rows.iter_mut().filter(|row| row.peer == beside) {
            row.goal = Some(goal);
        }
        rows
    }
}

/// Takes the figures of each family in turn, again and again.
fn alternate<const N: usize>(
    families: &[Family],
    runs: usize,
    mut measure: impl FnMut(Family) -> Outcome<[f64; N]>,
) -> Outcome<[Figures; N]> {
    let mut all = std::array::from_fn(|_| Figures::of(families));
    for _ in 0..runs {
        for &family in families {
            let taken = measure(family).map_err(|failure| format!("{}: {failure}", family.name()))?;
            for (figures, figure) in all.iter_mut().zip(taken) {
                figures.push(family, figure);
            }
        }
    }
    Ok(all)
}

/// How long a program runs, in milliseconds; it must succeed.
fn time(command: &mut Command) -> Outcome<f64> {
    let start = Instant::now();
    let ended = command.status()?;
    let took = start.elapsed();
    if ended.success() {
        return Ok(milliseconds(took));
    }
    Err(format!("{command:?} failed: {ended}").into())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
