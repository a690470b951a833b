//! The table: aligned for the eye in a terminal, and valid Markdown.

use std::fmt;

use crate::family::Family;
use crate::sample::Sample;

/// What the contract asks of a row.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// Our median may be so many times theirs.
    Ratio(f64),
    /// Our median may be so much.
    Value(f64),
    /// Our median may be so much, or so many times theirs.
    Either(f64, f64),
}

/// Ours beside one other.
#[derive(Clone, Debug)]
pub struct Row {
    /// What was measured, with the unit.
    pub what: String,
    /// Our figures.
    pub ours: Sample,
    /// The other family.
    pub peer: Family,
    /// The figures of the other.
    pub theirs: Sample,
    /// What the contract asks.
    pub goal: Option<Goal>,
}

const HEADINGS: [&str; 10] =
    ["measure", "runs", "ours", "range", "beside", "theirs", "range", "ratio", "goal", "kept"];

/// The first column and those with words are aligned left, figures right.
const IS_LEFT: [bool; 10] = [true, false, false, false, true, false, false, false, false, true];

/// The rows, to be printed.
#[derive(Debug)]
pub struct Table<'a>(pub &'a [Row]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<_> = self.0.iter().map(Row::cells).collect();
        let mut widths = HEADINGS.map(str::len);
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        line(f, &HEADINGS.map(str::to_owned), &widths)?;
        rule(f, &widths)?;
        rows.iter().try_for_each(|row| line(f, row, &widths))
    }
}

fn line(f: &mut fmt::Formatter<'_>, cells: &[String; 10], widths: &[usize; 10]) -> fmt::Result {
    for ((cell, &width), is_left) in cells.iter().zip(widths).zip(IS_LEFT) {
        if is_left {
            write!(f, "| {cell:<width$} ")?;
        } else {
            write!(f, "| {cell:>width$} ")?;
        }
    }
    writeln!(f, "|")
}

fn rule(f: &mut fmt::Formatter<'_>, widths: &[usize; 10]) -> fmt::Result {
    for (&width, is_left) in widths.iter().zip(IS_LEFT) {
        let dashes = "-".repeat(width + 1);
        if is_left {
            write!(f, "|:{dashes}")?;
        } else {
            write!(f, "|{dashes}:")?;
        }
    }
    writeln!(f, "|")
}

impl Row {
    fn cells(&self) -> [String; 10] {
        let ratio = self.ratio();
        [
            self.what.clone(),
            self.ours.runs().max(self.theirs.runs()).to_string(),
            figure(self.ours.median()),
            range(&self.ours),
            self.peer.name().to_owned(),
            figure(self.theirs.median()),
            range(&self.theirs),
            figure(ratio),
            self.goal.map(Goal::text).unwrap_or_default(),
            self.is_kept().map(|is_kept| if is_kept { "yes" } else { "NO" }).unwrap_or_default().to_owned(),
        ]
    }

    /// Our median divided by theirs; nothing where theirs is nothing.
    fn ratio(&self) -> Option<f64> {
        let theirs = self.theirs.median().filter(|&theirs| theirs > 0.0)?;
        Some(self.ours.median()? / theirs)
    }

    /// Whether it is what the contract asks, if that can be said.
    pub fn is_kept(&self) -> Option<bool> {
        match self.goal? {
            Goal::Ratio(limit) => Some(self.ratio()? <= limit),
            Goal::Value(limit) => Some(self.ours.median()? <= limit),
            Goal::Either(limit, ratio) => {
                Some(self.ours.median()? <= limit || self.ratio().is_some_and(|it| it <= ratio))
            }
        }
    }
}

impl Goal {
    fn text(self) -> String {
        match self {
            Self::Ratio(limit) => format!("ratio <= {limit}"),
            Self::Value(limit) => format!("<= {limit}"),
            Self::Either(limit, ratio) => format!("<= {limit} or ratio <= {ratio}"),
        }
    }
}

/// A figure with three digits that mean something.
fn figure(figure: Option<f64>) -> String {
    match figure {
        None => "-".to_owned(),
        Some(figure) if figure == 0.0 || figure >= 100.0 => format!("{figure:.0}"),
        Some(figure) if figure >= 10.0 => format!("{figure:.1}"),
        Some(figure) if figure >= 1.0 => format!("{figure:.2}"),
        Some(figure) if figure >= 0.1 => format!("{figure:.3}"),
        Some(figure) => format!("{figure:.4}"),
    }
}

fn range(sample: &Sample) -> String {
    match sample.range() {
        Some((least, most)) => format!("{} .. {}", figure(Some(least)), figure(Some(most))),
        None => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ours: f64, theirs: f64, goal: Goal) -> Row {
        let (ours, theirs) = (Sample::from_iter([ours]), Sample::from_iter([theirs]));
        Row { what: "sv stop, ms".to_owned(), ours, peer: Family::Runit, theirs, goal: Some(goal) }
    }

    #[test]
    fn the_table_is_aligned_and_is_markdown() {
        let expected = "\
| measure     | runs | ours |        range | beside | theirs |      range |  ratio |          goal | kept |
|:------------|-----:|-----:|-------------:|:-------|-------:|-----------:|-------:|--------------:|:-----|
| sv stop, ms |    1 | 2.10 | 2.10 .. 2.10 | runit  |    420 | 420 .. 420 | 0.0050 | ratio <= 0.01 | yes  |
";
        assert_eq!(Table(&[row(2.1, 420.0, Goal::Ratio(0.01))]).to_string(), expected);
    }

    #[test]
    fn a_goal_is_kept_or_not() {
        assert_eq!(row(21.0, 420.0, Goal::Ratio(0.01)).is_kept(), Some(false));
        assert_eq!(row(21.0, 420.0, Goal::Value(21.0)).is_kept(), Some(true));
        assert_eq!(row(21.0, 10.0, Goal::Either(20.0, 2.0)).is_kept(), Some(false));
        assert_eq!(row(21.0, 11.0, Goal::Either(20.0, 2.0)).is_kept(), Some(true));
        assert_eq!(row(19.0, 1.0, Goal::Either(20.0, 2.0)).is_kept(), Some(true));
    }

    #[test]
    fn beside_nothing_there_is_no_ratio() {
        assert_eq!(row(1.0, 0.0, Goal::Ratio(1.0)).is_kept(), None);
    }
}
