//! Makes a program process 1 of a new pid namespace.
//!
//! What the kernel does at the end of process 1 is the point: it kills whatever is left in the
//! namespace, and only then process 1 counts as ended.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};

use fs_err as fs;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{getegid, geteuid};

use crate::events::wait_readable;
use crate::{MEASURE, Outcome, proc};

/// The name under which the program makes a namespace, and waits for its end.
pub const OUTER: &str = "namespace";

/// The name under which the program prepares a namespace from inside, and executes another.
pub const INNER: &str = "process-1";

/// A namespace with processes in it.
#[derive(Debug)]
pub struct MeasuredNamespace {
    /// Ends as soon as the namespace has ended; dies with us.
    keeper: Child,
    /// Process 1, by the number it has out here.
    first: u32,
}

impl MeasuredNamespace {
    /// Starts a program as process 1, and waits until it is there.
    pub fn start(program: &Command) -> Outcome<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.arg0(OUTER).arg(program.get_program()).args(program.get_args());
        command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        // Its end closes the pipe, and that can be awaited with a time limit.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        Ok(Self { keeper: command.spawn()?, first: 0 })
    }

    /// Process 1, by the number it has out here. Ask when something in there is known to run.
    pub fn first(&mut self) -> Outcome<u32> {
        if self.first == 0 {
            let children = proc::children(self.keeper.id())?;
            self.first = *children.first().ok_or("the namespace has ended too early")?;
        }
        Ok(self.first)
    }

    /// Waits until every process in it is gone.
    pub fn await_end(&mut self) -> Outcome<()> {
        let pipe = self.keeper.stdout.as_ref().ok_or("a namespace without a pipe")?;
        wait_readable(pipe, "the end of a namespace")
    }
}

impl Drop for MeasuredNamespace {
    fn drop(&mut self) {
        // Process 1 is killed by the death of its parent, all others by the death of process 1.
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// Starts the rest of the arguments in a new namespace, and ends as they end.
pub fn contain(arguments: &[OsString]) -> Outcome<ExitCode> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    let spaces = CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS;
    if geteuid().is_root() {
        unshare(spaces).map_err(|error| format!("unable to make a pid namespace: {error}"))?;
    } else {
        unshare_as_root(spaces)?;
    }
    let mut first = Command::new(env::current_exe()?);
    first.arg0(INNER).args(arguments);
    if arguments.first().is_none_or(|name| name != MEASURE) {
        // The pipe at our standard output is ours alone, so that our end is its end.
        first.stdout(Stdio::null());
    }
    exit_code(first.status()?)
}

/// The exit code of a process that this one stands for; a death by a signal is an error.
pub fn exit_code(ended: ExitStatus) -> Outcome<ExitCode> {
    let code = ended.code().ok_or_else(|| format!("what was to end by itself was ended: {ended}"))?;
    Ok(u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// The same for an ordinary user: as root in a user namespace.
fn unshare_as_root(spaces: CloneFlags) -> Outcome<()> {
    let (user, group) = (geteuid(), getegid());
    unshare(spaces | CloneFlags::CLONE_NEWUSER)
        .map_err(|error| format!("unable to make a user namespace (try as root): {error}"))?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {group} 1"))?;
    Ok(())
}

/// Gives the namespace a /proc of its own and executes the rest of the arguments.
pub fn become_process_1(arguments: &[OsString]) -> Outcome<ExitCode> {
    let (program, rest) = arguments.split_first().ok_or("nothing to execute")?;
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    let nothing = None::<&OsStr>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)?;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), nothing)?;
    let mut command = if program == MEASURE {
        let mut command = Command::new(env::current_exe()?);
        command.arg0(MEASURE);
        command
    } else {
        Command::new(program)
    };
    Err(command.args(rest).exec().into())
}
