//! Loop: waits until services are what they were told to be, or the time is over.
//!
//! Most services react within a few milliseconds, and those are spent looking: to let go of an
//! inotify descriptor costs the kernel ten. Whoever takes longer is watched first, read second, and
//! then sv sleeps. After each wake-up the disk is read again: wake-ups are hints, the disk is the
//! truth.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use servicedir::client::ClientError;
use servicedir::status_watcher::{StatusChange, StatusWatcher};
use servicedir::{Command, Status};
use sys::{Pid, Poller, Signal};

use crate::check::{self, Checks};
use crate::condition::{Condition, LIFE, Look, Process, Verdict, process};
use crate::report::Report;
use crate::service::Service;

/// The least time anything is given: the original looks a second time, and ends after a third pause,
/// whatever the limit says. A process that starts at once has the time to live for long enough.
const LEAST_LIMIT: Duration = LIFE.saturating_mul(2);

/// How soon a look is taken again where no event will tell, and a check asked again; each pause is
/// twice the one before, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);
const LONGEST_PAUSE_BLIND: Duration = Duration::from_millis(80);

/// How long services are looked at, and how often, before they are watched.
const PROMPT: Duration = Duration::from_millis(12);
const PROMPT_TICK: Duration = Duration::from_micros(500);

/// More services than this are watched from the beginning: to look at all of them takes its time.
const FEW: usize = 8;

/// How long the death of a killed service is waited for.
const KILL_LIMIT: Duration = Duration::from_secs(1);

/// How many checks run at a time.
const CHECKS_AT_ONCE: usize = 64;

/// The token of the watch; services have smaller ones.
const WATCH: usize = usize::MAX - 1;

/// Whoever waits.
pub struct Waiter<'a> {
    deadline: Option<Instant>,
    poller: Option<Poller>,
    watch: StatusWatcher,
    /// When whoever is still waited for is watched; nothing once they are.
    watch_at: Option<Instant>,
    checks: Option<Checks>,
    services: Vec<Waiting<'a>>,
    /// How many descriptors may be kept open to feel the end of a runsv.
    spare_descriptors: usize,
}

/// A service that was told something.
struct Waiting<'a> {
    service: &'a Service,
    /// When it began to be attended to.
    since: Instant,
    /// What is waited for; nothing yet, or no more.
    condition: Option<Condition>,
    /// `supervise/ok`, as long as runsv has it open, too.
    held: Option<OwnedFd>,
    /// Whether the end of its runsv is told.
    feels_the_end: bool,
    /// Whether every change is told.
    is_watched: bool,
    /// Whether it has to be looked at, ...
    is_due: bool,
    /// ... or when.
    look_at: Option<Instant>,
    pause: Duration,
    /// Whether a runsv has ended since.
    has_left: bool,
    check: Check,
    has_complained: bool,
}

/// What is known from `./check`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    /// Nothing.
    Unasked,
    /// It looks at this process.
    Running(Pid, Process),
    /// This process is available.
    Agrees(Process),
}

impl<'a> Waiter<'a> {
    /// For so long, counted from now. With `is_eager` every change is told from the beginning, also
    /// one that is undone at once.
    pub fn new(limit: Duration, is_eager: bool) -> Self {
        let now = Instant::now();
        let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
        let mut waiter = Self {
            deadline: now.checked_add(limit.max(LEAST_LIMIT)),
            // Without a poller there is still the looking now and then.
            poller: Poller::new(&[Signal::CHLD]).ok(),
            watch: StatusWatcher::blind(),
            watch_at: Some(now + PROMPT),
            checks: None,
            services: Vec::new(),
            // The other half is for everything else.
            spare_descriptors: usize::try_from(descriptors / 2).unwrap_or(usize::MAX),
        };
        if is_eager {
            waiter.watch_all();
        }
        waiter
    }

    /// Attends to a service from now on. To be called before it is read and told anything.
    pub fn attend(&mut self, service: &'a Service) {
        let token = self.services.len();
        let mut waiting = Waiting::new(service);
        if let Ok(client) = service.client() {
            if self.spare_descriptors > 0 {
                waiting.held = client.hold().ok();
            }
            waiting.feels_the_end = match (&waiting.held, &self.poller) {
                (Some(held), Some(poller)) => poller.watch(held, token).is_ok(),
                _ => false,
            };
            if waiting.feels_the_end {
                self.spare_descriptors -= 1;
            }
            waiting.is_watched = waiting.feels_the_end && self.watch.add(client, token);
        }
        self.services.push(waiting);
        if self.services.len() > FEW {
            self.watch_all();
        }
    }

    /// From now on changes are told; what happened before is looked for.
    fn watch_all(&mut self) {
        if self.watch_at.take().is_none() {
            return;
        }
        let watch = StatusWatcher::new();
        let can_wake = |poller: &Poller| watch.descriptor().is_some_and(|it| poller.watch(it, WATCH).is_ok());
        if !self.poller.as_ref().is_some_and(can_wake) {
            return;
        }
        self.watch = watch;
        for (token, waiting) in self.services.iter_mut().enumerate() {
            if let Ok(client) = waiting.service.client() {
                waiting.is_watched = waiting.feels_the_end && self.watch.add(client, token);
            }
            waiting.is_due = true;
            waiting.look_at = None;
        }
    }

    /// The service that was watched last has a condition.
    pub fn expect(&mut self, condition: Condition) {
        if let Some(waiting) = self.services.last_mut() {
            waiting.condition = Some(condition);
        }
    }

    /// Waits, and reports each service when it is there, or the time is over; whoever is late is
    /// killed if that was asked for.
    pub fn wait(mut self, kills: bool, report: &mut Report) {
        loop {
            let now = Instant::now();
            if self.watch_at.is_some_and(|at| at <= now) {
                self.watch_all();
            }
            let is_over = self.deadline.is_some_and(|deadline| deadline <= now);
            report.set_now();
            self.look(now, is_over, report);
            if !self.services.iter().any(Waiting::is_waiting) {
                return;
            }
            if is_over {
                return self.give_up(kills, report);
            }
            report.flush();
            self.sleep(self.deadline);
            self.hear_checks(report);
        }
    }

    /// Looks at everybody who may have changed; at the end, at everybody.
    fn look(&mut self, now: Instant, is_over: bool, report: &mut Report) {
        let mut running = self.services.iter().filter(|waiting| waiting.is_being_checked()).count();
        let is_prompt = self.watch_at.is_some();
        for waiting in &mut self.services {
            let is_time = waiting.look_at.is_some_and(|at| at <= now);
            if !waiting.is_waiting() || !(waiting.is_due || is_time || is_over) {
                continue;
            }
            waiting.is_due = false;
            waiting.look_at = None;
            let may_check = running < CHECKS_AT_ONCE && !is_over;
            if waiting.look(&mut self.checks, may_check, report) {
                running += 1;
            } else if waiting.is_waiting() && !waiting.is_watched && waiting.look_at.is_none() {
                if is_prompt {
                    waiting.look_at = Some(now + PROMPT_TICK);
                } else {
                    waiting.look_again(LONGEST_PAUSE_BLIND);
                }
            }
        }
    }

    /// Takes in what the checks have said.
    fn hear_checks(&mut self, report: &mut Report) {
        if self.checks.is_none() {
            return;
        }
        for outcome in check::collect() {
            let asked = |waiting: &&mut Waiting| matches!(waiting.check, Check::Running(check, _) if check == outcome.check);
            if let Some(waiting) = self.services.iter_mut().find(asked) {
                waiting.hear(outcome.agrees, outcome.failure, report);
            }
        }
    }

    /// Says who is late.
    fn give_up(mut self, kills: bool, report: &mut Report) {
        let word = if kills { "kill" } else { "timeout" };
        let mut killed = Vec::new();
        for waiting in self.services.iter_mut().filter(|waiting| waiting.is_waiting()) {
            waiting.finish();
            let status = match waiting.service.status() {
                Ok(status) => status,
                Err(refusal) => {
                    report.refuse(waiting.service, &refusal);
                    continue;
                }
            };
            report.tell(word, waiting.service, &status);
            report.failures += 1;
            if kills {
                report.flush();
                match waiting.service.send(&[Command::Kill]) {
                    Ok(()) => killed.push((waiting.service, status.pid)),
                    Err(refusal) => report.refuse(waiting.service, &refusal),
                }
            }
        }
        report.flush();
        self.confirm(killed);
    }

    /// Waits a moment for the killed to be dead, so that whoever comes next finds them so.
    fn confirm(&mut self, mut killed: Vec<(&'a Service, u32)>) {
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

    /// Sleeps until somebody may have changed, has to be looked at again, or the deadline.
    fn sleep(&mut self, deadline: Option<Instant>) {
        let looks =
            self.services.iter().filter(|waiting| waiting.is_waiting()).filter_map(|waiting| waiting.look_at);
        let until = looks.chain(deadline).chain(self.watch_at).min();
        let Some(poller) = &mut self.poller else {
            std::thread::sleep(FIRST_PAUSE);
            return;
        };
        let is_prompt = self.watch_at.is_some();
        let wakeup = if is_prompt { poller.wait_precisely(until) } else { poller.wait(until) };
        for token in wakeup.ready {
            if token == WATCH {
                for (token, change) in self.watch.changes() {
                    if let Some(waiting) = self.services.get_mut(token) {
                        waiting.is_due = true;
                        waiting.has_left |= change == StatusChange::Left;
                    }
                }
            } else if let Some(waiting) = self.services.get_mut(token) {
                waiting.is_due = true;
            }
        }
    }
}

impl<'a> Waiting<'a> {
    fn new(service: &'a Service) -> Self {
        Self {
            service,
            since: Instant::now(),
            condition: None,
            held: None,
            feels_the_end: false,
            is_watched: false,
            is_due: true,
            look_at: None,
            pause: FIRST_PAUSE,
            has_left: false,
            check: Check::Unasked,
            has_complained: false,
        }
    }

    fn is_waiting(&self) -> bool {
        self.condition.is_some()
    }

    fn is_being_checked(&self) -> bool {
        matches!(self.check, Check::Running(..))
    }

    /// Reads the disk, and reports the service if there is nothing more to wait for. Says whether
    /// a check was started.
    fn look(&mut self, checks: &mut Option<Checks>, may_check: bool, report: &mut Report) -> bool {
        let Some(condition) = &mut self.condition else { return false };
        if self.has_left && condition.is_reached_without_runsv() {
            report.tell_gone(self.service);
            self.finish();
            return false;
        }
        let status = match self.service.status() {
            Ok(status) => status,
            Err(refusal) => {
                match refusal {
                    ClientError::NotRunning if condition.is_reached_without_runsv() => {
                        report.tell_gone(self.service);
                    }
                    refusal => report.refuse(self.service, &refusal),
                }
                self.finish();
                return false;
            }
        };
        match condition.verdict(&status, look(&status, self.since)) {
            Verdict::NotYet => return false,
            Verdict::Lives(_) if self.check == Check::Agrees(process(&status)) => {}
            Verdict::Lives(rest) => match self.has_check() {
                Ok(true) => return self.ask(checks, may_check, &status, report),
                Ok(false) if rest.is_zero() => {}
                Ok(false) => {
                    self.look_at = Some(Instant::now() + rest);
                    return false;
                }
                Err(why) => {
                    self.complain("stat", why, report);
                    self.look_again(LONGEST_PAUSE);
                    return false;
                }
            },
            Verdict::Reached => {}
        }
        report.tell("ok", self.service, &status);
        self.finish();
        false
    }

    /// Whether there is a file `check`, if that can be told.
    fn has_check(&self) -> Result<bool, Errno> {
        let Ok(client) = self.service.client() else { return Ok(false) };
        match nix::sys::stat::stat(&client.dir().check()) {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(why) => Err(why),
        }
    }

    /// Asks the check, unless it is still busy.
    fn ask(
        &mut self,
        checks: &mut Option<Checks>,
        may_check: bool,
        status: &Status,
        report: &mut Report,
    ) -> bool {
        if self.is_being_checked() || self.look_at.is_some() {
            return false;
        }
        if !may_check {
            self.look_again(LONGEST_PAUSE);
            return false;
        }
        let Ok(client) = self.service.client() else { return false };
        match checks.get_or_insert_with(Checks::new).start(client.dir()) {
            Ok(check) => {
                self.check = Check::Running(check, process(status));
                true
            }
            Err(why) => {
                self.complain("fork for", why, report);
                self.look_again(LONGEST_PAUSE);
                false
            }
        }
    }

    /// The check has ended.
    fn hear(&mut self, agrees: bool, failure: Option<Errno>, report: &mut Report) {
        let Check::Running(_, about) = self.check else { return };
        if let Some(why) = failure {
            self.complain("run", why, report);
        }
        if agrees {
            self.check = Check::Agrees(about);
            self.is_due = true;
        } else {
            self.check = Check::Unasked;
            self.look_again(LONGEST_PAUSE);
        }
    }

    fn look_again(&mut self, longest: Duration) {
        self.look_at = Some(Instant::now() + self.pause.min(longest));
        self.pause = (self.pause * 2).min(longest);
    }

    /// Says once what is wrong with the check.
    fn complain(&mut self, text: &str, why: Errno, report: &mut Report) {
        if !self.has_complained {
            self.has_complained = true;
            report.complain(text, &self.service.name, "/check", why);
        }
    }

    /// Waits no longer; the check is not needed any more.
    fn finish(&mut self) {
        self.condition = None;
        if let Check::Running(check, _) = self.check {
            self.check = Check::Unasked;
            check::kill(check);
        }
    }
}

/// The time of a look at a status.
fn look(status: &Status, since: Instant) -> Look {
    // The label of a moment to come is the work of a clock that was set.
    let age = SystemTime::now().duration_since(status.since.time()).unwrap_or_default();
    Look { age, waited: since.elapsed() }
}
