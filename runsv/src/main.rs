//! The program `runsv`; see `runsv.8`.
#![no_main]

sys::main!("runsv", runsv::TROUBLE, runsv::run);
