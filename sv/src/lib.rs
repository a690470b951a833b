//! sv: controls and manages services monitored by runsv.
//!
//! State, without input or output: `cli` and `verb` parse the command, `condition` decides when it is
//! fulfilled, `line` formats a status. Effects: `service`, `snapshot`, `report` and `check`. The event loop
//! that waits is `waiter`.
//!
//! `own_commands` is the entry to what runit's sv does not have: `table`, `json`, `time` and `diagnosis` are
//! state, `details`, `health`, `why`, `lint` and `enable` effects.

mod check;
mod cli;
mod condition;
mod details;
mod diagnosis;
mod enable;
mod health;
mod json;
mod line;
mod lint;
mod own_commands;
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
use service::NamedService;
use snapshot::Snapshot;
use verb::{ControlVerb, OwnVerb, Verb};
use waiter::Waiter;

/// The services directory, unless `SVDIR` names another (GEN-10).
const SERVICES: &str = "/etc/service";

/// The exit code of a usage error and of a failed start.
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
    // The original needs it to return there. Here only relative names do; the message is kept.
    if let Err(why) = fs_err::File::open(".") {
        let failure = Error::new("fatal: unable to open current directory", errno_of(&why));
        write_line(&failure.to_bytes());
        return if mode == Mode::Sv { FATAL } else { 151 };
    }
    let base = std::env::var_os("SVDIR").map_or_else(|| PathBuf::from(SERVICES), PathBuf::from);
    if invocation.is_json || matches!(invocation.verb, Verb::Own(_)) {
        return run_own_command(invocation, &base);
    }
    let Invocation { verb, names, is_verbose, limit, .. } = invocation;
    let services = NamedService::find_all(names, &base);
    let mut report = Report::new();
    let code = match verb {
        Verb::Status => {
            let print = |service| report.print_snapshot(service, &Snapshot::of(service));
            let codes: Vec<_> = services.iter().map(print).collect();
            match (mode, codes.first()) {
                (Mode::Script, Some(code)) => *code as usize,
                _ => report.failures,
            }
        }
        Verb::Control(verb) => {
            let waiter = (verb.waits || is_verbose).then(|| Waiter::new(limit, verb.ends_runsv()));
            carry_out(verb, &services, waiter, &mut report);
            if mode == Mode::Script { report.failures.min(1) } else { report.failures }
        }
        // See above.
        Verb::Own(_) => 0,
    };
    report.flush();
    exit_code(code)
}

fn exit_code(failures: usize) -> u8 {
    u8::try_from(failures.min(MOST_FAILURES)).unwrap_or(u8::MAX)
}

/// Runs a command that runit's sv does not have.
fn run_own_command(invocation: Invocation, base: &Path) -> u8 {
    // A health check knows no other failure than 1.
    let fatal = if invocation.verb == Verb::Own(OwnVerb::Health) { 1 } else { FATAL };
    let mut report = Report::new();
    let result = own_commands::carry_out(invocation, base, &mut report);
    report.flush();
    result.map_or_else(
        |failure| {
            write_line(&failure.to_bytes());
            fatal
        },
        exit_code,
    )
}

/// Sends the commands to each service, and then waits for all of them (SV-33).
fn carry_out<'a>(
    verb: ControlVerb,
    services: &'a [NamedService],
    mut waiter: Option<Waiter<'a>>,
    report: &mut Report,
) {
    for service in services {
        if let Some(waiter) = &mut waiter {
            waiter.add(service);
        }
        let sent = service.status().and_then(|before| service.send(verb.commands).map(|()| before));
        match sent {
            Ok(before) => {
                if let Some(waiter) = &mut waiter {
                    waiter.expect(Condition::new(verb.signs, before));
                }
            }
            Err(ClientError::NotRunning) if verb.ends_runsv() => report.print_gone(service),
            Err(refusal) => report.print_refusal(service, &refusal),
        }
    }
    if let Some(waiter) = waiter {
        waiter.wait(verb.kills, report);
    }
}
