//! Tests that start a crowd of processes keep apart from those that hold a stopwatch in their hand.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

static CALM: Mutex<Calm> = Mutex::new(Calm { stopwatches: 0, is_crowded: false });
static CHANGED: Condvar = Condvar::new();

struct Calm {
    stopwatches: usize,
    is_crowded: bool,
}

/// While this lives, there is no [`Crowd`].
#[derive(Debug)]
pub struct Stopwatch(());

/// While this lives, no new [`Stopwatch`] is started; there was none when it began.
#[derive(Debug)]
pub struct Crowd(());

impl Stopwatch {
    /// Waits until there is no crowd.
    pub fn start() -> Self {
        wait_while(|calm| calm.is_crowded).stopwatches += 1;
        Self(())
    }
}

impl Crowd {
    /// Waits until nobody holds a stopwatch, and there is no other crowd.
    pub fn gather() -> Self {
        wait_while(|calm| calm.is_crowded || calm.stopwatches > 0).is_crowded = true;
        Self(())
    }
}

fn wait_while(condition: impl Fn(&mut Calm) -> bool) -> MutexGuard<'static, Calm> {
    let calm = CALM.lock().unwrap_or_else(PoisonError::into_inner);
    CHANGED.wait_while(calm, condition).unwrap_or_else(PoisonError::into_inner)
}

fn change(change: impl Fn(&mut Calm)) {
    change(&mut CALM.lock().unwrap_or_else(PoisonError::into_inner));
    CHANGED.notify_all();
}

impl Drop for Stopwatch {
    fn drop(&mut self) {
        change(|calm| calm.stopwatches -= 1);
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        change(|calm| calm.is_crowded = false);
    }
}
