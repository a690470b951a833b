//! Effects: the output of sv, and the count of failures.

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
use crate::service::NamedService;
use crate::snapshot::{Snapshot, has_down};

/// How much is buffered before it is written.
const ENOUGH: usize = 32 * 1024;

/// LSB's exit codes of `status` (SV-62).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LsbStatus {
    /// It runs.
    Running = 0,
    /// No runsv answers.
    Failed = 1,
    /// It is down.
    Down = 3,
    /// Its status cannot be read.
    Unknown = 4,
}

/// Standard output, and the number of failures so far.
///
/// Lines are buffered. They are written whole, before a message on standard error, and before sv sleeps.
pub struct Report {
    text: Vec<u8>,
    /// Whether standard output is a terminal, where control characters in names are replaced.
    is_terminal: bool,
    now: Tai64n,
    /// How many lines reported a failure.
    pub failures: usize,
}

impl Report {
    /// An empty report.
    pub fn new() -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        Self { text: Vec::new(), is_terminal, now: Tai64n::of(SystemTime::now()), failures: 0 }
    }

    /// Counts ages to this moment from now on.
    pub fn set_now(&mut self) {
        self.now = Tai64n::of(SystemTime::now());
    }

    /// Prints the status of a service and its log service (SV-22).
    pub fn print_snapshot(&mut self, service: &NamedService, snapshot: &Snapshot) -> LsbStatus {
        let status = match &snapshot.status {
            Ok(status) => status,
            Err(refusal) => {
                self.print_refusal(service, refusal);
                return match refusal {
                    ClientError::Trouble(_) => LsbStatus::Unknown,
                    ClientError::Directory(_) | ClientError::NotRunning => LsbStatus::Failed,
                };
            }
        };
        let mut line = Vec::with_capacity(128);
        let name = &service.name;
        let is_complete =
            self.write_service(&mut line, name, name, status, snapshot.has_down, snapshot.is_ready());
        if let Some(log) = &snapshot.log {
            self.write_log(&mut line, &service.name, log);
        }
        self.print_line(&line);
        match status.pid {
            _ if !is_complete => LsbStatus::Unknown,
            0 => LsbStatus::Down,
            _ => LsbStatus::Running,
        }
    }

    /// `WORD: run: NAME: ...`
    pub fn print_status(&mut self, word: &str, service: &NamedService, status: &Status) {
        let mut line = format!("{word}: ").into_bytes();
        if let Ok(client) = service.client() {
            let is_ready = service.is_ready(status);
            let name = &service.name;
            self.write_service(&mut line, name, name, status, has_down(client.dir()), is_ready);
        }
        self.print_line(&line);
    }

    /// `ok: NAME: runsv not running`, as it should be (SV-41).
    pub fn print_gone(&mut self, service: &NamedService) {
        self.print_line(&[b"ok: ", service.name.as_bytes(), b": runsv not running"].concat());
    }

    /// `fail: NAME: ...` or `warning: NAME: ...`, and one more failure.
    pub fn print_refusal(&mut self, service: &NamedService, refusal: &ClientError) {
        self.failures += 1;
        let line = [severity(refusal), service.name.as_bytes(), b": ", &refusal.to_bytes()].concat();
        self.print_line(&line);
    }

    /// `warning: unable to TEXT NAME/FILE: ERR`, on standard error.
    pub fn warn(&mut self, text: &str, name: &OsStr, file: &str, why: Errno) {
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

    /// Writes the buffered lines. A failure cannot be reported anywhere.
    pub fn flush(&mut self) {
        let mut stdout = std::io::stdout();
        let _ = stdout.write_all(&self.text).and_then(|()| stdout.flush());
        self.text.clear();
    }

    /// Prints a line that runit's sv does not have. Control characters are replaced always: it may contain
    /// anything that was found in a file.
    pub fn print_own_line(&mut self, line: &str) {
        self.put(&printable(line.as_bytes()));
    }

    /// Prints whole lines as they are: the caller has replaced control characters.
    pub fn print_text(&mut self, lines: &str) {
        self.text.extend_from_slice(lines.as_bytes());
        if self.text.len() >= ENOUGH {
            self.flush();
        }
    }

    /// Prints one of runit's lines. Programs get names unchanged.
    fn print_line(&mut self, line: &[u8]) {
        if self.is_terminal { self.put(&printable(line)) } else { self.put(line) }
    }

    fn put(&mut self, line: &[u8]) {
        self.text.extend_from_slice(line);
        self.text.push(b'\n');
        if self.text.len() >= ENOUGH {
            self.flush();
        }
    }

    /// Appends `run: SHOWN: ...`; nothing if the file `down` cannot be checked.
    fn write_service(
        &mut self,
        line: &mut Vec<u8>,
        name: &OsStr,
        shown: &OsStr,
        status: &Status,
        has_down: Result<bool, Errno>,
        is_ready: Option<bool>,
    ) -> bool {
        match has_down {
            Ok(has_down) => write_status(line, shown, status, has_down, is_ready, self.now),
            Err(why) => self.warn("stat", name, "/down", why),
        }
        has_down.is_ok()
    }

    /// Appends the status of the log service, or the reason why there is none (SV-25).
    fn write_log(&mut self, line: &mut Vec<u8>, name: &OsStr, log: &Snapshot) {
        line.extend_from_slice(b"; ");
        let refusal = match &log.status {
            Ok(status) => {
                self.write_service(line, name, OsStr::new("log"), status, log.has_down, log.is_ready());
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
