//! The program `runsv`: see `runsv.8` beside this file's folder.
#![no_main]

sys::main!("runsv", runsv::TROUBLE, runsv::run);
