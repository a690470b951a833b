//! The program `sv`: see `sv.8` beside this file's folder.
#![no_main]

unix::main!("sv", sv::FATAL, sv::run);
