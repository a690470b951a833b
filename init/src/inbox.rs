//! Hands: everything that can happen to init, as events.

use std::time::{Duration, Instant};

use sys::process::pid_1::stop_requests;
use sys::process::spawn::failure_of;
use sys::signal::SignalSet;
use sys::{Error, Logger, Poller, Signal, has_children, reap_next};

use crate::hands::Hands;
use crate::machine::Event;

/// The token of the hands' lookout.
const LOOKOUT: usize = 0;
/// The token of what init says, while it cannot say it.
const VOICE: usize = 1;
/// Deaths that come closer together than this are a storm.
const STORM: Duration = Duration::from_millis(2);
/// How long init does not look while there is one.
const SHELTER: Duration = Duration::from_millis(5);

/// Every signal that init wants to hear of.
pub fn caught_signals() -> Vec<Signal> {
    let passed_on =
        [Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2, Signal::ALRM, Signal::WINCH, Signal::CONT];
    [Signal::CHLD].into_iter().chain(stop_requests()).chain(passed_on).collect()
}

/// Where init sleeps.
pub struct Inbox {
    poller: Poller,
    last_death: Option<Instant>,
    /// While it is set, SIGCHLD is blocked, and the dead wait.
    sheltered_until: Option<Instant>,
    /// Whether it is told when what init says has room.
    is_room_watched: bool,
}

impl Inbox {
    /// Hears `signals` from now on.
    pub fn new(signals: &[Signal]) -> Result<Self, Error> {
        let poller = Poller::new(signals).map_err(Error::of_io("unable to wait for signals"))?;
        Ok(Self { poller, last_death: None, sheltered_until: None, is_room_watched: false })
    }

    /// Hears of what the hands watch.
    pub fn watch(&self, hands: &Hands) {
        if let Some(lookout) = hands.lookout() {
            // Without it, deadlines still come.
            let _ = self.poller.watch(lookout, LOOKOUT);
        }
    }

    /// Sleeps until something happens. `is_idle`: nobody waits for a death in particular.
    pub fn wait(&mut self, deadline: Option<Instant>, is_idle: bool, hands: &mut Hands) -> Vec<Event> {
        if !is_idle {
            // A death in the shelter is told now, and wakes.
            self.leave_shelter();
        }
        self.watch_room(hands.logger());
        let wakeup = self.poller.wait(deadline.into_iter().chain(self.sheltered_until).min());
        let mut events: Vec<Event> = Vec::new();
        let now = Instant::now();
        if self.sheltered_until.is_some_and(|until| until <= now) {
            // What it would tell is looked at right away.
            children_signals().take_pending();
            self.leave_shelter();
        }
        if self.sheltered_until.is_none() {
            events.extend(reap());
            if !events.is_empty() {
                let is_storm = self.last_death.is_some_and(|last| now.duration_since(last) < STORM + SHELTER);
                if is_idle && is_storm {
                    children_signals().block();
                    self.sheltered_until = Some(now + SHELTER);
                }
                self.last_death = Some(now);
            }
        }
        events.extend(wakeup.signals.into_iter().filter(|signal| *signal != Signal::CHLD).map(Event::Signal));
        if wakeup.ready.contains(&VOICE) {
            hands.logger().flush();
        }
        if wakeup.ready.contains(&LOOKOUT) {
            events.extend(hands.watched());
        }
        events
    }

    /// Hears of room for what could not be said yet, and only while there is something.
    fn watch_room(&mut self, logger: &Logger) {
        match (logger.unsaid(), self.is_room_watched) {
            // Without it, the next line tries again.
            (Some(output), false) => self.is_room_watched = self.poller.watch_room(output, VOICE).is_ok(),
            (None, true) => {
                self.is_room_watched = false;
                if let Some(output) = logger.descriptor() {
                    let _ = self.poller.forget(output);
                }
            }
            (Some(_), true) | (None, false) => {}
        }
    }

    fn leave_shelter(&mut self) {
        if self.sheltered_until.take().is_some() {
            children_signals().unblock();
        }
    }
}

fn children_signals() -> SignalSet {
    SignalSet::of(&[Signal::CHLD])
}

/// Collects all who have died.
fn reap() -> Vec<Event> {
    let (mut deaths, mut failures) = (Vec::new(), Vec::new());
    while let Some((pid, ending)) = reap_next() {
        match failure_of(pid) {
            Some(failure) => failures.push(Event::NotExecuted(pid, failure.why)),
            None => deaths.push((pid, ending)),
        }
    }
    if deaths.is_empty() && failures.is_empty() {
        return Vec::new();
    }
    [Event::Reaped { deaths, is_childless: !has_children() }].into_iter().chain(failures).collect()
}
