//! What a host needs that starts its services in order, and stops them all in a hurry.

use std::path::Path;

use servicedir::{Command, HistoryEvent};
use supervise::{ChildPart, ServiceRole};
use sys::{ExitStatus, Now, Signal};

use super::host::{Host, write_script};

/// All of it, on services of its own.
pub fn all(host: &mut Host, tree: &Path) {
    a_held_service_starts_when_it_is_let_go(host, tree);
    a_service_is_stopped_without_a_look_into_its_directory(host, tree);
    what_the_files_say_by_now_is_heeded(host, tree);
    no_command_takes_the_last_stop_back(host, tree);
    what_is_late_is_killed_by_its_part(host, tree);
}

fn take_up(host: &mut Host, tree: &Path, name: &str, run: &str) {
    let dir = tree.join(name);
    if !dir.exists() {
        write_script(&dir.join("run"), run);
    }
    host.leave();
    host.take_up(&dir);
}

fn ended(host: &mut Host, name: &str) -> Vec<HistoryEvent> {
    host.until("its end", |host| host.is_left(name));
    host.of(name).events.clone()
}

fn a_held_service_starts_when_it_is_let_go(host: &mut Host, tree: &Path) {
    take_up(host, tree, "held", "exec sleep 1000");
    let index = host.index("held");
    host.until("a start", |host| host.stat("held") == "run\n");
    let first = host.pid("held");
    host.supervisor(index).hold(true);
    host.control("held", "k");
    host.until("its end", |host| host.stat("held") == "down\n");
    // The second after a short life passes, and it is not started.
    host.until("a wait", |host| host.of("held").supervisor.as_ref().is_some_and(|it| it.is_waiting()));
    let idle = host.of("held").supervisor.as_ref().and_then(|it| it.next_deadline());
    assert!(idle.is_none_or(|deadline| deadline > std::time::Instant::now()), "it waits without rest");
    assert_eq!((host.stat("held"), host.pid("held")), ("down\n".to_owned(), None));
    host.supervisor(index).hold(false);
    host.until("another start", |host| host.stat("held") == "run\n" && host.pid("held") != first);
    host.control("held", "x");
    ended(host, "held");
}

fn a_service_is_stopped_without_a_look_into_its_directory(host: &mut Host, tree: &Path) {
    take_up(host, tree, "hurry", "trap 'exit 7' INT; echo >ready; while :; do sleep 0.05; done");
    std::fs::write(tree.join("hurry/down-signal"), "INT\n").expect("a file");
    host.control("hurry", "t");
    host.until("a trap", |host| host.reads("hurry", "ready") == "\n");
    let index = host.index("hurry");
    // What it learnt at its last start counts, and nothing is written before the next turn.
    host.control("hurry", "k");
    std::fs::remove_file(tree.join("hurry/ready")).expect("removed");
    host.until("a trap again", |host| host.reads("hurry", "ready") == "\n" && host.stat("hurry") == "run\n");
    host.leave();
    assert!(host.supervisor(index).stop_at_once(Now::read()));
    assert_eq!(host.stat("hurry"), "run\n", "it was written");
    assert_eq!(std::env::current_dir().expect("a directory"), host.elsewhere());
    let events = ended(host, "hurry");
    let pid = events.iter().find_map(|event| match event {
        HistoryEvent::Sent(Signal::INT, pid) => Some(*pid),
        _ => None,
    });
    assert!(pid.is_some(), "{events:?}");
    let exit = |event: &HistoryEvent| matches!(event, HistoryEvent::Ended(ExitStatus::Exited(7), _));
    assert!(events.iter().any(exit), "{events:?}");
    assert_eq!(host.stat("hurry"), "down\n");
}

fn what_the_files_say_by_now_is_heeded(host: &mut Host, tree: &Path) {
    take_up(host, tree, "scripted", "exec sleep 1000");
    host.until("a start", |host| host.stat("scripted") == "run\n");
    let index = host.index("scripted");
    write_script(&tree.join("scripted/control/t"), "echo >asked");
    host.supervisor(index).forget_how_to_stop();
    host.leave();
    assert!(!host.supervisor(index).stop_at_once(Now::read()), "control/t takes part");
    host.supervisor(index).told_to_leave_for_good();
    host.until("control/t", |host| host.reads("scripted", "asked") == "\n");
    host.control("scripted", "k");
    ended(host, "scripted");
}

fn no_command_takes_the_last_stop_back(host: &mut Host, tree: &Path) {
    take_up(host, tree, "final", "trap : TERM; echo >ready; while [ ! -e go ]; do sleep 0.05; done");
    host.until("a trap", |host| host.reads("final", "ready") == "\n");
    let index = host.index("final");
    host.leave();
    assert!(host.supervisor(index).stop_at_once(Now::read()));
    host.control("final", "u");
    host.until("the request", |host| host.stat("final") == "run, got TERM, want exit\n");
    // The byte is read, and changes nothing.
    host.until("the byte", |host| host.of("final").events.contains(&HistoryEvent::ToldToLeave));
    assert!(!host.of("final").events.contains(&HistoryEvent::Told(Command::Up)));
    std::fs::write(tree.join("final/go"), "").expect("a file");
    ended(host, "final");
}

fn what_is_late_is_killed_by_its_part(host: &mut Host, tree: &Path) {
    write_script(&tree.join("late/finish"), "echo >finishes; sleep 1000");
    write_script(&tree.join("late/log/run"), "trap '' TERM; while :; do sleep 0.05; done");
    write_script(&tree.join("late/run"), "trap '' TERM; while :; do sleep 0.05; done");
    take_up(host, tree, "late", "");
    let index = host.index("late");
    host.until("both", |host| {
        host.stat("late") == "run\n" && host.reads("late", "log/supervise/stat") == "run\n"
    });
    let parts = |host: &Host| -> Vec<ChildPart> {
        let supervisor = host.of("late").supervisor.as_ref().expect("a supervisor");
        supervisor.children().map(|(_, part)| part).collect()
    };
    assert_eq!(parts(host), [ChildPart::LogRun, ChildPart::Run]);
    assert_eq!(host.supervisor(index).take_started().len(), 2);
    host.leave();
    host.supervisor(index).told_to_leave_for_good();
    host.until("the request", |host| host.stat("late") == "run, got TERM, want exit\n");
    host.leave();
    host.supervisor(index).kill_run(Now::read());
    host.until("finish", |host| host.reads("late", "finishes") == "\n");
    assert_eq!(parts(host), [ChildPart::LogRun, ChildPart::Finish]);
    let killed = host.supervisor(index).signal_children(Signal::KILL, |part| part == ChildPart::Finish);
    assert_eq!(killed.len(), 1);
    host.until("the last reader", |host| {
        host.of("late").supervisor.as_ref().is_some_and(|it| it.is_leaving())
    });
    let status = host.supervisor(index).status(ServiceRole::Log).expect("a log service");
    assert_ne!(status.pid, 0);
    host.supervisor(index).signal_children(Signal::KILL, |part| part == ChildPart::LogRun);
    let events = ended(host, "late");
    assert!(events.iter().any(|event| matches!(event, HistoryEvent::Sent(Signal::KILL, _))), "{events:?}");
}
