//! Effects: stops a service without looking into its directory, which may be on a file system that does not
//! answer.
//!
//! How the service is to be stopped is read when `./run` is started. What has to be written is written later.

use servicedir::HistoryEvent;

use super::{Effects, is_there, may_owner_execute, send};
use crate::state::{ControlScript, ServiceAction, ServiceEvent, ServiceRole, Settings};

/// What is known of the stop, and what is left to be written.
#[derive(Debug, Default)]
pub struct Deferral {
    is_active: bool,
    /// The settings; `None` if they must be read, or a script takes part in the stop.
    known: Option<Settings>,
    has_scripts: bool,
    history: Vec<(ServiceRole, HistoryEvent)>,
}

/// An action that cannot be carried out without looking into the directory.
pub struct NotDeferred;

impl Effects {
    /// Reads how the service is stopped, for a host that may have to do it in a hurry.
    pub fn learn_how_to_stop(&mut self) {
        if self.hosting.is_shared {
            let has_script = |byte| {
                let script = fs_err::metadata(self.main.hook(byte));
                script.is_ok_and(|script| may_owner_execute(&script))
            };
            // Almost no service has any: one look is enough for these.
            let has_directory = !self.is_away && is_there("control");
            let scripts = [b't', b'd', b'x'].map(|byte| has_directory && has_script(byte));
            let [is_asked, _, is_asked_at_exit] = scripts;
            self.deferral.known =
                if self.is_away || is_asked || is_asked_at_exit { None } else { Self::peek_settings() };
            self.deferral.has_scripts = scripts.contains(&true) || is_there(self.main.finish());
        }
    }

    /// Whether a `finish` or a control script takes part in the stop, as was known at the last start.
    pub fn has_stop_scripts(&self) -> bool {
        self.deferral.has_scripts
    }

    /// The files that say how to stop may have changed.
    pub fn forget_how_to_stop(&mut self) {
        self.deferral.known = None;
    }

    /// Begins to put off all that touches the directory; whether the service can be stopped so.
    pub fn begin_deferral(&mut self) -> bool {
        self.deferral.is_active = self.deferral.known.is_some();
        self.deferral.is_active
    }

    /// Whether all that touches the directory is put off.
    pub fn is_deferring(&self) -> bool {
        self.deferral.is_active
    }

    /// Writes what was put off, but for the status, which is published with the next change.
    pub fn end_deferral(&mut self) {
        self.deferral.is_active = false;
        for (role, event) in std::mem::take(&mut self.deferral.history) {
            self.write_history(role, event);
        }
    }

    /// Carries out one action without the directory, if it can be.
    pub fn perform_deferred(&mut self, action: ServiceAction) -> Result<Option<ServiceEvent>, NotDeferred> {
        match action {
            ServiceAction::Publish(role, status) => {
                self.unpublished.retain(|(other, _)| *other != role);
                self.unpublished.push((role, status));
            }
            ServiceAction::Remember(role, event) => {
                self.notes.happened(role, event);
                self.deferral.history.push((role, event));
            }
            ServiceAction::Signal(target, signal) => send(target, signal),
            ServiceAction::ReadSettings(role) => {
                let settings = self.deferral.known.ok_or(NotDeferred)?;
                return Ok(Some(ServiceEvent::Settings(role, settings)));
            }
            ServiceAction::RunControlScript(script @ ControlScript::ForCommand(_), _)
                if self.deferral.known.is_some() =>
            {
                return Ok(Some(ServiceEvent::NoControlScript(script)));
            }
            _ => return Err(NotDeferred),
        }
        Ok(None)
    }
}
