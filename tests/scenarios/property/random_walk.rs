//! A seeded random walk over our real runsv, and over services that init supervises: control bytes, signals,
//! short lives, control scripts and settings that come and go, slow and hanging `./finish`, for [`SECONDS`]
//! of time or `WALK_SECONDS` on six services at once. What must always hold:
//!
//! * never two alive: `./run` and `./finish` of a service hold one lock, and so does `log/run`. A script that
//!   does not get it looks whether the holder lives, and says so;
//! * never a start within the rest (RSV-44): two starts are a second apart, by the time at which the
//!   kernel made the processes; after a life of less than a second, by a second from its end;
//! * one `./finish` for each death (RSV-42): while it runs, the record has the time of the start of
//!   the `./run` that died, which tells one life from the other;
//! * the record has 20 bytes that make sense whenever it is read, and `status`, `stat` and `pid` are
//!   true when nothing is under way any more;
//! * told to exit, runsv leaves with 0, and nothing of the service is left.
//!
//! A walk is repeated with `WALK_SEED`, which a failure names; what the kernel makes of the same steps may
//! differ, so the one walk is then repeated for the whole time. Steps of the clock are left to the walk over
//! the state machine: a test must not set the host's clock, and a namespace has a monotonic clock of its own
//! but no wall clock.

use std::collections::BTreeSet;
use std::env;
use std::fmt::Write as _;
use std::os::fd::AsFd as _;
use std::panic::resume_unwind;
use std::thread;
use std::time::{Duration, Instant};

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::time::{ClockId, clock_gettime};
use tests::process::{self, Process};
use tests::status::{DOWN, FINISH, RUN, RawStatus};
use tests::{Builder, Suite, Supervised, eventually, on_suites};

/// One for each walker; its walks have this seed, the next one, and so on.
const SEEDS: [u64; 6] = [1000, 2000, 3000, 4000, 5000, 6000];

/// How long to walk: a little for a developer that waits, more in CI.
const SECONDS: u64 = 10;
const SECONDS_IN_CI: u64 = 60;

/// How often the record is read.
const LOOK: Duration = Duration::from_millis(5);

/// Far more than the slowest way out takes: a log service that does not read gets 5 seconds until it is
/// sent TERM.
const PATIENCE: Duration = Duration::from_secs(60);

/// A rest, in the kernel's hundredths of a second.
const REST: u64 = 100;

/// What the scripts share. `top` is the service directory, `role` one of the two services.
const WORDS: &str = r#"
ulimit -c 0

# WORD ...: adds a line on this process: its id, when it was started, and the words.
tell() {
    words=$*
    read -r about <"/proc/$$/stat"
    # Behind the name comes field 3; the start is field 22.
    set -- ${about##*) }
    started=${20}
    echo "$$ $started $words" >>"$top/$role.lives"
}

# Takes the lock that only one of these scripts may have, and keeps it until this process is gone.
alone() {
    exec 9>>"$top/$role.lock"
    until flock -w 0.1 9; do
        # A flock that outlives its caller may have it for a moment. But does the holder live?
        read -r pid since <"$top/$role.holder" || continue
        read -r about <"/proc/$pid/stat" || continue
        set -- ${about##*) }
        if [ "${20}" = "$since" ]; then
            tell beside "$pid"
            exit 70
        fi
    done 2>/dev/null
    echo "$$ $started" >"$top/$role.holder"
    tell alone
}
"#;

const RUN_SCRIPT: &str = "top=. role=main; . ./words; tell run; alone; . ./run.next";
const LOG_SCRIPT: &str = "top=.. role=log; . ../words; tell run; alone; . ../log.next";
const FINISH_SCRIPT: &str = "top=. role=main; . ./words
life=$(od -An -v -tx1 -N12 supervise/status)
tell finish \"$1\" \"$2\" $life; alone; . ./finish.next";

/// What `./run` does until it ends; no child of it keeps the lock, or lasts.
const LIVES: [&str; 13] = [
    PATIENT,
    PATIENT,
    "exit 0",
    "exit 3",
    "kill -KILL $$",
    "kill -SEGV $$",
    "sleep .2 9>&-; exit 1",
    "sleep .9 9>&-; exit 100",
    "sleep 1.1 9>&-; exit 0",
    DEAF,
    DEAF,
    "trap 'exit 4' TERM; while :; do echo line; sleep .2 9>&- & wait; done",
    "sleep 2 9>&- & exec sleep 1000",
];
const PATIENT: &str = "exec sleep 1000";
const DEAF: &str = "trap '' HUP INT QUIT ALRM TERM USR1 USR2; exec sleep 1000";

/// What `./finish` does. The last one only where there is a limit for it.
const FINISHES: [&str; 5] =
    ["exit 0", "exit 1", "sleep .3 9>&-; exit 0", "sleep 1.3 9>&-; kill -KILL $$", "exec sleep 1000"];
const FINISH_LIMIT: &str = "4000\n";

/// What the log service does. The last one does not end with its input and needs TERM.
const LOGS: [&str; 6] = [
    "exec cat >/dev/null",
    "exec cat >/dev/null",
    "exit 1",
    "read -r line; exit 0",
    "sleep 1.2 9>&-; exit 0",
    "exec sleep 1000",
];

/// What a control script does, once it is executed.
const HOOKS: [&str; 6] =
    ["exit 0", "exit 1", "kill -KILL $$", "sleep .2; exit 0", "sleep .5; exit 1", "sleep 1.5; exit 0"];

/// Settings: files that say how a service stops, with what may be in them.
const ORDERS: [(&str, &[&str]); 3] = [
    ("process-group", &[""]),
    ("timeout-kill", &["200\n", "1500\n", "0\n", "soon\n"]),
    ("down-signal", &["INT\n", "SIGHUP\n", "10\n", "RTMIN+3\n", "KILL\n", "none\n"]),
];

const SIGNALS: [Signal; 6] =
    [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGSEGV, Signal::SIGSTOP, Signal::SIGCONT, Signal::SIGUSR1];

on_suites! { ours: whatever_happens_to_the_program_the_invariants_hold }

pub fn whatever_happens_to_the_program_the_invariants_hold(suite: &Suite) {
    let in_ci = env::var_os("CI").is_some();
    let seconds = number("WALK_SECONDS").unwrap_or(if in_ci { SECONDS_IN_CI } else { SECONDS });
    let end = Instant::now() + Duration::from_secs(seconds);
    let (seeds, step) = match number("WALK_SEED") {
        Some(seed) => (vec![seed], 0),
        None => (SEEDS.to_vec(), 1),
    };
    let flock = process::run(
        std::process::Command::new("flock").arg("--version").stdout(std::process::Stdio::null()),
    );
    assert!(flock.expect("flock can be started").success(), "flock does not work");
    let starts: usize = thread::scope(|scope| {
        let walker = |first: u64| {
            let mut starts = 0;
            for seed in (0..).map(|count| first + count * step) {
                starts += Walk::new(suite, seed).walk(end);
                if Instant::now() >= end {
                    break;
                }
            }
            starts
        };
        let walkers: Vec<_> = seeds.iter().map(|seed| scope.spawn(move || walker(*seed))).collect();
        // All are awaited before one of them may fail.
        let ended: Vec<_> = walkers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        ended.into_iter().map(|starts| starts.unwrap_or_else(|panic| resume_unwind(panic))).sum()
    });
    assert!(starts >= seeds.len(), "only {starts} starts: the walk stands still");
}

fn number(variable: &str) -> Option<u64> {
    let value = env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is {value:?}, which is no number")))
}

/// A small generator of numbers that look random and come again with the seed.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        // Seeds that are close to each other must not begin alike.
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        // xorshift64*: good enough to wander with.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit
    }

    fn one_in(&mut self, odds: u64) -> bool {
        self.below(odds) == 0
    }

    fn one_of<T: Copy>(&mut self, choice: &[T]) -> T {
        choice[usize::try_from(self.below(choice.len() as u64)).expect("an index")]
    }
}

/// Whether there is a `./finish`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finish {
    Always,
    Never,
    Sometimes,
}

/// One service, from the start of its runsv to its end.
struct Walk {
    seed: u64,
    dice: Dice,
    web: Supervised,
    finish: Finish,
    has_finish_limit: bool,
    has_log: bool,
    may_exit: bool,
    begin: Instant,
    steps: Vec<String>,
    was_told_to_exit: bool,
    /// A `k` after an `x` excuses a missing `./finish` (QRK-4).
    was_forced: bool,
    main: Watch,
    log: Watch,
}

/// What was seen of one service in its record.
#[derive(Default)]
struct Watch {
    life: Option<Life>,
    /// The end of a rest that is surely due.
    rests_until: Option<u64>,
    /// When the lives began, in runsv's words.
    lives: BTreeSet<(u64, u32)>,
}

/// A `./run` that was seen.
#[derive(Clone, Copy)]
struct Life {
    pid: u32,
    /// When the kernel made it.
    started: Option<u64>,
    /// When it, or its `./finish`, was last seen.
    last_up: u64,
}

impl Life {
    fn seen(&mut self, lives: bool, at: u64) {
        if lives {
            self.last_up = at;
        }
    }
}

impl Watch {
    /// Reads the record between two looks at the clock, and compares it with those before.
    fn look(&mut self, read: impl FnOnce() -> RawStatus) {
        let before = now();
        let status = read();
        let after = now();
        // The record may come late: the process in it can be dead by then.
        let process = Process::find(status.pid);
        let lives = process.as_ref().is_some_and(Process::is_alive);
        assert!([0, 1].contains(&status.paused) && [0, 1].contains(&status.got_term), "{status:?}");
        assert!(b"ud".contains(&status.want) && status.state <= FINISH, "{status:?}");
        // The record that comes before the start of finish has no process.
        assert!(status.state == FINISH || (status.pid == 0) == (status.state == DOWN), "{status:?}");
        assert!(status.state == RUN || status.got_term == 0, "{status:?}");
        match (status.state, &mut self.life) {
            (DOWN, life) => {
                let Some(life) = life.take() else { return };
                // If it came to rest within a second for sure, the rest began after it was last seen.
                let was_short = life.started.is_some_and(|started| after < started + REST);
                self.rests_until = was_short.then_some(life.last_up + REST);
            }
            (RUN, Some(life)) if life.pid == status.pid => life.seen(lives, before),
            (RUN, life) => {
                self.lives.insert(status.time());
                let started = process.map(|process| process.started);
                if let (Some(started), Some(until)) = (started, self.rests_until.take()) {
                    // Both are rounded down.
                    assert!(started + 1 >= until, "started at {started}, within the rest until {until}");
                }
                let last_up = started.filter(|_| !lives).unwrap_or(before);
                *life = Some(Life { pid: status.pid, started, last_up });
            }
            (_, Some(life)) => life.seen(lives, before),
            (_, None) => {}
        }
    }
}

/// The clock by which the kernel tells when a process was started, in its unit.
fn now() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("a clock");
    u64::try_from(time.tv_sec() * 100 + time.tv_nsec() / 10_000_000).expect("a time after boot")
}

impl Walk {
    fn new(suite: &Suite, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let finish = dice.one_of(&[Finish::Always, Finish::Always, Finish::Never, Finish::Sometimes]);
        let (has_finish_limit, has_log, may_exit) = (dice.one_in(2), dice.one_in(2), dice.one_in(2));
        let tree = suite.tree();
        let when = |condition: bool, more: fn(Builder) -> Builder| {
            move |web| if condition { more(web) } else { web }
        };
        let web = tree
            .service("web")
            .file("words", WORDS)
            .file("run.next", PATIENT)
            .file("finish.next", FINISHES[0])
            .file("log.next", LOGS[0])
            .dir("control")
            .run(RUN_SCRIPT);
        let web = when(finish != Finish::Never, |web| web.finish(FINISH_SCRIPT))(web);
        let web = when(has_finish_limit, |web| web.file("timeout-finish", FINISH_LIMIT))(web);
        let web = when(has_log, |web| web.log(LOG_SCRIPT))(web);
        let web = when(dice.one_in(4), Builder::down)(web);
        let web = when(dice.one_in(4), |web| web.file("process-group", ""))(web);
        Self {
            seed,
            dice,
            web: web.supervised(),
            finish,
            has_finish_limit,
            has_log,
            may_exit,
            begin: Instant::now(),
            steps: Vec::new(),
            was_told_to_exit: false,
            was_forced: false,
            main: Watch::default(),
            log: Watch::default(),
        }
    }

    /// Walks for a while, but not beyond `end`, and to the end of runsv; returns how often `./run` was
    /// started.
    fn walk(mut self, end: Instant) -> usize {
        for _ in 0..200 + self.dice.below(200) {
            if self.web.runsv.ended().is_some() || Instant::now() >= end {
                break;
            }
            self.step();
            // What is down has little to tell.
            let pauses: &[u64] = if self.web.status().state == DOWN {
                &[1, 1, 1, 50, 400, 1200]
            } else {
                &[0, 1, 3, 10, 50, 150]
            };
            let pause = self.dice.one_of(pauses);
            self.pass(Duration::from_millis(pause));
        }
        if self.dice.one_in(2) && self.web.runsv.is_alive() {
            self.calm_down();
        }
        self.leave();
        self.check_the_dead();
        self.check_stories()
    }

    fn note(&mut self, step: &str) {
        self.steps.push(format!("{:7.3} {step}", self.begin.elapsed().as_secs_f64()));
    }

    /// Lets time pass and reads the record. The end of a rest is not waited for longer than it takes.
    fn pass(&mut self, time: Duration) {
        let until = Instant::now() + time;
        let was_down = self.web.status().state == DOWN;
        loop {
            self.look();
            if Instant::now() >= until || was_down && self.web.status().state == RUN {
                return;
            }
            thread::sleep(LOOK.min(time));
        }
    }

    fn look(&mut self) {
        let web = &self.web;
        self.main.look(|| web.status());
        if self.has_log {
            self.log.look(|| web.log().status());
        }
        let stat = web.stat();
        let word = stat.split(", ").next().unwrap_or_default();
        assert!(["down", "run", "finish"].contains(&word), "stat is {stat:?}");
        web.pid();
    }

    fn step(&mut self) {
        match self.dice.below(36) {
            0..=14 => self.send_bytes(),
            15 | 16 => self.signal_run(),
            17..=19 => self.put("run.next", &LIVES),
            20 | 21 => {
                let choice = if self.has_finish_limit { &FINISHES[..] } else { &FINISHES[..4] };
                self.put("finish.next", choice);
            }
            22..=28 => self.change_hook(),
            29 | 30 => self.change_orders(),
            31..=33 if self.has_log => self.disturb_log(),
            34 if self.finish == Finish::Sometimes => {
                if self.web.has("finish") {
                    self.remove("finish");
                } else {
                    self.put_script("finish", FINISH_SCRIPT);
                }
            }
            35 if self.dice.one_in(3) => self.calm_down(),
            _ => {}
        }
    }

    /// One byte or a burst of them.
    fn send_bytes(&mut self) {
        let mut bytes = String::new();
        if self.web.status().state == DOWN {
            bytes.push('u');
        }
        for _ in 0..self.dice.one_of(&[1, 1, 1, 2, 3, 8]) {
            bytes.push(self.dice.one_of(&[
                'u', 'u', 'u', 'u', 'd', 'o', 'p', 'c', 'h', 'a', 'i', 'q', '1', '2', 't', 'k', 'k', '\n',
                'U', '0', '\0', '\u{e9}',
            ]));
        }
        if self.may_exit && self.dice.one_in(12) {
            bytes.push_str(self.dice.one_of(&["xu", "xd", "xo", "xku", "xk", "xtu", "x"]));
        }
        self.control(&bytes);
    }

    /// Writes bytes that a runsv which was told to exit need not read any more.
    fn control(&mut self, bytes: &str) {
        self.note(&format!("control {bytes:?}"));
        for byte in bytes.chars() {
            self.was_told_to_exit |= byte == 'x';
            self.was_forced |= byte == 'k' && self.was_told_to_exit;
        }
        match self.web.try_control(bytes) {
            Ok(()) => {}
            Err(error) => assert!(self.was_told_to_exit, "no runsv listens: {error}"),
        }
    }

    fn signal_run(&mut self) {
        let signal = self.dice.one_of(&SIGNALS);
        self.send("run", self.web.status(), signal);
    }

    fn send(&mut self, target: &str, status: RawStatus, signal: Signal) {
        // A process that took the number of one that was reaped is not runsv's child.
        let is_child = |process: Process| process.parent == self.web.runsv.pid();
        if status.state == RUN && Process::find(status.pid).is_some_and(is_child) {
            self.note(&format!("{signal} to {target}, process {}", status.pid));
            process::send(status.pid, signal);
        }
    }

    fn disturb_log(&mut self) {
        match self.dice.below(4) {
            0 => self.put("log.next", &LOGS),
            1 => {
                let signal = self.dice.one_of(&SIGNALS);
                self.send("log", self.web.log().status(), signal);
            }
            _ => {
                let byte = self.dice.one_of(&["u", "u", "u", "d", "o", "p", "c", "t", "k", "x", "h", "?"]);
                self.note(&format!("control {byte:?} for log"));
                let result = self.web.log().try_control(byte);
                assert!(result.is_ok() || self.was_told_to_exit, "no runsv listens: {result:?}");
            }
        }
    }

    fn change_hook(&mut self) {
        let hook = format!("control/{}", self.dice.one_of(b"tkpchaiq12dxutku") as char);
        if self.web.has(&hook) && self.dice.one_in(2) {
            self.remove(&hook);
        } else {
            let body = self.dice.one_of(&HOOKS);
            self.put_script(&hook, &format!("echo >>hooks; {body}"));
        }
    }

    fn change_orders(&mut self) {
        let (name, contents) = self.dice.one_of(&ORDERS);
        if self.web.has(name) {
            self.remove(name);
        } else {
            self.put(name, contents);
        }
    }

    fn put(&mut self, file: &str, choice: &[&str]) {
        let content = self.dice.one_of(choice);
        self.note(&format!("{file}: {content:?}"));
        let beside = self.web.tree().root().join("beside");
        fs::write(&beside, content).expect("a file");
        fs::rename(beside, self.web.path(file)).expect("the file can be put in its place");
    }

    fn put_script(&mut self, file: &str, body: &str) {
        self.note(&format!("{file}: {body:?}"));
        let beside = self.web.tree().root().join("beside");
        self.web.tree().write_script(&beside, body);
        fs::rename(beside, self.web.path(file)).expect("the script can be put in its place");
    }

    fn remove(&mut self, file: &str) {
        self.note(&format!("no {file}"));
        self.web.remove(file);
    }

    /// Takes away whatever may keep a service from ending.
    fn clear_away(&mut self) {
        let hooks = fs::read_dir(self.web.path("control")).expect("a directory").flatten();
        let hooks: Vec<String> =
            hooks.map(|hook| format!("control/{}", hook.file_name().display())).collect();
        for hook in hooks {
            self.remove(&hook);
        }
        self.put("run.next", &[PATIENT]);
        self.put("finish.next", &FINISHES[..1]);
        if self.has_log {
            self.put("log.next", &LOGS[..1]);
        }
    }

    /// Stops everything and compares what the files say with what is so; then the same, up and paused.
    fn calm_down(&mut self) {
        self.note("calms down");
        self.clear_away();
        self.control("d");
        let is_down = |walk: &Self| {
            let status = walk.web.status();
            (status.state, status.want) == (DOWN, b'd') && walk.has_read_all()
        };
        if !self.ends("the service goes down", |_| {}, is_down) {
            return;
        }
        // The answer to a byte shows that what was read before was acted upon. A runsv that was told to
        // exit before it read the `d` gives none, and leaves.
        let (byte, paused) = if self.web.status().paused == 1 { ("c", 0) } else { ("p", 1) };
        self.control(byte);
        if !self.ends("the service is marked", |_| {}, |walk| walk.web.status().paused == paused) {
            return;
        }
        self.was_told_to_exit = false;
        let stat = if paused == 1 { "down, paused" } else { "down" };
        self.web.eventually_exactly(stat, 0, [paused, b'd', 0, DOWN]);
        for story in self.main_stories() {
            assert!(!story.is_alive(), "down, but this lives: {story:?}");
        }
        self.check_stories();

        self.control("u");
        assert!(self.ends("the service runs", |_| {}, |walk| walk.web.status().state == RUN), "runsv left");
        let pid = self.web.status().pid;
        let is_at_work = |story: &Story| story.pid == pid && story.words == ["alone"];
        eventually("./run is at work", || self.main_stories().iter().any(is_at_work));
        self.web.eventually_exactly("run", pid, [0, b'u', 0, RUN]);
        for (byte, stat, paused) in [("p", "run, paused", 1), ("c", "run", 0)] {
            self.control(byte);
            self.web.eventually_exactly(stat, pid, [paused, b'u', 0, RUN]);
            eventually("it is stopped, or goes on", || {
                let process = Process::find(pid).expect("the process in the record lives");
                assert_eq!(process.parent, self.web.runsv.pid(), "no child of runsv");
                (process.state == 'T') == (paused == 1)
            });
        }
        self.look();
    }

    /// Tells runsv to leave, and sees that it does.
    fn leave(&mut self) {
        if self.web.runsv.is_alive() {
            match self.dice.below(4) {
                0 => {
                    self.note("told to exit without a byte");
                    self.was_told_to_exit = true;
                    self.web.runsv.told_to_exit();
                }
                1 => self.control("xk"),
                _ => self.control("x"),
            }
        }
        // It is told once; but a control script may keep the service from ending.
        assert!(!self.ends("runsv leaves", Self::clear_away, |_| false));
        let ended = self.web.runsv.ended().expect("it has ended");
        assert_eq!(ended.code(), Some(0), "runsv ended with {ended}");
        let status = self.web.status();
        assert_eq!((status.state, status.want, status.pid), (DOWN, b'd', 0), "the last record");
        if self.has_log {
            let status = self.web.log().status();
            assert_eq!((status.state, status.pid), (DOWN, 0), "the last record of the log service");
        }
    }

    /// Waits until something is so, which a `./run` that goes on for too long must not prevent. Says no
    /// if runsv has left, as it was told.
    fn ends(&mut self, what: &str, again: impl Fn(&mut Self), is_so: impl Fn(&Self) -> bool) -> bool {
        let start = Instant::now();
        let mut patience = Duration::from_millis(1500);
        loop {
            self.look();
            if self.web.runsv.ended().is_some() {
                assert!(self.was_told_to_exit, "runsv left without being told to");
                return false;
            }
            if is_so(self) {
                return true;
            }
            assert!(start.elapsed() < PATIENCE, "awaited in vain: {what}");
            if start.elapsed() > patience {
                patience += Duration::from_millis(1500);
                again(self);
                // A signal and no byte: `k` would be one more reason to leave.
                self.send("run", self.web.status(), Signal::SIGKILL);
            }
            thread::sleep(LOOK);
        }
    }

    /// Whether no byte waits in the FIFO.
    fn has_read_all(&self) -> bool {
        let mut fifo = fs::OpenOptions::new();
        fifo.read(true).custom_flags(OFlag::O_NONBLOCK.bits());
        let fifo = fifo.open(self.web.path("supervise/control")).expect("the FIFO");
        let mut fifo = [PollFd::new(fifo.file().as_fd(), PollFlags::POLLIN)];
        poll(&mut fifo, PollTimeout::ZERO).expect("a look at the FIFO") == 0
    }

    fn main_stories(&self) -> Vec<Story> {
        stories(&self.web.read("main.lives"))
    }

    /// Checks what the scripts have told, and returns how often `./run` was started.
    fn check_stories(&self) -> usize {
        let starts = |stories: &[Story]| {
            let starts: Vec<u64> =
                stories.iter().filter(|story| story.is("run")).map(|story| story.started).collect();
            for pair in starts.windows(2) {
                assert!(pair[1] >= pair[0] + REST, "a start within the rest: {pair:?}");
            }
            starts.len()
        };
        let main = self.main_stories();
        let log = stories(&self.web.read("log.lives"));
        let beside: Vec<&Story> = main.iter().chain(&log).filter(|story| story.is("beside")).collect();
        assert!(beside.is_empty(), "two alive: {beside:?}");
        starts(&log);

        let finished: Vec<(u64, u32)> = main.iter().filter_map(Story::finished_life).collect();
        let lives: BTreeSet<(u64, u32)> = finished.iter().copied().collect();
        assert_eq!(lives.len(), finished.len(), "a second ./finish for one death");
        assert!(self.finish != Finish::Never || finished.is_empty(), "a ./finish that is not there");
        if self.is_each_death_finished() {
            let cycle: Vec<&Story> = main.iter().filter(|story| !story.is("alone")).collect();
            let unfinished = cycle.windows(2).find(|pair| pair.iter().all(|story| story.is("run")));
            assert!(unfinished.is_none(), "a death without ./finish: {unfinished:?}");
        }
        starts(&main)
    }

    fn is_each_death_finished(&self) -> bool {
        self.finish == Finish::Always && !self.was_forced
    }

    /// When runsv has left, all that was seen to run is dead and finished.
    fn check_the_dead(&self) {
        let main = self.main_stories();
        let finished: BTreeSet<(u64, u32)> = main.iter().filter_map(Story::finished_life).collect();
        let unfinished: Vec<&(u64, u32)> = self.main.lives.difference(&finished).collect();
        assert!(!self.is_each_death_finished() || unfinished.is_empty(), "no ./finish for {unfinished:?}");
        // What was left behind with `x` and `k` may go on (QRK-4). All else is short.
        let may_stay =
            |pid: u32| self.was_forced && main.iter().any(|story| story.pid == pid && story.is("finish"));
        eventually("nothing is left", || {
            self.web.tree().processes().iter().all(|process| may_stay(process.pid))
        });
    }
}

impl Drop for Walk {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        let mut report = format!(
            "a walk with WALK_SEED={}, finish {:?}, log {}, limit for finish {}; its last steps:\n",
            self.seed, self.finish, self.has_log, self.has_finish_limit
        );
        for step in self.steps.iter().rev().take(60).rev() {
            let _ = writeln!(report, "  {step}");
        }
        for file in ["main.lives", "log.lives", "supervise/.history"] {
            let lines = self.web.lines(file);
            let _ = writeln!(report, " the end of {file}:");
            for line in lines.iter().rev().take(20).rev() {
                let _ = writeln!(report, "  {line}");
            }
        }
        eprintln!("{:7.3} {report}", self.begin.elapsed().as_secs_f64());
    }
}

/// What a script told of itself.
#[derive(Clone, Debug)]
struct Story {
    pid: u32,
    started: u64,
    words: Vec<String>,
}

impl Story {
    fn is(&self, word: &str) -> bool {
        self.words.first().is_some_and(|first| first == word)
    }

    fn is_alive(&self) -> bool {
        Process::find(self.pid).is_some_and(|process| process.started == self.started && process.is_alive())
    }

    /// Of a `./finish`: which life it follows.
    fn finished_life(&self) -> Option<(u64, u32)> {
        let [finish, _code, _status, life @ ..] = self.words.as_slice() else { return None };
        if finish != "finish" {
            return None;
        }
        assert_eq!(life.len(), 12, "no time in {self:?}");
        let digits =
            |from: usize, to: usize| u64::from_str_radix(&life[from..to].concat(), 16).expect("digits");
        Some((digits(0, 8), u32::try_from(digits(8, 12)).expect("four bytes")))
    }
}

fn stories(text: &str) -> Vec<Story> {
    let read = |line: &str| {
        let mut words = line.split_whitespace();
        Some(Story {
            pid: words.next()?.parse().ok()?,
            started: words.next()?.parse().ok()?,
            words: words.map(str::to_owned).collect(),
        })
    };
    text.lines().map(|line| read(line).unwrap_or_else(|| panic!("{line:?} tells nothing"))).collect()
}
