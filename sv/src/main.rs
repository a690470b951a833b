//! The program `sv`: see `sv.8` beside this file's folder.

fn main() -> std::process::ExitCode {
    sv::run(std::env::args_os())
}
