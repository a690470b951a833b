//! A process group, and whether it lives.

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::procfs::{self, Stat};
use crate::signal::Signal;

/// A process group that is checked again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessGroup {
    leader: Pid,
    /// A member that lived at the last check. While it does, the others need no check.
    witness: Pid,
}

impl ProcessGroup {
    /// The group with this leader, which may be gone.
    pub fn of(leader: Pid) -> Self {
        Self { leader, witness: leader }
    }

    /// The leader. Its number is the group's.
    pub fn leader(self) -> Pid {
        self.leader
    }

    /// Whether the group has a living member.
    ///
    /// The kernel counts zombies, too, which only their parents can remove: /proc shows which
    /// members are alive. Where /proc shows no member at all, as without /proc, the kernel's answer counts.
    pub fn is_alive(&mut self) -> bool {
        if !self.exists() {
            return false;
        }
        let is_living = |stat: Stat| stat.group == self.leader && stat.is_alive();
        if procfs::is_ours() && procfs::stat(self.witness).is_some_and(is_living) {
            return true;
        }
        let Some(dead) = self.find_dead() else { return true };
        // A member that forks and ends all the time can escape a check, but leaves another zombie.
        let Some(dead_then) = self.find_dead() else { return true };
        dead != dead_then || dead.is_empty() && self.exists()
    }

    /// The zombies of the group; `None` if there is a living member, which is the witness from now on.
    fn find_dead(&mut self) -> Option<Vec<Pid>> {
        let mut dead = Vec::new();
        for (pid, stat) in procfs::stats().filter(|(_, stat)| stat.group == self.leader) {
            if stat.is_alive() {
                self.witness = pid;
                return None;
            }
            dead.push(pid);
        }
        Some(dead)
    }

    /// Sends a signal to every member.
    pub fn signal(self, signal: Signal) {
        // A group that is gone needs none.
        let _ = signal.send_to_group(self.leader);
    }

    /// Whether the group has a member, a zombie included.
    fn exists(self) -> bool {
        // Signal 0 only asks.
        Signal(0).send_to_group(self.leader) != Err(Errno::ESRCH)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::process::CommandExt as _;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    fn eventually_ends(group: &mut ProcessGroup) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while group.is_alive() {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The leader ends. Its child leaves the group, and never reaps its own child, which has not.
    #[test]
    fn a_group_of_zombies_is_not_alive() {
        let script = "exec 3<&0; (cat <&3 & exec setsid sleep 1000 3<&-) >/dev/null & echo $!";
        let mut leader = Command::new("sh");
        leader.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut leader = leader.spawn().expect("a shell");
        let mut line = String::new();
        let mut output = BufReader::new(leader.stdout.take().expect("a pipe"));
        output.read_line(&mut line).expect("a line");
        let negligent = Pid::from_raw(line.trim().parse().expect("a number"));
        let input = leader.stdin.take();
        leader.wait().expect("an end");

        let mut group = ProcessGroup::of(Pid::from_raw(leader.id().cast_signed()));
        assert!(group.is_alive());
        drop(input);
        eventually_ends(&mut group);
        assert!(group.exists(), "with a zombie");
        Signal::KILL.send(negligent).expect("a process");
    }

    #[test]
    fn a_group_ends_with_its_last_member() {
        let mut alone = Command::new("cat").stdin(Stdio::piped()).process_group(0).spawn().expect("cat");
        let mut group = ProcessGroup::of(Pid::from_raw(alone.id().cast_signed()));
        assert!(group.is_alive());
        drop(alone.stdin.take());
        // It is a zombie: this process has not reaped it yet.
        eventually_ends(&mut group);
        alone.wait().expect("an end");
        assert!(!group.is_alive());
    }
}
