//! State: when a command counts as carried out (SV-35 with DEV-6).

use std::time::Duration;

use servicedir::readiness::MIN_UPTIME;
use servicedir::{State, Status, Tai64n, Want};

/// The time between two reads of the original's sv (SV-34).
pub const ORIGINAL_PAUSE: Duration = MIN_UPTIME;

/// What a status must show for a command to count as carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// The service runs, is wanted up, and its check succeeds.
    Up,
    /// It is down, and stays so.
    Down,
    /// It was started, or will not be started again.
    Once,
    /// runsv is gone.
    Gone,
    /// It is paused, or there is nothing to pause.
    Paused,
    /// It is not paused.
    Continued,
    /// A new process runs and its check succeeds, or the service stays down.
    Renewed,
    /// It is up or down as it is wanted, and its check succeeds.
    AsRequested,
}

/// How far a service is from its condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Fulfilled.
    Reached,
    /// Fulfilled when `./check` succeeds; without a check, when the process has said that it is ready; if it
    /// cannot, when it has lived for so much longer.
    UpIn(Duration),
    /// Not fulfilled.
    NotYet,
}

/// What sv waits for at one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    signs: &'static [Sign],
    before: Status,
    /// The process in the last status, and after how much waiting it was first seen.
    seen: Option<(ProcessStart, Duration)>,
}

/// The time of a read, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// The age of the status by the wall clock: the age of a process, unless the clock was set. Zero for a
    /// time in the future.
    pub age: Duration,
    /// How long sv has waited for the service, by the monotonic clock.
    pub waited: Duration,
}

/// Identifies one process of a service: its start and its pid.
pub type ProcessStart = (Tai64n, u32);

/// The process of a status.
pub fn process_start(status: &Status) -> ProcessStart {
    (status.since, status.pid)
}

impl Condition {
    /// Waits for `signs` at a service that had the status `before` when nothing had been sent.
    pub fn new(signs: &'static [Sign], before: Status) -> Self {
        Self { signs, before, seen: None }
    }

    /// Judges the status of a service that has a runsv.
    pub fn verdict(&mut self, now: &Status, timing: Timing) -> Verdict {
        let rest = MIN_UPTIME.saturating_sub(self.lived(process_start(now), timing));
        self.signs.iter().map(|sign| self.shows(*sign, now, rest)).max().unwrap_or(Verdict::Reached)
    }

    /// The time that a process has lived for at least.
    fn lived(&mut self, process: ProcessStart, timing: Timing) -> Duration {
        let first = match self.seen {
            Some((seen, first)) if seen == process => first,
            _ => timing.waited,
        };
        self.seen = Some((process, first));
        let is_new = process != process_start(&self.before);
        // A process that was started during the wait is no older than the wait, whatever its label.
        let age = if is_new { timing.age.min(timing.waited) } else { timing.age };
        age.max(timing.waited.saturating_sub(first))
    }

    /// Whether the end of runsv fulfils it.
    pub fn is_reached_without_runsv(&self) -> bool {
        self.signs.contains(&Sign::Gone)
    }

    fn shows(&self, sign: Sign, now: &Status, rest: Duration) -> Verdict {
        let has_process = now.pid != 0;
        let is_running = has_process && now.state == Some(State::Run);
        let is_down = !has_process && now.state == Some(State::Down);
        // As in the original, an unknown byte does not mean down.
        let is_wanted_down = matches!(now.want, Want::Down | Want::Exit);
        // `./run` has ended and `./finish` is about to start: neither a process nor down.
        let is_between = !has_process && now.state == Some(State::Finish);
        // The nanoseconds count: two starts may lie within one second.
        let is_another = now.since != self.before.since;
        let up_if = |fact| if fact { Verdict::UpIn(rest) } else { Verdict::NotYet };
        match sign {
            _ if is_between => Verdict::NotYet,
            Sign::Up => up_if(is_running && !is_wanted_down),
            Sign::Down => when(is_down && now.want != Want::Up),
            Sign::Once if has_process => when(is_wanted_down),
            Sign::Once => when(is_another),
            Sign::Gone => Verdict::NotYet,
            Sign::Paused => when(!has_process || now.is_paused),
            Sign::Continued => when(!has_process || !now.is_paused),
            Sign::Renewed if !has_process && is_wanted_down => Verdict::Reached,
            Sign::Renewed => up_if(has_process && is_another && !now.got_term),
            Sign::AsRequested if now.want == Want::Up => up_if(is_running),
            Sign::AsRequested => when(is_down),
        }
    }
}

fn when(fact: bool) -> Verdict {
    if fact { Verdict::Reached } else { Verdict::NotYet }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{NotYet, Reached, UpIn};

    const UP: Verdict = UpIn(Duration::ZERO);

    fn stamp(nanoseconds: u32) -> Tai64n {
        Tai64n { seconds: (1 << 62) + 1000, nanoseconds }
    }

    const fn bare(since: Tai64n) -> Status {
        Status { since, pid: 0, is_paused: false, want: Want::Up, got_term: false, state: Some(State::Down) }
    }

    fn down(since: u32, want: Want) -> Status {
        Status { want, ..bare(stamp(since)) }
    }

    fn running(since: u32, want: Want) -> Status {
        Status { want, pid: 7, state: Some(State::Run), ..bare(stamp(since)) }
    }

    fn finishing(since: u32, want: Want) -> Status {
        Status { want, pid: 8, state: Some(State::Finish), ..bare(stamp(since)) }
    }

    fn timing(age: u64, waited: u64) -> Timing {
        Timing { age: Duration::from_millis(age), waited: Duration::from_millis(waited) }
    }

    fn up_in(rest: u64) -> Verdict {
        UpIn(Duration::from_millis(rest))
    }

    /// The verdict on a process that has lived for long enough.
    fn verdict(sign: &'static [Sign], before: Status, now: Status) -> Verdict {
        Condition::new(sign, before).verdict(&now, timing(420, 420))
    }

    #[test]
    fn up_is_a_running_service_that_is_wanted_up() {
        let judge = |now| verdict(&[Sign::Up], down(1, Want::Down), now);
        assert_eq!(judge(running(2, Want::Up)), UP);
        assert_eq!(judge(running(2, Want::Down)), NotYet);
        assert_eq!(judge(finishing(2, Want::Up)), NotYet);
        assert_eq!(judge(down(2, Want::Up)), NotYet);
    }

    #[test]
    fn a_new_process_has_to_live_as_long_as_the_original_pauses() {
        let mut condition = Condition::new(&[Sign::Up], down(1, Want::Down));
        let first = running(2, Want::Up);
        assert_eq!(condition.verdict(&first, timing(0, 3)), up_in(420));
        assert_eq!(condition.verdict(&first, timing(300, 303)), up_in(120));
        assert_eq!(condition.verdict(&first, timing(420, 423)), UP);
    }

    #[test]
    fn the_next_process_has_to_live_as_long_as_the_one_before_should_have() {
        let mut condition = Condition::new(&[Sign::Up], down(1, Want::Down));
        assert_eq!(condition.verdict(&running(2, Want::Up), timing(400, 403)), up_in(20));
        assert_eq!(condition.verdict(&down(3, Want::Up), timing(0, 404)), NotYet);
        assert_eq!(condition.verdict(&running(4, Want::Up), timing(1, 1004)), up_in(419));
        assert_eq!(condition.verdict(&running(4, Want::Up), timing(420, 1423)), UP);
        // It died, and another was started, between two looks.
        assert_eq!(condition.verdict(&running(5, Want::Up), timing(2, 2500)), up_in(418));
    }

    #[test]
    fn a_process_that_was_there_before_is_as_old_as_its_stamp() {
        let before = running(1, Want::Up);
        let judge = |age| Condition::new(&[Sign::AsRequested], before).verdict(&before, timing(age, 0));
        assert_eq!(judge(420), UP);
        assert_eq!(judge(99), up_in(321));
    }

    #[test]
    fn a_clock_that_was_set_back_delays_nothing() {
        // The stamp of a time to come: the process is as old as it has been seen.
        let before = running(1, Want::Up);
        let mut condition = Condition::new(&[Sign::AsRequested], before);
        assert_eq!(condition.verdict(&before, timing(0, 1)), up_in(420));
        assert_eq!(condition.verdict(&before, timing(0, 301)), up_in(120));
        assert_eq!(condition.verdict(&before, timing(0, 421)), UP);
    }

    #[test]
    fn a_clock_that_was_set_forward_makes_no_process_older() {
        let hour = 3_600_000;
        let mut condition = Condition::new(&[Sign::Up], down(1, Want::Down));
        assert_eq!(condition.verdict(&running(2, Want::Up), timing(hour, 5)), up_in(415));
        assert_eq!(condition.verdict(&running(2, Want::Up), timing(hour, 420)), UP);
    }

    #[test]
    fn down_is_not_the_pause_between_two_crashes() {
        let judge = |now| verdict(&[Sign::Down], running(1, Want::Up), now);
        assert_eq!(judge(down(2, Want::Down)), Reached);
        assert_eq!(judge(down(2, Want::Up)), NotYet);
        assert_eq!(judge(running(1, Want::Down)), NotYet);
        assert_eq!(judge(finishing(1, Want::Down)), NotYet);
    }

    #[test]
    fn once_is_a_process_that_will_not_come_again_or_one_that_has_been() {
        let judge = |before, now| verdict(&[Sign::Once], before, now);
        assert_eq!(judge(down(1, Want::Down), down(1, Want::Down)), NotYet);
        assert_eq!(judge(down(1, Want::Down), running(2, Want::Down)), Reached);
        assert_eq!(judge(down(1, Want::Down), down(3, Want::Down)), Reached);
        assert_eq!(judge(running(1, Want::Up), running(1, Want::Up)), NotYet);
        assert_eq!(judge(running(1, Want::Up), running(1, Want::Down)), Reached);
    }

    #[test]
    fn a_restart_never_takes_the_old_process_for_the_new_one() {
        let signs = &[Sign::Renewed, Sign::Continued, Sign::Up];
        let before = running(1, Want::Up);
        let judge = |now| verdict(signs, before, now);
        assert_eq!(judge(before), NotYet);
        assert_eq!(judge(Status { got_term: true, ..before }), NotYet);
        assert_eq!(judge(finishing(1, Want::Up)), NotYet);
        assert_eq!(judge(down(2, Want::Up)), NotYet);
        assert_eq!(judge(running(2, Want::Up)), UP);
        // The same process id may come again.
        assert_eq!(judge(Status { pid: before.pid, ..running(2, Want::Up) }), UP);
        assert_eq!(judge(Status { got_term: true, ..running(2, Want::Up) }), NotYet);
        assert_eq!(judge(down(2, Want::Down)), NotYet);
    }

    #[test]
    fn what_is_down_for_good_needs_no_new_process() {
        let judge = |before, now| verdict(&[Sign::Renewed, Sign::Continued], before, now);
        assert_eq!(judge(down(1, Want::Down), down(1, Want::Down)), Reached);
        assert_eq!(judge(running(1, Want::Down), down(2, Want::Down)), Reached);
        assert_eq!(judge(down(1, Want::Up), down(1, Want::Up)), NotYet);
    }

    #[test]
    fn the_moment_before_finish_starts_is_not_down() {
        let before = running(1, Want::Down);
        let between = Status { pid: 0, ..finishing(1, Want::Down) };
        for sign in [Sign::Renewed, Sign::Once, Sign::Down, Sign::Paused, Sign::Continued, Sign::AsRequested]
        {
            assert_eq!(Condition::new(&[], before).shows(sign, &between, Duration::ZERO), NotYet, "{sign:?}");
        }
        let another = Status { pid: 0, ..finishing(2, Want::Down) };
        assert_eq!(verdict(&[Sign::Once], down(1, Want::Down), another), NotYet);
        assert_eq!(verdict(&[Sign::Renewed, Sign::Continued], before, down(3, Want::Down)), Reached);
    }

    #[test]
    fn a_want_that_no_runsv_writes_is_not_down() {
        let odd = running(1, Want::Unknown);
        assert_eq!(verdict(&[Sign::Up], odd, odd), UP);
        assert_eq!(verdict(&[Sign::Once], odd, odd), NotYet);
        assert_eq!(verdict(&[Sign::Renewed], odd, down(2, Want::Unknown)), NotYet);
        assert_eq!(verdict(&[Sign::Down], odd, down(2, Want::Unknown)), Reached);
    }

    #[test]
    fn pausing_shows_and_so_does_continuing() {
        let before = running(1, Want::Up);
        let paused = Status { is_paused: true, ..before };
        for (sign, now, expected) in [
            (&[Sign::Paused], before, NotYet),
            (&[Sign::Paused], paused, Reached),
            (&[Sign::Paused], down(1, Want::Up), Reached),
            (&[Sign::Continued], paused, NotYet),
            (&[Sign::Continued], before, Reached),
            (&[Sign::Continued], down(1, Want::Up), Reached),
        ] {
            assert_eq!(verdict(sign, before, now), expected, "{sign:?} {now:?}");
        }
    }

    #[test]
    fn a_check_compares_with_what_is_requested() {
        let judge = |now| verdict(&[Sign::AsRequested], now, now);
        assert_eq!(judge(running(1, Want::Up)), UP);
        assert_eq!(judge(down(1, Want::Up)), NotYet);
        assert_eq!(judge(finishing(1, Want::Up)), NotYet);
        assert_eq!(judge(down(1, Want::Down)), Reached);
        assert_eq!(judge(running(1, Want::Down)), NotYet);
    }

    #[test]
    fn exit_is_fulfilled_by_absence_only() {
        let before = running(1, Want::Up);
        assert_eq!(verdict(&[Sign::Gone], before, down(2, Want::Down)), NotYet);
        assert!(Condition::new(&[Sign::Gone], before).is_reached_without_runsv());
        assert!(!Condition::new(&[Sign::Down], before).is_reached_without_runsv());
    }

    #[test]
    fn a_signal_that_leaves_no_sign_is_fulfilled_at_once() {
        assert_eq!(verdict(&[], running(1, Want::Up), running(1, Want::Up)), Reached);
    }
}
