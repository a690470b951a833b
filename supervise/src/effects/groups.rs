//! Effects: process groups (`process-group`): records the session of `./run`, probes and ends groups.

use servicedir::session;
use sys::{Pid, ProcessGroup, Remains, Session, Signal};

use super::Effects;
use crate::state::ServiceRole;

/// The groups that may have living members.
#[derive(Debug, Default)]
pub struct Groups {
    /// The last session of each service.
    led: Vec<LedSession>,
    /// The groups without a leader, which are probed.
    probed: Vec<ProcessGroup>,
}

/// A session that a `./run` leads.
#[derive(Debug)]
struct LedSession {
    role: ServiceRole,
    session: Session,
    /// Whether an earlier supervisor started it.
    is_earlier: bool,
}

impl Effects {
    /// Notes a session that an earlier supervisor has left: its group ends before `./run` is started.
    pub fn take_over(&mut self, role: ServiceRole, session: Session) {
        self.groups.led.push(LedSession { role, session, is_earlier: true });
    }

    /// Writes `supervise/.session`: if this supervisor is killed, the next one ends that session.
    pub(super) fn record_session(&mut self, role: ServiceRole, leader: Pid) {
        let Some(session) = Session::led_by(leader) else { return };
        self.groups.led.retain(|led| led.role != role);
        self.groups.led.push(LedSession { role, session, is_earlier: false });
        self.write_sessions(|of| of == role);
    }

    pub(super) fn write_sessions(&mut self, is_meant: impl Fn(ServiceRole) -> bool) {
        for LedSession { role, session, .. } in self.groups.led.iter().filter(|led| is_meant(led.role)) {
            if let Err(failure) = session::write(&self.dir(*role), session) {
                self.logger.warn(&failure);
            }
        }
    }

    /// Whether a group has a living member. When it has none, removes the record, and kills what is left of the
    /// session in other groups: of one that an earlier supervisor has left, and where leftovers cannot be told
    /// by their parent.
    pub(super) fn probe_group(&mut self, role: ServiceRole, leader: Pid) -> bool {
        let Groups { led, probed } = &mut self.groups;
        let known = probed.iter().position(|group| group.leader() == leader);
        let mut group = known.map_or(ProcessGroup::of(leader), |place| probed.swap_remove(place));
        if group.is_alive() {
            probed.push(group);
            return true;
        }
        // A member that was forked during the probe must not outlive the group.
        group.signal(Signal::KILL);
        let ended: Vec<LedSession> = led.extract_if(.., |led| led.role == role).collect();
        let is_searched = |led: &LedSession| led.is_earlier || self.hosting.is_shared;
        for LedSession { session, .. } in ended.into_iter().filter(is_searched) {
            if let Remains::Living(members) = session.remains() {
                for pid in members {
                    let _ = Signal::KILL.send(pid);
                }
            }
        }
        if !self.is_displaced(role) {
            session::remove(&self.dir(role));
        }
        false
    }
}
