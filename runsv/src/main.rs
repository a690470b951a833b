//! The program `runsv`: see `runsv.8` beside this file's folder.

/// Kept in the file for who looks for it there.
#[used]
static MARK: &str = runsv::MARK;

/// Copies of this program, which [`runsv::fork_server`] makes, share its memory as far as they do not
/// write to it.
#[global_allocator]
static HEAP: unix::heap::Heap = unix::heap::Heap;

fn main() -> std::process::ExitCode {
    runsv::run(std::env::args_os())
}
