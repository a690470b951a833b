//! The program `runsvdir`: see `runsvdir.8` beside this file's folder.

fn main() -> std::process::ExitCode {
    runsvdir::run(std::env::args_os())
}
