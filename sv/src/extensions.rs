//! Hands: the words that runit's sv does not know (`list`, `why`, `lint`, `enable`, `disable`, and
//! JSON).

use std::ffi::{OsStr, OsString};
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use servicedir::Tai64n;
use servicedir::client::ClientError;
use sys::Error;
use sys::errno_text::errno_of;
use sys::error::words;

use crate::cli::Invocation;
use crate::details::{Details, ask_checks};
use crate::enable::{self, Change};
use crate::report::Report;
use crate::service::{self, Service, is_below_base};
use crate::snapshot::Snapshot;
use crate::verb::{Verb, Word};
use crate::{json, lint, table, why};

/// How often somebody who waits for runsvdir looks: it may not even have noticed yet.
const PAUSE: Duration = Duration::from_millis(10);

/// Does what is asked; the answer is the number of failures, or why nothing could be done.
pub fn carry_out(invocation: Invocation, base: &Path, report: &mut Report) -> Result<usize, Error> {
    // Words for people name the place they looked in, and some change the working directory.
    let base = &if base.as_os_str().is_empty() {
        PathBuf::new()
    } else {
        std::path::absolute(base).map_err(Error::of_io("fatal: unable to open current directory"))?
    };
    let Invocation { verb, names, is_verbose, limit, is_json } = invocation;
    let waiter = is_verbose.then_some(limit);
    match verb {
        Verb::Status => Ok(show(names, base, is_json, Some(limit), report)),
        Verb::People(Word::List) => {
            let names = if names.is_empty() { everybody(base)? } else { names };
            Ok(show(names, base, is_json, waiter, report))
        }
        Verb::People(Word::Why) => Ok(tell_why(names, base, report)),
        Verb::People(Word::Lint) => {
            let names = if names.is_empty() { everybody(base)? } else { names };
            let needs = &mut lint::Needs::default();
            Ok(names.iter().filter(|name| has_findings(name, base, needs, report)).count())
        }
        Verb::People(word @ (Word::Enable | Word::Disable)) => {
            services_directory(base)?;
            let is_failure = |name: &&OsString| !change(word, name, base, waiter, report);
            Ok(names.iter().filter(is_failure).count())
        }
        Verb::Order(_) => Ok(0),
    }
}

/// Every service there is.
fn everybody(base: &Path) -> Result<Vec<OsString>, Error> {
    service::all(services_directory(base)?)
        .map_err(|why| Error::new(words(["fatal: unable to open ".as_ref(), base.as_os_str()]), why))
}

/// The services directory, unless `SVDIR` is empty: that is a mistake, and does not mean the working
/// directory.
fn services_directory(base: &Path) -> Result<&Path, Error> {
    if base.as_os_str().is_empty() {
        return Err(Error::plain("fatal: SVDIR is empty: name a services directory in it, or unset it"));
    }
    Ok(base)
}

/// A table, or JSON; with the verdicts of the checks, if there is a time to wait for them.
fn show(
    names: Vec<OsString>,
    base: &Path,
    is_json: bool,
    waiter: Option<Duration>,
    report: &mut Report,
) -> usize {
    let services = Service::find_all(names, base);
    let details = |(service, snapshot)| Details::of(service, snapshot);
    let mut portraits: Vec<Details> = services.iter().zip(Snapshot::of_all(&services)).map(details).collect();
    if let Some(limit) = waiter {
        ask_checks(&mut portraits, limit);
    }
    let now = Tai64n::of(SystemTime::now());
    report.write(&if is_json {
        json::lines(&portraits.iter().map(|details| details.to_json(now)).collect::<Vec<_>>())
    } else {
        table::table(&portraits, now, has_colour())
    });
    portraits.iter().map(Details::failures).sum()
}

/// Whether somebody looks at it who can see colours, and wants to.
fn has_colour() -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    std::io::stdout().is_terminal()
        && !is_set("NO_COLOR")
        && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

fn tell_why(names: Vec<OsString>, base: &Path, report: &mut Report) -> usize {
    let services = Service::find_all(names, base);
    let now = Tai64n::of(SystemTime::now());
    let mut failures = 0;
    for service in &services {
        let (lines, could_be_asked) = why::tell(service, base, now);
        for line in &lines {
            report.remark(line);
        }
        failures += usize::from(!could_be_asked);
    }
    failures
}

/// Says what is wrong with a directory.
fn has_findings(name: &OsStr, base: &Path, needs: &mut lint::Needs, report: &mut Report) -> bool {
    // As everywhere, a name is below the services directory; but one that is not there may be here.
    let below = base.join(name);
    let path = if is_below_base(name) && (below.is_dir() || !Path::new(name).is_dir()) {
        below
    } else {
        PathBuf::from(name)
    };
    let shown = name.to_string_lossy();
    let problem = match fs_err::metadata(&path) {
        Ok(about) if about.is_dir() => None,
        Ok(_) => Some(Errno::ENOTDIR),
        Err(error) => Some(errno_of(&error)),
    };
    if let Some(why) = problem {
        let refusal = ClientError::Directory(why).to_bytes();
        report.remark(&format!("fail: {shown}: {}", String::from_utf8_lossy(&refusal)));
        return true;
    }
    let findings = lint::look(&path, &shown, needs);
    for finding in &findings {
        report.remark(&format!("sv lint: {shown}: {finding}"));
    }
    !findings.is_empty()
}

/// Changes what is in the services directory, and with a time to wait, waits for runsvdir to follow.
fn change(word: Word, name: &OsStr, base: &Path, waiter: Option<Duration>, report: &mut Report) -> bool {
    let shown = name.to_string_lossy();
    let done = if word == Word::Enable { enable::enable(name, base) } else { enable::disable(name, base) };
    let change = match done {
        Ok(change) => change,
        Err(refusal) => {
            let why = refusal.to_bytes();
            report.remark(&format!("fail: {shown}: {}", String::from_utf8_lossy(&why)));
            return false;
        }
    };
    let what = if word == Word::Enable { "enabled" } else { "disabled" };
    let Some(limit) = waiter else {
        report.remark(&format!("ok: {shown}: {what}"));
        return true;
    };
    let is_done = await_runsvdir(word, &change, limit);
    let now = match change.service.is_supervised() {
        Ok(true) => "runsv running",
        _ => "runsv not running",
    };
    let severity = if is_done { "ok" } else { "timeout" };
    report.remark(&format!("{severity}: {shown}: {what}, {now}"));
    is_done
}

/// Waits until there is a runsv and the service is up or normally down; or until there is none.
fn await_runsvdir(word: Word, change: &Change, limit: Duration) -> bool {
    let deadline = Instant::now().checked_add(limit);
    loop {
        let is_done = match word {
            Word::Enable => {
                let has_down = change.service.dir().down().exists();
                change.service.status().is_ok_and(|status| has_down || status.pid != 0)
            }
            _ => match change.service.is_supervised() {
                Ok(is_supervised) => !is_supervised,
                // It never was.
                Err(ClientError::Trouble(failure)) => failure.why() == Some(Errno::ENOENT),
                Err(_) => true,
            },
        };
        if is_done || deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return is_done;
        }
        std::thread::sleep(PAUSE);
    }
}
