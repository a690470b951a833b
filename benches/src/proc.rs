//! What the kernel tells about processes.

use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::Outcome;

/// The living and the dead children of a process.
pub fn children(pid: u32) -> Outcome<Vec<u32>> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    Ok(text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?)
}

/// A process and all its descendants.
pub fn family(root: u32) -> Outcome<Vec<u32>> {
    let mut family = vec![root];
    for child in children(root)? {
        family.extend(self::family(child)?);
    }
    Ok(family)
}

/// The program that a process executes.
pub fn program(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe")).ok()
}

/// The parent of a process.
pub fn parent(pid: u32) -> Outcome<u32> {
    number(&format!("/proc/{pid}/status"), "PPid:")
}

/// Whether a process has ended and waits to be reaped; one that is gone has been.
pub fn is_zombie(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| status.contains("\nState:\tZ"))
}

/// How often a process gave up its processor: when it went to sleep, which is as often as it was woken, or
/// when another process was let in.
pub fn wakeups(pid: u32) -> Outcome<u64> {
    let file = format!("/proc/{pid}/status");
    let counts = ["\nvoluntary_ctxt_switches:", "\nnonvoluntary_ctxt_switches:"];
    counts.iter().try_fold(0, |sum, word| Ok(sum + u64::from(number(&file, word)?)))
}

/// Memory of a process in KiB.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Pages that no other process has: what one process more costs.
    pub private: u32,
    /// Those of them that were written to, and are no copy of a file.
    pub written: u32,
    /// The same as the first, and its share of what is shared.
    pub proportional: u32,
    /// What the kernel needs to find its pages.
    pub page_tables: u32,
}

/// The memory of a process.
pub fn memory(pid: u32) -> Outcome<Memory> {
    let file = format!("/proc/{pid}/smaps_rollup");
    let written = number(&file, "\nPrivate_Dirty:")?;
    let private = number(&file, "\nPrivate_Clean:")? + written;
    let page_tables = number(&format!("/proc/{pid}/status"), "\nVmPTE:")?;
    Ok(Memory { private, written, proportional: number(&file, "\nPss:")?, page_tables })
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
    family(root)?.into_iter().try_fold(0, |sum, pid| Ok(sum + cpu_time(pid)?))
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
