//! Files whose owner may have put something else in their place: opened, read and replaced.

pub mod open;
pub mod read;
pub mod replace;
