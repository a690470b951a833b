//! Hands: starts many runsvs at the price of one: a runsv that was executed goes on as each of them,
//! in a copy of itself. Both ends of it: runsvdir has the one, this program is the other.
//!
//! A C program in a virtual machine takes half a millisecond to its first own instruction, and
//! nothing of what it needs for that is shared. Its copies are children of runsvdir, not of the
//! server, and look as if they had been executed, as soon as they have their name: the file they execute
//! is runsv.
//!
//! The two talk through a socket that keeps messages apart: some names go one way, and four bytes come
//! back for each, the new process's number, or what the kernel said against it as a negative one. The
//! server ends when runsvdir closes its end, or is gone.

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, setsockopt, socketpair};
use nix::sys::time::TimeVal;
use servicedir::FORK_SERVER;
use unix::fork::{Copier, Side};
use unix::signal::{Signal, SignalSet};
use unix::spawn::{Program, c_string};
use unix::{Errno, Pid, Poller};

use crate::inbox::CAUGHT;

/// The argument that asks for a session for each runsv (RSD-7).
const SESSIONS: &str = "-P";

/// How long an answer is waited for: somebody may have stopped the server.
const PATIENCE: TimeVal = TimeVal::new(5, 0);

/// The most that is asked for at once, in bytes.
const LONGEST_REQUEST: usize = 8 << 10;

/// runsvdir's end.
pub struct ForkServer {
    socket: OwnedFd,
}

impl ForkServer {
    /// Executes the first of these files as a server, in the working directory. `caught` are the
    /// signals that this process catches. `None` where that is not possible: then nothing has been
    /// lost but a moment.
    pub fn start(candidates: &[CString], has_sessions: bool, caught: &[Signal]) -> Option<Self> {
        let (socket, other) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).ok()?;
        setsockopt(&socket, ReceiveTimeout, &PATIENCE).ok()?;
        let program = Program::first_of(candidates.to_vec(), c_string(FORK_SERVER))
            .arg(other.as_raw_fd().to_string())
            .default_signals(caught)
            .inherited_mask()
            .keep_open(other.as_fd());
        let program = if has_sessions { program.arg(SESSIONS) } else { program };
        program.spawn().ok().map(|_| Self { socket })
    }

    /// Starts `runsv NAME` for each of these; says for each what became of it. The processes are children
    /// of this one. `None` if there is no answer: then some of them may have been started.
    pub fn fork<'a>(&self, names: impl Iterator<Item = &'a OsStr>) -> Option<Vec<Result<Pid, Errno>>> {
        let (mut request, mut count) = (Vec::new(), 0);
        for name in names {
            request.extend_from_slice(name.as_bytes());
            request.push(0);
            count += 1;
        }
        let mut answer = vec![0; count * size_of::<i32>()];
        retried(|| send(self.socket.as_raw_fd(), &request, MsgFlags::MSG_NOSIGNAL)).ok()?;
        let length = retried(|| recv(self.socket.as_raw_fd(), &mut answer, MsgFlags::empty())).ok()?;
        let (numbers, _) = answer.get(..length)?.as_chunks();
        (numbers.len() == count)
            .then(|| numbers.iter().map(|bytes| outcome(i32::from_ne_bytes(*bytes))).collect())
    }
}

/// What is said of a process.
fn outcome(number: i32) -> Result<Pid, Errno> {
    if number > 0 { Ok(Pid::from_raw(number)) } else { Err(Errno::from_raw(number.saturating_neg())) }
}

/// The server, started with these arguments after its name. In a copy it returns, with the directory
/// that is to be kept; in the server itself, with none, when it is not needed any more.
pub(crate) fn serve(mut arguments: impl Iterator<Item = OsString>) -> Option<OsString> {
    let number = arguments.next()?.to_str()?.parse().ok()?;
    let has_sessions = arguments.next().is_some_and(|argument| argument == SESSIONS);
    let socket = unix::spawn::kept_open(number)?;
    let copier = Copier::new()?;
    // A runsv hears these as soon as it can, though they come before.
    SignalSet::of(&CAUGHT).block();
    // What is made for the first poller serves the later ones, too: the copies share it.
    if let Ok(poller) = Poller::without_unblocking(&CAUGHT) {
        poller.close();
    }
    unix::heap::release_startup_memory();
    let mut request = vec![0; LONGEST_REQUEST];
    let mut answer = Vec::new();
    loop {
        let length = retried(|| recv(socket.as_raw_fd(), &mut request, MsgFlags::empty())).ok()?;
        // Nothing is what comes when runsvdir has closed its end.
        let names = request.get(..length)?.strip_suffix(&[0])?;
        answer.clear();
        // One right after the other: what is written to between two copies is duplicated.
        for name in names.split(|byte| *byte == 0).map(OsStr::from_bytes) {
            let number = match copier.sibling() {
                Ok(Side::Copy) => {
                    drop(socket);
                    if has_sessions {
                        // A process that was just forked leads nothing, so this cannot fail.
                        let _ = nix::unistd::setsid();
                    }
                    // The kernel has been asked before whether it can do this.
                    let _ = copier.disguise(&[OsStr::new("runsv"), name]);
                    return Some(name.to_owned());
                }
                Ok(Side::Original(copy)) => copy.as_raw(),
                Err(why) => (why as i32).saturating_neg(),
            };
            answer.extend_from_slice(&number.to_ne_bytes());
        }
        // If nobody listens nobody wants more of them.
        retried(|| send(socket.as_raw_fd(), &answer, MsgFlags::MSG_NOSIGNAL)).ok()?;
    }
}

fn retried(mut receive: impl FnMut() -> nix::Result<usize>) -> nix::Result<usize> {
    loop {
        match receive() {
            Err(Errno::EINTR) => {}
            received => return received,
        }
    }
}
