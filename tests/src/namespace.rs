//! Runs a program as a real process 1, in a pid namespace of its own.

use std::process::ExitStatus;
use std::thread;
use std::time::{Duration, Instant};

use fs_err as fs;
use nix::sys::signal::Signal;
use nix::unistd::geteuid;

use crate::command::{CommandLine, Output, StartedProgram};
use crate::load::Stopwatch;
use crate::process::{self, Process};
use crate::wait::{eventually_some, time_until};

/// A program that is process 1 of its namespace, with all that it started.
///
/// When it ends, the kernel kills whatever is left in the namespace, as in a container; the same
/// happens when the tree is dropped.
#[derive(Debug)]
pub struct PidNamespace {
    unshare: StartedProgram,
    first: u32,
    /// What happens to process 1 is often bounded in time.
    _stopwatch: Stopwatch,
}

/// A process in a namespace, as seen from outside and from inside.
#[derive(Clone, Debug)]
pub struct Inmate {
    /// What the kernel tells outside: its pid and parent are ours to use.
    pub outside: Process,
    /// Its pid inside.
    pub pid_inside: u32,
    /// Its command line; empty for a zombie.
    pub command_line: String,
}

impl CommandLine {
    /// Starts it as process 1 of a new pid namespace that has its own `/proc`.
    #[track_caller]
    pub fn start_as_process_1(self) -> PidNamespace {
        self.start_in_a_namespace(&["--mount-proc"])
    }

    /// Starts it as process 1 of a new pid namespace that has the `/proc` of the old one.
    #[track_caller]
    pub fn start_as_process_1_with_a_foreign_proc(self) -> PidNamespace {
        self.start_in_a_namespace(&[])
    }

    #[track_caller]
    fn start_in_a_namespace(self, options: &[&str]) -> PidNamespace {
        let stopwatch = Stopwatch::start();
        let unshare = self.in_a_namespace(options).start();
        let first = eventually_some("a process 1", || {
            assert!(unshare.is_alive(), "no namespace, or its process 1 ended at once: {}", unshare.stderr());
            // Until it executes the program, the child is still unshare.
            Process::all().into_iter().find(|process| {
                process.parent == unshare.pid() && !process.command_line().starts_with("unshare ")
            })
        });
        PidNamespace { unshare, first: first.pid, _stopwatch: stopwatch }
    }

    /// Runs it as process 1 of a new pid namespace to its end, which may come at once.
    #[track_caller]
    pub fn output_as_process_1(self) -> Output {
        self.in_a_namespace(&["--mount-proc"]).output()
    }

    fn in_a_namespace(self, options: &[&str]) -> Self {
        let mut words = vec!["unshare", "--pid", "--fork", "--kill-child"];
        words.extend(options);
        if !geteuid().is_root() {
            words.splice(1..1, ["--user", "--map-root-user"]);
        }
        self.within(&words)
    }
}

impl PidNamespace {
    /// The id of process 1 outside the namespace.
    pub fn pid(&self) -> u32 {
        self.first
    }

    /// Sends process 1 a signal from outside. The kernel drops all but KILL and STOP if process 1
    /// has no handler for it.
    pub fn signal(&self, signal: Signal) {
        process::send(self.first, signal);
    }

    /// Sends process 1 a signal by its number, such as `SIGRTMIN+3` = 37.
    pub fn signal_number(&self, number: i32) {
        process::send_number(self.first, number);
    }

    /// What process 1, and every process that shares its output, printed so far.
    pub fn stdout(&self) -> String {
        self.unshare.stdout()
    }

    /// What process 1, and every process that shares its standard error, printed there so far.
    pub fn stderr(&self) -> String {
        self.unshare.stderr()
    }

    /// Whether process 1 is still there.
    pub fn is_alive(&self) -> bool {
        self.unshare.is_alive()
    }

    /// Waits until this appears on standard error.
    #[track_caller]
    pub fn eventually_says(&self, text: &str) {
        self.unshare.eventually_says(text);
    }

    /// Asks process 1 to stop, and waits for it to leave before the grace is over, and for its end.
    ///
    /// It has left when it is on its way out: a KILL that comes now changes nothing, neither for what it has
    /// done nor for its exit code. How long the kernel then needs to take the namespace apart, with the
    /// killed processes in it, does not depend on process 1.
    #[track_caller]
    pub fn stopped_within(&self, grace: Duration) -> Output {
        self.signal(Signal::SIGTERM);
        let took = time_until("process 1 leaves", || {
            Process::find(self.first).is_none_or(|process| process.is_leaving())
        });
        let end = self.finished();
        assert!(took < grace, "that took {took:?}:\n{}", end.stderr);
        end
    }

    /// Waits for the end of process 1; nothing when the limit is reached first.
    pub fn ended_within(&self, limit: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        loop {
            let ended = self.unshare.ended();
            if ended.is_some() || start.elapsed() > limit {
                return ended;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for the end of process 1.
    #[track_caller]
    pub fn finished(&self) -> Output {
        self.unshare.finished()
    }

    /// Every process in the namespace, zombies included.
    pub fn processes(&self) -> Vec<Inmate> {
        let all = Process::all();
        let mut inmates: Vec<Inmate> = Vec::new();
        let mut parents = vec![self.first];
        inmates.extend(all.iter().find(|process| process.pid == self.first).and_then(inmate));
        // An orphan becomes a child of process 1, so all are its descendants.
        while let Some(parent) = parents.pop() {
            for process in all.iter().filter(|process| process.parent == parent) {
                parents.push(process.pid);
                inmates.extend(inmate(process));
            }
        }
        inmates
    }

    /// Waits for a process with a command line that begins like this.
    #[track_caller]
    pub fn eventually_has(&self, start_of_command_line: &str) -> Inmate {
        eventually_some(&format!("a process {start_of_command_line:?}"), || {
            self.processes().into_iter().find(|inmate| inmate.command_line.starts_with(start_of_command_line))
        })
    }

    /// The zombies in the namespace.
    pub fn zombies(&self) -> Vec<Inmate> {
        let mut inmates = self.processes();
        inmates.retain(|inmate| !inmate.outside.is_alive());
        inmates
    }
}

fn inmate(process: &Process) -> Option<Inmate> {
    let pids = fs::read_to_string(format!("/proc/{}/status", process.pid)).ok()?;
    let pids = pids.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    let pid_inside = pids.split_whitespace().last()?.parse().ok()?;
    Some(Inmate { outside: process.clone(), pid_inside, command_line: process.command_line() })
}
