//! The program `init`: process 1 of a container, or a subreaper anywhere else.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

mod args;
mod hands;
mod inbox;
mod machine;

use std::ffi::OsString;
use std::mem::ManuallyDrop;
use std::time::{Duration, Instant};

use sys::process::pid_1;
use sys::{Error, Logger, error, log};

use args::{Options, Request};
use hands::Hands;
use inbox::Inbox;
use machine::verdict::{CANNOT_RUN, USAGE};

pub use machine::verdict::SYSTEM;
use machine::{Container, Event, Setup, Stage};

/// How long a reader of the standard error that is only slow is waited for at the very end.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Runs `init` with these arguments, the program's name first; returns its exit code.
pub fn run(arguments: Vec<OsString>) -> u8 {
    pid_1::hold_stop_requests_back();
    let caught = inbox::caught_signals();
    let inbox = Inbox::new(&caught);
    let mut logger = Logger::new("init");
    match prepare(arguments, inbox, &mut logger) {
        Ok(Task::Print(text)) => {
            log::write_text(std::io::stdout(), text.as_bytes());
            0
        }
        Ok(Task::Keep(task)) => {
            let Keep { options, setup, inbox } = *task;
            let last_words = LAST_WORDS.min(setup.grace / 20);
            // Neither is put away at the end: to close what tells of changes takes the kernel seconds on
            // a busy machine, and until that is done a KILL would find init there. The exit closes it, too.
            let mut hands = ManuallyDrop::new(Hands::new(options, caught, logger));
            let mut inbox = ManuallyDrop::new(inbox);
            let code = keep(&mut Container::new(setup), &mut hands, &mut inbox);
            hands.logger().conclude(last_words);
            code
        }
        Err((failure, code)) => {
            logger.fatal(&failure);
            code
        }
    }
}

/// What is to be done, and can be.
enum Task {
    Print(String),
    Keep(Box<Keep>),
}

/// A container to be kept, and what is needed for it.
struct Keep {
    options: Options,
    setup: Setup,
    inbox: Inbox,
}

/// Reads the command line and makes sure of everything that can be wrong before anything is started.
fn prepare(
    arguments: impl IntoIterator<Item = OsString>,
    inbox: Result<Inbox, Error>,
    logger: &mut Logger,
) -> Result<Task, (Error, u8)> {
    let options = match args::parse(arguments, |name| std::env::var_os(name)) {
        Ok(Request::Keep(options)) => options,
        Ok(Request::Print(text)) => return Ok(Task::Print(text)),
        Err(mistake) => return Err((mistake, USAGE)),
    };
    let setup = check(&options, logger)?;
    let inbox = inbox.map_err(|failure| (failure, SYSTEM))?;
    Ok(Task::Keep(Box::new(Keep { options, setup, inbox })))
}

/// The loop: whatever happens goes into the machine, whatever that asks for is done.
fn keep(container: &mut Container, hands: &mut Hands, inbox: &mut Inbox) -> u8 {
    inbox.watch(hands);
    container.handle(Event::Tick, Instant::now());
    loop {
        while let Some(action) = container.next_action() {
            if let Some(outcome) = hands.perform(action) {
                container.handle(outcome, Instant::now());
            }
        }
        if let Some(code) = container.exit_code() {
            return code;
        }
        let mut events = inbox.wait(container.next_deadline(), container.is_idle(), hands);
        events.push(Event::Tick);
        for event in events {
            container.handle(event, Instant::now());
        }
    }
}

/// What is wrong with what init was told, before anything is started.
fn check(options: &Options, logger: &mut Logger) -> Result<Setup, (Error, u8)> {
    let is_there = fs_err::read_dir(&options.directory);
    // A COMMAND needs no services; but a directory that was named is to be there.
    let has_services = match is_there {
        Ok(_) => true,
        Err(_) if !options.command.is_empty() && !options.is_directory_given => false,
        Err(error) => {
            let text =
                error::words(["unable to open services directory ".as_ref(), options.directory.as_os_str()]);
            return Err((Error::of_io(text)(error), SYSTEM));
        }
    };
    hands::prepare(has_services).map_err(|failure| (failure, SYSTEM))?;
    let (start_hooks, unusable) = hands::find_hooks(&options.hooks, Stage::Start);
    if let Some(failure) = unusable.into_iter().next() {
        return Err((failure, CANNOT_RUN));
    }
    let mut is_any = |stage| {
        let (usable, unusable) = hands::find_hooks(&options.hooks, stage);
        for failure in &unusable {
            logger.warn(failure);
        }
        !usable.is_empty()
    };
    Ok(Setup {
        grace: options.grace,
        directory: has_services.then(|| options.directory.clone()),
        command: options.command.first().map(|name| name.to_string_lossy().into_owned()),
        is_group: options.is_group,
        start_hooks,
        has_drain: is_any(Stage::Drain),
        has_finish: is_any(Stage::Finish),
    })
}
