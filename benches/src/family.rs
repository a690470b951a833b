//! The families of programs that keep services, and how each is asked for the same thing.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::Outcome;
use crate::arguments::Wishes;

/// A family of programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Of this workspace.
    Ours,
    /// Debian's runit.
    Runit,
    /// Debian's s6.
    S6,
    /// Debian's tini, which only reaps.
    Tini,
}

/// The families that keep services, in the order in which they are measured.
pub const SUPERVISORS: [Family; 3] = [Family::Ours, Family::Runit, Family::S6];

/// Where Debian's packages put their programs.
const DEBIAN: &str = "/usr/bin";

/// What to ask of a service.
#[derive(Clone, Copy, Debug)]
pub enum Request {
    /// To run.
    Start,
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
            Self::Runit => "runit",
            Self::S6 => "s6",
            Self::Tini => "tini",
        }
    }

    /// Debian's package, if it is one.
    pub fn package(self) -> Option<&'static str> {
        (self != Self::Ours).then(|| self.name())
    }

    /// Where its programs are.
    pub fn place(self) -> Outcome<PathBuf> {
        match self {
            Self::Ours => Ok(env::current_exe()?.parent().ok_or("this program is nowhere")?.to_owned()),
            Self::Runit | Self::S6 | Self::Tini => Ok(DEBIAN.into()),
        }
    }

    /// The program that starts a supervisor for each service directory.
    pub fn scanner(self) -> &'static str {
        match self {
            Self::Ours | Self::Runit => "runsvdir",
            Self::S6 => "s6-svscan",
            Self::Tini => "tini-static",
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
    pub fn command(self, program: &str) -> Outcome<Command> {
        let place = self.place()?;
        let mut command = Command::new(place.join(program));
        command.env("PATH", format!("{}:/usr/bin:/bin", place.display()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(command)
    }

    /// Starts all services of a directory.
    pub fn scan(self, services: &Path) -> Outcome<Command> {
        let mut command = self.command(self.scanner())?;
        if self == Self::S6 {
            command.args(["-c", "5000"]);
        }
        command.arg(services);
        Ok(command)
    }

    /// Starts all services of a directory as process 1, and how to tell it to stop; `hooks` is an
    /// empty directory.
    pub fn first_process(self, services: &Path, hooks: &Path) -> Outcome<(Command, Signal)> {
        match self {
            Self::Ours => {
                let mut command = self.command("init")?;
                command.arg("--hooks").arg(hooks).arg(services);
                Ok((command, Signal::SIGTERM))
            }
            Self::Runit => Ok((self.scan(services)?, Signal::SIGHUP)),
            Self::S6 | Self::Tini => Ok((self.scan(services)?, Signal::SIGTERM)),
        }
    }

    /// Asks something of a service, and waits until it is so.
    pub fn control(self, request: Request, service: &Path) -> Outcome<Command> {
        let (word, options) = match request {
            Request::Start => ("start", ["-wu", "-u"]),
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

/// Refuses to begin without the packages that the wishes need.
pub fn require(wishes: &Wishes) -> Outcome<()> {
    let needs =
        |measure: &str| wishes.measures.is_empty() || wishes.measures.iter().any(|name| name == measure);
    let reaps_only = !wishes.measures.is_empty() && wishes.measures.iter().all(|name| name == "reap");
    let mut missing = Vec::new();
    for family in [Family::Runit, Family::S6, Family::Tini] {
        let is_needed = if family == Family::Tini { needs("reap") } else { !reaps_only };
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
