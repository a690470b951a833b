//! Machine: when a word is fulfilled (SV-35, as DEV-6 and field note B48 want it).

use std::time::Duration;

use servicedir::{State, Status, Tai64n, Want};

/// How long a process has to live to count as up where no check says so: as long as lies between two
/// looks of the original's sv.
pub const LIFE: Duration = Duration::from_millis(420);

/// Something that shows that a command has been carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// It runs, is wanted up, and its check agrees.
    Up,
    /// It is down, and stays so.
    Down,
    /// It was started, or needs not to be started again.
    Once,
    /// runsv is gone.
    Gone,
    /// It is paused, or there is nothing to pause.
    Paused,
    /// It is not paused.
    Continued,
    /// A new process runs and its check agrees, or it is down for good.
    Renewed,
    /// It is what it is wanted to be, and its check agrees.
    AsRequested,
}

/// How far a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// There.
    Reached,
    /// There as soon as `./check` says so, or, without a check, if the process lives for so much longer.
    Lives(Duration),
    /// Not there.
    NotYet,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    signs: &'static [Sign],
    before: Status,
    /// The process that was seen last, and after how much waiting it was first seen.
    seen: Option<(Process, Duration)>,
}

/// The time of a look, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// How long ago the time in the status is. It tells the age of a process as long as nothing sets the
    /// wall clock; zero for a time to come.
    pub age: Duration,
    /// How long the service has been attended to, by the clock that cannot be set.
    pub waited: Duration,
}

/// One life of a service.
pub type Process = (Tai64n, u32);

/// The life a status tells of.
pub fn process(status: &Status) -> Process {
    (status.since, status.pid)
}

impl Condition {
    /// Waits for `signs` at a service that was as `before` when nothing had been sent yet.
    pub fn new(signs: &'static [Sign], before: Status) -> Self {
        Self { signs, before, seen: None }
    }

    /// Judges the status of a service whose runsv lives.
    pub fn verdict(&mut self, now: &Status, look: Look) -> Verdict {
        let rest = LIFE.saturating_sub(self.lived(process(now), look));
        self.signs.iter().map(|sign| self.shows(*sign, now, rest)).max().unwrap_or(Verdict::Reached)
    }

    /// How long a process has certainly lived.
    fn lived(&mut self, process: Process, look: Look) -> Duration {
        let first = match self.seen {
            Some((seen, first)) if seen == process => first,
            _ => look.waited,
        };
        self.seen = Some((process, first));
        let is_new = process != self::process(&self.before);
        // A process that was started in the meantime is no older than the wait, whatever its stamp says.
        let age = if is_new { look.age.min(look.waited) } else { look.age };
        age.max(look.waited.saturating_sub(first))
    }

    /// Whether the end of runsv is what is waited for.
    pub fn is_reached_without_runsv(&self) -> bool {
        self.signs.contains(&Sign::Gone)
    }

    fn shows(&self, sign: Sign, now: &Status, rest: Duration) -> Verdict {
        let has_process = now.pid != 0;
        let is_running = has_process && now.state == Some(State::Run);
        let is_down = !has_process && now.state == Some(State::Down);
        // As in the original, only this letter says so; what no runsv writes says nothing.
        let is_wanted_down = matches!(now.want, Want::Down | Want::Exit);
        // `./run` has ended and `./finish` is about to start: neither a process nor down.
        let is_between = !has_process && now.state == Some(State::Finish);
        // The whole stamp: a service that was started in this very second is still the old one.
        let is_another = now.since != self.before.since;
        let lives_if = |fact| if fact { Verdict::Lives(rest) } else { Verdict::NotYet };
        match sign {
            _ if is_between => Verdict::NotYet,
            Sign::Up => lives_if(is_running && !is_wanted_down),
            Sign::Down => when(is_down && now.want != Want::Up),
            Sign::Once if has_process => when(is_wanted_down),
            Sign::Once => when(is_another),
            Sign::Gone => Verdict::NotYet,
            Sign::Paused => when(!has_process || now.is_paused),
            Sign::Continued => when(!has_process || !now.is_paused),
            Sign::Renewed if !has_process && is_wanted_down => Verdict::Reached,
            Sign::Renewed => lives_if(has_process && is_another && !now.got_term),
            Sign::AsRequested if now.want == Want::Up => lives_if(is_running),
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
    use Verdict::{Lives, NotYet, Reached};

    const GROWN: Verdict = Lives(Duration::ZERO);

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

    fn look(age: u64, waited: u64) -> Look {
        Look { age: Duration::from_millis(age), waited: Duration::from_millis(waited) }
    }

    fn lives(rest: u64) -> Verdict {
        Lives(Duration::from_millis(rest))
    }

    /// Of a look at a process that has lived for long enough.
    fn verdict(sign: &'static [Sign], before: Status, now: Status) -> Verdict {
        Condition::new(sign, before).verdict(&now, look(420, 420))
    }

    #[test]
    fn up_is_a_running_service_that_is_wanted_up() {
        let judge = |now| verdict(&[Sign::Up], down(1, Want::Down), now);
        assert_eq!(judge(running(2, Want::Up)), GROWN);
        assert_eq!(judge(running(2, Want::Down)), NotYet);
        assert_eq!(judge(finishing(2, Want::Up)), NotYet);
        assert_eq!(judge(down(2, Want::Up)), NotYet);
    }

    #[test]
    fn a_new_process_has_to_live_as_long_as_lies_between_two_looks_of_the_original() {
        let mut condition = Condition::new(&[Sign::Up], down(1, Want::Down));
        let first = running(2, Want::Up);
        assert_eq!(condition.verdict(&first, look(0, 3)), lives(420));
        assert_eq!(condition.verdict(&first, look(300, 303)), lives(120));
        assert_eq!(condition.verdict(&first, look(420, 423)), GROWN);
    }

    #[test]
    fn the_next_process_has_to_live_as_long_as_the_one_before_should_have() {
        let mut condition = Condition::new(&[Sign::Up], down(1, Want::Down));
        assert_eq!(condition.verdict(&running(2, Want::Up), look(400, 403)), lives(20));
        assert_eq!(condition.verdict(&down(3, Want::Up), look(0, 404)), NotYet);
        assert_eq!(condition.verdict(&running(4, Want::Up), look(1, 1004)), lives(419));
        assert_eq!(condition.verdict(&running(4, Want::Up), look(420, 1423)), GROWN);
        // It died, and another was started, between two looks.
        assert_eq!(condition.verdict(&running(5, Want::Up), look(2, 2500)), lives(418));
    }

    #[test]
    fn a_process_that_was_there_before_is_as_old_as_its_stamp() {
        let before = running(1, Want::Up);
        let judge = |age| Condition::new(&[Sign::AsRequested], before).verdict(&before, look(age, 0));
        assert_eq!(judge(420), GROWN);
        assert_eq!(judge(99), lives(321));
    }

    #[test]
    fn a_clock_that_was_set_back_delays_nothing() {
        // The stamp of a time to come: the process is as old as it has been seen.
        let before = running(1, Want::Up);
        let mut condition = Condition::new(&[Sign::AsRequested], before);
        assert_eq!(condition.verdict(&before, look(0, 1)), lives(420));
        assert_eq!(condition.verdict(&before, look(0, 301)), lives(120));
        assert_eq!(condition.verdict(&before, look(0, 421)), GROWN);
    }

    #[test]
    fn a_clock_that_was_set_forward_makes_no_process_older() {
        let hour = 3_600_000;
        let mut condition = Condition::new(&[Sign::Up], down(1, Want::Down));
        assert_eq!(condition.verdict(&running(2, Want::Up), look(hour, 5)), lives(415));
        assert_eq!(condition.verdict(&running(2, Want::Up), look(hour, 420)), GROWN);
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
        assert_eq!(judge(running(2, Want::Up)), GROWN);
        // The same process id may come again.
        assert_eq!(judge(Status { pid: before.pid, ..running(2, Want::Up) }), GROWN);
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
        assert_eq!(verdict(&[Sign::Up], odd, odd), GROWN);
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
        assert_eq!(judge(running(1, Want::Up)), GROWN);
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
