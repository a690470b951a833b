//! Machine: when a word is fulfilled (SV-35, as DEV-6 and field note B48 want it).

use std::time::Duration;

use servicedir::{Stamp, State, Status, Want};

/// What a new process has to survive to count, and then be at rest: who works may yet give up.
const FIRST_STEPS: Duration = Duration::from_millis(1);

/// What it has to survive if it does not come to rest, or if the one before did not survive: so much
/// lies between two looks of the original's.
const NEXT_STEPS: Duration = Duration::from_millis(420);

/// What has survived this where the original would look, now or at its last look, counts without coming
/// to rest: it is not to be told later than by the original.
const GROWN: Duration = Duration::from_millis(50);

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
    /// There, if `./check` says so.
    IfCheckAgrees,
    /// A process lives, but it has to do so a little longer.
    Soon(Duration),
    /// Not there.
    NotYet,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Goal {
    signs: &'static [Sign],
    before: Status,
    /// The process that was seen taking its first steps.
    young: Option<Process>,
    /// What a process has to survive.
    steps: Duration,
}

/// What else is known of the process in a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// How long ago the time is that stands in the status.
    pub age: Duration,
    /// How long something has been waited for.
    pub waited: Duration,
    /// Whether the process is seen to sleep, and not until a child of its own is done.
    pub is_at_rest: bool,
}

impl Life {
    /// The age up to which it makes a difference whether the process is at rest.
    pub const CHILDHOOD: Duration = NEXT_STEPS;

    /// When the original would see it grown; it looks again and again after the same time.
    fn until_seen_grown(&self) -> Duration {
        let looks = self.waited.as_nanos() / NEXT_STEPS.as_nanos();
        let since_look = self.waited.saturating_sub(NEXT_STEPS * u32::try_from(looks).unwrap_or(u32::MAX));
        if looks > 0 && self.age.saturating_sub(since_look) >= GROWN {
            return Duration::ZERO;
        }
        let next = NEXT_STEPS.saturating_sub(since_look);
        if self.age.saturating_add(next) >= GROWN { next } else { next + NEXT_STEPS }
    }
}

/// One life of a service.
pub type Process = (Stamp, u32);

/// The life a status tells of.
pub fn process(status: &Status) -> Process {
    (status.since, status.pid)
}

impl Goal {
    /// Waits for `signs` at a service that was as `before` when nothing had been sent yet.
    pub fn new(signs: &'static [Sign], before: Status) -> Self {
        Self { signs, before, young: None, steps: FIRST_STEPS }
    }

    /// Judges the status of a service whose runsv lives.
    pub fn verdict(&mut self, now: &Status, life: Life) -> Verdict {
        if self.young.take().is_some_and(|young| young != process(now)) {
            self.steps = NEXT_STEPS;
        }
        let verdict = self.signs.iter().map(|sign| self.shows(*sign, now, life)).max();
        let verdict = verdict.unwrap_or(Verdict::Reached);
        if let Verdict::Soon(_) = verdict {
            self.young = Some(process(now));
        }
        verdict
    }

    /// Whether the end of runsv is what is waited for.
    pub fn is_reached_without_runsv(&self) -> bool {
        self.signs.contains(&Sign::Gone)
    }

    fn shows(&self, sign: Sign, now: &Status, life: Life) -> Verdict {
        let has_process = now.pid != 0;
        let is_running = has_process && now.state == Some(State::Run);
        let is_down = !has_process && now.state == Some(State::Down);
        // As in the original, only this letter says so; what no runsv writes says nothing.
        let is_wanted_down = matches!(now.want, Want::Down | Want::Exit);
        // `./run` has ended and `./finish` is about to start: neither a process nor down.
        let is_between = !has_process && now.state == Some(State::Finish);
        // The whole stamp: a service that was started in this very second is still the old one.
        let is_another = now.since != self.before.since;
        match sign {
            _ if is_between => Verdict::NotYet,
            Sign::Up => self.when_settled(is_running && !is_wanted_down, life),
            Sign::Down => when(is_down && now.want != Want::Up),
            Sign::Once if has_process => when(is_wanted_down),
            Sign::Once => when(is_another),
            Sign::Gone => Verdict::NotYet,
            Sign::Paused => when(!has_process || now.is_paused),
            Sign::Continued => when(!has_process || !now.is_paused),
            Sign::Renewed if !has_process && is_wanted_down => Verdict::Reached,
            Sign::Renewed => self.when_settled(has_process && is_another && !now.got_term, life),
            Sign::AsRequested if now.want == Want::Up => self.when_settled(is_running, life),
            Sign::AsRequested => when(is_down),
        }
    }

    fn when_settled(&self, fact: bool, life: Life) -> Verdict {
        if !fact {
            return Verdict::NotYet;
        }
        let rest = if life.is_at_rest {
            self.steps.saturating_sub(life.age)
        } else if self.steps == FIRST_STEPS {
            NEXT_STEPS.saturating_sub(life.age).min(life.until_seen_grown())
        } else {
            NEXT_STEPS.saturating_sub(life.age)
        };
        match rest {
            Duration::ZERO => Verdict::IfCheckAgrees,
            // The older it is, the less it matters to see at once that it has come to rest.
            rest => Verdict::Soon(rest.min(self.steps.saturating_sub(life.age).max(life.age / 8))),
        }
    }
}

fn when(fact: bool) -> Verdict {
    if fact { Verdict::Reached } else { Verdict::NotYet }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{IfCheckAgrees, NotYet, Reached};

    fn stamp(nanoseconds: u32) -> Stamp {
        Stamp { seconds: (1 << 62) + 1000, nanoseconds }
    }

    const fn bare(since: Stamp) -> Status {
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

    fn aged(age: Duration) -> Life {
        Life { age, waited: age, is_at_rest: true }
    }

    fn verdict(sign: &'static [Sign], before: Status, now: Status) -> Verdict {
        Goal::new(sign, before).verdict(&now, aged(FIRST_STEPS))
    }

    #[test]
    fn up_is_a_running_service_that_is_wanted_up() {
        let judge = |now| verdict(&[Sign::Up], down(1, Want::Down), now);
        assert_eq!(judge(running(2, Want::Up)), IfCheckAgrees);
        assert_eq!(judge(running(2, Want::Down)), NotYet);
        assert_eq!(judge(finishing(2, Want::Up)), NotYet);
        assert_eq!(judge(down(2, Want::Up)), NotYet);
    }

    #[test]
    fn a_new_process_has_to_survive_its_first_steps() {
        let mut goal = Goal::new(&[Sign::Up], down(1, Want::Down));
        let first = running(2, Want::Up);
        assert_eq!(goal.verdict(&first, aged(FIRST_STEPS / 4)), Verdict::Soon(FIRST_STEPS / 4 * 3));
        assert_eq!(goal.verdict(&first, aged(FIRST_STEPS)), IfCheckAgrees);
    }

    #[test]
    fn when_one_process_has_stumbled_the_next_is_watched_for_longer() {
        let mut goal = Goal::new(&[Sign::Up], down(1, Want::Down));
        assert_eq!(goal.verdict(&running(2, Want::Up), aged(Duration::ZERO)), Verdict::Soon(FIRST_STEPS));
        assert_eq!(goal.verdict(&down(3, Want::Up), aged(Duration::ZERO)), NotYet);
        let second = running(4, Want::Up);
        assert_eq!(
            goal.verdict(&second, aged(FIRST_STEPS)),
            Verdict::Soon(NEXT_STEPS.saturating_sub(FIRST_STEPS))
        );
        assert_eq!(goal.verdict(&second, aged(NEXT_STEPS)), IfCheckAgrees);
    }

    #[test]
    fn a_process_that_does_not_come_to_rest_has_to_live_as_long_as_with_the_original() {
        let mut goal = Goal::new(&[Sign::Up], down(1, Want::Down));
        let waited = Duration::ZERO;
        let mut busy = |age| goal.verdict(&running(2, Want::Up), Life { is_at_rest: false, waited, age });
        // It is looked at again and again, soon at first.
        assert_eq!(busy(Duration::ZERO), Verdict::Soon(FIRST_STEPS));
        assert_eq!(busy(FIRST_STEPS), Verdict::Soon(FIRST_STEPS / 8));
        assert_eq!(busy(NEXT_STEPS / 2), Verdict::Soon(NEXT_STEPS / 16));
        assert_eq!(busy(NEXT_STEPS.saturating_sub(FIRST_STEPS)), Verdict::Soon(FIRST_STEPS));
        assert_eq!(busy(NEXT_STEPS), IfCheckAgrees);
    }

    #[test]
    fn a_process_that_does_not_come_to_rest_is_told_no_later_than_by_the_original() {
        let [look, moment] = [NEXT_STEPS * 2, Duration::from_millis(2)];
        let busy = |age, waited| {
            let mut goal = Goal::new(&[Sign::Renewed], running(1, Want::Up));
            goal.verdict(&running(2, Want::Up), Life { age, waited, is_at_rest: false })
        };
        assert_eq!(busy(GROWN * 2, look), IfCheckAgrees);
        assert_eq!(busy(GROWN * 2 + moment, look + moment), IfCheckAgrees);
        // Then it is too late for this look; at the next it is older than it needs to be.
        assert_eq!(busy(GROWN + moment, look + moment * 2), Verdict::Soon((GROWN + moment) / 8));
        assert_eq!(busy(GROWN, look.saturating_sub(moment)), Verdict::Soon(moment));
        // The first look is before there was anything new.
        assert_eq!(busy(GROWN * 2, GROWN), Verdict::Soon(GROWN / 4));
        // A clock that was set back makes a record of a time to come: as old as can be.
        assert_eq!(busy(Duration::MAX, Duration::ZERO), IfCheckAgrees);
    }

    #[test]
    fn a_process_counts_as_soon_as_it_is_at_rest() {
        let mut goal = Goal::new(&[Sign::Up], down(1, Want::Down));
        let first = running(2, Want::Up);
        assert_eq!(
            goal.verdict(&first, Life { is_at_rest: false, ..aged(FIRST_STEPS * 9) }),
            Verdict::Soon(FIRST_STEPS * 9 / 8)
        );
        assert_eq!(goal.verdict(&first, aged(FIRST_STEPS * 10)), IfCheckAgrees);
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
        assert_eq!(judge(running(2, Want::Up)), IfCheckAgrees);
        // The same process id may come again.
        assert_eq!(judge(Status { pid: before.pid, ..running(2, Want::Up) }), IfCheckAgrees);
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
            assert_eq!(Goal::new(&[], before).shows(sign, &between, aged(NEXT_STEPS)), NotYet, "{sign:?}");
        }
        let another = Status { pid: 0, ..finishing(2, Want::Down) };
        assert_eq!(verdict(&[Sign::Once], down(1, Want::Down), another), NotYet);
        assert_eq!(verdict(&[Sign::Renewed, Sign::Continued], before, down(3, Want::Down)), Reached);
    }

    #[test]
    fn a_want_that_no_runsv_writes_is_not_down() {
        let odd = running(1, Want::Unknown);
        assert_eq!(verdict(&[Sign::Up], odd, odd), IfCheckAgrees);
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
        assert_eq!(judge(running(1, Want::Up)), IfCheckAgrees);
        assert_eq!(judge(down(1, Want::Up)), NotYet);
        assert_eq!(judge(finishing(1, Want::Up)), NotYet);
        assert_eq!(judge(down(1, Want::Down)), Reached);
        assert_eq!(judge(running(1, Want::Down)), NotYet);
    }

    #[test]
    fn exit_is_fulfilled_by_absence_only() {
        let before = running(1, Want::Up);
        assert_eq!(verdict(&[Sign::Gone], before, down(2, Want::Down)), NotYet);
        assert!(Goal::new(&[Sign::Gone], before).is_reached_without_runsv());
        assert!(!Goal::new(&[Sign::Down], before).is_reached_without_runsv());
    }

    #[test]
    fn a_signal_that_leaves_no_sign_is_fulfilled_at_once() {
        assert_eq!(verdict(&[], running(1, Want::Up), running(1, Want::Up)), Reached);
    }
}
