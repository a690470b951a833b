//! Effects: readiness: what `./run` is given to say that it is ready, and what is published of it.

use servicedir::{Readiness, notification};
use sys::Errno;

use super::{Effects, is_there};
use crate::notification::{Notification, Offer};
use crate::state::ServiceRole;

impl Effects {
    /// What `./run` is to be given: `notification-fd` and `notify-socket` say so.
    pub(super) fn offer_notification(&mut self) -> Result<Option<Offer>, Errno> {
        let expected = "the number of a descriptor above 2";
        let parse = notification::parse_descriptor;
        let number = self.read_word(ServiceRole::Main, "notification-fd", expected, parse);
        let has_socket = is_there(self.main.file("notify-socket"));
        if number.is_none() && !has_socket { Ok(None) } else { Offer::new(number, has_socket).map(Some) }
    }

    /// What the `./run` that was just started may say, which is given once.
    pub fn take_notification(&mut self) -> Option<Notification> {
        self.notification.take()
    }

    pub(super) fn publish_readiness(&mut self, readiness: Readiness) {
        self.write_status(ServiceRole::Main, |status_writer| status_writer.publish_readiness(readiness));
    }

    /// Writes the text that the service has said of its state.
    pub fn publish_text(&mut self, text: String) {
        self.write_status(ServiceRole::Main, |status_writer| status_writer.publish_text(text));
    }
}
