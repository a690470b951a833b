//! The program `runsvdir`: see `runsvdir.8` beside this file's folder.
#![no_main]

unix::main!("runsvdir", runsvdir::FATAL, runsvdir::run);
