//! What decides: which services should run, and when to scan.

pub mod scan_schedule;
pub mod services;
