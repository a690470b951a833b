//! The program `runsvdir`: see `runsvdir.8` beside this file's folder.
#![no_main]

sys::main!("runsvdir", runsvdir::FATAL, runsvdir::run);
