//! Loop: connects the inbox, the machine and the hands.

use std::time::{Duration, Instant};

use sys::Now;

use supervise::effects::Hands;
use supervise::event_source::{Inbox, Mail};
use supervise::startup::{Parts, Regained, Site};
use supervise::state::{Event, Supervisor};

/// How soon a status file that could not be written is tried again.
const CATCH_UP: Duration = Duration::from_secs(1);

/// Supervises until the service was told to exit and is gone.
pub fn supervise(Parts { machine, hands, inbox, site }: &mut Parts) {
    // Who was told to leave before it was listening starts nothing.
    if inbox.is_told_to_leave_early() {
        handle(machine, hands, Event::Term);
    }
    handle(machine, hands, Event::Tick);
    // That look has heard of whatever came in before it: it will not wake us again.
    take_in(machine, hands, inbox);
    while !machine.is_finished() {
        let again = hands.is_behind().then(|| Instant::now() + CATCH_UP);
        let at_once = inbox.has_more(machine).then(Instant::now);
        inbox.sleep_until([machine.next_deadline(), again, at_once].into_iter().flatten().min());
        if hands.is_behind() {
            catch_up(hands, inbox, site);
        }
        take_in(machine, hands, inbox);
    }
    hands.conclude();
}

/// Takes in what came in, and then lets time pass: it does also for who is written to without end.
fn take_in(machine: &mut Supervisor, hands: &mut Hands, inbox: &mut Inbox) {
    inbox.begin_turn();
    while !machine.is_finished()
        && let Some(mail) = inbox.next(machine)
    {
        let event = open(mail, hands);
        handle(machine, hands, event);
    }
    handle(machine, hands, Event::Tick);
}

/// What could not be written is tried again; in a new place, if the old one was removed.
fn catch_up(hands: &mut Hands, inbox: &mut Inbox, site: &mut Site) {
    if let Some(Regained { locks, controls }) = site.reopen_if_lost(hands) {
        // Without its FIFOs in the poll runsv still heeds TERM, and this is tried again.
        let _ = inbox.listen_to(controls);
        hands.publish_all_again(locks);
    }
    hands.catch_up();
}

/// Adds to what came in what the machine needs to know with it.
fn open(mail: Mail, hands: &mut Hands) -> Event {
    match mail {
        Mail::Death(pid, ending) => {
            hands.child_ended(pid);
            Event::Exited { pid, ending, has_finish: hands.has_finish() }
        }
        Mail::Command(role, command) => {
            hands.refresh_messages();
            Event::Command(role, command)
        }
        Mail::Term => Event::Term,
    }
}

/// Lets the machine decide and does what it says; outcomes go back before anything else.
fn handle(machine: &mut Supervisor, hands: &mut Hands, event: Event) {
    machine.handle(event, Now::read());
    while let Some(action) = machine.next_action() {
        if let Some(outcome) = hands.perform(action) {
            machine.handle(outcome, Now::read());
        }
    }
    hands.publish();
}
