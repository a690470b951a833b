//! What a well-behaved C program has by birth and a Rust program must restore: the signal
//! dispositions it inherited, and a small footprint once start-up is over.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::signal::{self, Signal, SignalSet};

/// Whether SIGPIPE was ignored when the program was started, noted before Rust's runtime ignores it.
static SIGPIPE_WAS_IGNORED: AtomicBool = AtomicBool::new(false);

extern "C" fn note_inherited_sigpipe() {
    SIGPIPE_WAS_IGNORED.store(signal::is_ignored(Signal::PIPE), Ordering::Relaxed);
}

// SAFETY: `.init_array` holds pointers to functions that the C runtime calls once before `main`;
// this one takes no arguments, touches only an atomic, and makes one async-signal-safe call.
#[used]
#[unsafe(link_section = ".init_array")]
static NOTE_INHERITED_SIGPIPE: extern "C" fn() = note_inherited_sigpipe;

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

// SAFETY: as above; blocking signals is all this does beside touching an atomic.
#[used]
#[unsafe(link_section = ".init_array")]
static HOLD_STOP_REQUESTS_BACK: extern "C" fn() = hold_stop_requests_back;

/// Undoes what Rust's runtime does to signals, so that this program and its children see the
/// dispositions they were started with (GEN-12, RSV-17): it ignores SIGPIPE, and catches SEGV and
/// BUS to explain a stack overflow. Lets through what a process 1 has held back until now. To be called
/// first in every program, or as soon as it has its handlers.
pub fn restore_inherited_dispositions() {
    let held = HELD_BACK.swap(0, Ordering::Relaxed);
    for (number, request) in (0..).zip(stop_requests()) {
        if held & (1 << number) != 0 {
            SignalSet::of(&[request]).unblock();
        }
    }
    if !SIGPIPE_WAS_IGNORED.load(Ordering::Relaxed) {
        signal::set_default(Signal::PIPE);
    }
    for signal in [Signal::SEGV, Signal::BUS] {
        if !signal::is_ignored(signal) {
            signal::set_default(signal);
        }
    }
}

/// Gives memory that only start-up needed back to the system: every service pays for one runsv.
pub fn release_startup_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim only returns free pages of the heap to the system.
    unsafe {
        libc::malloc_trim(0);
    }
}
