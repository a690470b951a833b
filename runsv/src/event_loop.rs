//! Event loop: connects the event source, the state and the effects.

use std::time::{Duration, Instant};

use sys::Now;

use supervise::effects::Effects;
use supervise::event_source::{EventSource, Incoming};
use supervise::startup::{OpenFiles, Parts, Regained};
use supervise::state::{Event, Supervisor};

/// How soon a status file that could not be written is tried again.
const CATCH_UP: Duration = Duration::from_secs(1);

/// Supervises until the service was told to exit and is gone.
pub fn supervise(Parts { machine, effects, event_source, site }: &mut Parts) {
    // Who was told to leave before it was listening starts nothing.
    if event_source.is_told_to_leave_early() {
        handle(machine, effects, Event::Term);
    }
    handle(machine, effects, Event::Tick);
    // That look has heard of whatever came in before it: it will not wake us again.
    take_in(machine, effects, event_source);
    while !machine.is_finished() {
        let again = effects.is_behind().then(|| Instant::now() + CATCH_UP);
        let at_once = event_source.has_more(machine).then(Instant::now);
        event_source.sleep_until([machine.next_deadline(), again, at_once].into_iter().flatten().min());
        if effects.is_behind() {
            catch_up(effects, event_source, site);
        }
        take_in(machine, effects, event_source);
    }
    effects.conclude();
}

/// Takes in what came in, and then lets time pass: it does also for who is written to without end.
fn take_in(machine: &mut Supervisor, effects: &mut Effects, event_source: &mut EventSource) {
    event_source.begin_turn();
    while !machine.is_finished()
        && let Some(incoming) = event_source.next(machine)
    {
        let event = open(incoming, effects);
        handle(machine, effects, event);
    }
    handle(machine, effects, Event::Tick);
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

/// Adds to what came in what the machine needs to know with it.
fn open(incoming: Incoming, effects: &mut Effects) -> Event {
    match incoming {
        Incoming::Death(pid, ending) => {
            effects.child_ended(pid);
            Event::Exited { pid, ending, has_finish: effects.has_finish() }
        }
        Incoming::Command(role, command) => {
            effects.refresh_messages();
            Event::Command(role, command)
        }
        Incoming::Term => Event::Term,
    }
}

/// Lets the machine decide and does what it says; outcomes go back before anything else.
fn handle(machine: &mut Supervisor, effects: &mut Effects, event: Event) {
    machine.handle(event, Now::read());
    while let Some(action) = machine.next_action() {
        if let Some(outcome) = effects.perform(action) {
            machine.handle(outcome, Now::read());
        }
    }
    effects.publish();
}
