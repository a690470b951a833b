//! The machines: they decide, and touch nothing. Time is an argument.

pub mod container;
pub mod hook_run;
pub mod judgement;
pub mod order;
pub mod plan;
pub mod roster;
pub mod scanner;
pub mod sentry;
pub mod verdict;
pub mod vocabulary;
pub mod words;

pub use container::{Container, Setup};
pub use judgement::{Account, Deed, Told, UnaskedEnd, unasked_end};
pub use vocabulary::{Action, Child, Event, Job, Kind, Late, Pressure, Seen, Stage, Weight};

#[cfg(test)]
mod tests;
