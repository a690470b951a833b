//! Files in directories of other users, where something else may stand in their place: opened, read,
//! replaced and told apart.

pub mod file_id;
pub mod open;
pub mod read;
pub mod replace;
