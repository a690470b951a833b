//! What decides: which services should run, and when to scan.

mod arrival;
pub mod listing;
pub mod scan_schedule;
mod scanned_service;
pub mod services;
