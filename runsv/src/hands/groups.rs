//! Hands: whether the process groups of the service live, with `process-group`.

use unix::{Group, Pid, Signal};

/// The groups that have lost their leader, and are not known to have ended.
#[derive(Debug, Default)]
pub struct Groups {
    looked_at: Vec<Group>,
}

impl Groups {
    /// Whether a group has a living member.
    pub(super) fn probe(&mut self, leader: Pid) -> bool {
        let known = self.looked_at.iter().position(|group| group.leader() == leader);
        let mut group = known.map_or(Group::of(leader), |place| self.looked_at.swap_remove(place));
        let is_alive = group.is_alive();
        if is_alive {
            self.looked_at.push(group);
        } else {
            // A member that forks and ends all the time can have escaped the look.
            group.signal(Signal::KILL);
        }
        is_alive
    }
}
