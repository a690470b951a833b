//! The program `runsv`: see `runsv.8` beside this file's folder.
#![no_main]

unix::main!("runsv", runsv::TROUBLE, runsv::run);
