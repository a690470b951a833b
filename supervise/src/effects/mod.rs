//! Effects: carries out the actions of the state, and reports the outcomes. Nothing is decided here.

mod deferral;
mod groups;
mod history;
mod hosted_children;
mod leftovers;
mod log_pipe;
mod readiness;
mod settings;

use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd::AccessFlags;
use servicedir::history::History;
use servicedir::lock::{Lock, LockState};
use servicedir::status_writer::StatusWriter;
use servicedir::{Command, HistoryEvent, ServiceDir, Status, Want};
use sys::error::words;
use sys::process::spawn::{StartError, StartStep, failure_of};
use sys::{Errno, Error, Logger, Pid, Program, Signal};

use crate::notification::Notification;
use crate::state::{
    ControlScript, Script, ServiceAction, ServiceEvent, ServiceRole, SignalTarget, StartedScript,
};
use crate::supervisor::Hosting;

use deferral::Deferral;
use groups::Groups;
use history::{is_bad_news, is_news};
use hosted_children::HostNotes;
use leftovers::LeftoverOrigins;
pub use log_pipe::LogPipe;

/// How long to wait at the end for a slow reader of the standard error.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// What the actions of one service and its log service need.
pub struct Effects {
    main: ServiceDir,
    logger: Logger,
    status_writers: Vec<(ServiceRole, StatusWriter)>,
    /// Published before another process can notice the change.
    unpublished: Vec<(ServiceRole, Status)>,
    log_pipe: Option<LogPipe>,
    children: Vec<(Pid, ChildPart)>,
    groups: Groups,
    leftovers: LeftoverOrigins,
    histories: Vec<(ServiceRole, History)>,
    is_leaving: bool,
    /// Whether the working directory is another one, because the service's cannot be entered: nothing
    /// is started or written.
    is_away: bool,
    hosting: Hosting,
    /// Of the `./run` that was just started.
    notification: Option<Notification>,
    notes: HostNotes,
    deferral: Deferral,
}

/// What a child was started as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildPart {
    /// `./run`.
    Run,
    /// `./finish`.
    Finish,
    /// `log/run`.
    LogRun,
    /// `control/BYTE`.
    ControlScript(u8),
    /// It lives, but is waited for no longer.
    Abandoned,
}

impl Effects {
    /// Effects for the service in the working directory.
    pub fn new(
        hosting: Hosting,
        logger: Logger,
        status_writers: Vec<(ServiceRole, StatusWriter)>,
        log_pipe: Option<LogPipe>,
    ) -> Self {
        let main = ServiceDir::at(".");
        let histories =
            vec![(ServiceRole::Main, History::new(&main)), (ServiceRole::Log, History::new(&main.log()))];
        Self {
            main,
            logger,
            status_writers,
            unpublished: Vec::new(),
            log_pipe,
            children: Vec::new(),
            groups: Groups::default(),
            leftovers: LeftoverOrigins::default(),
            histories,
            is_leaving: false,
            is_away: false,
            hosting,
            notification: None,
            notes: HostNotes::new(hosting.is_shared),
            deferral: Deferral::default(),
        }
    }

    /// Writes to the history how a service is wanted at the beginning.
    pub fn began(&mut self, role: ServiceRole, want: Want) {
        // A history that exists ends with the commands to an earlier supervisor.
        let is_news = fs_err::symlink_metadata(self.dir(role).history()).is_ok();
        self.add_to_history(role, &HistoryEvent::Began(want).to_string(), is_news);
    }

    /// Carries out one action; the outcome, if the state awaits one, is an event.
    pub fn perform(&mut self, action: ServiceAction) -> Option<ServiceEvent> {
        match action {
            ServiceAction::Publish(role, status) => {
                self.unpublished.retain(|(other, _)| *other != role);
                self.unpublished.push((role, status));
            }
            ServiceAction::PublishReadiness(readiness) => self.publish_readiness(readiness),
            ServiceAction::Remember(role, note) => self.remember(role, note),
            ServiceAction::Start(role, script) => {
                self.publish();
                // For ./finish this was asked when ./run ended, and ./finish must not stay due for ever.
                if self.is_away || (script == Script::Run && self.is_displaced(role)) {
                    return Some(ServiceEvent::NotStarted(role, script));
                }
                let began = sys::clock::ticks();
                let outcome = self.start(role, script);
                if let ServiceEvent::Started(role, Script::Run, started) = outcome {
                    if role == ServiceRole::Main {
                        self.leftovers.run_started(began, started.pid);
                        self.learn_how_to_stop();
                    }
                    if started.is_group {
                        self.record_session(role, started.pid);
                    }
                }
                return Some(outcome);
            }
            ServiceAction::RunControlScript(script @ ControlScript::BeforeStart, _)
                if self.is_displaced(ServiceRole::Main) =>
            {
                return Some(ServiceEvent::NoControlScript(script));
            }
            ServiceAction::RunControlScript(script, pid) => {
                return Some(self.run_control_script(script, pid));
            }
            ServiceAction::ReadSettings(role) => return Some(self.read_settings(role)),
            ServiceAction::Signal(target, signal) => {
                self.publish();
                send(target, signal);
            }
            ServiceAction::ProbeGroup(role, leader) => {
                return Some(ServiceEvent::GroupProbed(role, self.probe_group(role, leader)));
            }
            ServiceAction::Abandon(pid) => {
                for (_, part) in self.children.iter_mut().filter(|(child, _)| *child == pid) {
                    *part = ChildPart::Abandoned;
                }
            }
            ServiceAction::NameLeftovers => self.name_leftovers(),
            ServiceAction::EndLeftovers => self.end_leftovers(),
            ServiceAction::CloseLogPipe => {
                self.publish();
                let has_unread = self.log_pipe.as_mut().is_some_and(LogPipe::close_writer);
                return Some(ServiceEvent::LogPipeClosed { has_unread });
            }
            ServiceAction::NameLogHolders => self.name_log_holders(),
        }
        None
    }

    /// Whether there is a `./finish` to run: a file that can be read; a dangling link is none (RSV-42).
    pub fn has_finish(&self) -> bool {
        !self.is_displaced(ServiceRole::Main) && is_readable(&self.main.finish())
    }

    /// Whether this process was started here.
    pub fn has_child(&self, pid: Pid) -> bool {
        self.children.iter().any(|(child, _)| *child == pid)
    }

    /// Whether this process is `./run`.
    pub fn is_run(&self, pid: Pid) -> bool {
        self.children.contains(&(pid, ChildPart::Run))
    }

    /// Forgets a process that ended; logs the reason if it was a child that could not start.
    pub fn child_exited(&mut self, pid: Pid) {
        self.leftovers.child_exited(pid);
        if let Some(place) = self.children.iter().position(|(child, _)| *child == pid) {
            let (_, part) = self.children.swap_remove(place);
            if let Some(failure) = failure_of(pid) {
                self.explain(part, failure);
            }
        }
    }

    /// Whether the working directory is the service's.
    pub fn set_away(&mut self, is_away: bool) {
        self.is_away = is_away;
    }

    /// Whether the service's directory cannot be entered.
    pub fn is_away(&self) -> bool {
        self.is_away
    }

    /// Whether a status file or a message could not be written, and should be tried again.
    pub fn is_behind(&self) -> bool {
        self.is_away
            || self.logger.unsaid().is_some()
            || self.status_writers.iter().any(|(_, status_writer)| status_writer.is_behind())
    }

    /// Tries to write what could not be written before.
    pub fn catch_up(&mut self) {
        self.logger.flush();
        if self.is_away {
            return;
        }
        for (_, status_writer) in &mut self.status_writers {
            if let Err(failure) = status_writer.retry() {
                self.logger.warn(&failure);
            }
        }
    }

    /// What the lock of a service stands for; `None` without a log service.
    pub fn place(&self, role: ServiceRole) -> Option<LockState> {
        self.status_writers.iter().find(|(of, _)| *of == role).map(|(_, status_writer)| status_writer.place())
    }

    /// Writes all files again: they are in a new place, which these locks stand for.
    pub fn publish_all_again(&mut self, locks: Vec<(ServiceRole, Lock)>) {
        let mut locks: Vec<_> = locks.into_iter().map(|(role, lock)| (role, Some(lock))).collect();
        for (of, status_writer) in &mut self.status_writers {
            let lock = locks.iter_mut().find(|(role, _)| role == of).and_then(|(_, lock)| lock.take());
            status_writer.start_anew(lock);
        }
        for (_, history) in &mut self.histories {
            history.start_anew();
        }
        self.write_sessions(|_| true);
    }

    /// Gives the last messages a moment to be read.
    pub fn conclude(&mut self) {
        self.logger.conclude(LAST_WORDS);
    }

    /// A command came: messages that were logged before are logged again.
    pub fn refresh_messages(&mut self) {
        self.logger.forget();
    }

    /// Writes the status files. Called before each signal and start, and before the host sleeps: a state
    /// that no other process could have read in between is not written.
    pub fn publish(&mut self) {
        if self.is_away || self.is_deferring() {
            return;
        }
        for (role, status) in std::mem::take(&mut self.unpublished) {
            self.write_status(role, |status_writer| status_writer.publish(status));
        }
    }

    fn write_status(
        &mut self,
        role: ServiceRole,
        write: impl FnOnce(&mut StatusWriter) -> Result<(), Error>,
    ) {
        if let Some((_, status_writer)) = self.status_writers.iter_mut().find(|(of, _)| *of == role)
            && let Err(failure) = write(status_writer)
        {
            self.logger.warn(&failure);
        }
    }

    /// Whether the directory of a service may belong to another supervisor by now: nothing is started or
    /// written there.
    fn is_displaced(&self, role: ServiceRole) -> bool {
        self.is_away || self.place(role) == Some(LockState::Replaced)
    }

    fn remember(&mut self, role: ServiceRole, note: HistoryEvent) {
        self.notes.happened(role, note);
        self.write_history(role, note);
    }

    fn write_history(&mut self, role: ServiceRole, note: HistoryEvent) {
        match note {
            HistoryEvent::ToldToLeave | HistoryEvent::Told(Command::Exit) => self.is_leaving = true,
            HistoryEvent::Told(Command::Up | Command::Down | Command::Once) => self.is_leaving = false,
            HistoryEvent::StaysDown => self.logger.warn(&Error::plain("./finish exited 125: stays down")),
            _ => {}
        }
        // When a supervisor leaves, only failures are worth a new history file.
        let is_news = if self.is_leaving { is_bad_news(note) } else { is_news(note) };
        self.add_to_history(role, &note.to_string(), is_news);
    }

    fn add_to_history(&mut self, role: ServiceRole, words: &str, is_news: bool) {
        let opens = self.histories.iter().any(|(of, history)| *of == role && history.opens(is_news));
        if opens && self.is_displaced(role) {
            return;
        }
        for (_, history) in self.histories.iter_mut().filter(|(of, _)| *of == role) {
            // A failure needs no message: the status files are in the same directory, and their failure
            // is logged.
            let _ = if is_news { history.add_news(words) } else { history.add(words) };
        }
    }

    fn dir(&self, role: ServiceRole) -> ServiceDir {
        match role {
            ServiceRole::Main => self.main.clone(),
            ServiceRole::Log => self.main.log(),
        }
    }

    fn start(&mut self, role: ServiceRole, script: Script) -> ServiceEvent {
        let is_group = self.dir(role).file("process-group").exists();
        let started = match (role, script) {
            (ServiceRole::Main, Script::Run) => self.start_run(is_group),
            (ServiceRole::Main, Script::Finish(exit_status)) => {
                let [code, status] = exit_status.finish_arguments();
                let program = Program::new("./finish").arg(code).arg(status);
                self.spawn(program, ChildPart::Finish, is_group)
            }
            (ServiceRole::Log, _) => {
                self.spawn(Program::new("./run").current_dir("log"), ChildPart::LogRun, is_group)
            }
        };
        match started {
            Ok(pid) => {
                let limit = match script {
                    Script::Run => None,
                    Script::Finish(_) => self.read_milliseconds(role, "timeout-finish"),
                };
                let is_main_run = (role, script) == (ServiceRole::Main, Script::Run);
                let notifies = is_main_run && self.notification.is_some();
                ServiceEvent::Started(role, script, StartedScript { pid, is_group, limit, notifies })
            }
            Err(why) => {
                self.logger.warn(&Error::new("unable to fork, sleeping", why));
                ServiceEvent::NotStarted(role, script)
            }
        }
    }

    fn start_run(&mut self, is_group: bool) -> Result<Pid, Errno> {
        let Some(offer) = self.offer_notification()? else {
            return self.spawn(Program::new("./run"), ChildPart::Run, is_group);
        };
        let pid = self.spawn(offer.give_to(Program::new("./run")), ChildPart::Run, is_group)?;
        self.notification = Some(offer.into_notification(pid));
        Ok(pid)
    }

    fn spawn(&mut self, program: Program<'_>, part: ChildPart, is_group: bool) -> Result<Pid, Errno> {
        let mut program = program.default_signals(self.hosting.caught).default_oom_score();
        if self.hosting.is_shared {
            program = program.without_inherited();
        }
        if is_group {
            program = program.own_session_at_once();
        } else if self.hosting.is_shared {
            program = program.own_session();
        }
        if let Some(pipe) = &self.log_pipe {
            match part {
                ChildPart::LogRun => program = program.stdin(pipe.reader.as_fd()),
                _ => {
                    if let Some(writer) = &pipe.writer {
                        program = program.stdout(writer.as_fd());
                    }
                }
            }
        }
        let pid = program.spawn()?;
        self.children.push((pid, part));
        self.notes.started(pid);
        Ok(pid)
    }

    /// RSV-50: runs the script if its owner may execute it, with the pid of the service's process.
    fn run_control_script(&mut self, script: ControlScript, pid: Option<Pid>) -> ServiceEvent {
        if self.is_away {
            return ServiceEvent::NoControlScript(script);
        }
        let byte = script.byte();
        let path = self.main.hook(byte);
        match fs_err::metadata(&path) {
            Ok(about) if may_owner_execute(&about) => {}
            Ok(_) => return ServiceEvent::NoControlScript(script),
            Err(error) => {
                let why = sys::errno_text::errno_of(&error);
                if why != Errno::ENOENT {
                    let text = words(["unable to stat ".as_ref(), path.as_os_str()]);
                    self.logger.warn(&Error::new(text, why));
                }
                return ServiceEvent::NoControlScript(script);
            }
        }
        self.publish();
        let argument = pid.map_or_else(String::new, |pid| pid.to_string());
        let began = sys::clock::ticks();
        match self.spawn(Program::new(&path).arg(argument), ChildPart::ControlScript(byte), false) {
            Ok(child) => {
                self.leftovers.control_script_started(began, child);
                ServiceEvent::ControlScriptStarted(script, child)
            }
            Err(why) => {
                let text = words(["unable to fork for ".as_ref(), path.as_os_str()]);
                self.logger.warn(&Error::new(text, why));
                ServiceEvent::NoControlScript(script)
            }
        }
    }

    /// RSV-48: logs on behalf of a child why it could not start.
    fn explain(&mut self, part: ChildPart, failure: StartError) {
        let text = match (part, failure.step) {
            (ChildPart::Run, StartStep::Execute | StartStep::Directory) => "unable to start ./run".to_owned(),
            (ChildPart::Run, StartStep::Descriptor) => "unable to setup filedescriptor for ./run".to_owned(),
            (ChildPart::Finish, StartStep::Execute | StartStep::Directory) => {
                "unable to start ./finish".to_owned()
            }
            (ChildPart::Finish, StartStep::Descriptor) => {
                "unable to setup filedescriptor for ./finish".to_owned()
            }
            (ChildPart::LogRun, StartStep::Execute) => "unable to start log/./run".to_owned(),
            (ChildPart::LogRun, StartStep::Directory) => "unable to change directory to ./log".to_owned(),
            (ChildPart::LogRun, StartStep::Descriptor) => {
                "unable to setup filedescriptor for ./log/run".to_owned()
            }
            (ChildPart::ControlScript(_), StartStep::Execute | StartStep::Directory) => {
                "unable to run control/?".to_owned()
            }
            (ChildPart::ControlScript(byte), StartStep::Descriptor) => {
                format!("unable to setup stdout for control/{}", char::from(byte))
            }
            (ChildPart::Abandoned, _) => return,
        };
        let role = if part == ChildPart::LogRun { ServiceRole::Log } else { ServiceRole::Main };
        let failure = Error::new(text, failure.why);
        self.logger.fatal_in_child(&failure);
        self.add_to_history(role, &String::from_utf8_lossy(&failure.to_bytes()), true);
    }

    fn name_log_holders(&mut self) {
        let Some(pipe) = &self.log_pipe else { return };
        let log = self.children.iter().find(|(_, part)| *part == ChildPart::LogRun).map(|(pid, _)| *pid);
        let holders: Vec<String> = sys::procfs::holders_of_pipe(pipe.inode())
            .into_iter()
            .filter(|pid| Some(*pid) != log)
            .map(sys::procfs::describe)
            .collect();
        let text = if holders.is_empty() {
            "log/./run does not end with its input".to_owned()
        } else {
            format!("the log pipe is still held open by {}", holders.join(", "))
        };
        self.logger.warn(&Error::plain(text));
    }
}

/// A target that is gone needs no signal; its death is about to be reaped. A child that was just forked may
/// not lead its group yet: then the group is that child.
fn send(target: SignalTarget, signal: Signal) {
    let is_sent = target.is_group && signal.send_to_group(target.pid).is_ok();
    if !is_sent {
        let _ = signal.send(target.pid);
    }
}

fn may_owner_execute(about: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    Mode::from_bits_truncate(about.permissions().mode()).contains(Mode::S_IXUSR)
}

/// Whether a file could be opened to be read. It is not opened: that may hang on its file system.
fn is_readable(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    let is_permitted = nix::unistd::eaccess(path, AccessFlags::R_OK).is_ok();
    is_permitted && fs_err::metadata(path).is_ok_and(|about| !about.file_type().is_socket())
}

/// Whether a path leads to a file; a dangling link does not (LAY-1).
pub fn is_there(path: impl AsRef<Path>) -> bool {
    fs_err::metadata(path.as_ref()).is_ok()
}
