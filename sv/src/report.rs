//! Hands: what sv says, and the count of what failed.

use std::ffi::OsStr;
use std::io::{IsTerminal as _, Write};
use std::os::unix::ffi::OsStrExt;
use std::time::SystemTime;

use nix::errno::Errno;
use servicedir::client::ClientError;
use servicedir::{Status, Tai64n};
use sys::log::write_line;
use sys::{Error, printable};

use crate::line::write_status;
use crate::service::Service;
use crate::snapshot::{Snapshot, has_down};

/// How much is gathered before it is written.
const ENOUGH: usize = 32 * 1024;

/// LSB's answers to `status` (SV-62).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It runs.
    Running = 0,
    /// It cannot be asked.
    Failed = 1,
    /// It is down.
    Down = 3,
    /// It does not say.
    Unknown = 4,
}

/// Standard output, and what has failed so far.
///
/// Lines go out together, but always whole, before anything on standard error, and before sv
/// waits.
pub struct Report {
    text: Vec<u8>,
    /// Whether standard output is a terminal: there a name cannot be more than a name.
    is_shown: bool,
    now: Tai64n,
    /// How many lines told of a failure.
    pub failures: usize,
}

impl Report {
    /// Nothing said, nothing failed.
    pub fn new() -> Self {
        let is_shown = std::io::stdout().is_terminal();
        Self { text: Vec::new(), is_shown, now: Tai64n::of(SystemTime::now()), failures: 0 }
    }

    /// From here on, ages are counted to this moment.
    pub fn set_now(&mut self) {
        self.now = Tai64n::of(SystemTime::now());
    }

    /// Says how a service was seen to be, and its log service (SV-22).
    pub fn tell_sight(&mut self, service: &Service, snapshot: &Snapshot) -> Answer {
        let status = match &snapshot.status {
            Ok(status) => status,
            Err(refusal) => {
                self.refuse(service, refusal);
                return match refusal {
                    ClientError::Trouble(_) => Answer::Unknown,
                    ClientError::Directory(_) | ClientError::NotRunning => Answer::Failed,
                };
            }
        };
        let mut line = Vec::with_capacity(128);
        let is_complete =
            self.write_service(&mut line, &service.name, &service.name, status, snapshot.has_down);
        if let Some(log) = &snapshot.log {
            self.write_log(&mut line, &service.name, log);
        }
        self.say(&line);
        match status.pid {
            _ if !is_complete => Answer::Unknown,
            0 => Answer::Down,
            _ => Answer::Running,
        }
    }

    /// `WORD: run: NAME: ...`
    pub fn tell(&mut self, word: &str, service: &Service, status: &Status) {
        let mut line = format!("{word}: ").into_bytes();
        if let Ok(client) = service.client() {
            self.write_service(&mut line, &service.name, &service.name, status, has_down(client.dir()));
        }
        self.say(&line);
    }

    /// `ok: NAME: runsv not running`, as it should be (SV-41).
    pub fn tell_gone(&mut self, service: &Service) {
        self.say(&[b"ok: ", service.name.as_bytes(), b": runsv not running"].concat());
    }

    /// `fail: NAME: ...` or `warning: NAME: ...`, and one more failure.
    pub fn refuse(&mut self, service: &Service, refusal: &ClientError) {
        self.failures += 1;
        let line = [severity(refusal), service.name.as_bytes(), b": ", &refusal.to_bytes()].concat();
        self.say(&line);
    }

    /// `warning: unable to TEXT NAME/FILE: ERR`, on standard error.
    pub fn complain(&mut self, text: &str, name: &OsStr, file: &str, why: Errno) {
        let mut message = std::ffi::OsString::from(format!("warning: unable to {text} "));
        message.push(name);
        message.push(file);
        self.flush();
        let message = Error::new(message, why).to_bytes();
        write_line(&if std::io::stderr().is_terminal() {
            printable(&message)
        } else {
            message.as_slice().into()
        });
    }

    /// Writes what was said. Nobody can be told if that fails.
    pub fn flush(&mut self) {
        let mut stdout = std::io::stdout();
        let _ = stdout.write_all(&self.text).and_then(|()| stdout.flush());
        self.text.clear();
    }

    /// Says a line that runit's sv does not know, in which there may be anything of what was found.
    pub fn remark(&mut self, line: &str) {
        self.put(&printable(line.as_bytes()));
    }

    /// Writes whole lines of another form than runit's, in which nothing acts on a terminal by accident.
    pub fn write(&mut self, lines: &str) {
        self.text.extend_from_slice(lines.as_bytes());
        if self.text.len() >= ENOUGH {
            self.flush();
        }
    }

    /// Says one of runit's lines. Programs read names as they are.
    fn say(&mut self, line: &[u8]) {
        if self.is_shown { self.put(&printable(line)) } else { self.put(line) }
    }

    fn put(&mut self, line: &[u8]) {
        self.text.extend_from_slice(line);
        self.text.push(b'\n');
        if self.text.len() >= ENOUGH {
            self.flush();
        }
    }

    /// Appends `run: SHOWN: ...`; nothing, if it cannot be told whether it is normally down.
    fn write_service(
        &mut self,
        line: &mut Vec<u8>,
        name: &OsStr,
        shown: &OsStr,
        status: &Status,
        has_down: Result<bool, Errno>,
    ) -> bool {
        match has_down {
            Ok(has_down) => write_status(line, shown, status, has_down, self.now),
            Err(why) => self.complain("stat", name, "/down", why),
        }
        has_down.is_ok()
    }

    /// Appends the log service, or what is wrong with it (SV-25).
    fn write_log(&mut self, line: &mut Vec<u8>, name: &OsStr, log: &Snapshot) {
        line.extend_from_slice(b"; ");
        let refusal = match &log.status {
            Ok(status) => {
                self.write_service(line, name, OsStr::new("log"), status, log.has_down);
                return;
            }
            Err(refusal) => refusal,
        };
        self.failures += 1;
        line.extend_from_slice(severity_in_log(refusal));
        line.extend_from_slice(name.as_bytes());
        line.extend_from_slice(b"/log: ");
        line.extend(match refusal {
            ClientError::Directory(why) => Error::new("unable to change directory", *why).to_bytes(),
            ClientError::NotRunning | ClientError::Trouble(_) => refusal.to_bytes(),
        });
    }
}

fn severity(refusal: &ClientError) -> &'static [u8] {
    match refusal {
        ClientError::Directory(_) | ClientError::NotRunning => b"fail: ",
        ClientError::Trouble(_) => b"warning: ",
    }
}

fn severity_in_log(refusal: &ClientError) -> &'static [u8] {
    match refusal {
        ClientError::NotRunning => b"fail: ",
        ClientError::Directory(_) | ClientError::Trouble(_) => b"warning: ",
    }
}
