//! The signal dispositions that a program was started with, which Rust's runtime changes before `main`.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::process_1;
use crate::signal::{self, Signal};

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

/// Undoes what Rust's runtime does to signals, so that this program and its children see the
/// dispositions they were started with (GEN-12, RSV-17): it ignores SIGPIPE, and catches SEGV and
/// BUS to explain a stack overflow. Lets through what a process 1 has held back until now. To be called
/// first in every program, or as soon as it has its handlers.
pub fn restore_inherited() {
    process_1::let_through();
    if !SIGPIPE_WAS_IGNORED.load(Ordering::Relaxed) {
        signal::set_default(Signal::PIPE);
    }
    for signal in [Signal::SEGV, Signal::BUS] {
        if !signal::is_ignored(signal) {
            signal::set_default(signal);
        }
    }
}
