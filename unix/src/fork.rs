//! A copy of this process that is shown to others as if it had been executed.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt as _;

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::signal::Signal;
use crate::{heap, proc};

/// Who goes on after a copy was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The process that made it, with its number.
    Original(Pid),
    /// The copy.
    Copy,
}

/// The right to make copies, which a process has while it has a single thread: what other threads
/// hold at that moment would be held for ever in the copy.
pub struct Copier {
    map: Map,
}

impl Copier {
    /// `None` where there is more than one thread, or where the kernel would not show a copy to
    /// others under the name it is to have.
    pub fn new() -> Option<Self> {
        let threads = fs_err::read_dir("/proc/self/task").ok()?.count();
        let map = Map::read()?;
        // What is shown does not change by this, but whether it can be changed is known.
        (threads == 1 && map.show().is_ok()).then_some(Self { map })
    }

    /// Makes a copy that is a child of this process's parent, and none of its own. Every handler that
    /// this process has would run in it, too.
    ///
    /// What this process writes to afterwards is duplicated page by page: the less, the better.
    pub fn sibling(&self) -> Result<Side, Errno> {
        let flags = libc::c_long::from(libc::CLONE_PARENT | Signal::CHLD.0);
        // One architecture has the stack, here none, in front.
        let [first, second] = if cfg!(target_arch = "s390x") { [0, flags] } else { [flags, 0] };
        let nothing: libc::c_long = 0;
        // SAFETY: without a new stack and without shared memory this is what fork does. There is no
        // other thread (see `new`; who makes copies never starts any), so the copy is as whole as the
        // original, but for the number that the C library may remember of the thread, for signals from
        // one thread to another.
        match Errno::result(unsafe {
            libc::syscall(libc::SYS_clone, first, second, nothing, nothing, nothing)
        })? {
            0 => {
                // SAFETY: a copy of a process with one thread has one thread.
                unsafe { heap::open() }
                Ok(Side::Copy)
            }
            copy => Ok(Side::Original(Pid::from_raw(i32::try_from(copy).map_err(|_| Errno::EOVERFLOW)?))),
        }
    }

    /// Shows this process, a copy, to others (in `ps`) as a program that was executed with these
    /// arguments, the program's name first.
    pub fn disguise(&self, arguments: &[&OsStr]) -> Result<(), Errno> {
        let mut line = Vec::new();
        for argument in arguments {
            line.extend_from_slice(argument.as_bytes());
            line.push(0);
        }
        let name = arguments.first().map_or(&[][..], |name| name.as_bytes());
        let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
        nix::sys::prctl::set_name(&name)?;
        // For the kernel to read as long as the process lives.
        let line = line.leak().as_ptr_range();
        Map { argument_start: line.start as u64, argument_end: line.end as u64, ..self.map }.show()
    }
}

/// Where the parts of a process are, as the kernel remembers and shows them: prctl(2), under
/// `PR_SET_MM_MAP`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Map {
    code_start: u64,
    code_end: u64,
    data_start: u64,
    data_end: u64,
    heap_start: u64,
    heap_end: u64,
    stack_start: u64,
    argument_start: u64,
    argument_end: u64,
    environment_start: u64,
    environment_end: u64,
    auxiliary: u64,
    auxiliary_size: u32,
    executable: u32,
}

/// The places, counted from 1, where /proc/PID/stat has what the map needs: proc(5).
mod place {
    pub const STATE: usize = 3;
    pub const CODE_START: usize = 26;
    pub const CODE_END: usize = 27;
    pub const STACK_START: usize = 28;
    pub const DATA_START: usize = 45;
    pub const DATA_END: usize = 46;
    pub const HEAP_START: usize = 47;
    pub const ARGUMENT_START: usize = 48;
    pub const ARGUMENT_END: usize = 49;
    pub const ENVIRONMENT_START: usize = 50;
    pub const ENVIRONMENT_END: usize = 51;
}

impl Map {
    /// This process's.
    fn read() -> Option<Self> {
        /// The libc crate has no constant that says "as it is".
        const UNCHANGED: u32 = u32::MAX;
        let fields = proc::own_stat_fields()?;
        let field = |place: usize| fields.get(place - place::STATE)?.parse::<u64>().ok();
        Some(Self {
            code_start: field(place::CODE_START)?,
            code_end: field(place::CODE_END)?,
            data_start: field(place::DATA_START)?,
            data_end: field(place::DATA_END)?,
            heap_start: field(place::HEAP_START)?,
            heap_end: 0,
            stack_start: field(place::STACK_START)?,
            argument_start: field(place::ARGUMENT_START)?,
            argument_end: field(place::ARGUMENT_END)?,
            environment_start: field(place::ENVIRONMENT_START)?,
            environment_end: field(place::ENVIRONMENT_END)?,
            auxiliary: 0,
            auxiliary_size: 0,
            executable: UNCHANGED,
        })
    }

    /// Tells the kernel.
    fn show(mut self) -> Result<(), Errno> {
        // SAFETY: an increment of zero changes nothing.
        self.heap_end = unsafe { libc::sbrk(0) } as u64;
        // SAFETY: the kernel reads a structure of this size and layout, checks each address, and
        // keeps them for those who look; the heap's end is what it is. Where the arguments are is
        // only read, by the kernel, which minds that nothing may be there.
        Errno::result(unsafe {
            libc::prctl(libc::PR_SET_MM, libc::PR_SET_MM_MAP, &raw const self, size_of::<Self>(), 0)
        })
        .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_other_threads_there_is_no_copier() {
        // The test program has some.
        assert!(Copier::new().is_none());
    }

    #[test]
    fn the_map_says_where_the_arguments_are() {
        let map = Map::read().expect("/proc");
        let line = fs_err::read("/proc/self/cmdline").expect("a command line");
        assert_eq!(usize::try_from(map.argument_end - map.argument_start).ok(), Some(line.len()));
        assert!(map.code_start < map.code_end && map.heap_start > map.data_end);
    }
}
