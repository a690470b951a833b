//! The event source: signals, deaths of children, watches and deadlines.

use std::time::{Duration, Instant};

use sys::process::spawn::failure_of;
use sys::signal::SignalSet;
use sys::{
    Error, Logger, Poller, ReceivedSignal, Signal, SignalReader, SignalSender, has_children, procfs,
    reap_next,
};

use crate::effects::InitEffects;
use crate::state::LifecycleEvent;
use crate::state::signals::CAUGHT;

/// The token of the watches.
const WATCH: usize = 0;
/// The token of standard error, while lines wait for room there.
const OUTPUT: usize = 1;
/// The token of the signals but SIGCHLD.
const SIGNALS: usize = 2;
/// If children exit less than this apart, SIGCHLD is blocked and they are reaped in batches.
const BATCH_GAP: Duration = Duration::from_millis(2);
/// How long SIGCHLD is blocked then.
const BATCH_DELAY: Duration = Duration::from_millis(5);

/// What init waits on.
pub struct InitEventSource {
    poller: Poller,
    signals: SignalReader,
    last_death: Option<Instant>,
    /// While set, SIGCHLD is blocked and zombies wait.
    batch_until: Option<Instant>,
    /// Whether room on standard error is watched.
    is_room_watched: bool,
}

impl InitEventSource {
    /// From now on no signal is lost.
    pub fn new() -> Result<Self, Error> {
        const FAILED: &str = "unable to wait for signals";
        let signals = SignalReader::new(&read_signals()).map_err(Error::of(FAILED))?;
        let poller = Poller::new(&[Signal::CHLD]).map_err(Error::of_io(FAILED))?;
        poller.watch(&signals, SIGNALS).map_err(Error::of_io(FAILED))?;
        Ok(Self { poller, signals, last_death: None, batch_until: None, is_room_watched: false })
    }

    /// Adds the watches of the effects.
    pub fn watch(&self, effects: &InitEffects) {
        if let Some(service_watch) = effects.watch_descriptor() {
            // Without it there are still the deadlines.
            let _ = self.poller.watch(service_watch, WATCH);
        }
    }

    /// Waits for events. With `is_idle` a death can wait for the next batch.
    pub fn wait(
        &mut self,
        deadline: Option<Instant>,
        is_idle: bool,
        effects: &mut InitEffects,
    ) -> Vec<LifecycleEvent> {
        if !is_idle {
            // A death that waits for its batch wakes the poller now.
            self.end_batch();
        }
        self.watch_room(effects.logger());
        let wakeup = self.poller.wait(deadline.into_iter().chain(self.batch_until).min());
        let mut events: Vec<LifecycleEvent> = Vec::new();
        let now = Instant::now();
        if self.batch_until.is_some_and(|until| until <= now) {
            // The children are reaped right here.
            children_signals().take_pending();
            self.end_batch();
        }
        if self.batch_until.is_none() {
            events.extend(reap());
            if !events.is_empty() {
                let is_batch =
                    self.last_death.is_some_and(|last| now.duration_since(last) < BATCH_GAP + BATCH_DELAY);
                if is_idle && is_batch {
                    children_signals().block();
                    self.batch_until = Some(now + BATCH_DELAY);
                }
                self.last_death = Some(now);
            }
        }
        events.extend(effects.command_stop());
        if wakeup.ready.contains(&SIGNALS) {
            events.extend(self.signals.read().into_iter().filter_map(event_of));
        }
        if wakeup.ready.contains(&OUTPUT) {
            effects.logger().flush();
        }
        if wakeup.ready.contains(&WATCH) {
            events.extend(effects.read_watch());
        }
        events
    }

    /// Watches standard error only while lines wait for room.
    fn watch_room(&mut self, logger: &Logger) {
        match (logger.unsaid(), self.is_room_watched) {
            // Without it, the next line tries again.
            (Some(output), false) => self.is_room_watched = self.poller.watch_room(output, OUTPUT).is_ok(),
            (None, true) => {
                self.is_room_watched = false;
                if let Some(output) = logger.descriptor() {
                    let _ = self.poller.forget(output);
                }
            }
            (Some(_), true) | (None, false) => {}
        }
    }

    fn end_batch(&mut self) {
        if self.batch_until.take().is_some() {
            children_signals().unblock();
        }
    }
}

/// All but SIGCHLD, and a SIGHUP that the caller has made init ignore, as nohup does. A runtime that happens
/// to ignore it means nothing by that.
fn read_signals() -> Vec<Signal> {
    let own = nix::unistd::getpid();
    let is_immune = own.as_raw() != 1 && procfs::ignores(own, Signal::HUP);
    let is_read = |signal: &Signal| *signal != Signal::CHLD && !(is_immune && *signal == Signal::HUP);
    CAUGHT.into_iter().filter(is_read).collect()
}

/// What a signal tells; one that init has sent itself, as by a write to a closed pipe, tells nothing.
fn event_of(ReceivedSignal { signal, sender }: ReceivedSignal) -> Option<LifecycleEvent> {
    match sender {
        SignalSender::Kernel => Some(LifecycleEvent::KernelSignal(signal)),
        SignalSender::Process => Some(LifecycleEvent::Signal(signal)),
        SignalSender::Itself => None,
    }
}

fn children_signals() -> SignalSet {
    SignalSet::of(&[Signal::CHLD])
}

/// Reaps all zombies.
fn reap() -> Vec<LifecycleEvent> {
    let (mut deaths, mut failures) = (Vec::new(), Vec::new());
    while let Some((pid, ending)) = reap_next() {
        match failure_of(pid) {
            Some(failure) => failures.push(LifecycleEvent::NotExecuted(pid, failure.why)),
            None => deaths.push((pid, ending)),
        }
    }
    if deaths.is_empty() && failures.is_empty() {
        return Vec::new();
    }
    [LifecycleEvent::Reaped { deaths, is_childless: !has_children() }].into_iter().chain(failures).collect()
}
