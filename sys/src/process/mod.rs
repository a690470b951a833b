//! Processes: started, reaped, grouped, and how this one begins.

pub(crate) mod descriptors;
pub mod entry;
pub mod group;
pub mod priority;
pub mod reap;
pub mod session;
pub mod spawn;
mod start_error;
pub mod title;
