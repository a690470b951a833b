//! Services that are being stopped, with invented time.

use sys::{ExitStatus, Pid, Signal};

use super::*;
use crate::state::stop_budget::{ServiceNeeds, StopNeeds};
use crate::state::tests::dice;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
const GONE: ServiceReport = ServiceReport {
    is_wanted_up: false,
    running_since: None,
    is_ready: None,
    is_gone: true,
    has_stop_scripts: false,
    has_log: false,
};

/// A stop of services, by their numbers, each with the numbers of those that it needs.
struct Stop {
    set: StopSet,
    began: Instant,
    budget: StopBudget,
}

impl Stop {
    fn of(needs: &[&[usize]]) -> Self {
        Self::with(needs, |_| false)
    }

    /// A stop in which some services are down for good at the beginning.
    fn with(needs: &[&[usize]], is_gone: impl Fn(usize) -> bool) -> Self {
        let named = needs.iter().enumerate().map(|(number, needs)| (number, needs.to_vec()));
        Self::named(&named.collect::<Vec<_>>(), is_gone)
    }

    /// A stop of services each of which needs the one before.
    fn chain(length: usize) -> Self {
        let services = (0..length).map(|number| (number, number.checked_sub(1).into_iter().collect()));
        Self::named(&services.collect::<Vec<_>>(), |_| false)
    }

    /// The same with names that need not be different.
    fn named(services: &[(usize, Vec<usize>)], is_gone: impl Fn(usize) -> bool) -> Self {
        let mut graph = ServiceGraph::default();
        let mut members = Vec::new();
        for (place, (name, needs)) in services.iter().enumerate() {
            let node = graph.appeared(&format!("s{name}"));
            graph.set_needs(node, &needs.iter().map(|need| format!("s{need}")).collect::<Vec<_>>());
            let report = ServiceReport { is_gone: is_gone(place), ..ServiceReport::default() };
            members.push((id(place), node, report));
        }
        graph.settle();
        let grace = SECOND * 10;
        let needs = StopNeeds {
            grace,
            drain_limit: None,
            services: ServiceNeeds::ALL,
            has_drain: false,
            has_finish: false,
        };
        let set = StopSet::new(graph, &members);
        Self { set, began: Instant::now(), budget: StopBudget::of(needs) }
    }

    fn free(&mut self, after: Duration) -> Vec<SupervisorId> {
        self.set.take_free(self.began, &self.budget, self.began + after)
    }

    /// What is due for the services that are late.
    fn late(&mut self, after: Duration) -> Vec<(SupervisorId, Escalation)> {
        let (late, _) = self.set.take_due(self.began + after);
        late.into_iter().map(|late| (late.id, late.escalation)).collect()
    }

    fn next(&self) -> Option<Duration> {
        self.set.next_deadline().map(|due| due.saturating_duration_since(self.began))
    }

    fn is_down(&mut self, number: usize, after: Duration) {
        self.set.reported(id(number), GONE, Some(self.began + after));
    }

    fn closes(&mut self, number: usize, after: Duration) -> Option<(LogLevel, String)> {
        self.set.closed(id(number), self.began + after)
    }
}

fn id(number: usize) -> SupervisorId {
    SupervisorId(number.try_into().unwrap_or_default())
}

fn ids(numbers: &[usize]) -> Vec<SupervisorId> {
    numbers.iter().copied().map(id).collect()
}

#[test]
fn a_service_is_stopped_when_all_that_need_it_are_down() {
    let mut stop = Stop::of(&[&[], &[0], &[0], &[]]);
    assert_eq!(stop.free(Duration::ZERO), ids(&[1, 2, 3]));
    stop.is_down(1, SECOND);
    stop.is_down(1, SECOND);
    assert_eq!(stop.closes(1, SECOND), Some((LogLevel::Info, "s1: stopped after 1.00 s".into())));
    assert_eq!(stop.free(SECOND), []);
    assert_eq!(stop.set.names(), ["s0 (waits for its dependents)", "s2", "s3"]);
    stop.closes(2, SECOND);
    assert_eq!(stop.free(SECOND), ids(&[0]));
    stop.is_down(0, SECOND);
    assert_eq!(stop.set.names(), ["s0 (down, its logger is leaving)", "s3"]);
    assert!(stop.set.is_any_up());
    stop.is_down(3, SECOND);
    assert!(!stop.set.is_any_up() && stop.set.len() == 2);
    stop.closes(0, SECOND * 2);
    stop.closes(3, SECOND * 2);
    assert!(stop.set.is_empty() && stop.set.summary() == Summary { gone: 4, killed: Vec::new() });
}

#[test]
fn services_that_are_gone_at_the_beginning_hold_none() {
    let mut stop = Stop::with(&[&[], &[0], &[0]], |number| number > 0);
    let mut free = stop.free(Duration::ZERO);
    free.sort_unstable();
    assert_eq!(free, ids(&[0, 1, 2]));
    stop.is_down(1, SECOND);
    stop.is_down(2, SECOND);
    assert!(stop.set.is_any_up());
    stop.is_down(0, SECOND);
    assert!(!stop.set.is_any_up() && stop.free(SECOND).is_empty());
}

#[test]
fn a_late_service_is_taken_through_all_steps_at_their_time() {
    let mut stop = Stop::of(&[&[]]);
    let budget = stop.budget;
    stop.free(Duration::ZERO);
    let steps = [
        (budget.run, Escalation::Run),
        (budget.finish, Escalation::Finish),
        (budget.loggers, Escalation::Logger),
        (budget.supervisors, Escalation::All),
    ];
    for (due, step) in steps {
        assert_eq!(stop.next(), Some(due));
        assert_eq!(stop.late(due.saturating_sub(MS)), []);
        assert_eq!(stop.late(due), [(id(0), step)]);
    }
    assert_eq!((stop.next(), stop.late(SECOND * 10)), (None, Vec::new()));
}

#[test]
fn late_services_are_taken_at_once_and_none_of_them_twice() {
    let needs: Vec<&[usize]> = vec![&[]; 100];
    let mut stop = Stop::of(&needs);
    stop.free(Duration::ZERO);
    stop.closes(7, SECOND);
    let run = stop.budget.run;
    assert_eq!(stop.late(run + MS * 100).len(), 99);
    assert_eq!(stop.late(run + MS * 100), []);
    // A machine that hiccups leaves the time between the steps as it is.
    assert_eq!(stop.next(), Some(stop.budget.finish + MS * 100));
}

#[test]
fn only_what_was_signalled_counts_as_killed() {
    let mut stop = Stop::of(&[&[], &[], &[]]);
    stop.free(Duration::ZERO);
    let late = |number, escalation| LateService { id: id(number), escalation };
    let victims = ["sleep (pid 7)".to_owned(), "sh (pid 8)".to_owned()];
    assert_eq!(stop.set.escalated(late(0, Escalation::Run), &[]), None);
    assert_eq!(
        stop.set.escalated(late(1, Escalation::Run), &victims),
        Some("s1: does not stop: killed sleep (pid 7), sh (pid 8)".into())
    );
    assert_eq!(
        stop.set.escalated(late(2, Escalation::Logger), &victims[..1]),
        Some("s2: logger does not leave at the end of its input: TERM to sleep (pid 7)".into())
    );
    assert_eq!(stop.closes(0, SECOND), Some((LogLevel::Info, "s0: stopped after 1.00 s".into())));
    assert_eq!(stop.set.summary().killed, ["s1"], "it has not left yet");
    assert_eq!(stop.closes(1, SECOND), Some((LogLevel::Problem, "s1: killed after 1.00 s".into())));
    stop.closes(2, SECOND);
    assert_eq!(stop.set.summary(), Summary { gone: 3, killed: vec!["s1".into()] });
}

#[test]
fn an_end_that_was_not_in_order_is_said() {
    let mut stop = Stop::of(&[&[], &[]]);
    stop.free(Duration::ZERO);
    let (exit_1, killed) = (ExitStatus::Exited(1), ExitStatus::Killed { signal: Signal::KILL, core: false });
    let pid = Pid::from_raw(7);
    for event in [
        HistoryEvent::Ended(exit_1, SECOND),
        HistoryEvent::Started(pid),
        HistoryEvent::Ended(ExitStatus::Exited(0), SECOND),
        HistoryEvent::Finished(exit_1),
    ] {
        stop.set.happened(id(0), event);
    }
    for event in [HistoryEvent::Sent(Signal::KILL, pid), HistoryEvent::Ended(killed, SECOND)] {
        stop.set.happened(id(1), event);
    }
    assert_eq!(
        [stop.closes(0, SECOND), stop.closes(1, SECOND)].map(|said| said.map(|(_, line)| line)),
        [
            Some("s0: stopped after 1.00 s, ./finish ended with exit 1".to_owned()),
            Some("s1: killed by its supervisor after 1.00 s, ./run ended with SIGKILL".to_owned()),
        ]
    );
}

#[test]
fn what_a_service_has_left_is_ended_a_moment_after_it_is_down() {
    let mut stop = Stop::of(&[&[]]);
    stop.free(Duration::ZERO);
    stop.is_down(0, SECOND);
    assert_eq!(stop.next(), Some(SECOND + MS * 50));
    assert_eq!(stop.set.take_due(stop.began + SECOND + MS * 50), (Vec::new(), ids(&[0])));
    assert_eq!(stop.next(), Some(stop.budget.run));
}

/// However many wait behind a service, one that goes as soon as it is told has its time; and all are told in time.
#[test]
fn no_prompt_service_is_killed_however_long_the_chain() {
    for length in [2, 10, 100, 1000] {
        let mut stop = Stop::chain(length);
        // Half of the time that there is; a hiccup of the machine at the first is no trouble either.
        let each = stop.budget.run / u32::try_from(length).unwrap_or(u32::MAX) / 2;
        let mut time = Duration::ZERO;
        for number in (0..length).rev() {
            assert_eq!(stop.free(time), ids(&[number]));
            time += if number + 1 == length { each.max(MS * 400) } else { each };
            assert_eq!(stop.late(time), [], "{number} of {length}");
            stop.closes(number, time);
        }
        assert!(stop.set.is_empty() && stop.set.summary().killed.is_empty() && time < stop.budget.run);
    }
}

/// Services that hang leave the others the rest of the time.
#[test]
fn a_chain_of_services_that_hang_is_killed_in_time() {
    for length in [2, 10, 100] {
        let mut stop = Stop::chain(length);
        let mut time = Duration::ZERO;
        for number in (0..length).rev() {
            assert_eq!(stop.free(time), ids(&[number]));
            let mut late = std::iter::from_fn(|| {
                time = stop.next()?;
                Some(stop.late(time))
            });
            assert_eq!(late.find(|late| !late.is_empty()), Some(vec![(id(number), Escalation::Run)]));
            stop.closes(number, time);
        }
        assert!(time <= stop.budget.run, "{length}: {time:?}");
    }
}

/// A renamed directory keeps its supervisor, and that its name.
#[test]
fn two_supervisors_of_one_name_are_stopped_both_and_their_needs_after_them() {
    let mut stop =
        Stop::named(&[(0, vec![]), (1, vec![0]), (1, vec![0]), (2, vec![1]), (0, vec![])], |_| false);
    assert_eq!(stop.free(Duration::ZERO), ids(&[3]));
    stop.is_down(3, SECOND);
    assert_eq!(stop.free(SECOND), ids(&[1, 2]));
    stop.is_down(1, SECOND);
    assert_eq!(stop.free(SECOND), []);
    stop.is_down(2, SECOND);
    assert_eq!(stop.free(SECOND), ids(&[0, 4]));
}

/// Whatever needs what, and in which order services end: each is told once, after all that need it are down.
#[test]
fn a_random_walk_tells_each_service_once_and_in_order() {
    for seed in 1..=500_u64 {
        let mut dice = dice(seed);
        let count = 1 + dice(12);
        let services: Vec<(usize, Vec<usize>)> =
            (0..count).map(|_| (dice(10), (0..dice(4)).map(|_| dice(10)).collect())).collect();
        let mut is_down: Vec<bool> = (0..count).map(|_| dice(8) == 0).collect();
        let mut is_told = vec![false; count];
        let mut is_closed = vec![false; count];
        let mut stop = Stop::named(&services, |place| is_down[place]);
        let nodes: Vec<Node> = (0..count).map(|place| stop.set.members[&id(place)].node).collect();
        let mut time = Duration::ZERO;
        while !stop.set.is_empty() {
            for told in stop.free(time) {
                let place = usize::try_from(told.0).unwrap_or_default();
                assert!(!std::mem::replace(&mut is_told[place], true), "{seed}");
                let node = nodes[place];
                let needs_it = |other: &usize| stop.set.graph.needs(nodes[*other]).contains(&node);
                assert!((0..count).filter(needs_it).all(|other| is_down[other]), "{seed}");
            }
            let open = |place: &usize| !is_closed[*place];
            assert!((0..count).filter(open).any(|place| is_told[place]), "{seed}: all wait for each other");
            // Those that were not told may end as well.
            let place =
                (0..count).filter(open).nth(dice(count)).filter(|place| is_told[*place] || dice(8) == 0);
            if let Some(place) = place {
                if dice(2) == 0 {
                    stop.is_down(place, time);
                } else {
                    is_closed[place] = true;
                    assert!(stop.closes(place, time).is_some());
                }
                is_down[place] = true;
            }
            assert_eq!(stop.set.is_any_up(), is_down.contains(&false), "{seed}");
            time += MS;
            stop.late(time);
        }
    }
}

/// Each service needs all earlier ones.
#[test]
fn many_services_in_one_order_need_few_events() {
    const COUNT: usize = 2000;
    let numbers: Vec<usize> = (0..COUNT).collect();
    let mut stop = Stop::of(&(0..COUNT).map(|number| &numbers[..number]).collect::<Vec<_>>());
    let mut time = Duration::ZERO;
    for number in (0..COUNT).rev() {
        assert_eq!(stop.free(time), ids(&[number]));
        time += MS * 3;
        stop.is_down(number, time);
        assert!(stop.late(time).is_empty() && stop.closes(number, time).is_some());
    }
    assert_eq!(stop.set.summary(), Summary { gone: COUNT, killed: Vec::new() });
}
