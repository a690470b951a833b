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
    /// Loggers, and what is left of services, are killed.
    pub supervisors: Duration,
    /// Everything is killed.
    pub sweep: Duration,
    /// Finish hooks are killed; init exits.
    pub end: Duration,
    /// The time between that and the grace, for a slow machine.
    pub reserve: Duration,
}

/// What a stop needs time for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopNeeds {
    /// The time from its beginning to the end of init.
    pub grace: Duration,
    /// The latest end of the drain; half of the time if there is none.
    pub drain_limit: Option<Duration>,
    /// What the services need.
    pub services: ServiceNeeds,
    /// Whether there are drain hooks.
    pub has_drain: bool,
    /// Whether there are finish hooks.
    pub has_finish: bool,
}

/// What the stop of the services needs time for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceNeeds {
    /// There are none, and COMMAND has all the time; or there is one, with nothing but its `./run`.
    Alone,
    /// There are services.
    Several {
        /// Whether one has a `finish`, or a control script.
        has_finish: bool,
        /// Whether one has a logger.
        has_loggers: bool,
    },
}

impl ServiceNeeds {
    /// As long as it is not known what they have.
    pub const ALL: Self = Self::Several { has_finish: true, has_loggers: true };
}

/// The least and the most reserve; a busy machine needs much of it to take down the processes. A small grace
/// keeps a quarter.
const RESERVE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_millis(1500));

impl StopBudget {
    /// The budget for these needs.
    pub fn of(needs: StopNeeds) -> Self {
        let StopNeeds { grace, drain_limit, services, has_drain, has_finish } = needs;
        let reserve = (grace / 10).clamp(RESERVE.0, RESERVE.1).min(grace / 4);
        let end = grace.saturating_sub(reserve);
        let sweep = if has_finish { end.mul_f64(0.9) } else { end };
        let half = sweep / 2;
        let drain = if has_drain { drain_limit.unwrap_or(half).min(sweep) } else { Duration::ZERO };
        // What follows is planned for half of the time. A longer drain leaves less of it.
        let planned = sweep.saturating_sub(drain.max(half));
        let (rest, for_finish, for_loggers) = match services {
            ServiceNeeds::Alone => (Duration::ZERO, 0.0, 0.0),
            ServiceNeeds::Several { has_finish, has_loggers } => {
                (planned, if has_finish { 0.08 } else { 0.0 }, if has_loggers { 0.08 } else { 0.0 })
            }
        };
        let part = |share: f64| sweep.saturating_sub(rest.mul_f64((1.0 - share) * 2.0));
        Self {
            drain,
            run: part(0.96 - for_loggers - for_finish),
            finish: part(0.96 - for_loggers),
            loggers: part(0.96 - for_loggers * 3.0 / 8.0),
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
    const NEEDS: StopNeeds = StopNeeds {
        grace: Duration::from_secs(10),
        drain_limit: None,
        services: ServiceNeeds::ALL,
        has_drain: false,
        has_finish: false,
    };

    #[test]
    fn the_moments_come_in_order_and_before_the_grace_is_over() {
        for grace in [SECOND / 20, SECOND * 3 / 10, SECOND, SECOND * 10, SECOND * 3600] {
            for hooks in [false, true] {
                let budget =
                    StopBudget::of(StopNeeds { grace, has_drain: hooks, has_finish: hooks, ..NEEDS });
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
        let budget = StopBudget::of(NEEDS);
        assert_eq!((budget.drain, budget.run), (Duration::ZERO, Duration::from_millis(7200)));
        assert_eq!((budget.sweep, budget.end), (budget.end, SECOND * 9));
    }

    #[test]
    fn without_services_no_time_is_set_aside_for_them() {
        let budget = StopBudget::of(StopNeeds { services: ServiceNeeds::Alone, ..NEEDS });
        assert_eq!((budget.run, budget.sweep), (SECOND * 9, SECOND * 9));
    }

    #[test]
    fn time_is_set_aside_only_for_what_the_services_have() {
        let moments = |has_finish, has_loggers| {
            let services = ServiceNeeds::Several { has_finish, has_loggers };
            let StopBudget { run, finish, loggers, supervisors, .. } =
                StopBudget::of(StopNeeds { services, ..NEEDS });
            [run, finish, loggers, supervisors].map(|moment| moment.as_millis())
        };
        assert_eq!(moments(true, true), [7200, 7920, 8370, 8640]);
        assert_eq!(moments(false, true), [7920, 7920, 8370, 8640]);
        assert_eq!(moments(true, false), [7920, 8640, 8640, 8640]);
        assert_eq!(moments(false, false), [8640; 4]);
    }

    #[test]
    fn a_drain_has_as_long_as_was_said_and_what_follows_the_rest() {
        let ms = Duration::from_millis;
        for (limit, run, finish) in [(None, 7200, 7920), (Some(2000), 7200, 7920), (Some(8000), 8600, 8760)] {
            let needs = StopNeeds { drain_limit: limit.map(ms), has_drain: true, ..NEEDS };
            let budget = StopBudget::of(needs);
            assert_eq!(budget.drain, ms(limit.unwrap_or(4500)));
            assert_eq!((budget.run, budget.finish, budget.sweep), (ms(run), ms(finish), SECOND * 9));
        }
        let drain_limit = Some(SECOND * 20);
        let longest = StopBudget::of(StopNeeds { drain_limit, has_drain: true, has_finish: true, ..NEEDS });
        assert_eq!((longest.drain, longest.run), (SECOND * 81 / 10, longest.sweep));
    }
}
