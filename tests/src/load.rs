//! Keeps tests that start very many processes (a crowd) apart from tests that measure a time (a stopwatch).

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

static LOAD: Mutex<Load> = Mutex::new(Load { stopwatches: 0, is_crowded: false });
static CHANGED: Condvar = Condvar::new();

struct Load {
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
        wait_while(|load| load.is_crowded).stopwatches += 1;
        Self(())
    }
}

impl Crowd {
    /// Waits until no test holds a stopwatch, and there is no other crowd.
    pub fn gather() -> Self {
        wait_while(|load| load.is_crowded || load.stopwatches > 0).is_crowded = true;
        Self(())
    }
}

fn wait_while(condition: impl Fn(&mut Load) -> bool) -> MutexGuard<'static, Load> {
    let load = LOAD.lock().unwrap_or_else(PoisonError::into_inner);
    CHANGED.wait_while(load, condition).unwrap_or_else(PoisonError::into_inner)
}

fn change(change: impl Fn(&mut Load)) {
    change(&mut LOAD.lock().unwrap_or_else(PoisonError::into_inner));
    CHANGED.notify_all();
}

impl Drop for Stopwatch {
    fn drop(&mut self) {
        change(|load| load.stopwatches -= 1);
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        change(|load| load.is_crowded = false);
    }
}
