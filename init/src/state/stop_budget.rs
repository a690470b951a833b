//! State: how the grace is divided, planned backwards from the exit of init.

use std::time::Duration;

/// How the time of a stop is divided; every figure but the last counts from its beginning.
///
/// These are the latest moments. A phase that ends early gives its time to the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopBudget {
    /// The drain is over. Zero without drain hooks.
    pub drain: Duration,
    /// `./run` is killed where it still lives.
    pub run: Duration,
    /// `./finish` and control scripts are killed.
    pub finish: Duration,
    /// Loggers that have not exited at the end of their input are sent TERM.
    pub loggers: Duration,
    /// Loggers and runsv are killed.
    pub supervisors: Duration,
    /// Everything is killed.
    pub sweep: Duration,
    /// Finish hooks are killed; init exits.
    pub end: Duration,
    /// The time between that and the grace, for a slow machine.
    pub reserve: Duration,
}

/// The least and the most reserve; a busy machine needs much of it to take down the processes. A small grace
/// keeps a quarter.
const RESERVE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_millis(1500));

impl StopBudget {
    /// The budget for a grace, with or without hooks.
    pub fn of(grace: Duration, has_drain: bool, has_finish: bool) -> Self {
        let reserve = (grace / 10).clamp(RESERVE.0, RESERVE.1).min(grace / 4);
        let end = grace.saturating_sub(reserve);
        let sweep = if has_finish { end.mul_f64(0.9) } else { end };
        let part = |share: f64| sweep.mul_f64(share);
        Self {
            drain: if has_drain { part(0.5) } else { Duration::ZERO },
            run: part(0.8),
            finish: part(0.88),
            loggers: part(0.93),
            supervisors: part(0.96),
            sweep,
            end,
            reserve,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_moments_come_in_order_and_before_the_grace_is_over() {
        for grace in [SECOND / 20, SECOND * 3 / 10, SECOND, SECOND * 10, SECOND * 3600] {
            for hooks in [false, true] {
                let budget = StopBudget::of(grace, hooks, hooks);
                let moments = [
                    budget.drain,
                    budget.run,
                    budget.finish,
                    budget.loggers,
                    budget.supervisors,
                    budget.sweep,
                    budget.end,
                ];
                assert!(moments.is_sorted(), "{budget:?}");
                assert!(budget.end < grace && budget.end + budget.reserve == grace, "{budget:?}");
                assert!(budget.run >= grace / 2, "services get more than half of it: {budget:?}");
            }
        }
    }

    #[test]
    fn without_hooks_no_time_is_set_aside_for_them() {
        let budget = StopBudget::of(SECOND * 10, false, false);
        assert_eq!((budget.drain, budget.run), (Duration::ZERO, Duration::from_millis(7200)));
        assert_eq!((budget.sweep, budget.end), (budget.end, SECOND * 9));
    }
}
