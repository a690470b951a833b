//! The program `sv`: see `sv.8` beside this file's folder.
#![no_main]

sys::main!("sv", sv::FATAL, sv::run);
