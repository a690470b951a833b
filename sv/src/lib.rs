//! sv: controls and manages services monitored by runsv.
//!
//! `args` and `verb` say what is wanted, `condition` when it is fulfilled, `line` how it is said:
//! machines. `service`, `snapshot`, `report` and `check` are hands; `waiter` is the loop that waits.
//!
//! What runit's sv does not have begins in `people`: `table`, `json`, `time` and `story` are its
//! machines, `details`, `why`, `lint` and `enable` its hands.

mod check;
mod cli;
mod condition;
mod details;
mod diagnosis;
mod enable;
mod extensions;
mod json;
mod line;
mod lint;
mod report;
mod service;
mod snapshot;
mod table;
mod time;
mod verb;
mod waiter;
mod why;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use servicedir::client::ClientError;
use sys::Error;
use sys::errno_text::errno_of;
use sys::log::{write_line, write_usage};

use cli::{Invocation, Mode};
use condition::Condition;
use report::Report;
use service::Service;
use snapshot::Snapshot;
use verb::{Order, Verb};
use waiter::Waiter;

/// Where services are, unless `SVDIR` says otherwise (GEN-10).
const SERVICES: &str = "/etc/service";

/// Used wrongly, or unable to begin.
pub const FATAL: u8 = 100;

/// The exit code counts failures up to here (SV-46).
const MOST_FAILURES: usize = 99;

/// Runs sv.
pub fn run(args: Vec<OsString>) -> u8 {
    let mut args = args.into_iter();
    let (name, mode) = cli::program_name(args.next());
    let invocation = match cli::parse(args.collect(), std::env::var_os("SVWAIT"), &name, mode) {
        Ok(invocation) => invocation,
        Err(usage_error) => {
            if let Some(message) = usage_error.message(&name) {
                write_line(message.as_encoded_bytes());
            }
            write_usage(&cli::usage(&name, mode));
            return if mode == Mode::Sv { FATAL } else { 2 };
        }
    };
    // The original needs it to find back. Here only relative names do, but whoever relies on the
    // message shall have it.
    if let Err(why) = fs_err::File::open(".") {
        let failure = Error::new("fatal: unable to open current directory", errno_of(&why));
        write_line(&failure.to_bytes());
        return if mode == Mode::Sv { FATAL } else { 151 };
    }
    let base = std::env::var_os("SVDIR").map_or_else(|| PathBuf::from(SERVICES), PathBuf::from);
    if invocation.is_json || matches!(invocation.verb, Verb::People(_)) {
        return for_people(invocation, &base);
    }
    let Invocation { verb, names, is_verbose, limit, .. } = invocation;
    let services = Service::find_all(names, &base);
    let mut report = Report::new();
    let code = match verb {
        Verb::Status => {
            let sights = Snapshot::of_all(&services);
            let tell = |(service, snapshot)| report.tell_sight(service, snapshot);
            let answers: Vec<_> = services.iter().zip(&sights).map(tell).collect();
            match (mode, answers.first()) {
                (Mode::Script, Some(answer)) => *answer as usize,
                _ => report.failures,
            }
        }
        Verb::Order(order) => {
            let waiter = (order.waits || is_verbose).then(|| Waiter::new(limit, order.ends_runsv()));
            carry_out(order, &services, waiter, &mut report);
            if mode == Mode::Script { report.failures.min(1) } else { report.failures }
        }
        // Handled above.
        Verb::People(_) => 0,
    };
    report.flush();
    exit_code(code)
}

fn exit_code(failures: usize) -> u8 {
    u8::try_from(failures.min(MOST_FAILURES)).unwrap_or(u8::MAX)
}

/// What runit's sv does not have.
fn for_people(invocation: Invocation, base: &Path) -> u8 {
    let mut report = Report::new();
    let result = extensions::carry_out(invocation, base, &mut report);
    report.flush();
    result.map_or_else(
        |failure| {
            write_line(&failure.to_bytes());
            FATAL
        },
        exit_code,
    )
}

/// Tells each service, and then waits for all of them (SV-33).
fn carry_out<'a>(order: Order, services: &'a [Service], mut waiter: Option<Waiter<'a>>, report: &mut Report) {
    for service in services {
        if let Some(waiter) = &mut waiter {
            waiter.attend(service);
        }
        let told = service.status().and_then(|before| service.send(order.commands).map(|()| before));
        match told {
            Ok(before) => {
                if let Some(waiter) = &mut waiter {
                    waiter.expect(Condition::new(order.signs, before));
                }
            }
            Err(ClientError::NotRunning) if order.ends_runsv() => report.tell_gone(service),
            Err(refusal) => report.refuse(service, &refusal),
        }
    }
    if let Some(waiter) = waiter {
        waiter.wait(order.kills, report);
    }
}
