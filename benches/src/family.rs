//! The families of programs that keep services, and how each is asked for the same thing.

use std::env;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fs_err as fs;
use nix::sys::signal::Signal;

use crate::arguments::Wishes;
use crate::tree::ServiceTree;
use crate::{Outcome, forking};

/// A family of programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Of this workspace: runsvdir and runsv.
    Ours,
    /// Of this workspace: init.
    Init,
    /// Debian's runit.
    Runit,
    /// Debian's s6.
    S6,
    /// Debian's tini, which only reaps.
    Tini,
    /// No family: forking alone ([`crate::forking`]).
    Fork,
    /// The program nitro, where it is.
    Nitro(&'static str),
    /// The program dinit, where it is.
    Dinit(&'static str),
}

/// The families with a process for each service, in the order in which they are measured.
pub const SUPERVISORS: [Family; 3] = [Family::Ours, Family::Runit, Family::S6];

/// What nitro is built for.
const NITRO_LIMIT: usize = 500;

/// Where Debian's packages put their programs.
const DEBIAN: &str = "/usr/bin";

/// What to ask of a service.
#[derive(Clone, Copy, Debug)]
pub enum Request {
    /// To run.
    Start,
    /// To run and be ready, which it says itself.
    Ready,
    /// To be down.
    Stop,
    /// To end and run again.
    Restart,
}

impl Family {
    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Init => "init",
            Self::Runit => "runit",
            Self::S6 => "s6",
            Self::Tini => "tini",
            Self::Fork => "forking alone",
            Self::Nitro(_) => "nitro",
            Self::Dinit(_) => "dinit",
        }
    }

    /// Whether it is what the others are compared with.
    pub fn is_ours(self) -> bool {
        matches!(self, Self::Ours | Self::Init)
    }

    /// Whether it can keep so many services.
    pub fn can_keep(self, services: usize) -> bool {
        !matches!(self, Self::Nitro(_)) || services < NITRO_LIMIT
    }

    /// Debian's package, if it is one.
    pub fn package(self) -> Option<&'static str> {
        matches!(self, Self::Runit | Self::S6 | Self::Tini).then(|| self.name())
    }

    /// Where its programs are.
    pub fn place(self) -> Outcome<PathBuf> {
        if self.is_ours() {
            return Ok(env::current_exe()?.parent().ok_or("this program is nowhere")?.to_owned());
        }
        Ok(DEBIAN.into())
    }

    /// The program that starts all services of a directory.
    pub fn scanner(self) -> &'static str {
        match self {
            Self::Ours | Self::Runit => "runsvdir",
            Self::Init => "init",
            Self::S6 => "s6-svscan",
            Self::Tini => "tini-static",
            Self::Fork => forking::NAME,
            Self::Nitro(path) | Self::Dinit(path) => path,
        }
    }

    /// The program that supervises one service.
    pub fn supervisor(self) -> &'static str {
        match self {
            Self::S6 => "s6-supervise",
            _ => "runsv",
        }
    }

    /// One of its programs, with nothing to read and nothing to write to.
    pub fn command(self, program: impl AsRef<Path>) -> Outcome<Command> {
        let place = self.place()?;
        let mut command = Command::new(place.join(program));
        command.env("PATH", format!("{}:/usr/bin:/bin", place.display()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(command)
    }

    /// Starts all services of a tree.
    pub fn scan(self, tree: &ServiceTree) -> Outcome<Command> {
        let services = tree.services();
        let program = if self == Self::Fork { tree.program(self.scanner())? } else { self.scanner().into() };
        let mut command = self.command(&program)?;
        match self {
            Self::Init => command.arg("--hooks").arg(tree.place("hooks")?).arg(services),
            Self::S6 => command.args(["-c", "5000"]).arg(services),
            Self::Nitro(_) => command.env("NITRO_SOCK", tree.place("nitro")?.join("socket")).arg(services),
            Self::Dinit(_) => {
                let descriptions = tree.place("dinit")?;
                describe_for_dinit(&services, &descriptions)?;
                command.args(["--container", "--quiet", "--socket-path"]);
                command.arg(descriptions.join(".socket")).arg("--services-dir").arg(descriptions).arg("boot")
            }
            _ => command.arg(services),
        };
        Ok(command)
    }

    /// The same as process 1.
    pub fn first_process(self, tree: &ServiceTree) -> Outcome<Command> {
        let scan = self.scan(tree)?;
        let Self::Nitro(_) = self else { return Ok(scan) };
        // As process 1 it takes no TERM.
        let mut command = Self::Tini.command(Self::Tini.scanner())?;
        command.arg("--").arg(scan.get_program()).args(scan.get_args());
        command.envs(scan.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Ok(command)
    }

    /// What tells the scanner to stop.
    pub fn stop_signal(self) -> Signal {
        if self == Self::Runit { Signal::SIGHUP } else { Signal::SIGTERM }
    }

    /// Asks something of a service, and waits until it is so.
    pub fn control(self, request: Request, service: &Path) -> Outcome<Command> {
        let (word, options) = match request {
            Request::Start => ("start", ["-wu", "-u"]),
            Request::Ready => ("start", ["-wU", "-u"]),
            Request::Stop => ("stop", ["-wD", "-d"]),
            Request::Restart => ("restart", ["-wr", "-r"]),
        };
        let mut command = match self {
            Self::S6 => self.command("s6-svc")?,
            _ => self.command("sv")?,
        };
        match self {
            Self::S6 => command.args(options),
            _ => command.arg(word),
        };
        command.arg(service);
        Ok(command)
    }

    /// Has the scanner look for new directories, where it does not do so by itself.
    pub fn rescan(self, services: &Path) -> Outcome<Option<Command>> {
        if self != Self::S6 {
            return Ok(None);
        }
        let mut command = self.command("s6-svscanctl")?;
        command.arg("-a").arg(services);
        Ok(Some(command))
    }
}

/// dinit reads a description of each service, and starts what one of them waits for.
fn describe_for_dinit(services: &Path, descriptions: &Path) -> Outcome<()> {
    let mut boot = "type = internal\n".to_owned();
    for entry in fs::read_dir(services)? {
        let entry = entry?;
        let (name, dir) = (entry.file_name(), entry.path());
        let text = format!("type = process\ncommand = {0}/run\nworking-dir = {0}\n", dir.display());
        fs::write(descriptions.join(&name), text)?;
        writeln!(boot, "waits-for = {}", name.display())?;
    }
    Ok(fs::write(descriptions.join("boot"), boot)?)
}

/// Refuses to begin without the packages that the wishes need.
pub fn require(wishes: &Wishes) -> Outcome<()> {
    let needs =
        |measure: &str| wishes.measures.is_empty() || wishes.measures.iter().any(|name| name == measure);
    let reaps_only = !wishes.measures.is_empty() && wishes.measures.iter().all(|name| name == "reap");
    let mut missing = Vec::new();
    for family in [Family::Runit, Family::S6, Family::Tini] {
        let is_needed = if family == Family::Tini {
            needs("reap") || wishes.guests.iter().any(|guest| matches!(guest, Family::Nitro(_)))
        } else {
            !reaps_only
        };
        if is_needed && !family.place()?.join(family.scanner()).exists() {
            missing.extend(family.package());
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!("install Debian's {} first: apt-get install {}", missing.join(", "), missing.join(" "))
        .into())
}
