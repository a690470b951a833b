//! Effects: the commands that runit's sv does not have (`list`, `why`, `lint`, `health`, `enable`,
//! `disable`), and JSON.

use std::ffi::{OsStr, OsString};
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use servicedir::client::ClientError;
use servicedir::{Tai64n, history};
use sys::Error;
use sys::errno_text::errno_of;
use sys::error::words;

use crate::cli::Invocation;
use crate::details::{Details, run_checks};
use crate::enable::{self, LinkChange};
use crate::report::Report;
use crate::service::{self, NamedService, is_below_base};
use crate::snapshot::Snapshot;
use crate::verb::{OwnVerb, Verb};
use crate::{health, json, lint, table, why};

/// How often the effect of a changed link is checked: there may be no runsv to watch yet.
const PAUSE: Duration = Duration::from_millis(10);

/// Carries out the command. Returns the number of failures, or why nothing could be done.
pub fn carry_out(invocation: Invocation, base: &Path, report: &mut Report) -> Result<usize, Error> {
    // Messages name the services directory, and the working directory may change.
    let base = &if base.as_os_str().is_empty() {
        PathBuf::new()
    } else {
        std::path::absolute(base).map_err(Error::of_io("fatal: unable to open current directory"))?
    };
    let Invocation { verb, names, is_verbose, limit, is_json } = invocation;
    let wait = is_verbose.then_some(limit);
    match verb {
        Verb::Status => Ok(show(names, base, is_json, Some(limit), report)),
        Verb::Own(OwnVerb::List) => {
            let names = if names.is_empty() { all_services(base)? } else { names };
            Ok(show(names, base, is_json, wait, report))
        }
        Verb::Own(OwnVerb::Why) => Ok(explain(names, base, report)),
        Verb::Own(OwnVerb::Lint) => {
            let names = if names.is_empty() { all_services(base)? } else { names };
            let graph = &mut lint::DependencyGraph::default();
            let twins = lint::Twins::of(base);
            Ok(names.iter().filter(|name| has_findings(name, base, graph, &twins, report)).count())
        }
        Verb::Own(OwnVerb::Health) => {
            let names = if names.is_empty() { all_services(base)? } else { names };
            Ok(usize::from(!are_well(details(names, base), limit, report)))
        }
        Verb::Own(word @ (OwnVerb::Enable | OwnVerb::Disable)) => {
            services_directory(base)?;
            let is_failure = |name: &&OsString| !change(word, name, base, wait, report);
            Ok(names.iter().filter(is_failure).count())
        }
        Verb::Control(_) => Ok(0),
    }
}

/// The names of all services.
fn all_services(base: &Path) -> Result<Vec<OsString>, Error> {
    service::all(services_directory(base)?)
        .map_err(|why| Error::new(words(["fatal: unable to open ".as_ref(), base.as_os_str()]), why))
}

/// The services directory. An empty `SVDIR` is a mistake, and does not mean the working directory.
fn services_directory(base: &Path) -> Result<&Path, Error> {
    if base.as_os_str().is_empty() {
        return Err(Error::plain("fatal: SVDIR is empty: name a services directory in it, or unset it"));
    }
    Ok(base)
}

fn details(names: Vec<OsString>, base: &Path) -> Vec<Details> {
    let services = NamedService::find_all(names, base);
    services.iter().map(|service| Details::of(service, Snapshot::of(service))).collect()
}

/// Prints a table, or JSON; with the results of the checks, if there is a time to wait for them.
fn show(
    names: Vec<OsString>,
    base: &Path,
    is_json: bool,
    wait: Option<Duration>,
    report: &mut Report,
) -> usize {
    let mut details = details(names, base);
    if let Some(limit) = wait {
        run_checks(&mut details, limit);
    }
    let now = Tai64n::of(SystemTime::now());
    report.print_text(&if is_json {
        json::lines(&details.iter().map(|details| details.to_json(now)).collect::<Vec<_>>())
    } else {
        table::table(&details, now, has_colour())
    });
    details.iter().map(Details::failures).sum()
}

/// Whether standard output is a terminal with colours, and the user has not turned them off.
fn has_colour() -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    std::io::stdout().is_terminal()
        && !is_set("NO_COLOR")
        && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

fn explain(names: Vec<OsString>, base: &Path, report: &mut Report) -> usize {
    let services = NamedService::find_all(names, base);
    let now = Tai64n::of(SystemTime::now());
    let mut failures = 0;
    for service in &services {
        let (lines, is_known) = why::explain(service, base, now);
        for line in &lines {
            report.print_own_line(line);
        }
        failures += usize::from(!is_known);
    }
    failures
}

/// Prints a line for each service, log services included, that is not well. Checks run for so long at most.
fn are_well(services: Vec<Details>, limit: Duration, report: &mut Report) -> bool {
    let with_log = |mut service: Details| {
        let log = service.log.take().map(|log| *log);
        std::iter::once(service).chain(log)
    };
    let mut services: Vec<_> = services.into_iter().flat_map(with_log).collect();
    run_checks(&mut services, limit);
    let mut are_well = true;
    for service in &services {
        let entries = history::read(&service.dir).unwrap_or_default();
        if let Some(why) = health::complaint(service, &entries, Tai64n::of(SystemTime::now())) {
            report.print_own_line(&format!("fail: {}: {why}", service.name.to_string_lossy()));
            are_well = false;
        }
    }
    are_well
}

/// Prints the findings in a directory.
fn has_findings(
    name: &OsStr,
    base: &Path,
    graph: &mut lint::DependencyGraph,
    twins: &lint::Twins,
    report: &mut Report,
) -> bool {
    // A name means an entry of the services directory; one that does not exist may be a path.
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
        report.print_own_line(&format!("fail: {shown}: {}", String::from_utf8_lossy(&refusal)));
        return true;
    }
    let mut findings = lint::check(&path, &shown, graph);
    findings.extend(twins.finding(&path, name));
    for finding in &findings {
        report.print_own_line(&format!("sv lint: {shown}: {finding}"));
    }
    !findings.is_empty()
}

/// Enables or disables a service, and with a time to wait, waits for runsvdir to follow.
fn change(word: OwnVerb, name: &OsStr, base: &Path, wait: Option<Duration>, report: &mut Report) -> bool {
    let shown = name.to_string_lossy();
    let done = if word == OwnVerb::Enable { enable::enable(name, base) } else { enable::disable(name, base) };
    let change = match done {
        Ok(change) => change,
        Err(refusal) => {
            let why = refusal.to_bytes();
            report.print_own_line(&format!("fail: {shown}: {}", String::from_utf8_lossy(&why)));
            return false;
        }
    };
    let what = if word == OwnVerb::Enable { "enabled" } else { "disabled" };
    let Some(limit) = wait else {
        report.print_own_line(&format!("ok: {shown}: {what}"));
        return true;
    };
    let is_done = await_runsvdir(word, &change, limit);
    let now = match change.service.is_supervised() {
        Ok(true) => "runsv running",
        _ => "runsv not running",
    };
    let severity = if is_done { "ok" } else { "timeout" };
    report.print_own_line(&format!("{severity}: {shown}: {what}, {now}"));
    is_done
}

/// Waits until there is a runsv and the service is up or normally down; or, for `disable`, until there is no
/// runsv.
fn await_runsvdir(word: OwnVerb, change: &LinkChange, limit: Duration) -> bool {
    let deadline = Instant::now().checked_add(limit);
    loop {
        let is_done = match word {
            OwnVerb::Enable => {
                let has_down = change.service.dir().down().exists();
                change.service.status().is_ok_and(|status| has_down || status.pid != 0)
            }
            _ => match change.service.is_supervised() {
                Ok(is_supervised) => !is_supervised,
                // There never was one.
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
