//! The program `init`: see `init.8` beside this file's folder.
#![no_main]

sys::main!("init", init::SYSTEM, init::run);
