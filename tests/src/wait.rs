//! Awaits conditions; a test never sleeps for a result.

use std::thread;
use std::time::{Duration, Instant};

/// Far above anything a busy machine needs, so that reaching it means failure.
pub const LIMIT: Duration = Duration::from_secs(60);

/// How often a condition is tried.
const STEP: Duration = Duration::from_millis(3);

/// Waits until the condition holds; panics with `what` was awaited after [`LIMIT`].
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    eventually_some(what, || condition().then_some(()));
}

/// Waits until there is a value, and returns it; panics with `what` was awaited after [`LIMIT`].
#[track_caller]
pub fn eventually_some<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(start.elapsed() < LIMIT, "awaited in vain: {what}");
        thread::sleep(STEP);
    }
}

/// Waits until the condition holds, and tells how long that took; panics after [`LIMIT`] like the rest.
///
/// Moments in which not even this thread got to run do not count: the process that it waits for had no better
/// chance. A machine with nothing else to do has none of them.
#[track_caller]
pub fn time_until(what: &str, mut condition: impl FnMut() -> bool) -> Duration {
    /// Longer than a look and a step take on a machine that lets both go on.
    const STALL: Duration = Duration::from_millis(30);
    let mut stalled = Duration::ZERO;
    let mut last = Instant::now();
    let start = last;
    eventually(what, || {
        let since = last.elapsed();
        last += since;
        if since > STALL {
            stalled += since;
        }
        condition()
    });
    start.elapsed().saturating_sub(stalled)
}

/// Waits until something reads like this; panics with both when it never does.
#[track_caller]
pub fn eventually_same(what: &str, wanted: &str, mut read: impl FnMut() -> String) {
    let start = Instant::now();
    loop {
        let is = read();
        if is == wanted {
            return;
        }
        assert!(start.elapsed() < LIMIT, "awaited in vain: {what}\n wanted: {wanted:?}\n     is: {is:?}");
        thread::sleep(STEP);
    }
}

/// Shows that something stays as it is: the condition must hold at every look until the time is over.
#[track_caller]
pub fn nothing_happens_for(time: Duration, what: &str, mut still_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while start.elapsed() < time {
        assert!(still_so(), "no longer so: {what}");
        thread::sleep(STEP);
    }
}
