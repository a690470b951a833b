//! The program `runsvdir`: see `runsvdir.8` beside this file's folder.

/// Copies of this program go on as runsvs, which share its memory as far as they do not write to it.
#[global_allocator]
static HEAP: unix::heap::Heap = unix::heap::Heap;

fn main() -> std::process::ExitCode {
    runsvdir::run(std::env::args_os())
}
