//! Event loop: connects the event source, the state and the effects.

use std::time::{Duration, Instant};

use sys::Now;

use supervise::effects::Effects;
use supervise::event_source::{EventSource, Incoming};
use supervise::startup::{OpenFiles, Parts, Regained};
use supervise::state::{ServiceEvent, ServicePair};

/// How soon a status file that could not be written is tried again.
const CATCH_UP: Duration = Duration::from_secs(1);

/// Supervises until the service was told to exit and is gone.
pub fn supervise(Parts { state, effects, event_source, site }: &mut Parts) {
    // Who was told to leave before it was listening starts nothing.
    if event_source.is_told_to_leave_early() {
        handle(state, effects, ServiceEvent::Term);
    }
    handle(state, effects, ServiceEvent::Tick);
    // That look has heard of whatever came in before it: it will not wake us again.
    take_in(state, effects, event_source);
    while !state.is_finished() {
        let again = effects.is_behind().then(|| Instant::now() + CATCH_UP);
        let at_once = event_source.has_more(state).then(Instant::now);
        event_source.sleep_until([state.next_deadline(), again, at_once].into_iter().flatten().min());
        if effects.is_behind() {
            catch_up(effects, event_source, site);
        }
        take_in(state, effects, event_source);
    }
    effects.conclude();
}

/// Takes in what came in, and then lets time pass: it does also for who is written to without end.
fn take_in(state: &mut ServicePair, effects: &mut Effects, event_source: &mut EventSource) {
    event_source.begin_turn();
    while !state.is_finished()
        && let Some(incoming) = event_source.next(state)
    {
        let event = open(incoming, effects);
        handle(state, effects, event);
    }
    handle(state, effects, ServiceEvent::Tick);
}

/// What could not be written is tried again; in a new place, if the old one was removed.
fn catch_up(effects: &mut Effects, event_source: &mut EventSource, site: &mut OpenFiles) {
    if let Some(Regained { locks, controls }) = site.reopen_if_lost(effects) {
        // Without its FIFOs in the poll runsv still heeds TERM, and this is tried again.
        let _ = event_source.listen_to(controls);
        effects.publish_all_again(locks);
    }
    effects.catch_up();
}

/// Adds to what came in what the state needs to know with it.
fn open(incoming: Incoming, effects: &mut Effects) -> ServiceEvent {
    match incoming {
        Incoming::Death(pid, exit_status) => {
            effects.child_ended(pid);
            ServiceEvent::Exited { pid, exit_status, has_finish: effects.has_finish() }
        }
        Incoming::Command(role, command) => {
            effects.refresh_messages();
            ServiceEvent::Command(role, command)
        }
        Incoming::Term => ServiceEvent::Term,
    }
}

/// Lets the state decide and does what it says; outcomes go back before anything else.
fn handle(state: &mut ServicePair, effects: &mut Effects, event: ServiceEvent) {
    state.handle(event, Now::read());
    while let Some(action) = state.next_action() {
        if let Some(outcome) = effects.perform(action) {
            state.handle(outcome, Now::read());
        }
    }
    effects.publish();
}
