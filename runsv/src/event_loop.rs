//! Event loop: hosts one supervisor; polls, catches signals and reaps children for it.

use std::ffi::OsStr;
use std::time::Instant;

use supervise::{EventPort, Hosting, LOCK_RETRY_INTERVAL, Startup, Supervisor};
use sys::poller::Wakeup;
use sys::process::descriptors::hold_few;
use sys::{Error, Logger, Now, Poller, Signal, reap_next};

/// The signals that runsv catches (RSV-17).
const CAUGHT: &[Signal] = &[Signal::TERM, Signal::CHLD];

/// Supervises the service at `dir` until it was told to exit and is gone.
pub fn supervise(dir: &OsStr, logger: Logger) -> Result<(), Error> {
    hold_few();
    let mut poller = Poller::new(CAUGHT).map_err(Error::of_io("unable to create selfpipe"))?;
    // A process that a service forks and abandons stays a child of runsv. Without this it is reaped
    // elsewhere, as with the original; nothing else depends on it.
    let _ = nix::sys::prctl::set_child_subreaper(true);
    let Some(mut supervisor) = open(dir, logger, &mut poller)? else { return Ok(()) };
    watch_new_descriptors(&mut supervisor, &poller)
        .map_err(Error::of_io("unable to open supervise/control"))?;
    // A signal that came before the first wait is not announced again.
    pass_on(&poller.wait(Some(Instant::now())), &mut supervisor);
    supervisor.start(Now::read());
    while !supervisor.is_finished() {
        take_turn(&mut supervisor);
        if supervisor.is_finished() {
            break;
        }
        // If a FIFO cannot be watched, runsv still handles TERM.
        let _ = watch_new_descriptors(&mut supervisor, &poller);
        pass_on(&poller.wait(supervisor.next_deadline()), &mut supervisor);
    }
    supervisor.conclude();
    Ok(())
}

/// Opens the directory; `None` if TERM comes while another process holds the log service's lock.
fn open(dir: &OsStr, logger: Logger, poller: &mut Poller) -> Result<Option<Box<Supervisor>>, Error> {
    let mut startup = Supervisor::open(dir, logger, Hosting { caught: CAUGHT, is_shared: false })?;
    loop {
        match startup {
            Startup::Ready(supervisor) => return Ok(Some(supervisor)),
            Startup::LogIsLocked(opening) => {
                let wakeup = poller.wait(Some(Instant::now() + LOCK_RETRY_INTERVAL));
                if wakeup.signals.contains(&Signal::TERM) {
                    return Ok(None);
                }
                startup = opening.retry()?;
            }
        }
    }
}

fn watch_new_descriptors(supervisor: &mut Supervisor, poller: &Poller) -> std::io::Result<()> {
    supervisor.new_descriptors().try_for_each(|(port, descriptor)| poller.watch(descriptor, token_of(port)))
}

fn pass_on(wakeup: &Wakeup, supervisor: &mut Supervisor) {
    if wakeup.signals.contains(&Signal::TERM) {
        supervisor.told_to_leave();
    }
    for port in [EventPort::Main, EventPort::Log, EventPort::Notification] {
        if wakeup.ready.contains(&token_of(port)) {
            supervisor.readable(port);
        }
    }
}

/// Deaths come first, and those between two commands are handled between them (RSV-25).
fn take_turn(supervisor: &mut Supervisor) {
    supervisor.begin_turn();
    loop {
        while !supervisor.is_finished()
            && let Some((pid, exit_status)) = reap_next()
        {
            supervisor.child_exited(pid, exit_status, Now::read());
        }
        if !supervisor.step(Now::read()) {
            break;
        }
    }
    supervisor.end_turn(Now::read());
}

fn token_of(port: EventPort) -> usize {
    match port {
        EventPort::Main => 0,
        EventPort::Log => 1,
        EventPort::Notification => 2,
    }
}
