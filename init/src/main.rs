//! The program `init`: see `init.8` beside this file's folder.

fn main() -> std::process::ExitCode {
    init::run(std::env::args_os())
}
