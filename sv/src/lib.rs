//! sv: controls and manages services monitored by runsv.
//!
//! `args` and `verb` say what is wanted, `goal` when it is fulfilled, `line` how it is said:
//! machines. `service`, `sight`, `report` and `check` are hands; `patience` is the loop that waits.
//!
//! What runit's sv does not have begins in `people`: `table`, `json`, `time` and `story` are its
//! machines, `portrait`, `why`, `lint` and `enable` its hands.

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

use servicedir::client::Refusal;
use sys::Failure;
use sys::errno_text::errno_of;
use sys::failure::{write_line, write_usage};

use cli::{Invocation, Manner};
use condition::Goal;
use report::Report;
use service::Service;
use snapshot::Sight;
use verb::{Order, Verb};
use waiter::Patience;

/// Where services are, unless `SVDIR` says otherwise (GEN-10).
const SERVICES: &str = "/etc/service";

/// Used wrongly, or unable to begin.
pub const FATAL: u8 = 100;

/// The exit code counts failures up to here (SV-46).
const MOST_FAILURES: usize = 99;

/// Runs sv.
pub fn run(args: Vec<OsString>) -> u8 {
    let mut args = args.into_iter();
    let (name, manner) = cli::program_name(args.next());
    let invocation = match cli::parse(args.collect(), std::env::var_os("SVWAIT"), &name, manner) {
        Ok(invocation) => invocation,
        Err(misuse) => {
            if let Some(message) = misuse.message(&name) {
                write_line(message.as_encoded_bytes());
            }
            write_usage(&cli::usage(&name, manner));
            return if manner == Manner::Sv { FATAL } else { 2 };
        }
    };
    // The original needs it to find back. Here only relative names do, but whoever relies on the
    // message shall have it.
    if let Err(why) = fs_err::File::open(".") {
        let failure = Failure::new("fatal: unable to open current directory", errno_of(&why));
        write_line(&failure.to_bytes());
        return if manner == Manner::Sv { FATAL } else { 151 };
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
            let sights = Sight::of_all(&services);
            let tell = |(service, sight)| report.tell_sight(service, sight);
            let answers: Vec<_> = services.iter().zip(&sights).map(tell).collect();
            match (manner, answers.first()) {
                (Manner::Script, Some(answer)) => *answer as usize,
                _ => report.failures,
            }
        }
        Verb::Order(order) => {
            let patience = (order.waits || is_verbose).then(|| Patience::new(limit, order.ends_runsv()));
            carry_out(order, &services, patience, &mut report);
            if manner == Manner::Script { report.failures.min(1) } else { report.failures }
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
fn carry_out<'a>(
    order: Order,
    services: &'a [Service],
    mut patience: Option<Patience<'a>>,
    report: &mut Report,
) {
    for service in services {
        if let Some(patience) = &mut patience {
            patience.attend(service);
        }
        let told = service.status().and_then(|before| service.send(order.commands).map(|()| before));
        match told {
            Ok(before) => {
                if let Some(patience) = &mut patience {
                    patience.expect(Goal::new(order.signs, before));
                }
            }
            Err(Refusal::NotRunning) if order.ends_runsv() => report.tell_gone(service),
            Err(refusal) => report.refuse(service, &refusal),
        }
    }
    if let Some(patience) = patience {
        patience.wait(order.kills, report);
    }
}
