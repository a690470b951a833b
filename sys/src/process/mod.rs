//! Processes: started, reaped, grouped, and how this one begins.

pub mod descriptors;
pub mod entry;
pub mod group;
mod oom_score;
pub mod priority;
pub mod reap;
mod search;
pub mod session;
pub mod spawn;
mod start_error;
pub mod title;
