//! Effects: makes `supervise/` again where it, or the whole service directory, was removed.

use servicedir::ServiceDir;
use servicedir::control_fifo::{ControlFifo, OkFifo};
use servicedir::lock::{Lock, LockFile, LockState, make_supervise};

use crate::directory::Directory;
use crate::effects::Effects;
use crate::state::ServiceRole;

/// What shows other processes that a supervisor lives.
pub struct OpenFiles {
    has_log: bool,
    /// Held, not used.
    oks: Vec<OkFifo>,
}

/// What was opened in the new place.
pub struct Reopened {
    /// For each service that had lost the file its lock is for.
    pub locks: Vec<(ServiceRole, Lock)>,
    /// The FIFOs to read from.
    pub controls: Vec<(ServiceRole, ControlFifo)>,
}

impl OpenFiles {
    /// Holds these FIFOs open.
    pub fn new(oks: Vec<OkFifo>, has_log: bool) -> Self {
        Self { has_log, oks }
    }

    /// If `supervise/` was removed, or the whole directory and is there again (a package upgrade):
    /// makes it again, and goes there. `None` when nothing is lost, not there yet, or another
    /// supervisor's.
    pub fn reopen_if_lost(&mut self, directory: &mut Directory, effects: &Effects) -> Option<Reopened> {
        let main = ServiceDir::at(".");
        let log = self.has_log.then(|| (ServiceRole::Log, main.log()));
        let all: Vec<_> = [Some((ServiceRole::Main, main)), log].into_iter().flatten().collect();
        let lost: Vec<_> =
            all.iter().filter(|(role, _)| effects.place(*role) != Some(LockState::Held)).cloned().collect();
        if lost.is_empty() || effects.is_away() {
            return None;
        }
        let successor = if directory.is_removed() { Some(directory.successor()?) } else { None };
        let Some((reopened, oks)) = reopen(&all, &lost) else {
            // Nothing is done in a place that turned out to be another supervisor's.
            let _ = directory.enter();
            return None;
        };
        if let Some(successor) = successor {
            *directory = successor;
        }
        self.oks = oks;
        Some(reopened)
    }
}

/// Takes the locks first: only their holder may open the rest.
fn reopen(
    all: &[(ServiceRole, ServiceDir)],
    lost: &[(ServiceRole, ServiceDir)],
) -> Option<(Reopened, Vec<OkFifo>)> {
    let (mut locks, mut controls, mut oks) = (Vec::new(), Vec::new(), Vec::new());
    for (role, dir) in lost {
        make_supervise(dir).ok()?;
        locks.push((*role, LockFile::open(dir).ok()?.try_take().ok()?));
    }
    for (role, dir) in all {
        controls.push((*role, ControlFifo::open(dir).ok()?));
        oks.push(OkFifo::open(dir).ok()?);
    }
    Some((Reopened { locks, controls }, oks))
}
