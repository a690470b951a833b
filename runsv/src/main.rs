//! The program `runsv`: see `runsv.8` beside this file's folder.

fn main() -> std::process::ExitCode {
    runsv::run(std::env::args_os())
}
