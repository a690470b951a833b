//! The program `benches`: see `README.md` beside this file's folder.

fn main() -> std::process::ExitCode {
    benches::run(std::env::args_os())
}
