//! Requests to stop that reach a process 1 before its `main`.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::signal::{Signal, SignalSet};

/// The signals that ask a process 1 to stop.
pub fn stop_requests() -> [Signal; 4] {
    [Signal::TERM, Signal::INT, Signal::PWR, Signal::real_time(3)]
}

/// Which of [`stop_requests`] were blocked only until a handler is there, a bit for each.
static HELD_BACK: AtomicU64 = AtomicU64::new(0);

/// The kernel drops what is sent to a process 1 that has no handler for it, but not what is blocked:
/// a container may be told to stop before its first process has come to its `main`.
extern "C" fn hold_stop_requests_back() {
    if std::process::id() == 1 {
        let requests = stop_requests();
        let before = SignalSet::of(&requests).block();
        let held: u64 =
            (0..).zip(requests).filter(|(_, one)| !before.contains(*one)).map(|(n, _)| 1 << n).sum();
        HELD_BACK.store(held, Ordering::Relaxed);
    }
}

// SAFETY: `.init_array` holds pointers to functions that the C runtime calls once before `main`;
// this one takes no arguments, and all it does is to block signals and to touch an atomic.
#[used]
#[unsafe(link_section = ".init_array")]
static HOLD_STOP_REQUESTS_BACK: extern "C" fn() = hold_stop_requests_back;

/// Lets through what was held back until now.
pub(crate) fn let_through() {
    let held = HELD_BACK.swap(0, Ordering::Relaxed);
    for (number, request) in (0..).zip(stop_requests()) {
        if held & (1 << number) != 0 {
            SignalSet::of(&[request]).unblock();
        }
    }
}
