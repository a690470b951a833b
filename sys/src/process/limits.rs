//! What a host of many services takes for itself, and each program that it starts gets back: the soft limit for
//! descriptors, and the nice value.
//!
//! A program that calls select(2), or looks at each possible descriptor, is made for the usual soft limit.

use std::sync::OnceLock;

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

use crate::process::priority;

/// The smallest nice value.
const FIRST: i32 = -20;

/// So many descriptors a host has at least if it has the right to raise the hard limit, too: enough for ten
/// thousand services.
const ENOUGH: rlim_t = 65_536;

/// What this process had before it raised them: the soft and the hard limit.
static DESCRIPTORS: OnceLock<(rlim_t, rlim_t)> = OnceLock::new();
static NICE: OnceLock<i32> = OnceLock::new();

/// Raises the soft limit for descriptors of this process to the hard one, and that if it is low and may be
/// raised. Each [`Program`](crate::Program) is started with the limits from before.
pub fn raise_descriptors() {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let is_raised = |to| soft < to && setrlimit(Resource::RLIMIT_NOFILE, to, to).is_ok();
    if is_raised(hard.max(ENOUGH)) || is_raised(hard) {
        let _ = DESCRIPTORS.set((soft, hard));
    }
}

/// Gives this process, which has one thread, the highest priority if it has the right to it. Each
/// [`Program`](crate::Program) is started with the priority from before.
pub fn raise_priority() {
    let nice = priority::own();
    if FIRST < nice && priority::set_own(FIRST).is_ok() {
        let _ = NICE.set(nice);
    }
}

/// Undoes both in this process, a child that has not executed its program yet. The calls take no lock and no
/// memory.
pub(crate) fn restore() {
    if let Some((soft, hard)) = DESCRIPTORS.get()
        && let Ok((_, now)) = getrlimit(Resource::RLIMIT_NOFILE)
    {
        // Another process may have lowered the hard limit since.
        let hard = now.min(*hard);
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard.min(*soft), hard);
    }
    if let Some(nice) = NICE.get() {
        let _ = priority::set_own(*nice);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::fd::AsFd as _;

    use super::*;
    use crate::process::reap::{ExitStatus, reap_waiting};
    use crate::process::spawn::Program;

    fn output_of(script: &str, number: i32) -> String {
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        let program = Program::new("/bin/sh").arg("-c").arg(script);
        let child = program.stdout(writer.as_fd()).descriptor(writer.as_fd(), number).spawn();
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("lines");
        assert_eq!(reap_waiting(child.expect("a child")), Some(ExitStatus::Exited(0)));
        text
    }

    #[test]
    fn what_a_host_raises_is_as_before_in_what_it_starts() {
        let limits = || getrlimit(Resource::RLIMIT_NOFILE).expect("limits");
        let (_, hard) = limits();
        let (soft, nice) = (hard.min(600), priority::own());
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).expect("a lower limit");
        for _ in 0..2 {
            raise_descriptors();
            raise_priority();
            let (raised, top) = limits();
            assert!(raised == top && top >= hard);
            // A descriptor that the limit does not allow the program to make.
            let text = output_of("ulimit -Sn; ulimit -Hn; nice; echo x >/proc/self/fd/601", 601);
            assert_eq!(text, format!("{soft}\n{hard}\n{nice}\nx\n"));
        }
        assert!(priority::own() == FIRST || priority::set_own(FIRST).is_err(), "not raised, but permitted");
    }
}
