//! Event source: what `./run` says of itself: a line on a descriptor (`notification-fd`), or the datagrams of
//! `sd_notify(3)` (`notify-socket`).
//!
//! The socket has an abstract name. So a service with another user can reach it, though `supervise/` is
//! closed to that user, as can one in a directory with a long name; and nothing is left of it. The kernel says
//! which process has sent a datagram, and as which user: only processes of this pid namespace are believed,
//! and only those of root, of the supervisor's own user, and of a user of `./run`, which may end or trace
//! `./run` as well.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::SystemTime;

use nix::fcntl::OFlag;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, UnixCredentials, bind,
    recvmsg, setsockopt, socket, sockopt::PassCred,
};
use nix::unistd::geteuid;
use servicedir::Tai64n;
use servicedir::notification::Message;
use sys::{Errno, Pid, Program, procfs};

use crate::state::ServiceEvent;

/// How many datagrams, or pieces of a line, are taken in one turn: a service that says something all the time
/// must not keep other work from being done.
const TURN: u32 = 16;

/// The size of the largest datagram, as in systemd, and of a piece of a line.
const LARGEST: usize = 4096;

/// The descriptors of a notification, before there is a `./run` to have their other ends.
pub struct Offer {
    line: Option<(OwnedFd, OwnedFd, i32)>,
    socket: Option<(OwnedFd, String)>,
}

/// What is read while `./run` lives.
pub struct Notification {
    run: Pid,
    /// Closed after the first line.
    line: Option<OwnedFd>,
    socket: Option<OwnedFd>,
    is_watched: bool,
    is_readable: bool,
    left: u32,
    text: Option<String>,
}

impl Offer {
    /// A pipe for the descriptor of this number, and a socket, if they are wanted.
    pub fn new(number: Option<i32>, has_socket: bool) -> Result<Self, Errno> {
        let line = match number {
            Some(number) => {
                let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
                // Only this end does not wait: a service may not expect its own to be so.
                let flags = nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK);
                nix::fcntl::fcntl(&reader, flags)?;
                Some((reader, writer, number))
            }
            None => None,
        };
        Ok(Self { line, socket: if has_socket { Some(named_socket()?) } else { None } })
    }

    /// Gives the other ends to a program.
    pub fn give_to<'a>(&'a self, mut program: Program<'a>) -> Program<'a> {
        if let Some((_, writer, number)) = &self.line {
            program = program.descriptor(writer.as_fd(), *number);
        }
        match &self.socket {
            Some((_, name)) => program.env("NOTIFY_SOCKET", format!("@{name}")),
            None => program,
        }
    }

    /// Reads what this `./run` says.
    pub fn into_notification(self, run: Pid) -> Notification {
        Notification {
            run,
            line: self.line.map(|(reader, ..)| reader),
            socket: self.socket.map(|(socket, _)| socket),
            is_watched: false,
            is_readable: true,
            left: TURN,
            text: None,
        }
    }
}

/// A datagram socket with a name that no other has had or will have: what an earlier `./run` has left must
/// not be heard in the place of this one.
fn named_socket() -> Result<(OwnedFd, String), Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
    setsockopt(&socket, PassCred, &true)?;
    let inode = nix::sys::stat::fstat(&socket)?.st_ino;
    let name = format!("runsv/{inode}{}", Tai64n::of(SystemTime::now()).label());
    bind(socket.as_raw_fd(), &UnixAddr::new_abstract(name.as_bytes())?)?;
    Ok((socket, name))
}

impl Notification {
    /// The descriptors that the host was not given yet.
    pub fn unwatched(&mut self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let is_new = !std::mem::replace(&mut self.is_watched, true);
        self.line.iter().chain(&self.socket).filter(move |_| is_new).map(AsFd::as_fd)
    }

    /// There may be something to read.
    pub fn readable(&mut self) {
        self.is_readable = true;
    }

    /// Begins the next turn.
    pub fn begin_turn(&mut self) {
        self.left = TURN;
    }

    /// Whether something has come in that the last turn left for the next one.
    pub fn has_more(&self) -> bool {
        self.is_readable
    }

    /// The text of the last message, which is given once.
    pub fn take_text(&mut self) -> Option<String> {
        self.text.take()
    }

    /// The next message; `None` when nothing is left, or the turn is over.
    pub fn next(&mut self) -> Option<ServiceEvent> {
        while self.is_readable && self.left > 0 {
            self.left -= 1;
            self.is_readable = false;
            if self.has_line() {
                return Some(ServiceEvent::Notified { is_ready: Some(true), extension: None });
            }
            if let Some(Message { is_ready, extension, text }) = self.receive() {
                self.text = text;
                return Some(ServiceEvent::Notified { is_ready, extension });
            }
        }
        None
    }

    /// Whether a line has come. The descriptor is closed then, and if it ends before.
    fn has_line(&mut self) -> bool {
        let Some(reader) = &self.line else { return false };
        let mut piece = [0; LARGEST];
        let length = match nix::unistd::read(reader, &mut piece) {
            Ok(length) => length,
            // Another reason would not pass.
            Err(why) => {
                self.is_readable |= why == Errno::EINTR;
                return false;
            }
        };
        let is_line = piece.get(..length).is_some_and(|piece| piece.contains(&b'\n'));
        if is_line || length == 0 {
            self.line = None;
        }
        self.is_readable = true;
        is_line
    }

    /// The next datagram, if it is from a process that is believed.
    fn receive(&mut self) -> Option<Message> {
        let socket = self.socket.as_ref()?;
        let mut datagram = [0; LARGEST];
        let mut parts = [IoSliceMut::new(&mut datagram)];
        // There is no room for descriptors: those that are sent are closed by the kernel.
        let mut room = nix::cmsg_space!(UnixCredentials);
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let received = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut room), flags);
        let received = match received {
            Ok(received) => received,
            Err(why) => {
                self.is_readable |= why == Errno::EINTR;
                return None;
            }
        };
        self.is_readable = true;
        let cut = MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC;
        let (length, is_whole) = (received.bytes, !received.flags.intersects(cut));
        let sender = received.cmsgs().ok()?.find_map(|about| match about {
            ControlMessageOwned::ScmCredentials(sender) => Some(sender),
            _ => None,
        })?;
        let message = Message::parse(datagram.get(..length)?);
        (is_whole && self.is_believed(sender)).then_some(message)
    }

    fn is_believed(&self, sender: UnixCredentials) -> bool {
        // A process of another pid namespace has no number here.
        sender.pid() != 0
            && (sender.uid() == 0
                || sender.uid() == geteuid().as_raw()
                || procfs::users_of(self.run).is_some_and(|users| users.contains(&sender.uid())))
    }
}
