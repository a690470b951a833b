//! A session, distinct from every other one, also when its number is used again.

use std::fmt;

use nix::unistd::Pid;

use crate::procfs;

/// A session that a process has begun, as it can be found again by another program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Between two starts of the machine, and in two pid namespaces, numbers mean different processes.
    pid_space: PidSpace,
    leader: Pid,
    /// When the leader was forked, as [`ticks`](crate::clock::ticks) counts.
    started: u64,
    /// The number of its scheduling group. Each session gets a new one, and a process changes it only
    /// with its session. Not every kernel has them.
    autogroup: Option<u64>,
}

/// Where the numbers of processes have one meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PidSpace {
    boot: String,
    namespace: u64,
}

/// What there is of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remains {
    /// No living process, as far as can be seen.
    Nothing,
    /// These processes.
    Living(Vec<Pid>),
    /// This process may belong to it, or to a later session with the same number.
    Unclear(Pid),
}

impl Session {
    /// The session that a process has begun which was not reaped yet; `None` if it has begun none, or
    /// it cannot be seen.
    pub fn led_by(leader: Pid) -> Option<Self> {
        let pid_space = PidSpace::read()?;
        let stat = procfs::stat(leader).filter(|stat| stat.session == leader)?;
        Some(Self { pid_space, leader, started: stat.started, autogroup: procfs::autogroup(leader) })
    }

    /// The process that has begun it. Its number is the session's.
    pub fn leader(&self) -> Pid {
        self.leader
    }

    /// Searches for its processes.
    pub fn remains(&self) -> Remains {
        if PidSpace::read().as_ref() != Some(&self.pid_space) {
            return Remains::Nothing;
        }
        // The kernel gives the leader's number to no other process while the session has members.
        let leader = procfs::stat(self.leader);
        if leader.as_ref().is_some_and(|stat| stat.started != self.started) {
            return Remains::Nothing;
        }
        let is_same = |pid| self.autogroup.is_none_or(|own| procfs::autogroup(pid) == Some(own));
        let mut members = procfs::stats()
            .filter(|(pid, stat)| stat.session == self.leader && stat.is_alive() && is_same(*pid))
            .map(|(pid, _)| pid)
            .peekable();
        match members.peek() {
            None => Remains::Nothing,
            // The number may have been free, and another session's, in the meantime.
            Some(pid) if leader.is_none() && self.autogroup.is_none() => Remains::Unclear(*pid),
            Some(_) => Remains::Living(members.collect()),
        }
    }

    /// Reads what [`Display`](fmt::Display) writes.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_suffix('\n')?.split(' ');
        let boot = words.next().filter(|word| !word.is_empty())?.to_owned();
        let namespace = words.next()?.parse().ok()?;
        let leader = words.next()?.parse().ok().filter(|pid| *pid > 1).map(Pid::from_raw)?;
        let started = words.next()?.parse().ok()?;
        let autogroup = match words.next()? {
            "-" => None,
            word => Some(word.parse().ok()?),
        };
        let pid_space = PidSpace { boot, namespace };
        words.next().is_none().then_some(Self { pid_space, leader, started, autogroup })
    }
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PidSpace { boot, namespace } = &self.pid_space;
        write!(f, "{boot} {namespace} {} {} ", self.leader, self.started)?;
        match self.autogroup {
            Some(autogroup) => writeln!(f, "{autogroup}"),
            None => writeln!(f, "-"),
        }
    }
}

impl PidSpace {
    /// This process's own; `None` without a /proc that shows it.
    fn read() -> Option<Self> {
        if !procfs::is_ours() {
            return None;
        }
        Some(Self { boot: procfs::boot_id()?, namespace: procfs::own_pid_namespace()? })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, PipeWriter, Read as _, pipe};
    use std::os::fd::AsFd as _;

    use proptest::prelude::*;

    use super::*;
    use crate::process::reap::reap_waiting;
    use crate::process::spawn::Program;

    /// A session: a leader and its child, each of which ends with its own input.
    struct SessionFixture {
        session: Session,
        child: Pid,
        leader_lives: PipeWriter,
        child_lives: PipeWriter,
        ends: PipeReader,
    }

    fn fixture() -> SessionFixture {
        let (input, leader_lives) = pipe().expect("a pipe");
        let (child_input, child_lives) = pipe().expect("a pipe");
        let (mut ends, output) = pipe().expect("a pipe");
        let program = Program::new("/bin/sh").arg("-c").arg("cat <&2 2>&1 & echo $!; read line");
        let program = program.stdin(input.as_fd()).stdout(output.as_fd()).stderr(child_input.as_fd());
        let leader = program.own_session_at_once().spawn().expect("a shell");
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            let mut byte = [0];
            ends.read_exact(&mut byte).expect("a line");
            line.extend(byte);
        }
        let child = String::from_utf8(line).expect("a line").trim().parse().map(Pid::from_raw);
        let session = Session::led_by(leader).expect("a session");
        SessionFixture { session, child: child.expect("a number"), leader_lives, child_lives, ends }
    }

    impl SessionFixture {
        fn without_leader(self) -> (Session, Pid, PipeWriter, PipeReader) {
            drop(self.leader_lives);
            reap_waiting(self.session.leader).expect("an end");
            (self.session, self.child, self.child_lives, self.ends)
        }
    }

    #[test]
    fn a_session_is_found_again_with_all_its_processes() {
        let fixture = fixture();
        let Remains::Living(found) = fixture.session.remains() else { panic!("it lives") };
        assert!(found.contains(&fixture.session.leader) && found.contains(&fixture.child));
        let other = PidSpace { namespace: 1, ..fixture.session.pid_space.clone() };
        let elsewhere = Session { pid_space: other, ..fixture.session.clone() };
        assert_eq!(elsewhere.remains(), Remains::Nothing);
        let later = Session { started: fixture.session.started - 1, ..fixture.session.clone() };
        assert_eq!(later.remains(), Remains::Nothing, "the number is another process's by now");
        assert_eq!(Session::led_by(fixture.child), None);
        fixture.without_leader();
    }

    #[test]
    fn a_session_without_its_leader_is_known_by_its_scheduling_group() {
        let (session, child, child_lives, mut ends) = fixture().without_leader();
        if let Some(own) = session.autogroup {
            assert_eq!(session.remains(), Remains::Living(vec![child]));
            let another = Session { autogroup: Some(own + 1), ..session.clone() };
            assert_eq!(another.remains(), Remains::Nothing);
        }
        let unnumbered = Session { autogroup: None, ..session.clone() };
        assert_eq!(unnumbered.remains(), Remains::Unclear(child));
        drop(child_lives);
        ends.read_to_end(&mut Vec::new()).expect("an end");
        while session.remains() != Remains::Nothing {
            std::thread::yield_now();
        }
    }

    #[test]
    fn only_what_was_written_is_read() {
        let pid_space = PidSpace { boot: "375e23c3-b37b".to_owned(), namespace: 7 };
        for autogroup in [None, Some(301)] {
            let session =
                Session { pid_space: pid_space.clone(), leader: Pid::from_raw(12), started: 4711, autogroup };
            assert_eq!(Session::parse(&session.to_string()), Some(session));
        }
        for line in [
            "",
            "\n",
            "a 7 12 4711 -",
            "a 7 1 4711 -\n",
            "a 7 -1 4711 -\n",
            "a 7 12 4711\n",
            "a 7 12 4711 - \n",
            "a 7 12 4711 x\n",
            " 7 12 4711 -\n",
        ] {
            assert_eq!(Session::parse(line), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_line_is_a_session_or_none(line in "[a-f0-9-]{0,9}( [0-9-]{0,20}){0,5}\n?|\\PC*\n") {
            if let Some(session) = Session::parse(&line) {
                prop_assert_eq!(Session::parse(&session.to_string()), Some(session));
            }
        }

        #[test]
        fn a_session_is_read_as_it_was_written(
            boot in "[a-f0-9-]{1,36}",
            namespace: u64,
            leader in 2..=i32::MAX,
            started: u64,
            autogroup: Option<u64>,
        ) {
            let leader = Pid::from_raw(leader);
            let session = Session { pid_space: PidSpace { boot, namespace }, leader, started, autogroup };
            prop_assert_eq!(Session::parse(&session.to_string()), Some(session));
        }
    }
}
