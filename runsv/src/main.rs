//! The program `runsv`: see `runsv.8` beside this file's folder.

/// Kept in the file for who looks for it there.
#[used]
static MARK: &str = runsv::MARK;

fn main() -> std::process::ExitCode {
    runsv::run(std::env::args_os())
}
