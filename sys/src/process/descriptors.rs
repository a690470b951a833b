//! Which descriptors are this process's own, and which it was started with and passes on (GEN-11).

use std::os::fd::RawFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;

use crate::procfs;

/// Descriptors from the first to the last, both included.
pub(crate) type Range = (RawFd, RawFd);

/// Below these are the standard descriptors.
const FIRST: RawFd = libc::STDERR_FILENO + 1;

/// Where to stop where the kernel cannot be asked for a range, or does not list what is open.
const BOUND: RawFd = 1024;

/// A process that [holds few](hold_few) descriptors has fewer than this many of its own.
const FEW: RawFd = 32;

static HOLDS_FEW: AtomicBool = AtomicBool::new(false);

/// Says that this process never has 32 descriptors of its own. To list them in /proc takes longer than all
/// else that is done before a fork.
pub fn hold_few() {
    HOLDS_FEW.store(true, Ordering::Relaxed);
}

/// What this process was started with and passes on, in order: all that is not close-on-exec, as what it
/// opens itself is. Where not all that is open was listed, `end` is where the search for it ended.
struct Inherited {
    descriptors: Vec<RawFd>,
    end: RawFd,
}

static INHERITED: OnceLock<Inherited> = OnceLock::new();

/// The descriptors of this process that no program it starts is to have, but for these.
pub(crate) fn own(spared: impl IntoIterator<Item = RawFd>) -> Vec<Range> {
    let inherited = INHERITED.get_or_init(Inherited::find);
    let mut spared: Vec<RawFd> = inherited.descriptors.iter().copied().chain(spared).collect();
    spared.sort_unstable();
    between(&spared, inherited.end)
}

/// Closes them. For a child that was just forked: it makes system calls only.
pub(crate) fn close(ranges: &[Range]) {
    for &(first, last) in ranges {
        // SAFETY: the process is about to be replaced, and nothing of it uses these descriptors any more.
        // The call has no memory arguments.
        if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } != 0 {
            close_each((first, last));
        }
    }
}

/// For a kernel, or a filter of system calls, that does not know the call for a range. What is beyond the
/// bound is closed by the exec.
fn close_each((first, last): Range) {
    for descriptor in first..=last.min(BOUND) {
        // SAFETY: as above.
        unsafe {
            libc::close(descriptor);
        }
    }
}

impl Inherited {
    fn find() -> Self {
        if HOLDS_FEW.load(Ordering::Relaxed)
            && let Some(open) = open_below(FEW)
        {
            // Its own are below that number, and those to come are below or among the free ones.
            return Self { descriptors: open.filter(|open| is_passed_on(*open)).collect(), end: 2 * FEW - 1 };
        }
        match listed() {
            Some(open) => {
                Self { descriptors: open.filter(|open| is_passed_on(*open)).collect(), end: RawFd::MAX }
            }
            None => {
                Self { descriptors: (FIRST..=BOUND).filter(|open| is_passed_on(*open)).collect(), end: BOUND }
            }
        }
    }
}

/// The open descriptors below `number`, but the standard ones; `None` unless as many from there on are free.
///
/// A new descriptor has the lowest number that is free: what is open above those free ones was not opened by
/// a process with fewer descriptors than that.
fn open_below(number: RawFd) -> Option<impl Iterator<Item = RawFd>> {
    let ask = |fd| libc::pollfd { fd, events: 0, revents: 0 };
    let mut asked: Vec<libc::pollfd> = (FIRST..2 * number).map(ask).collect();
    // SAFETY: the array has so many elements. Nothing is waited for.
    let answer = unsafe { libc::poll(asked.as_mut_ptr(), asked.len().try_into().ok()?, 0) };
    Errno::result(answer).ok()?;
    asked.retain(|asked| asked.revents & libc::POLLNVAL == 0);
    let are_free = asked.iter().all(|asked| asked.fd < number);
    are_free.then(|| asked.into_iter().map(|asked| asked.fd))
}

/// All open descriptors but the standard ones.
fn listed() -> Option<impl Iterator<Item = RawFd>> {
    Some(procfs::own_descriptors()?.filter(|number| *number >= FIRST))
}

fn is_passed_on(descriptor: RawFd) -> bool {
    // SAFETY: the call has no memory arguments, and fails if nothing is open there.
    Errno::result(unsafe { libc::fcntl(descriptor, libc::F_GETFD) })
        .is_ok_and(|flags| flags & libc::FD_CLOEXEC == 0)
}

/// The ranges between these, which are in order, up to the end.
fn between(spared: &[RawFd], end: RawFd) -> Vec<Range> {
    let mut ranges = Vec::with_capacity(spared.len() + 1);
    let mut first = FIRST;
    for &spared in spared.iter().filter(|spared| **spared >= FIRST) {
        if first < spared {
            ranges.push((first, spared - 1));
        }
        first = spared.saturating_add(1);
    }
    if first <= end {
        ranges.push((first, end));
    }
    ranges
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn few_are_found_without_a_list_unless_one_is_high() {
        // Other tests open and close descriptors at the same time: these two stay.
        let listed_below = |number| listed().expect("/proc").filter(move |open| *open < number);
        let file = std::fs::File::open("/dev/null").expect("a file");
        let own = file.as_raw_fd();
        let high = 1 << own.ilog2().max(6);
        let found: Vec<RawFd> = open_below(high).expect("free ones").collect();
        assert!(found.contains(&own) && listed_below(high).any(|open| open == own));
        // SAFETY: the call has no memory arguments.
        let duplicate = unsafe { libc::fcntl(own, libc::F_DUPFD_CLOEXEC, high + 1) };
        assert!(duplicate > high && open_below(high).is_none());
        // SAFETY: it was opened a moment ago, and nothing else knows it.
        unsafe {
            libc::close(duplicate);
        }
    }

    #[test]
    fn what_is_spared_is_in_no_range() {
        assert_eq!(between(&[], 9), [(3, 9)]);
        assert_eq!(between(&[0, 2, 3, 4, 7], 9), [(5, 6), (8, 9)]);
        assert_eq!(between(&[5, 5, 9], 9), [(3, 4), (6, 8)]);
    }
}
