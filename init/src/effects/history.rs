//! Effects: reads from the history of a service how it has ended.

use servicedir::history;
use servicedir::{HistoryEvent, ServiceDir, Tai64n};

use crate::state::ServiceEnd;

/// How a service has ended since then, as far as its runsv has written it.
pub fn service_end(service: &ServiceDir, since: Tai64n) -> ServiceEnd {
    let mut service_end = ServiceEnd::default();
    let entries = history::read(service).unwrap_or_default();
    for entry in entries.into_iter().filter(|entry| entry.when >= since) {
        if let Some(ending) = entry.end_of_run() {
            service_end.run = ending;
        }
        match entry.event {
            Ok(HistoryEvent::Finished(ending)) => service_end.finish = Some(ending),
            Ok(HistoryEvent::Sent(signal, _)) => service_end.sent.push(signal),
            _ => {}
        }
    }
    service_end
}
