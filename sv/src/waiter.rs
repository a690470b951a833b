//! Event loop: waits until the conditions of all services are fulfilled, or the time is over.
//!
//! Most services react within a few milliseconds. For these sv polls the status, because closing an inotify
//! descriptor costs the kernel ten. After that it watches first, reads second, and sleeps third, so that no
//! change is missed. After each wake-up it reads the status again: a wake-up is only a hint.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use servicedir::client::ClientError;
use servicedir::readiness::MIN_UPTIME;
use servicedir::status_watcher::{StatusChange, StatusWatcher};
use servicedir::{Command, Status};
use sys::{Pid, Poller, Signal};

use crate::check::{self, Checks};
use crate::condition::{Condition, ORIGINAL_PAUSE, ProcessStart, Timing, Verdict, process_start};
use crate::report::Report;
use crate::service::NamedService;

/// The pauses between two reads of a status that cannot be watched, and between two runs of a check. Each is
/// twice the one before, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);
const LONGEST_PAUSE_UNWATCHED: Duration = Duration::from_millis(80);

/// How long statuses are polled before they are watched, and how often.
const PROMPT: Duration = Duration::from_millis(12);
const PROMPT_TICK: Duration = Duration::from_micros(500);

/// More services than this are watched from the beginning: polling them takes longer than a change.
const FEW: usize = 8;

/// How long sv waits for the exit of a killed service.
const KILL_LIMIT: Duration = Duration::from_secs(1);

/// How many checks run at a time.
const CHECKS_AT_ONCE: usize = 64;

/// The poller's token of the status watcher. Services have smaller tokens.
const WATCH: usize = usize::MAX - 1;

/// Waits for any number of services.
pub struct Waiter<'a> {
    deadline: Option<Instant>,
    /// When processes that are young at the deadline have lived for long enough; `None` from then on.
    extension: Option<Instant>,
    poller: Option<Poller>,
    watcher: StatusWatcher,
    /// When polling ends and watching begins; `None` once it has.
    watch_at: Option<Instant>,
    checks: Option<Checks>,
    services: Vec<Waiting<'a>>,
    /// How many more `supervise/ok` may be held open.
    spare_descriptors: usize,
}

/// A service that commands were sent to.
struct Waiting<'a> {
    service: &'a NamedService,
    /// When it was added.
    since: Instant,
    /// What to wait for; `None` before the commands are sent, and after the report.
    condition: Option<Condition>,
    /// `supervise/ok`, held open: it reports an error when runsv ends.
    held: Option<OwnedFd>,
    /// Whether the end of its runsv causes a wake-up.
    is_polled: bool,
    /// Whether each change of its status causes a wake-up.
    is_watched: bool,
    /// Whether its status must be read now, ...
    is_due: bool,
    /// ... or at which time.
    read_at: Option<Instant>,
    pause: Duration,
    /// Whether a runsv has ended since it was added.
    has_runsv_left: bool,
    check: CheckState,
    has_warned: bool,
    /// Whether it waits for nothing but that its process lives for long enough.
    is_young: bool,
}

/// The state of `./check`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CheckState {
    /// It does not run.
    Idle,
    /// This check runs, for this process of the service.
    Running(Pid, ProcessStart),
    /// It succeeded for this process of the service.
    Succeeded(ProcessStart),
}

impl<'a> Waiter<'a> {
    /// Waits for so long, counted from now. With `is_eager` services are watched from the beginning, so that
    /// a change that is undone at once is seen, too.
    pub fn new(limit: Duration, is_eager: bool) -> Self {
        let now = Instant::now();
        let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
        let deadline = now.checked_add(until_last_look(limit));
        let mut waiter = Self {
            deadline,
            extension: deadline.and_then(|deadline| deadline.checked_add(MIN_UPTIME)),
            // Without a poller sv polls the statuses.
            poller: Poller::new(&[Signal::CHLD]).ok(),
            watcher: StatusWatcher::blind(),
            watch_at: Some(now + PROMPT),
            checks: None,
            services: Vec::new(),
            // Half of the limit is kept for other files.
            spare_descriptors: usize::try_from(descriptors / 2).unwrap_or(usize::MAX),
        };
        if is_eager {
            waiter.watch_all();
        }
        waiter
    }

    /// Adds a service. Must be called before its status is read and commands are sent.
    pub fn add(&mut self, service: &'a NamedService) {
        let token = self.services.len();
        let mut waiting = Waiting::new(service);
        if let Ok(client) = service.client() {
            if self.spare_descriptors > 0 {
                waiting.held = client.hold().ok();
            }
            waiting.is_polled = match (&waiting.held, &self.poller) {
                (Some(held), Some(poller)) => poller.watch(held, token).is_ok(),
                _ => false,
            };
            if waiting.is_polled {
                self.spare_descriptors -= 1;
            }
            waiting.is_watched = waiting.is_polled && self.watcher.add(client, token);
        }
        self.services.push(waiting);
        if self.services.len() > FEW {
            self.watch_all();
        }
    }

    /// Watches all services from now on, and reads all of them once for what happened before.
    fn watch_all(&mut self) {
        if self.watch_at.take().is_none() {
            return;
        }
        let watcher = StatusWatcher::new();
        let can_wake =
            |poller: &Poller| watcher.descriptor().is_some_and(|it| poller.watch(it, WATCH).is_ok());
        if !self.poller.as_ref().is_some_and(can_wake) {
            return;
        }
        self.watcher = watcher;
        for (token, waiting) in self.services.iter_mut().enumerate() {
            if let Ok(client) = waiting.service.client() {
                waiting.is_watched = waiting.is_polled && self.watcher.add(client, token);
            }
            waiting.is_due = true;
            waiting.read_at = None;
        }
    }

    /// Sets the condition of the service that was added last.
    pub fn expect(&mut self, condition: Condition) {
        if let Some(waiting) = self.services.last_mut() {
            waiting.condition = Some(condition);
        }
    }

    /// Waits, and reports each service when its condition is fulfilled or the time is over. With `kills` the
    /// late ones get KILL.
    pub fn wait(mut self, kills: bool, report: &mut Report) {
        loop {
            let now = Instant::now();
            if self.watch_at.is_some_and(|at| at <= now) {
                self.watch_all();
            }
            let is_over = self.deadline.is_some_and(|deadline| deadline <= now);
            report.set_now();
            self.read_due(now, is_over, report);
            if !self.services.iter().any(Waiting::is_waiting) {
                return;
            }
            if is_over && !self.has_extended() {
                return self.time_out(kills, report);
            }
            report.flush();
            self.sleep(self.deadline);
            self.reap_checks(report);
        }
    }

    /// A process that is alive at the deadline may still live for long enough: the original counts it by
    /// then, however young it is. Whether the deadline is a later one now.
    fn has_extended(&mut self) -> bool {
        let extension =
            self.extension.take().filter(|_| self.services.iter().any(|waiting| waiting.is_young));
        self.deadline = extension.or(self.deadline);
        extension.is_some()
    }

    /// Reads each status that may have changed; at the end, all of them.
    fn read_due(&mut self, now: Instant, is_over: bool, report: &mut Report) {
        let mut running = self.services.iter().filter(|waiting| waiting.is_being_checked()).count();
        let is_prompt = self.watch_at.is_some();
        for waiting in &mut self.services {
            let is_time = waiting.read_at.is_some_and(|at| at <= now);
            if !waiting.is_waiting() || !(waiting.is_due || is_time || is_over) {
                continue;
            }
            waiting.is_due = false;
            waiting.read_at = None;
            let may_check = running < CHECKS_AT_ONCE && !is_over;
            if waiting.read(&mut self.checks, may_check, report) {
                running += 1;
            } else if waiting.is_waiting() && !waiting.is_watched && waiting.read_at.is_none() {
                if is_prompt {
                    waiting.read_at = Some(now + PROMPT_TICK);
                } else {
                    waiting.read_later(LONGEST_PAUSE_UNWATCHED);
                }
            }
        }
    }

    /// Reaps the checks that have ended.
    fn reap_checks(&mut self, report: &mut Report) {
        if self.checks.is_none() {
            return;
        }
        for outcome in check::reap() {
            let is_its = |waiting: &&mut Waiting| matches!(waiting.check, CheckState::Running(pid, _) if pid == outcome.check);
            if let Some(waiting) = self.services.iter_mut().find(is_its) {
                waiting.check_ended(outcome.has_succeeded, outcome.failure, report);
            }
        }
    }

    /// Reports the services that are late.
    fn time_out(mut self, kills: bool, report: &mut Report) {
        let word = if kills { "kill" } else { "timeout" };
        let mut killed = Vec::new();
        for waiting in self.services.iter_mut().filter(|waiting| waiting.is_waiting()) {
            waiting.finish();
            let status = match waiting.service.status() {
                Ok(status) => status,
                Err(refusal) => {
                    report.print_refusal(waiting.service, &refusal);
                    continue;
                }
            };
            report.print_status(word, waiting.service, &status);
            report.failures += 1;
            if kills {
                report.flush();
                match waiting.service.send(&[Command::Kill]) {
                    Ok(()) => killed.push((waiting.service, status.pid)),
                    Err(refusal) => report.print_refusal(waiting.service, &refusal),
                }
            }
        }
        report.flush();
        self.await_kills(killed);
    }

    /// Waits a moment for the exit of the killed services, so that the next command finds them down.
    fn await_kills(&mut self, mut killed: Vec<(&'a NamedService, u32)>) {
        let deadline = Instant::now() + KILL_LIMIT;
        loop {
            killed.retain(|(service, pid)| {
                *pid != 0 && service.status().is_ok_and(|status| status.pid == *pid)
            });
            if killed.is_empty() || deadline <= Instant::now() {
                return;
            }
            let is_watched = self.services.iter().all(|waiting| waiting.is_watched);
            let soon = Instant::now() + FIRST_PAUSE;
            self.sleep(Some(if is_watched { deadline } else { deadline.min(soon) }));
        }
    }

    /// Sleeps until a status may have changed or must be read again, or until the deadline.
    fn sleep(&mut self, deadline: Option<Instant>) {
        let reads =
            self.services.iter().filter(|waiting| waiting.is_waiting()).filter_map(|waiting| waiting.read_at);
        let until = reads.chain(deadline).chain(self.watch_at).min();
        let Some(poller) = &mut self.poller else {
            std::thread::sleep(FIRST_PAUSE);
            return;
        };
        let is_prompt = self.watch_at.is_some();
        let wakeup = if is_prompt { poller.wait_precisely(until) } else { poller.wait(until) };
        for token in wakeup.ready {
            if token == WATCH {
                for (token, change) in self.watcher.changes() {
                    if let Some(waiting) = self.services.get_mut(token) {
                        waiting.is_due = true;
                        waiting.has_runsv_left |= change == StatusChange::Left;
                    }
                }
            } else if let Some(waiting) = self.services.get_mut(token) {
                waiting.is_due = true;
            }
        }
    }
}

/// When the original looks for the last time: at the first look after the limit (SV-34).
fn until_last_look(limit: Duration) -> Duration {
    let since_look = limit.as_nanos() % ORIGINAL_PAUSE.as_nanos();
    let since_look = Duration::from_nanos(u64::try_from(since_look).unwrap_or_default());
    limit.saturating_add(ORIGINAL_PAUSE.saturating_sub(since_look))
}

impl<'a> Waiting<'a> {
    fn new(service: &'a NamedService) -> Self {
        Self {
            service,
            since: Instant::now(),
            condition: None,
            held: None,
            is_polled: false,
            is_watched: false,
            is_due: true,
            read_at: None,
            pause: FIRST_PAUSE,
            has_runsv_left: false,
            check: CheckState::Idle,
            has_warned: false,
            is_young: false,
        }
    }

    fn is_waiting(&self) -> bool {
        self.condition.is_some()
    }

    fn is_being_checked(&self) -> bool {
        matches!(self.check, CheckState::Running(..))
    }

    /// Reads the status, and reports the service if its condition is fulfilled. Returns whether a check was
    /// started.
    fn read(&mut self, checks: &mut Option<Checks>, may_check: bool, report: &mut Report) -> bool {
        self.is_young = false;
        let Some(condition) = &mut self.condition else { return false };
        if self.has_runsv_left && condition.is_reached_without_runsv() {
            report.print_gone(self.service);
            self.finish();
            return false;
        }
        let status = match self.service.status() {
            Ok(status) => status,
            Err(refusal) => {
                match refusal {
                    ClientError::NotRunning if condition.is_reached_without_runsv() => {
                        report.print_gone(self.service);
                    }
                    refusal => report.print_refusal(self.service, &refusal),
                }
                self.finish();
                return false;
            }
        };
        match condition.verdict(&status, timing(&status, self.since)) {
            Verdict::NotYet => return false,
            Verdict::UpIn(_) if self.check == CheckState::Succeeded(process_start(&status)) => {}
            Verdict::UpIn(rest) => match self.has_check() {
                Ok(true) => return self.start_check(checks, may_check, &status, report),
                Ok(false) => match self.service.is_ready(&status) {
                    Some(true) => {}
                    Some(false) => {
                        // Where only the owner may list `supervise/`, its watch does not see `ready`.
                        self.read_at = self.is_watched.then(|| Instant::now() + LONGEST_PAUSE);
                        return false;
                    }
                    // What it may have said is gone with its process.
                    None if rest.is_zero() && self.service.status() == Ok(status) => {}
                    None => {
                        self.is_young = true;
                        self.read_at = Some(Instant::now() + rest);
                        return false;
                    }
                },
                Err(why) => {
                    self.warn("stat", why, report);
                    self.read_later(LONGEST_PAUSE);
                    return false;
                }
            },
            Verdict::Reached => {}
        }
        report.print_status("ok", self.service, &status);
        self.finish();
        false
    }

    /// Whether there is a file `check`.
    fn has_check(&self) -> Result<bool, Errno> {
        let Ok(client) = self.service.client() else { return Ok(false) };
        match nix::sys::stat::stat(&client.dir().check()) {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(why) => Err(why),
        }
    }

    /// Starts the check, unless it runs or has to pause.
    fn start_check(
        &mut self,
        checks: &mut Option<Checks>,
        may_check: bool,
        status: &Status,
        report: &mut Report,
    ) -> bool {
        if self.is_being_checked() || self.read_at.is_some() {
            return false;
        }
        if !may_check {
            self.read_later(LONGEST_PAUSE);
            return false;
        }
        let Ok(client) = self.service.client() else { return false };
        match checks.get_or_insert_with(Checks::new).start(client.dir()) {
            Ok(check) => {
                self.check = CheckState::Running(check, process_start(status));
                true
            }
            Err(why) => {
                self.warn("fork for", why, report);
                self.read_later(LONGEST_PAUSE);
                false
            }
        }
    }

    /// Takes in the result of the check.
    fn check_ended(&mut self, has_succeeded: bool, failure: Option<Errno>, report: &mut Report) {
        let CheckState::Running(_, process) = self.check else { return };
        if let Some(why) = failure {
            self.warn("run", why, report);
        }
        if has_succeeded {
            self.check = CheckState::Succeeded(process);
            self.is_due = true;
        } else {
            self.check = CheckState::Idle;
            self.read_later(LONGEST_PAUSE);
        }
    }

    fn read_later(&mut self, longest: Duration) {
        self.read_at = Some(Instant::now() + self.pause.min(longest));
        self.pause = (self.pause * 2).min(longest);
    }

    /// Warns once about the check.
    fn warn(&mut self, text: &str, why: Errno, report: &mut Report) {
        if !self.has_warned {
            self.has_warned = true;
            report.warn(text, &self.service.name, "/check", why);
        }
    }

    /// Ends the wait for this service, and its check.
    fn finish(&mut self) {
        self.condition = None;
        if let CheckState::Running(check, _) = self.check {
            self.check = CheckState::Idle;
            check::kill(check);
        }
    }
}

/// The age of a status that was read now.
fn timing(status: &Status, since: Instant) -> Timing {
    // A time in the future means that the clock was set back.
    let age = SystemTime::now().duration_since(status.since.time()).unwrap_or_default();
    Timing { age, waited: since.elapsed() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_look_is_the_first_one_after_the_limit() {
        let seconds = [0, 1, 2, 3, 7, 42, u64::MAX].map(Duration::from_secs).map(until_last_look);
        let milliseconds = [420, 1260, 2100, 3360, 7140, 42_420].map(Duration::from_millis);
        assert_eq!(seconds[..6], milliseconds);
        assert!(seconds[6] >= Duration::from_secs(u64::MAX));
    }
}
