//! Requests to stop that reach a process 1 early.

use crate::signal::{Signal, SignalSet};

/// The signals that ask a process 1 to stop.
pub fn stop_requests() -> [Signal; 4] {
    [Signal::TERM, Signal::INT, Signal::PWR, Signal::real_time(3)]
}

/// Blocks them until there are handlers. The kernel drops what is sent to a process 1 that has no handler
/// for it, but not what is blocked: a container may have to stop before its first process is ready.
pub fn hold_stop_requests_back() {
    SignalSet::of(&stop_requests()).block();
}
