//! What the kernel tells about processes.

use std::path::Path;

use fs_err as fs;

use crate::Outcome;

/// The living and the dead children of a process.
pub fn children(pid: u32) -> Outcome<Vec<u32>> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    Ok(text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?)
}

/// The parent of a process.
pub fn parent(pid: u32) -> Outcome<u32> {
    number(&format!("/proc/{pid}/status"), "PPid:")
}

/// Whether a process has ended and waits to be reaped; one that is gone has been.
pub fn is_zombie(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| status.contains("\nState:\tZ"))
}

/// How often a process went to sleep of its own accord, which is as often as it was woken.
pub fn wakeups(pid: u32) -> Outcome<u64> {
    Ok(number(&format!("/proc/{pid}/status"), "\nvoluntary_ctxt_switches:")?.into())
}

/// Memory of a process in KiB.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Pages that no other process has: what one process more costs.
    pub private: u32,
    /// Those of them that were written to, and are no copy of a file.
    pub written: u32,
    /// The same, and its share of what is shared.
    pub proportional: u32,
}

/// The memory of a process.
pub fn memory(pid: u32) -> Outcome<Memory> {
    let file = format!("/proc/{pid}/smaps_rollup");
    let written = number(&file, "\nPrivate_Dirty:")?;
    let private = number(&file, "\nPrivate_Clean:")? + written;
    Ok(Memory { private, written, proportional: number(&file, "\nPss:")? })
}

/// The time a process has spent on a CPU, user and system, in nanoseconds.
///
/// This is what `utime` and `stime` are made of, before they are cut into ticks of 10 ms.
pub fn cpu_time(pid: u32) -> Outcome<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
    Ok(text.split_whitespace().next().ok_or("an empty schedstat")?.parse()?)
}

/// The same of a process and all its descendants that have not ended.
pub fn cpu_time_of_tree(root: u32) -> Outcome<u64> {
    children(root)?.into_iter().try_fold(cpu_time(root)?, |sum, child| Ok(sum + cpu_time_of_tree(child)?))
}

/// The processes that work below a directory.
pub fn working_below(root: &Path) -> Outcome<Vec<u32>> {
    let all = fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(all.filter(|pid: &u32| works_below(*pid, root)).collect())
}

fn works_below(pid: u32, root: &Path) -> bool {
    fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|dir| dir.starts_with(root))
}

/// The first number after a word.
fn number(file: &str, word: &str) -> Outcome<u32> {
    let text = fs::read_to_string(file)?;
    let rest = text.split_once(word).ok_or_else(|| format!("no {} in {file}", word.trim()))?.1;
    Ok(rest.split_whitespace().next().ok_or("a word without a number")?.parse()?)
}
