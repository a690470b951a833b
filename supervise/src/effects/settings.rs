//! Effects: reads the files that set how a service is stopped, in the formats of s6, when they are needed.

use std::time::Duration;

use servicedir::ServiceDir;
use sys::errno_text::errno_of;
use sys::error::words;
use sys::{Errno, Error, Signal};

use super::Effects;
use crate::state::{ServiceEvent, ServiceRole, Settings};

impl Effects {
    pub(super) fn read_settings(&mut self, role: ServiceRole) -> ServiceEvent {
        let signal = self.read_word(role, "down-signal", "the name or number of a signal", Signal::parse);
        let settings = Settings {
            signal: signal.unwrap_or(Settings::default().signal),
            kill_after: self.read_milliseconds(role, "timeout-kill"),
        };
        ServiceEvent::Settings(role, settings)
    }

    /// A number of milliseconds. 0, as in s6, and no file both mean no limit.
    pub(super) fn read_milliseconds(&mut self, role: ServiceRole, name: &str) -> Option<Duration> {
        let expected = "a number of milliseconds";
        self.read_word(role, name, expected, |word| word.parse().ok().map(Duration::from_millis))
            .filter(|limit| !limit.is_zero())
    }

    /// Reads a file of one word. Malformed content is warned of, and counts as no file.
    pub(super) fn read_word<T>(
        &mut self,
        role: ServiceRole,
        name: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        if self.is_away {
            return None;
        }
        let dir = match role {
            ServiceRole::Main => ServiceDir::at("."),
            ServiceRole::Log => ServiceDir::at("log"),
        };
        let path = dir.file(name);
        let word = match servicedir::word::read(&path) {
            Ok(word) => word,
            Err(error) if errno_of(&error) == Errno::ENOENT => return None,
            Err(error) => {
                let text = words(["unable to read ".as_ref(), path.as_os_str()]);
                self.logger.warn(&Error::of_io(text)(error));
                return None;
            }
        };
        let value = word.as_deref().and_then(parse);
        if value.is_none() {
            let text = words([
                "bad content of ".as_ref(),
                path.as_os_str(),
                ": expected ".as_ref(),
                expected.as_ref(),
            ]);
            self.logger.warn(&Error::plain(text));
        }
        value
    }
}
