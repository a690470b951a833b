//! The program `init`: process 1 of a container, or a subreaper elsewhere.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

mod cli;
mod effects;
mod event_source;
mod state;

use std::ffi::OsString;
use std::mem::ManuallyDrop;
use std::time::{Duration, Instant};

use sys::{Error, Logger, error, log};

use cli::{InitOptions, InitRequest};
use effects::InitEffects;
use event_source::InitEventSource;
use state::exit_code::{CANNOT_RUN, USAGE};

pub use state::exit_code::SYSTEM;
use state::{HookStage, Lifecycle, LifecycleEvent, LifecycleSetup};

/// How long init waits at its exit for a slow reader of standard error.
const FINAL_FLUSH: Duration = Duration::from_millis(100);

/// Runs `init` with these arguments, the program's name first; returns the exit code.
pub fn run(arguments: Vec<OsString>) -> u8 {
    let event_source = InitEventSource::new();
    let mut logger = Logger::new("init");
    match prepare(arguments, event_source, &mut logger) {
        Ok(Preparation::Print(text)) => {
            log::write_text(std::io::stdout(), text.as_bytes());
            0
        }
        Ok(Preparation::Run(run)) => {
            let PreparedRun { options, setup, event_source } = *run;
            let final_flush = FINAL_FLUSH.min(setup.grace / 20);
            // Neither is dropped: to close an inotify descriptor takes the kernel seconds on a busy machine,
            // and a KILL at the end of the grace would still find init. The exit closes it as well.
            let mut effects = ManuallyDrop::new(InitEffects::new(options, logger));
            let mut event_source = ManuallyDrop::new(event_source);
            let code = run_lifecycle(&mut Lifecycle::new(setup), &mut effects, &mut event_source);
            effects.logger().conclude(final_flush);
            code
        }
        Err((failure, code)) => {
            logger.fatal(&failure);
            code
        }
    }
}

/// What the command line comes to.
enum Preparation {
    Print(String),
    Run(Box<PreparedRun>),
}

/// A container to run, and what that needs.
struct PreparedRun {
    options: InitOptions,
    setup: LifecycleSetup,
    event_source: InitEventSource,
}

/// Reads the command line, and checks everything that can be wrong before anything is started.
fn prepare(
    arguments: impl IntoIterator<Item = OsString>,
    event_source: Result<InitEventSource, Error>,
    logger: &mut Logger,
) -> Result<Preparation, (Error, u8)> {
    let options = match cli::parse(arguments, |name| std::env::var_os(name)) {
        Ok(InitRequest::Run(options)) => options,
        Ok(InitRequest::Print(text)) => return Ok(Preparation::Print(text)),
        Err(mistake) => return Err((mistake, USAGE)),
    };
    let setup = check(&options, logger)?;
    let event_source = event_source.map_err(|failure| (failure, SYSTEM))?;
    Ok(Preparation::Run(Box::new(PreparedRun { options, setup, event_source })))
}

/// The event loop: events go into the state, and its actions are performed.
fn run_lifecycle(
    lifecycle: &mut Lifecycle,
    effects: &mut InitEffects,
    event_source: &mut InitEventSource,
) -> u8 {
    event_source.watch(effects);
    lifecycle.handle(LifecycleEvent::Tick, Instant::now());
    loop {
        while let Some(action) = lifecycle.next_action() {
            if let Some(outcome) = effects.perform(action) {
                lifecycle.handle(outcome, Instant::now());
            }
        }
        if let Some(code) = lifecycle.exit_code() {
            return code;
        }
        let mut events = event_source.wait(lifecycle.next_deadline(), lifecycle.is_idle(), effects);
        events.push(LifecycleEvent::Tick);
        for event in events {
            lifecycle.handle(event, Instant::now());
        }
    }
}

/// Checks the options against the system.
fn check(options: &InitOptions, logger: &mut Logger) -> Result<LifecycleSetup, (Error, u8)> {
    let is_there = fs_err::read_dir(&options.directory);
    // COMMAND needs no services, but a directory that was given has to exist.
    let has_services = match is_there {
        Ok(_) => true,
        Err(_) if !options.command.is_empty() && !options.is_directory_given => false,
        Err(error) => {
            let text =
                error::words(["unable to open services directory ".as_ref(), options.directory.as_os_str()]);
            return Err((Error::of_io(text)(error), SYSTEM));
        }
    };
    effects::prepare(has_services).map_err(|failure| (failure, SYSTEM))?;
    let (start_hooks, unusable) = effects::find_hooks(&options.hooks, HookStage::Start);
    if let Some(failure) = unusable.into_iter().next() {
        return Err((failure, CANNOT_RUN));
    }
    let mut is_any = |stage| {
        let (usable, unusable) = effects::find_hooks(&options.hooks, stage);
        for failure in &unusable {
            logger.warn(failure);
        }
        !usable.is_empty()
    };
    let setup = LifecycleSetup {
        grace: options.grace,
        drain: options.drain,
        directory: has_services.then(|| options.directory.clone()),
        command: options.command.first().map(|name| name.to_string_lossy().into_owned()),
        stop_signal: options.stop_signal,
        is_group: options.is_group,
        start_hooks,
        has_drain: is_any(HookStage::Drain),
        has_finish: is_any(HookStage::Finish),
    };
    let limit = setup.budget(true, setup.has_finish).sweep;
    if options.drain.is_some_and(|drain| drain >= limit) {
        let limit = limit.as_secs_f64();
        let text =
            format!("--drain: not below {limit} s, which is what the grace has for it (see init --help)");
        return Err((Error::plain(text), USAGE));
    }
    Ok(setup)
}
