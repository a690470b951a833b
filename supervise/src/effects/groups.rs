//! Effects: the process groups of the service, with `process-group`: the record of them, and whether they
//! live.

use servicedir::session;
use sys::{Group, Pid, Remains, Session, Signal};

use super::Effects;
use crate::state::ServiceRole;

/// The groups that are not known to have ended.
#[derive(Debug, Default)]
pub struct Groups {
    /// The last one of each service.
    led: Vec<LedSession>,
    /// Those that have lost their leader.
    looked_at: Vec<Group>,
}

/// A session that a `./run` leads.
#[derive(Debug)]
struct LedSession {
    role: ServiceRole,
    session: Session,
    /// Whether it was started by an earlier runsv.
    is_earlier: bool,
}

impl Effects {
    /// An earlier runsv has left this session, and its group is ended first.
    pub fn take_over(&mut self, role: ServiceRole, session: Session) {
        self.groups.led.push(LedSession { role, session, is_earlier: true });
    }

    /// Writes down which session `./run` leads: another runsv ends it if this one is killed.
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

    /// Whether a group has a living member. With the last one the record ends, and what an earlier runsv
    /// has left of the session in other groups.
    pub(super) fn probe_group(&mut self, role: ServiceRole, leader: Pid) -> bool {
        let Groups { led, looked_at } = &mut self.groups;
        let known = looked_at.iter().position(|group| group.leader() == leader);
        let mut group = known.map_or(Group::of(leader), |place| looked_at.swap_remove(place));
        if group.is_alive() {
            looked_at.push(group);
            return true;
        }
        // Whatever may have escaped the look does not outlive the group.
        group.signal(Signal::KILL);
        let ended: Vec<LedSession> = led.extract_if(.., |led| led.role == role).collect();
        for LedSession { session, .. } in ended.into_iter().filter(|led| led.is_earlier) {
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
