//! State: whether a service is well (`sv health`).

use std::time::Duration;

use servicedir::history::{HistoryEntry, unrequested_ends};
use servicedir::{HistoryEvent, State, Status, Tai64n, Want};

use crate::details::Details;
use crate::diagnosis::{ended, last_decision};
use crate::time::human;

/// For how long an end counts that no client has requested: a crash loop shows between two crashes, too.
const RECENT: Duration = Duration::from_secs(10);

/// What is wrong with a service that has this history and the result of its check; without its log service.
pub fn complaint(service: &Details, entries: &[HistoryEntry], now: Tai64n) -> Option<String> {
    let status = match &service.status {
        Ok(status) => status,
        Err(refusal) => return Some(String::from_utf8_lossy(&refusal.to_bytes()).into_owned()),
    };
    if status.want != Want::Up {
        return given_up(entries, now);
    }
    recent_end(entries, now).or_else(|| (!service.runs()).then(|| not_running(status, now))).or_else(|| {
        match service.check {
            Some(is_well) => (!is_well).then(|| "its check fails, or takes too long".to_owned()),
            None => (service.is_ready() == Some(false)).then(|| "not ready".to_owned()),
        }
    })
}

/// A service that no client wants down: its `./finish` has decided so.
fn given_up(entries: &[HistoryEntry], now: Tai64n) -> Option<String> {
    let (event, when) = last_decision(entries)?;
    (event == HistoryEvent::StaysDown)
        .then(|| format!("down since ./finish exited 125 {} ago", human(when.age_at(now))))
}

/// An end that a client has not requested. A label in the future is of a clock that was wrong.
fn recent_end(entries: &[HistoryEntry], now: Tai64n) -> Option<String> {
    let end = unrequested_ends(entries).pop()?;
    let how = end.ending.map_or_else(|| "ended".to_owned(), ended);
    (end.when <= now && now.since(end.when) <= RECENT)
        .then(|| format!("./run {how} {} ago, unasked", human(end.when.age_at(now))))
}

fn not_running(status: &Status, now: Tai64n) -> String {
    match status.state {
        Some(State::Finish) => "wanted up, but ./finish runs".to_owned(),
        _ => format!("wanted up, but down for {}", human(status.since.age_at(now))),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use servicedir::client::ClientError;

    use servicedir::readiness::Announcement;

    use super::*;
    use crate::service::NamedService;
    use crate::snapshot::Snapshot;

    const NOW: Tai64n = Tai64n { seconds: (1 << 62) + 1000, nanoseconds: 5 };
    const UP: Status = Status {
        since: Tai64n { seconds: (1 << 62) + 990, nanoseconds: 0 },
        pid: 7,
        is_paused: false,
        want: Want::Up,
        got_term: false,
        state: Some(State::Run),
    };

    fn service(status: Result<Status, ClientError>) -> Details {
        let services = NamedService::find_all(vec!["web".into()], Path::new("/nonexistent"));
        Details::of(&services[0], Snapshot { status, has_down: Ok(false), log: None, said: None })
    }

    /// The complaint about a service with these events, each with its age.
    fn says(service: &Details, events: &[(i64, &str)]) -> String {
        let label = |age: i64| Tai64n { seconds: NOW.seconds.saturating_add_signed(-age), ..NOW };
        let entries: Vec<_> = events.iter().map(|(age, text)| HistoryEntry::new(label(*age), text)).collect();
        complaint(service, &entries, NOW).unwrap_or_default()
    }

    #[test]
    fn a_service_that_runs_is_well_unless_its_check_disagrees() {
        let mut web = service(Ok(UP));
        assert_eq!(says(&web, &[]), "");
        web.check = Some(true);
        assert_eq!(says(&web, &[]), "");
        web.check = Some(false);
        assert_eq!(says(&web, &[]), "its check fails, or takes too long");
    }

    #[test]
    fn a_service_that_has_not_said_that_it_is_ready_is_unwell() {
        let mut web = service(Ok(UP));
        web.said = Some(Announcement::default());
        assert_eq!(says(&web, &[]), "not ready");
        web.said = Some(Announcement { ready: Some(NOW), ..Announcement::default() });
        assert_eq!(says(&web, &[]), "");
    }

    #[test]
    fn an_end_of_its_own_counts_for_ten_seconds() {
        let after = |age| says(&service(Ok(UP)), &[(age, "./run ended: exit 3, after 1.000 s")]);
        assert_eq!(after(10), "./run ended with exit code 3 10s ago, unasked");
        assert_eq!((after(11).as_str(), after(-1).as_str()), ("", ""));
        let told = [(4, "told restart"), (4, "told term"), (3, "./run ended: SIGTERM, after 1.000 s")];
        assert_eq!(says(&service(Ok(UP)), &told), "");
        // A later command does not excuse an earlier end.
        let told = [(4, "./run ended: SIGSEGV, after 1.000 s"), (3, "told hup")];
        assert_eq!(says(&service(Ok(UP)), &told), "./run was killed by SIGSEGV 4s ago, unasked");
    }

    #[test]
    fn what_is_wanted_up_runs() {
        let down = Status { pid: 0, state: Some(State::Down), ..UP };
        assert_eq!(says(&service(Ok(down)), &[]), "wanted up, but down for 10s");
        let finish = Status { state: Some(State::Finish), ..UP };
        assert_eq!(says(&service(Ok(finish)), &[]), "wanted up, but ./finish runs");
        assert_eq!(says(&service(Err(ClientError::NotRunning)), &[]), "runsv not running");
    }

    #[test]
    fn a_service_may_be_down_if_a_client_wants_that() {
        let down = Status { pid: 0, want: Want::Down, state: Some(State::Down), ..UP };
        let says = |events: &[_]| says(&service(Ok(down)), events);
        let crash = (3, "./run ended: exit 3, after 1.000 s");
        assert_eq!(says(&[crash, (2, "told down")]), "");
        let gives_up = (2, "stays down, since ./finish exited 125");
        assert_eq!(says(&[crash, gives_up]), "down since ./finish exited 125 2s ago");
        assert_eq!(says(&[crash, gives_up, (1, "told down")]), "");
    }
}
