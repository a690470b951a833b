//! Threads beside the one that does the work of a program.

use std::io;

use crate::signal::SignalSet;

/// What such a thread does needs no more.
const STACK: usize = 64 * 1024;

/// Starts a thread that takes no signal.
///
/// The mask of the calling thread stays as it is: a C library takes a few signals that it keeps for itself out
/// of it when it starts the first thread, and a process that reads them from a descriptor would lose them, or
/// end of them.
pub fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mask = SignalSet::all().block();
    let blocked_work = move || {
        SignalSet::all().block();
        work();
    };
    let spawned = std::thread::Builder::new().stack_size(STACK).spawn(blocked_work);
    mask.set_as_mask();
    spawned.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Signal;

    #[test]
    fn every_signal_that_was_blocked_stays_blocked() {
        let kept = [Signal(32), Signal(33), Signal(34), Signal::USR1];
        let before = SignalSet::of(&kept).block();
        let (sender, receiver) = std::sync::mpsc::channel();
        spawn(move || sender.send(SignalSet::of(&[]).block()).expect("a receiver")).expect("a thread");
        let of_thread = receiver.recv().expect("its mask");
        let mask = SignalSet::of(&[]).block();
        for signal in kept {
            assert!(mask.contains(signal) && of_thread.contains(signal), "{signal}");
        }
        before.set_as_mask();
    }
}
