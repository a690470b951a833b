//! Every deliberate difference from the original, by its number in DIVERGENCES.md: what ours does, and, where
//! it is quick and harmless to show, what the original does.

use differences::*;

our_suites! {
    sv_44_a_check_prints_into_the_null_device,
    sv_25_a_log_that_cannot_be_asked_is_not_its_service,
    sv_45_a_check_that_cannot_be_executed_does_not_pass,
    dev_1_bytes_are_handled_during_the_rest,
    dev_1_a_crashing_log_delays_no_other_service,
    dev_2_a_hanging_control_script_holds_up_its_own_service_only,
    dev_2_commands_wait_for_the_script_before_them,
    dev_2_a_stop_is_told_while_its_control_script_still_runs,
    dev_4_a_killed_control_script_does_not_suppress,
    dev_4_a_killed_check_does_not_pass,
    dev_5_the_record_after_x_and_k_is_down,
    dev_6_a_quick_restart_is_told_with_the_new_process,
    dev_6_stop_is_not_content_with_a_rest,
    dev_6_a_service_that_dies_soon_after_each_start_is_not_up,
    dev_6_a_check_that_agrees_makes_a_young_process_count,
    dev_6_a_check_is_about_the_process_that_lives,
    dev_6_without_a_check_a_process_has_to_live_for_a_while,
    dev_6_a_slow_check_does_not_delay_the_timeout,
    dev_8_a_log_control_that_is_no_fifo_is_refused,
    dev_9_closed_descriptors_become_the_null_device,
    dev_9_without_a_null_device_closed_descriptors_stay_unusable,
    dev_10_a_trailing_slash_is_remembered_while_waiting,
    dev_11_status_as_an_init_script_is_that_of_the_service,
    dev_15_k_and_u_start_no_second_copy,
    dev_15_k_during_finish_runs_no_second_finish,
    dev_15_a_suppressed_k_changes_nothing,
    dev_17_a_directory_without_run_is_given_a_moment,
    dev_20_a_closed_log_pipe_starts_no_process,
    dev_21_control_scripts_start_with_nothing_blocked,
    b20_one_status_file_that_cannot_be_written_does_not_keep_the_others,
    add_9_a_link_in_supervise_does_not_lead_a_record_elsewhere,
    add_9_runsv_uses_no_link_in_supervise,
    add_9_sv_writes_to_a_fifo_only,
    add_9_sv_reads_no_status_elsewhere,
    add_9_a_fifo_in_supervise_gets_no_record,
    add_20_a_finish_that_exits_125_leaves_the_service_down,
    add_1_a_stop_signal_that_stops_is_followed_by_no_cont,
    add_11_a_runsvdir_does_not_wait_for_a_reader_of_its_messages,
    b42_checks_of_several_services_run_at_the_same_time,
    b50_a_service_that_was_killed_is_dead_when_sv_ends,
    add_3_the_history_begins_with_the_first_news;
    not_hosted "signals to the process runsv":
    sv_31_down_and_up_in_quick_succession_end_up,
    add_9_a_terminal_in_the_place_of_a_file_is_not_taken,
    add_21_services_do_not_have_the_score_of_their_runsv;
    not_hosted "the command line and the end of runsv and runsvdir":
    dev_3_a_signal_is_acted_upon_at_once,
    dev_7_a_taken_log_lock_is_waited_for_awake,
    dev_9_every_program_begins_without_a_null_device,
    dev_17_a_runsv_that_was_told_to_exit_is_seen_to_go,
    add_9_a_forced_look_leaves_no_mark_elsewhere,
    add_12_a_name_drives_no_terminal_and_forges_no_line,
    add_11_a_runsv_does_not_wait_for_a_reader_of_its_messages,
    b30_there_are_more_than_a_thousand_services,
    b37_the_end_of_the_log_that_services_have_blocks,
    b39_runsv_is_found_beside_runsvdir;
    not_hosted "a killed runsv, or a second one":
    b18_a_runsv_does_nothing_in_a_place_that_is_anothers,
    add_13_a_child_whose_exec_hangs_holds_no_lock,
    qrk_14_what_a_killed_runsv_left_is_ended_first_if_it_has_a_group,
    qrk_14_what_a_killed_runsv_left_is_said;
    not_hosted "which service has left a process in a session of its own is not known there":
    b16_only_what_is_the_services_own_is_ended_with_it;
    not_hosted "there is no old runsv":
    b34_a_successor_that_has_to_wait_is_spoken_of;
    not_hosted "a directory that was made anew is another service of init (RSD-5)":
    b18_runsv_moves_into_a_directory_that_was_made_anew;
    not_hosted "only a reader of ok tells this harness that there is a supervisor":
    add_9_an_ok_that_is_no_fifo_is_said,
}

/// What ours does.
mod differences {
    use std::time::Duration;
    use tests::load::{Crowd, Stopwatch};

    use fs_err as fs;
    use nix::sys::signal::Signal;
    use tests::process::{Process, is_alive, send};
    use tests::status::DOWN;
    use tests::{Service, Suite, Supervised, eventually_some, nothing_happens_for, time_until};

    /// How long a process has to live to count as up, where no check says so.
    const LIFE: Duration = Duration::from_millis(420);

    /// The bytes are always written: `sv down; sv up` ends up, however quickly they follow.
    pub fn sv_31_down_and_up_in_quick_succession_end_up(suite: &Suite) {
        let web = suite.service("web").run("exec sleep 1000").running();
        let old = web.status().pid;
        // A runsv that does not listen just now keeps in its fifo what it is sent.
        web.runsv.signal(Signal::SIGSTOP);
        web.sv("down").says("", 0);
        web.sv("up").says("", 0);
        web.runsv.signal(Signal::SIGCONT);
        web.eventually_runs_anew(old);
        assert_eq!(web.status().want, b'u');
    }

    /// The check's output goes nowhere, but there is somewhere for it to go.
    pub fn sv_44_a_check_prints_into_the_null_device(suite: &Suite) {
        let web = suite
            .service("web")
            .run("exec sleep 1000")
            .check("echo loud && device=$(readlink /proc/$$/fd/1); echo \"$device\" >output; exit 0")
            .running();
        web.sv("check").says("ok: run: web: (pid N) Ns\n", 0);
        web.eventually_reads("output", "/dev/null\n");
    }

    /// What cannot be asked is not shown as something else.
    pub fn sv_25_a_log_that_cannot_be_asked_is_not_its_service(suite: &Suite) {
        crate::sv::lines::a_log_that_cannot_be_asked_is_told(suite, "");
    }

    /// A check that cannot be executed agrees to nothing, and says why once.
    pub fn sv_45_a_check_that_cannot_be_executed_does_not_pass(suite: &Suite) {
        let web = suite.service("web").run("exec sleep 1000").file("check", "").running();
        web.sv("-w 1 check").is(
            "timeout: run: web: (pid N) Ns\n",
            "warning: unable to run web/check: access denied\n",
            1,
        );
    }

    /// The rest after a quick death eats no bytes: none of them is handled only after another start.
    pub fn dev_1_bytes_are_handled_during_the_rest(suite: &Suite) {
        // The original needs four seconds for four bytes, always. A busy machine may miss one rest.
        let in_one_rest = || {
            let web = suite.service("web").run("echo >>runs").supervised();
            let runs = super::after_hhhhd_in_the_rest(&web);
            web.lines("runs").len() == runs
        };
        assert!((0..3).any(|_| in_one_rest()), "it was started before all bytes were handled");
    }

    /// A log service that dies at once does not slow the main service down: the bytes of the main service are
    /// not handled one each second.
    pub fn dev_1_a_crashing_log_delays_no_other_service(suite: &Suite) {
        let web = suite.service("web").run("exec sleep 1000").log("echo >>../logs").running();
        fs::create_dir(web.path("control")).unwrap();
        web.write_script("control/h", "echo >>hooks");
        web.eventually_lines("logs", 2);
        let before = web.lines("logs").len();
        web.control(&"h".repeat(30));
        web.eventually_lines("hooks", 30);
        assert!(web.lines("logs").len() < before + 15);
    }

    /// RSV-56: the other service is served, and deaths are noticed, while a control script hangs.
    pub fn dev_2_a_hanging_control_script_holds_up_its_own_service_only(suite: &Suite) {
        let web = super::with_a_hanging_script(suite);
        web.log().control("d");
        web.log().eventually_down();
        web.log().control("u");
        web.log().eventually_runs();
    }

    /// What comes after a hanging script waits for it, and is not lost.
    pub fn dev_2_commands_wait_for_the_script_before_them(suite: &Suite) {
        let web = super::with_a_hanging_script(suite);
        let pid = web.status().pid;
        web.control("p");
        nothing_happens_for(Duration::from_millis(300), "p waits", || web.status().paused == 0);
        web.write("go", "");
        web.eventually_exactly("run, paused", pid, [1, b'u', 0, 1]);
    }

    /// A death does not wait for the script that runs after the signals: it is told at once.
    pub fn dev_2_a_stop_is_told_while_its_control_script_still_runs(suite: &Suite) {
        let web = super::with_a_slow_farewell(suite);
        web.sv("stop").says("ok: down: web: Ns, normally up\n", 0);
        web.eventually_has("asked");
        assert!(!web.has("answered"));
        // What comes after the script waits for it all the same.
        web.control("u");
        nothing_happens_for(Duration::from_millis(300), "u waits", || web.status().state == 0);
        web.write("go", "");
        web.eventually_runs();
        assert!(web.has("answered"));
    }

    /// RSD-13: it acts at once, also while it is starting services.
    pub fn dev_3_a_signal_is_acted_upon_at_once(suite: &Suite) {
        let _calm = Stopwatch::start();
        for (signal, code) in [(Signal::SIGTERM, 0), (Signal::SIGHUP, 111)].repeat(2) {
            let (tree, runsvdir) = super::in_the_middle_of_the_start(suite);
            runsvdir.signal(signal);
            let took = time_until("runsvdir ends", || !runsvdir.is_alive());
            assert_eq!(runsvdir.finished().code(), Some(code));
            // The original may take five; a busy machine needs some time as well.
            assert!(took < Duration::from_secs(4), "{signal} took {took:?}");
            if signal == Signal::SIGHUP {
                tests::eventually("every runsv is gone", || tree.processes().is_empty());
            }
        }
    }

    /// RSV-55: a script that is killed has not agreed: the signal is sent.
    pub fn dev_4_a_killed_control_script_does_not_suppress(suite: &Suite) {
        let web = super::with_a_killed_script(suite);
        web.control("h");
        web.eventually_reads("told", "-1 1\n");
    }

    /// A check that is killed does not pass.
    pub fn dev_4_a_killed_check_does_not_pass(suite: &Suite) {
        let web = suite.service("web").run("exec sleep 1000").check("kill -9 $$").running();
        web.sv("-w 1 check").says("timeout: run: web: (pid N) Ns\n", 1);
    }

    /// The record is true: no process is left to be supervised.
    pub fn dev_5_the_record_after_x_and_k_is_down(suite: &Suite) {
        let web = super::ended_by_x_and_k(suite);
        assert_eq!((web.status().pid, web.status().flags()), (0, [0, b'd', 0, DOWN]));
        assert_eq!(
            (web.read("supervise/stat"), web.read("supervise/pid")),
            ("down\n".to_owned(), String::new())
        );
    }

    /// SV-36: a restart within the second of the start is told with the new process.
    pub fn dev_6_a_quick_restart_is_told_with_the_new_process(suite: &Suite) {
        let web = suite.service("web").run("exec sleep 1000").running();
        for _ in 0..3 {
            let old = web.eventually_runs().pid;
            let output = web.sv("restart");
            output.says("ok: run: web: (pid N) Ns\n", 0);
            let new = web.status().pid;
            assert_ne!(new, old);
            assert!(output.stdout.contains(&format!("(pid {new})")), "{output:?}");
        }
    }

    /// The rest between two starts is no stop.
    pub fn dev_6_stop_is_not_content_with_a_rest(suite: &Suite) {
        let web = suite.service("web").run("echo >>runs").supervised();
        web.eventually_lines("runs", 1);
        web.eventually_down();
        web.sv("stop").says("ok: down: web: Ns, normally up\n", 0);
        let runs = web.lines("runs").len();
        nothing_happens_for(Duration::from_millis(1300), "it is not started", || {
            web.lines("runs").len() == runs
        });
    }

    /// Whichever way it dies. The original mostly reports this, too, but its look may fall into a life.
    pub fn dev_6_a_service_that_dies_soon_after_each_start_is_not_up(suite: &Suite) {
        let tree = suite.tree();
        let sleeps = |time| format!("exec perl -e 'select undef, undef, undef, {time}; exit 1'");
        let ends = [
            "exec false".to_owned(),
            "sleep 0.02; exit 1".to_owned(),
            "sleep 0.1 | cat; exit 1".to_owned(),
            "exec /usr/bin/perl -e 'exit 1'".to_owned(),
            "exit 0".to_owned(),
            sleeps(0.005),
            sleeps(0.05),
            sleeps(0.2),
        ];
        let names: Vec<String> = (0..2 * ends.len()).map(|number| format!("web{number}")).collect();
        let service = |(name, end): (&String, &String)| tree.service(name).run(end).down().supervised();
        let _services: Vec<_> = names.iter().zip(ends.iter().cycle()).map(service).collect();
        let output = tree.sv(&format!("-w 3 start {}", names.join(" ")));
        assert_eq!(output.code(), i32::try_from(names.len()).ok(), "{}", output.stdout);
        assert!(output.stdout.lines().all(|line| line.starts_with("timeout: ")), "{}", output.stdout);
    }

    /// As soon as its check agrees: nothing else is waited for.
    pub fn dev_6_a_check_that_agrees_makes_a_young_process_count(suite: &Suite) {
        let web = suite.service("web").run("exec sleep 1000").check("exit 0").down().supervised();
        tests::eventually("a start that takes no time", || {
            let output = web.sv("start");
            output.says("ok: run: web: (pid N) Ns, normally down\n", 0);
            web.sv("stop").says("ok: down: web: Ns\n", 0);
            output.took < LIFE
        });
    }

    /// Each process is dead when the check that was asked about it agrees.
    pub fn dev_6_a_check_is_about_the_process_that_lives(suite: &Suite) {
        let check = "rm -f dead; until test -e dead; do sleep .01; done";
        let finish = "until od -An -j 19 -t u1 supervise/status | grep -q 2; do sleep .01; done; echo >dead";
        let web = suite.service("web").run("sleep .05; exit 1").check(check).finish(finish);
        let web = web.down().supervised();
        let output = web.sv("-w 3 start");
        assert_eq!(output.code(), Some(1), "{output:?}");
        assert!(output.stdout.starts_with("timeout: "), "{output:?}");
    }

    pub fn dev_6_without_a_check_a_process_has_to_live_for_a_while(suite: &Suite) {
        let web = suite.service("web").run("exec sleep 1000").down().supervised();
        // The shortest limit is long enough.
        tests::eventually("a start that is not held up", || {
            let output = web.sv("-w 0 start");
            assert!(output.took >= LIFE, "{output:?}");
            web.sv("stop").says("ok: down: web: Ns\n", 0);
            output.code() == Some(0)
        });
        web.sv("start").says("ok: run: web: (pid N) Ns, normally down\n", 0);
        tests::eventually("a process that is old enough is told of at once", || {
            let output = web.sv("start");
            output.says("ok: run: web: (pid N) Ns, normally down\n", 0);
            output.took < LIFE
        });
    }

    /// A check that takes longer than the limit does not keep sv from saying so.
    pub fn dev_6_a_slow_check_does_not_delay_the_timeout(suite: &Suite) {
        let web = suite.service("web").run("exec sleep 1000").check("sleep 1000").running();
        let output = web.sv("-w 1 check");
        output.says("timeout: run: web: (pid N) Ns\n", 1);
        assert!(output.took >= Duration::from_secs(1), "too soon: {:?}", output.took);
    }

    /// A runsv that waits for the log's lock says so, obeys TERM, and starts when the lock is free.
    pub fn dev_7_a_taken_log_lock_is_waited_for_awake(suite: &Suite) {
        let (web, holder) = super::with_a_taken_log_lock(suite);
        let runsv = web.runsv().start();
        runsv.eventually_says("runsv web: warning: ");
        runsv.signal(Signal::SIGTERM);
        assert_eq!(runsv.finished().code(), Some(0));
        let runsv = web.runsv().start();
        runsv.eventually_says("runsv web: warning: ");
        assert!(!web.is_supervised());
        send(holder.pid(), Signal::SIGKILL);
        web.eventually("it is supervised", tests::Service::is_supervised);
        web.eventually_runs();
        web.log().eventually_runs();
    }

    /// A log control that is no fifo is refused as the main one is.
    pub fn dev_8_a_log_control_that_is_no_fifo_is_refused(suite: &Suite) {
        let web = suite.service("web").log("exec cat").file("log/supervise/control", "").made();
        let text = "runsv web: fatal: log/supervise/control exists but is not a fifo\n";
        web.is_refused(web.runsv(), text);
    }

    /// RSV-20: closed descriptors are opened on the null device.
    pub fn dev_9_closed_descriptors_become_the_null_device(suite: &Suite) {
        let web = suite.service("web").run("exec sleep 1000").made();
        let runsv = web.runsv().redirected("<&- >&- 2>&-");
        let web = web.supervised_by(runsv);
        let pid = web.eventually_runs().pid;
        let run = eventually_some("run is sleep", || {
            Process::find(pid).filter(|process| process.command_line() == "sleep 1000")
        });
        let standard: Vec<_> = run.descriptors().into_iter().filter(|(number, _)| *number <= 2).collect();
        assert_eq!(standard, [0, 1, 2].map(|number| (number, "/dev/null".to_owned())));
    }

    pub fn dev_9_without_a_null_device_closed_descriptors_stay_unusable(suite: &Suite) {
        let web = suite.service("web").run("exec sleep 1000").made();
        let runsv = super::without_null_device(web.runsv());
        let web = web.supervised_by(runsv);
        let pid = web.eventually_runs().pid;
        let run = eventually_some("run is sleep", || {
            Process::find(pid).filter(|process| process.command_line() == "sleep 1000")
        });
        let standard: Vec<_> = run.descriptors().into_iter().filter(|(number, _)| *number <= 2).collect();
        assert_eq!(standard, [0, 1, 2].map(|number| (number, "/".to_owned())));
    }

    pub fn dev_9_every_program_begins_without_a_null_device(suite: &Suite) {
        let web = suite.service("web").run("exec sleep 1000").made();
        let tree = web.tree();
        let runsvdir = super::without_null_device(tree.command("runsvdir").arg(tree.services())).start();
        web.eventually_runs();
        let sv = super::without_null_device(tree.command("sv").args(["check", "web"]));
        assert_eq!(sv.output().code(), Some(0));
        runsvdir.signal(Signal::SIGHUP);
        assert_eq!(runsvdir.finished().code(), Some(111));
        web.eventually("its runsv has gone", |web| !web.is_supervised());
        let init = super::without_null_device(tree.command("init").arg(tree.services())).start();
        web.eventually_runs();
        init.signal(Signal::SIGTERM);
        assert_eq!(init.finished().code(), Some(0));
    }

    /// SV-11: a name with a trailing slash is the same directory when it is waited for.
    pub fn dev_10_a_trailing_slash_is_remembered_while_waiting(suite: &Suite) {
        let web = suite.service("web").run("exec sleep 1000").running();
        let sv = web.tree().command("sv").args(["-v", "up", "web/"]).env("SVDIR", "/nonexistent");
        sv.output().says("ok: run: web/: (pid N) Ns\n", 0);
    }

    /// SV-63: the question is about the service, not about its log.
    pub fn dev_11_status_as_an_init_script_is_that_of_the_service(suite: &Suite) {
        let web = super::down_with_a_log(suite);
        assert_eq!(web.tree().command("web").arg("status").output().code(), Some(3));
    }

    /// The killed process is waited for, then finish runs, then the service is started again.
    pub fn dev_15_k_and_u_start_no_second_copy(suite: &Suite) {
        let run = "echo $$ >>pids; exec sleep 1000";
        let web = suite.service("web").run(run).finish("echo $* >>told").running();
        let pids = || web.lines("pids").iter().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>();
        for round in 1..=3 {
            web.eventually_lines("pids", round);
            let old = web.eventually_runs().pid;
            web.control("ku");
            web.eventually_runs_anew(old);
            assert!(!is_alive(old));
        }
        assert_eq!(web.read("told"), "-1 9\n".repeat(3));
        web.eventually_lines("pids", 4);
        assert_eq!(pids().into_iter().filter(|pid| is_alive(*pid)).count(), 1);
    }

    /// `k` changes nothing while finish runs.
    pub fn dev_15_k_during_finish_runs_no_second_finish(suite: &Suite) {
        let web = super::with_k_during_finish(suite);
        web.eventually_down();
        nothing_happens_for(Duration::from_millis(300), "finish ran once", || web.lines("told").len() == 1);
    }

    /// A `k` that its script suppressed changes nothing.
    pub fn dev_15_a_suppressed_k_changes_nothing(suite: &Suite) {
        let web = super::with_a_suppressed_k(suite);
        let before = web.status();
        web.control("k");
        web.eventually_has("asked");
        web.control("up");
        let after = web.eventually_stat("run, paused");
        assert_eq!((after.pid, after.time()), (before.pid, before.time()));
    }

    /// A directory that is still being made is given a moment.
    pub fn dev_17_a_directory_without_run_is_given_a_moment(suite: &Suite) {
        let tree = suite.tree();
        let first = tree.service("first").run("exec sleep 1000").made();
        let runsvdir = crate::runsvdir::scanning::watched(&tree, &[]);
        first.eventually("it is supervised", tests::Service::is_supervised);
        let web = tree.at("web");
        fs::create_dir(web.dir()).unwrap();
        nothing_happens_for(Duration::from_millis(100), "it is not started", || !web.has("supervise"));
        web.write_script("run", "exec sleep 1000");
        web.eventually("it is supervised", tests::Service::is_supervised);
        web.eventually_runs();
        assert_eq!(runsvdir.stderr(), "");
    }

    /// The original's sv looks whether it has gone every 0.42 seconds; ours is told.
    pub fn dev_17_a_runsv_that_was_told_to_exit_is_seen_to_go(suite: &Suite) {
        for suite in [suite, Suite::their_sv_on_our_runsv(), Suite::our_runsvdir_on_their_runsv()] {
            let tree = suite.tree();
            let web = tree.service("web").run("exec sleep 1000").made();
            let _runsvdir = tree.command("runsvdir").arg(tree.services()).start();
            web.eventually("it is supervised", tests::Service::is_supervised);
            let old = web.eventually_runs().pid;
            web.sv("shutdown").says("ok: web: runsv not running\n", 0);
            web.eventually_runs_anew(old);
        }
    }

    /// RSV-63: once the log's input has ended nothing is started any more.
    pub fn dev_20_a_closed_log_pipe_starts_no_process(suite: &Suite) {
        let web = super::with_a_closed_log_pipe(suite);
        web.control("u");
        web.control("o");
        nothing_happens_for(Duration::from_millis(300), "nothing is started", || web.status().pid == 0);
        assert_eq!(web.runsv.stderr(), "");
        send(web.log().status().pid, Signal::SIGKILL);
        assert_eq!(web.runsv.finished().code(), Some(0));
    }

    /// Control scripts may be ended by TERM.
    pub fn dev_21_control_scripts_start_with_nothing_blocked(suite: &Suite) {
        let blocked = super::blocked_in_a_control_script(suite);
        assert_eq!(blocked, [0; 0]);
    }

    /// A runsv that cannot write its status any more looks for its directory by name.
    pub fn b18_runsv_moves_into_a_directory_that_was_made_anew(suite: &Suite) {
        let (web, old) = super::with_a_directory_made_anew(suite);
        web.eventually("it is supervised", tests::Service::is_supervised);
        assert_ne!(web.eventually_runs().pid, old);
        web.sv("stop").says("ok: down: web: Ns, normally up\n", 0);
        assert!(web.runsv.is_alive());
    }

    /// What the service started ends with it, also what has left its group; what the log service and a
    /// control script have started is theirs.
    pub fn b16_only_what_is_the_services_own_is_ended_with_it(suite: &Suite) {
        let tree = suite.tree();
        let leaves = |name: &str| {
            format!(
                "(setsid sh -c 'echo $$ >{name}.new; mv {name}.new {name}; exec sleep 1000' </dev/null >/dev/null &)"
            )
        };
        let service = tree.service("web").file("process-group", "");
        let web = service
            .run(&format!("{}; until test -e ended; do sleep .02; done; exec sleep 1000", leaves("ended")))
            .log(&format!("{}; exec cat", leaves("of-log")))
            .control('1', &format!("{}; until test -e of-hook; do sleep .02; done", leaves("of-hook")))
            .running();
        let pid = |web: &Supervised, name: &str| web.eventually_lines(name, 1)[0].parse::<u32>().unwrap();
        web.eventually_has("ended");
        web.control("1");
        let spared = [pid(&web, "log/of-log"), pid(&web, "of-hook")];
        let ended = pid(&web, "ended");
        web.control("d");
        web.eventually_down();
        web.eventually_gone(ended);
        web.control("x");
        assert_eq!(web.runsv.finished().code(), Some(0));
        assert!(spared.into_iter().all(is_alive));
    }

    /// A runsv that lost its place to another one starts and writes nothing there until that one is gone.
    pub fn b18_a_runsv_does_nothing_in_a_place_that_is_anothers(suite: &Suite) {
        for lose in [super::make_anew as fn(&Supervised), super::lose_supervise] {
            let (web, first, other) = super::with_two_runsv(suite, lose);
            let has_begun =
                |pid: u32| web.lines("did").last().is_some_and(|line| *line == format!("run {pid}"));
            let second = web.eventually_runs_anew(first).pid;
            // Its record comes first.
            web.eventually("the second has begun", |_| has_begun(second));
            send(first, Signal::SIGKILL);
            web.eventually_gone(first);
            nothing_happens_for(Duration::from_millis(1500), "nothing but the other one's", || {
                has_begun(second) && web.status().pid == second
            });
            other.signal(Signal::SIGTERM);
            assert_eq!(other.finished().code(), Some(0));
            // Only now it is its own again.
            let third = web.eventually_runs_anew(second).pid;
            web.eventually("the third has begun", |_| has_begun(third));
            web.sv("stop").says("ok: down: web: Ns, normally up\n", 0);
            let runsv = web.runsv.pid();
            let end = [format!("finish {}", other.pid()), format!("run {third}"), format!("finish {runsv}")];
            assert!(web.lines("did").ends_with(&end), "{:?}", web.lines("did"));
        }
    }

    /// What can be written is, and the rest as soon as it can be.
    pub fn b20_one_status_file_that_cannot_be_written_does_not_keep_the_others(suite: &Suite) {
        let (web, old) = super::with_a_pid_that_cannot_be_written(suite);
        web.eventually("the record is new", |web| {
            let pid = fs::read(web.path("supervise/status"))
                .is_ok_and(|record| record[12..16] != old.to_le_bytes());
            pid && web.stat() == "run"
        });
        assert_eq!(web.pid(), Some(old));
        fs::remove_dir(web.path("supervise/pid.new")).unwrap();
        web.eventually_runs_anew(old);
    }

    /// The old one does not end: its successor is not forgotten.
    pub fn b34_a_successor_that_has_to_wait_is_spoken_of(suite: &Suite) {
        let tree = suite.tree();
        let old = tree.service("web").run(crate::IGNORES_TERM).made();
        let runsvdir = tree.command("runsvdir").arg(tree.services()).start();
        old.eventually_has("ready");
        let pid = old.eventually_runs().pid;
        fs::rename(old.dir(), tree.root().join("away")).unwrap();
        let new = tree.service("web").run("exec sleep 1000").made();
        runsvdir.eventually_says(": warning: unable to start runsv web: its old runsv (pid ");
        assert!(!new.is_supervised());
        send(pid, Signal::SIGKILL);
        new.eventually_runs();
        assert_eq!(runsvdir.stderr().lines().count(), 1, "{}", runsvdir.stderr());
    }

    pub fn add_9_a_link_in_supervise_does_not_lead_a_record_elsewhere(suite: &Suite) {
        let web = super::told_down_with_links(suite);
        assert_eq!((web.read("precious").as_str(), web.stat().as_str()), ("precious\n", "down"));
        for name in ["supervise/pid", "supervise/stat", "supervise/status"] {
            assert!(fs::symlink_metadata(web.path(name)).expect("a record").is_file(), "{name}");
        }
    }

    pub fn add_9_runsv_uses_no_link_in_supervise(suite: &Suite) {
        for (name, text) in [
            ("lock", "unable to open supervise/lock: is a symbolic link"),
            ("control", "supervise/control exists but is not a fifo"),
            ("ok", "unable to read supervise/ok: is a symbolic link"),
        ] {
            let web = super::with_a_link_elsewhere(suite, name);
            web.is_refused(web.runsv(), &format!("runsv web: fatal: {text}\n"));
            assert_eq!(web.has("elsewhere"), name != "lock", "{name}");
        }
    }

    pub fn add_9_sv_writes_to_a_fifo_only(suite: &Suite) {
        let web = super::with_a_file_for_control(suite, true);
        web.sv("down").says("warning: web: unable to open supervise/control: is a symbolic link\n", 1);
        assert_eq!(web.read("precious"), "precious\n");
        let web = super::with_a_file_for_control(suite, false);
        web.sv("down").says("warning: web: unable to open supervise/control: not a fifo\n", 1);
        assert_eq!(web.read("supervise/control"), "precious\n");
    }

    pub fn add_9_sv_reads_no_status_elsewhere(suite: &Suite) {
        let web = super::with_its_status_elsewhere(suite);
        web.sv("status").says("warning: web: unable to open supervise/status: is a symbolic link\n", 1);
    }

    /// LAY-14: runsv accepts it, and so sv cannot tell whether there is a runsv.
    pub fn add_9_an_ok_that_is_no_fifo_is_said(suite: &Suite) {
        let web = super::with_an_ok_that_is_a_file(suite);
        web.sv("status").says("warning: web: unable to open supervise/ok: not a fifo\n", 1);
    }

    pub fn add_9_a_fifo_in_supervise_gets_no_record(suite: &Suite) {
        assert_eq!(super::written_to_a_fifo_for_the_new_status(suite), []);
    }

    pub fn add_9_a_forced_look_leaves_no_mark_elsewhere(suite: &Suite) {
        let (tree, runsvdir) = super::told_to_look_with_a_link_for_the_mark(suite);
        runsvdir.eventually_says(": warning: failed to open./.forced-rescan@");
        assert!(!tree.root().join("elsewhere").exists());
    }

    /// RSV-42: `finish` is opened to see whether there is one.
    pub fn add_9_a_terminal_in_the_place_of_a_file_is_not_taken(suite: &Suite) {
        let (web, _terminal) = super::started_again_with_a_terminal_for_finish(suite);
        assert_eq!(Process::find(web.runsv.pid()).expect("a runsv").terminal, 0);
    }

    /// ESC, newline, and the C1 character that is ESC and `[` in one.
    pub fn add_12_a_name_drives_no_terminal_and_forges_no_line(suite: &Suite) {
        super::with_a_name_that_forges(suite, "a?[2J?fatal: b?31m");
    }

    pub fn add_20_a_finish_that_exits_125_leaves_the_service_down(suite: &Suite) {
        let web = super::given_up_by_its_finish(suite);
        web.eventually_down();
        web.runsv.eventually_says("runsv web: warning: ./finish exited 125: stays down\n");
        web.sv("status").says("down: web: Ns, normally up\n", 0);
        let why = web.sv("why").stdout;
        let is_told =
            why.contains("./finish exited 125 ") && why.contains("s ago, which leaves the service down");
        assert!(is_told, "{why}");
        nothing_happens_for(Duration::from_millis(1200), "it is down", || web.lines("runs").len() == 1);
        web.sv("start").says("ok: run: web: (pid N) Ns\n", 0);
        assert_eq!(web.lines("runs").len(), 2);
    }

    /// A handler for TSTP runs: no CONT discards the signal before the process takes it. A paused service
    /// gets it as well.
    pub fn add_1_a_stop_signal_that_stops_is_followed_by_no_cont(suite: &Suite) {
        for is_paused in [false, true] {
            let body = "trap 'echo tstp >>got; exit 0' TSTP; trap 'echo cont >>got' CONT
                        echo >ready; while :; do sleep .05; done";
            let web = suite.service("web").run(body).file("down-signal", "TSTP\n").running();
            web.eventually_has("ready");
            if is_paused {
                web.control("p");
                let pid = web.status().pid;
                web.eventually("it is paused", |_| crate::runsv::control::is_stopped(pid));
            }
            web.sv("stop").says("ok: down: web: Ns, normally up\n", 0);
            let history = web.sv("why").stdout;
            assert_eq!(web.lines("got").last().map(String::as_str), Some("tstp"), "{history}");
        }
    }

    pub fn add_21_services_do_not_have_the_score_of_their_runsv(suite: &Suite) {
        super::scores_below_a_runsv_with_500(suite, "0\n");
    }

    pub fn add_13_a_child_whose_exec_hangs_holds_no_lock(suite: &Suite) {
        let (web, hung) = super::succeeded_while_an_exec_hangs(suite);
        web.eventually_runs_anew(hung);
    }

    pub fn add_11_a_runsv_does_not_wait_for_a_reader_of_its_messages(suite: &Suite) {
        let (web, runsv, mut pipe) = super::warning_into_a_full_pipe(suite);
        let web = web.supervised_by(runsv);
        let first = web.eventually_runs().pid;
        web.control("k");
        web.eventually_runs_anew(first);
        let text = pipe.read_until(|text| text.ends_with('\n'));
        assert_eq!(text, "runsv web: warning: ./log: not a directory.\n");
        web.runsv.signal(Signal::SIGTERM);
        assert_eq!(web.runsv.finished().code(), Some(0));
    }

    pub fn add_11_a_runsvdir_does_not_wait_for_a_reader_of_its_messages(suite: &Suite) {
        let (web, _runsvdir, mut pipe) = super::a_loop_beside_a_service(suite);
        web.eventually("it runs", Service::is_supervised);
        pipe.read_until(|text| text.contains(": warning: unable to stat loop: "));
    }

    /// RSD-8: as many services as there are directories.
    pub fn b30_there_are_more_than_a_thousand_services(suite: &Suite) {
        let _crowd = Crowd::gather();
        let (tree, runsvdir) = super::with_1010_services(suite);
        super::wait_for_minutes("each has a runsv", || {
            fs::read_to_string(tree.root().join("started")).is_ok_and(|names| names.lines().count() == 1010)
        });
        assert_eq!(runsvdir.stderr(), "");
    }

    /// A write to a full log blocks, as with any pipe.
    pub fn b37_the_end_of_the_log_that_services_have_blocks(suite: &Suite) {
        assert!(!super::is_stderr_nonblocking_under_a_log(suite));
    }

    /// The runsv beside it is found, whatever `PATH` says.
    pub fn b39_runsv_is_found_beside_runsvdir(suite: &Suite) {
        let (web, runsvdir) = super::without_a_path(suite);
        web.eventually("it is supervised", tests::Service::is_supervised);
        web.eventually_runs();
        assert_eq!(runsvdir.stderr(), "");
    }

    /// Each check here waits for the other.
    pub fn b42_checks_of_several_services_run_at_the_same_time(suite: &Suite) {
        let tree = suite.tree();
        let [_one, _two] = [("one", "two"), ("two", "one")].map(|(name, other)| {
            let check = format!("echo >begun; until test -e ../{other}/begun; do sleep .02; done");
            tree.service(name).run("exec sleep 1000").check(&check).running()
        });
        let output = tree.sv("-w 20 check one two");
        assert_eq!(output.code(), Some(0), "{output:?}");
    }

    /// The next command finds it dead, though runsv has to run a script first.
    pub fn b50_a_service_that_was_killed_is_dead_when_sv_ends(suite: &Suite) {
        /// Three seconds until the kill, and one for the death.
        const PATIENCE: Duration = Duration::from_secs(4);
        tests::eventually("a script that does not take a second", || {
            let (web, pid, time) = super::killed_by_way_of_a_script(suite, "sleep .1; exit 1");
            if is_alive(pid) {
                assert!(time >= PATIENCE, "sv has ended after {time:?}");
                web.eventually_gone(pid);
                return false;
            }
            assert_eq!(web.status().pid, 0);
            true
        });
    }

    /// There is no file before the first event that is worth one.
    pub fn add_3_the_history_begins_with_the_first_news(suite: &Suite) {
        let web = suite.service("web").run("exec sleep 1000").running();
        nothing_happens_for(Duration::from_millis(300), "there is no history", || {
            !web.has("supervise/.history") && !web.has("supervise/.history.new")
        });
        let pid = web.status().pid;
        web.control("k");
        web.eventually("the death is remembered", |web| {
            web.read("supervise/.history").contains("./run ended: SIGKILL")
        });
        let history = web.read("supervise/.history");
        for event in [
            "runsv started, wants up".into(),
            format!("started ./run, pid {pid}"),
            "told kill".into(),
            format!("sent SIGKILL to pid {pid}"),
        ] {
            assert!(history.contains(&event), "{event:?} is missing: {history}");
        }
    }

    /// What a killed runsv has left is ended before another is started, if its whole group is known.
    pub fn qrk_14_what_a_killed_runsv_left_is_ended_first_if_it_has_a_group(suite: &Suite) {
        let (web, old) = super::with_a_killed_runsv(suite.service("web").file("process-group", ""));
        let text = format!("an earlier ./run still runs (pid {old}), and is ended first\n");
        web.runsv.eventually_says(&format!("runsv web: warning: {text}"));
        web.eventually_runs_anew(old);
        assert!(!is_alive(old));
        web.eventually_lines("pids", 2);
    }

    /// Without a group it is left alone, as in runit, but not in silence.
    pub fn qrk_14_what_a_killed_runsv_left_is_said(suite: &Suite) {
        let (web, old) = super::with_a_killed_runsv(suite.service("web"));
        let text = format!("an earlier ./run still runs (pid {old}), unsupervised\n");
        web.runsv.eventually_says(&format!("runsv web: warning: {text}"));
        web.eventually_runs_anew(old);
        assert!(is_alive(old));
    }
}

/// What the original does.
mod theirs {
    use std::time::Duration;
    use tests::load::Crowd;

    /// A byte that the record seems to hold already is not written, and so is lost.
    #[test]
    fn sv_31_what_is_wanted_already_is_not_sent() {
        crate::sv::lines::u_is_not_sent_to_a_service_that_is_wanted_up(Suite::theirs());
        crate::sv::lines::d_is_sent_unless_term_was(Suite::theirs());
    }

    /// The check's output is closed.
    #[test]
    fn sv_44_a_check_has_no_output() {
        crate::sv::waiting::the_check_is_called_in_its_directory_without_output(Suite::theirs());
    }

    /// The record of the service is shown in the place of its log's.
    #[test]
    fn sv_25_a_log_that_cannot_be_asked_is_shown_as_its_service() {
        crate::sv::lines::a_log_that_cannot_be_asked_is_told(Suite::theirs(), "run: log: (pid N) Ns\n");
    }

    /// A check that cannot be executed is passed.
    #[test]
    fn sv_45_a_check_that_cannot_be_executed_passes() {
        crate::sv::waiting::a_check_that_cannot_be_executed_passes(Suite::theirs());
    }

    use nix::sys::signal::Signal;
    use tests::process::{is_alive, send};
    use tests::{Service, Suite, nothing_happens_for};

    /// RSV-56: it does nothing else until the script is over.
    #[test]
    fn dev_2_a_hanging_control_script_stops_everything() {
        let web = super::with_a_hanging_script(Suite::theirs());
        web.log().control("d");
        nothing_happens_for(Duration::from_millis(500), "the log runs", || web.log().status().state == 1);
    }

    /// The end is not reported before the script after the signals is over.
    #[test]
    fn dev_2_a_stop_is_told_when_its_control_script_is_over() {
        let web = super::with_a_slow_farewell(Suite::theirs());
        web.control("d");
        web.eventually_has("asked");
        nothing_happens_for(Duration::from_millis(300), "it is no more", || web.status().state == 1);
        web.write("go", "");
        web.eventually_down();
        assert!(web.has("answered"));
    }

    /// RSV-55: it counts as one that succeeded.
    #[test]
    fn dev_4_a_killed_control_script_suppresses() {
        let web = super::with_a_killed_script(Suite::theirs());
        web.control("h");
        web.eventually_has("asked");
        nothing_happens_for(Duration::from_millis(300), "it runs", || !web.has("told"));
    }

    /// It counts as one that succeeded.
    #[test]
    fn dev_4_a_killed_check_passes() {
        let web = Suite::theirs().service("web").run("exec sleep 1000").check("kill -9 $$").running();
        web.sv("check").says("ok: run: web: (pid N) Ns\n", 0);
    }

    /// The record is left as it was.
    #[test]
    fn dev_5_the_record_after_x_and_k_is_stale() {
        let web = super::ended_by_x_and_k(Suite::theirs());
        assert_eq!(web.read("supervise/stat"), "run, got TERM, want exit\n");
        assert_ne!(web.status().pid, 0);
    }

    /// It is waited for without limit.
    #[test]
    fn dev_6_a_slow_check_delays_the_timeout() {
        let web = Suite::theirs().service("web").run("exec sleep 1000").check("sleep 2; exit 0").running();
        let output = web.sv("-w 1 check");
        output.says("ok: run: web: (pid N) Ns\n", 0);
        assert!(output.took >= Duration::from_secs(2));
    }

    /// It hangs without a word, and TERM does not end it.
    #[test]
    fn dev_7_a_taken_log_lock_is_waited_for_asleep() {
        let (web, _holder) = super::with_a_taken_log_lock(Suite::theirs());
        let runsv = web.runsv().start();
        web.eventually_has("supervise/lock");
        runsv.signal(Signal::SIGTERM);
        nothing_happens_for(Duration::from_millis(500), "it waits", || {
            runsv.is_alive() && runsv.stderr().is_empty()
        });
    }

    /// It is taken for a fifo.
    #[test]
    fn dev_8_a_log_control_that_is_no_fifo_is_accepted() {
        let web = Suite::theirs()
            .service("web")
            .run("exec sleep 1000")
            .log("exec cat")
            .file("log/supervise/control", "");
        web.running();
    }

    /// SV-11: the slash is forgotten.
    #[test]
    fn dev_10_a_trailing_slash_is_forgotten_while_waiting() {
        let web = Suite::theirs().service("web").run("exec sleep 1000").running();
        let sv = web.tree().command("sv").args(["-v", "up", "web/"]).env("SVDIR", "/nonexistent");
        sv.output().says("fail: web/: unable to change to service directory: file does not exist\n", 1);
    }

    /// SV-63: the log decides.
    #[test]
    fn dev_11_status_as_an_init_script_is_that_of_the_log() {
        let web = super::down_with_a_log(Suite::theirs());
        assert_eq!(web.tree().command("web").arg("status").output().code(), Some(0));
    }

    /// It is run again, and told about itself.
    #[test]
    fn dev_15_k_during_finish_runs_a_second_finish() {
        let web = super::with_k_during_finish(Suite::theirs());
        web.eventually_reads("told", "0 0\n0 0\n");
    }

    /// A runsv that is there already shows by the failures of the new one.
    #[test]
    fn rsd_15_a_runsv_that_is_there_already_makes_starts_fail() {
        let web = Suite::theirs().service("web").run("exec sleep 1000").running();
        let runsvdir = web.tree().command("runsvdir").arg(web.tree().services()).start();
        runsvdir.eventually_says("runsv web: fatal: unable to lock supervise/lock: temporary failure\n");
        assert!(web.runsv.is_alive());
    }

    /// RSV-63: it starts, and fails, again and again.
    #[test]
    fn dev_20_a_closed_log_pipe_makes_starts_fail() {
        let web = super::with_a_closed_log_pipe(Suite::theirs());
        web.control("u");
        web.runsv.eventually_says("unable to setup filedescriptor for ./run: file descriptor not open\n");
    }

    /// TERM and CHLD.
    #[test]
    fn dev_21_control_scripts_start_with_term_and_chld_blocked() {
        assert_eq!(super::blocked_in_a_control_script(Suite::theirs()), [15, 17]);
    }

    /// It goes on in the directory that is no more.
    #[test]
    fn b18_runsv_stays_in_a_directory_that_is_no_more() {
        let (web, _old) = super::with_a_directory_made_anew(Suite::theirs());
        web.runsv.eventually_says("unable to open supervise/pid.new: file does not exist\n");
        nothing_happens_for(Duration::from_millis(1500), "the new one has no runsv", || !web.is_supervised());
    }

    /// Both write into it, and start the service.
    #[test]
    fn b18_two_runsv_may_be_in_one_place() {
        let (web, first, _other) = super::with_two_runsv(Suite::theirs(), super::lose_supervise);
        let second = web.eventually_runs_anew(first).pid;
        send(first, Signal::SIGKILL);
        let third = web.eventually_runs_anew(second).pid;
        assert!(is_alive(second) && is_alive(third));
    }

    /// The others are left as they were.
    #[test]
    fn b20_one_status_file_that_cannot_be_written_keeps_the_others() {
        let (web, old) = super::with_a_pid_that_cannot_be_written(Suite::theirs());
        web.runsv.eventually_says("unable to open supervise/pid.new: is a directory\n");
        nothing_happens_for(Duration::from_millis(300), "the record is old", || {
            web.record()[12..16] == old.to_le_bytes()
        });
    }

    #[test]
    fn add_9_a_link_in_supervise_leads_a_record_elsewhere() {
        let web = super::told_down_with_links(Suite::theirs());
        assert_ne!(std::fs::read(web.path("precious")).expect("a file"), b"precious\n");
    }

    #[test]
    fn add_9_runsv_uses_links_in_supervise() {
        for name in ["lock", "control", "ok"] {
            let web = super::with_a_link_elsewhere(Suite::theirs(), name).supervised();
            web.eventually_runs();
            assert!(web.has("elsewhere"), "{name}");
        }
    }

    #[test]
    fn add_9_sv_writes_to_what_is_there() {
        let web = super::with_a_file_for_control(Suite::theirs(), true);
        web.sv("down").says("", 0);
        assert_eq!(web.read("precious"), "drecious\n");
        let web = super::with_a_file_for_control(Suite::theirs(), false);
        web.sv("down").says("", 0);
        assert_eq!(web.read("supervise/control"), "drecious\n");
    }

    #[test]
    fn add_9_sv_reads_a_status_elsewhere() {
        let web = super::with_its_status_elsewhere(Suite::theirs());
        web.sv("status").says("run: web: (pid N) Ns\n", 0);
    }

    /// LAY-14: it can be opened whether or not there is a runsv.
    #[test]
    fn add_9_an_ok_that_is_no_fifo_is_taken_for_a_runsv() {
        let web = super::with_an_ok_that_is_a_file(Suite::theirs());
        web.sv("status").says("run: web: (pid N) Ns\n", 0);
    }

    #[test]
    fn add_9_a_fifo_in_supervise_gets_a_record() {
        assert_eq!(super::written_to_a_fifo_for_the_new_status(Suite::theirs()).len(), 20);
    }

    #[test]
    fn add_9_a_forced_look_leaves_its_mark_elsewhere() {
        let (tree, runsvdir) = super::told_to_look_with_a_link_for_the_mark(Suite::theirs());
        let mark = tree.root().join("elsewhere");
        tests::eventually("a mark", || std::fs::read(&mark).is_ok_and(|mark| mark.len() == 25));
        assert_eq!(runsvdir.stderr(), "");
    }

    /// RSV-42: `finish` is opened to see whether there is one.
    #[test]
    fn add_9_a_terminal_in_the_place_of_a_file_is_taken() {
        let (web, _terminal) = super::started_again_with_a_terminal_for_finish(Suite::theirs());
        assert_ne!(super::Process::find(web.runsv.pid()).expect("a runsv").terminal, 0);
    }

    #[test]
    fn add_12_a_name_is_printed_as_it_is() {
        super::with_a_name_that_forges(Suite::theirs(), super::FORGES);
    }

    #[test]
    fn add_20_a_finish_that_exits_125_is_any_finish() {
        super::given_up_by_its_finish(Suite::theirs()).eventually_lines("runs", 2);
    }

    #[test]
    fn add_21_services_have_the_score_of_their_runsv() {
        super::scores_below_a_runsv_with_500(Suite::theirs(), "500\n");
    }

    #[test]
    fn add_13_a_child_whose_exec_hangs_holds_the_lock() {
        let (web, _) = super::succeeded_while_an_exec_hangs(Suite::theirs());
        let refusal = "runsv web: fatal: unable to lock supervise/lock: temporary failure\n";
        assert_eq!(web.runsv.finished().stderr, refusal);
    }

    #[test]
    fn add_11_a_runsv_waits_for_a_reader_of_its_messages() {
        let (web, runsv, mut pipe) = super::warning_into_a_full_pipe(Suite::theirs());
        let _runsv = runsv.start();
        nothing_happens_for(Duration::from_millis(500), "it does not begin", || !web.is_supervised());
        pipe.read_until(|text| text.ends_with('\n'));
        web.eventually("it goes on", Service::is_supervised);
    }

    #[test]
    fn add_11_a_runsvdir_waits_for_a_reader_of_its_messages() {
        let (web, _runsvdir, mut pipe) = super::a_loop_beside_a_service(Suite::theirs());
        let held = || !web.is_supervised();
        nothing_happens_for(Duration::from_millis(1500), "it does not begin", held);
        pipe.read_until(|text| text.contains(": warning: unable to stat loop: "));
        web.eventually("it goes on", Service::is_supervised);
    }

    /// RSD-8: the services beyond the first thousand are not started.
    #[test]
    fn b30_there_are_at_most_a_thousand_services() {
        let _crowd = Crowd::gather();
        let (_tree, runsvdir) = super::with_1010_services(Suite::theirs());
        super::wait_for_minutes("a refusal", || runsvdir.stderr().contains(": too many services.\n"));
    }

    /// RSD-17: a write to a full log is refused.
    #[test]
    fn b37_the_end_of_the_log_that_services_have_does_not_block() {
        assert!(super::is_stderr_nonblocking_under_a_log(Suite::theirs()));
    }

    /// It is looked for along `PATH` only.
    #[test]
    fn b39_runsv_is_not_found_beside_runsvdir() {
        let (web, runsvdir) = super::without_a_path(Suite::theirs());
        runsvdir.eventually_says(": fatal: unable to start runsv web: file does not exist\n");
        assert!(!web.has("supervise"));
    }

    /// It may still run.
    #[test]
    fn b50_a_service_that_was_killed_may_run_when_sv_ends() {
        // The script ends when it is told to.
        let script = "until test -e killable; do sleep .02; done; exit 1";
        let (web, pid, _) = super::killed_by_way_of_a_script(Suite::theirs(), script);
        assert!(tests::process::is_alive(pid));
        web.write("killable", "");
        web.eventually_gone(pid);
    }

    /// A second copy is started without a message.
    #[test]
    fn qrk_14_what_a_killed_runsv_left_is_doubled_in_silence() {
        let (web, old) = super::with_a_killed_runsv(Suite::theirs().service("web"));
        web.eventually_runs_anew(old);
        assert!(tests::process::is_alive(old));
        assert_eq!(web.runsv.stderr(), "");
    }
}

use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::pty::{OpenptyResult, openpty};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{mkfifo, ttyname};
use tests::process::{Process, send};
use tests::{
    Builder, CommandLine, Service, StartedProgram, Suite, Supervised, TestTree, eventually_some,
    nothing_happens_for, our_suites,
};

use crate::init::messages::FullPipe;
use crate::runsv::hanging_files::make_exec_hang;

/// Writes four bytes and a `d` into a rest, and returns how many runs there were by then, when the
/// `d` has been handled and no run is under way.
fn after_hhhhd_in_the_rest(web: &Supervised) -> usize {
    web.eventually_lines("runs", 1);
    web.eventually_down();
    let runs = web.lines("runs").len();
    web.control("hhhhd");
    web.eventually("d is handled", |web| web.status().flags() == [0, b'd', 0, 0]);
    nothing_happens_for(Duration::from_millis(1300), "it is down", || web.status().pid == 0);
    runs
}

/// A service with a script after the signals of `d` that runs until there is a file `go`.
fn with_a_slow_farewell(suite: &Suite) -> Supervised {
    let script = "echo >asked; until test -e go; do sleep .02; done; echo >answered";
    suite.service("web").run("exec sleep 1000").control('d', script).running()
}

/// A service with a log, and a control script that hangs until `go` is there.
fn with_a_hanging_script(suite: &Suite) -> Supervised {
    let hang = "echo >asked; until test -e go; do sleep .02; done";
    let web = suite.service("web").run("exec sleep 1000").control('h', hang).log("exec sleep 1000").running();
    web.log().eventually_runs();
    web.control("h");
    web.eventually_has("asked");
    web
}

fn with_a_killed_script(suite: &Suite) -> Supervised {
    let web = suite.service("web").run("exec sleep 1000").finish("echo $* >>told");
    web.control('h', "echo >asked; kill -9 $$").running()
}

fn ended_by_x_and_k(suite: &Suite) -> Supervised {
    let web = suite.service("web").run(crate::IGNORES_TERM).finish("echo >wrong").running();
    web.eventually_has("ready");
    web.control("x");
    web.eventually_stat("run, got TERM, want exit");
    web.control("k");
    assert_eq!(web.runsv.finished().code(), Some(0));
    assert!(!web.has("wrong"));
    web
}

/// A service with a log that another process has locked.
fn with_a_taken_log_lock(suite: &Suite) -> (Service, StartedProgram) {
    let web = suite.service("web").run("exec sleep 1000").log("exec sleep 1000").dir("log/supervise").made();
    let flock =
        web.tree().command("flock").args(["--no-fork", "web/log/supervise/lock", "sleep", "1000"]).start();
    eventually_some("the lock is taken", || {
        let is_free = web.tree().command("flock").args(["-n", "web/log/supervise/lock", "true"]).output();
        (is_free.code() != Some(0)).then_some(())
    });
    (web, flock)
}

/// A service in finish that was sent a `k` and a `d`, with a finish that was then allowed to end.
fn with_k_during_finish(suite: &Suite) -> Supervised {
    let finish = "echo $* >>told; until test -e go; do sleep .02; done";
    let web = suite.service("web").run("exit 0").finish(finish).supervised();
    web.eventually_finishes();
    web.eventually_lines("told", 1);
    web.control("kdp");
    web.eventually("the bytes are handled", |web| web.status().paused == 1);
    web.write("go", "");
    web
}

/// A service that is down while its log runs, and sv under its name.
fn down_with_a_log(suite: &Suite) -> Supervised {
    let web = suite.service("web").run("exec sleep 1000").down().log("exec cat").supervised();
    web.log().eventually_runs();
    std::os::unix::fs::symlink("sv", web.tree().bin().join("web")).unwrap();
    web
}

fn with_a_suppressed_k(suite: &Suite) -> Supervised {
    suite.service("web").run("exec sleep 1000").control('k', "echo >asked").running()
}

/// A service that is down and told to exit, with a log that ignores the end of its input.
fn with_a_closed_log_pipe(suite: &Suite) -> Supervised {
    let web = suite.service("web").run("exec sleep 1000").down().log("exec sleep 1000").supervised();
    web.log().eventually_runs();
    web.control("x");
    web.log().eventually_stat("run, want exit");
    web
}

/// The signals that a control script has blocked. It is no shell but `yes`, which stops at the full pipe.
fn blocked_in_a_control_script(suite: &Suite) -> Vec<u32> {
    let web = suite
        .service("web")
        .run("exec sleep 1000")
        .link("control/h", "/usr/bin/yes")
        .log("exec sleep 1000")
        .running();
    web.log().eventually_runs();
    web.control("h");
    let script = eventually_some("the script runs", || {
        web.tree().processes().into_iter().find(|process| process.command_line().starts_with("control/h"))
    });
    let blocked = script.signals("SigBlk");
    send(script.pid, Signal::SIGKILL);
    blocked
}

/// runsvdir when it has started some of its services, and most of them not.
fn in_the_middle_of_the_start(suite: &Suite) -> (TestTree, StartedProgram) {
    let tree = suite.tree();
    let services: Vec<_> =
        (0..50).map(|number| tree.service(&number.to_string()).run("exec sleep 1000").made()).collect();
    let runsvdir = tree.command("runsvdir").arg(tree.services()).start();
    tests::eventually("one is started", || services.iter().any(|service| service.has("supervise")));
    (tree, runsvdir)
}

/// runsvdir, alone in its directory but for a runsv that only sleeps, on more services than the
/// original has room for.
fn with_1010_services(suite: &Suite) -> (TestTree, StartedProgram) {
    let tree = suite.tree();
    let alone = tree.root().join("alone");
    fs_err::create_dir(&alone).expect("a directory");
    tree.copy_program(&tree.bin().join("runsvdir"), &alone.join("runsvdir"));
    tree.write_script(&alone.join("runsv"), "echo >>../started; exec /bin/sleep 1000");
    for number in 0..1010 {
        let dir = tree.services().join(number.to_string());
        fs_err::create_dir(&dir).expect("a directory");
        fs_err::os::unix::fs::symlink("/bin/true", dir.join("run")).expect("a link");
    }
    let runsvdir = tree.command(alone.join("runsvdir")).env("PATH", &alone).arg(tree.services()).start();
    (tree, runsvdir)
}

/// For what may take a busy machine longer than everything else.
#[track_caller]
fn wait_for_minutes(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(180), "never happened: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Whether `O_NONBLOCK` is set for the standard error of a service, which is runsvdir's log.
fn is_stderr_nonblocking_under_a_log(suite: &Suite) -> bool {
    let tree = suite.tree();
    let web = tree.service("web").run("exec sleep 1000").made();
    let _runsvdir = tree.command("runsvdir").arg(tree.services()).arg("log: ....").start();
    web.eventually("it is supervised", Service::is_supervised);
    let pid = web.eventually_runs().pid;
    let descriptors = Process::find(pid).expect("it runs").descriptors();
    assert!(
        descriptors.iter().any(|(number, what)| *number == 2 && what.starts_with("pipe:")),
        "{descriptors:?}"
    );
    let about = fs_err::read_to_string(format!("/proc/{pid}/fdinfo/2")).expect("it runs");
    let flags = about.lines().find_map(|line| line.strip_prefix("flags:")).expect("flags");
    let flags = i32::from_str_radix(flags.trim(), 8).expect("an octal number");
    flags & nix::fcntl::OFlag::O_NONBLOCK.bits() != 0
}

/// runsvdir with a `PATH` that leads nowhere; runsv is beside it.
fn without_a_path(suite: &Suite) -> (Service, StartedProgram) {
    let tree = suite.tree();
    let web = tree.service("web").run("exec /bin/sleep 1000").made();
    let words = ["-c", "PATH=/nonexistent exec \"$@\"", "sh"];
    let runsvdir =
        tree.command("sh").args(words).arg(tree.bin().join("runsvdir")).arg(tree.services()).start();
    (web, runsvdir)
}

/// A service that `force-stop` had to kill, by way of a script that takes a moment to allow it.
fn killed_by_way_of_a_script(suite: &Suite, script: &str) -> (Supervised, u32, Duration) {
    let web = suite.service("web").run(crate::IGNORES_TERM).control('k', script).running();
    web.eventually_has("ready");
    let pid = web.status().pid;
    let begin = Instant::now();
    web.sv("-w 3 force-stop").says("kill: run: web: (pid N) Ns, want down, got TERM\n", 1);
    (web, pid, begin.elapsed())
}

/// A service after its runsv was killed and replaced, and the process that the old runsv had left.
fn with_a_killed_runsv(web: Builder) -> (Supervised, u32) {
    let web = web.run("echo $$ >>pids; exec sleep 1000").running();
    web.eventually_lines("pids", 1);
    let old = web.status().pid;
    web.runsv.signal(Signal::SIGKILL);
    web.runsv.finished();
    let service = web.tree().at("web");
    (service.supervised(), old)
}

/// A program with its standard descriptors closed, and with a `/dev` that has nothing but `shm`, where
/// trees may be.
fn without_null_device(program: CommandLine) -> CommandLine {
    let mut words = vec!["unshare", "--mount"];
    if !nix::unistd::geteuid().is_root() {
        words.extend(["--user", "--map-root-user"]);
    }
    let script = "set -e; mount -t tmpfs none /mnt; mkdir /mnt/shm; mount --rbind /dev/shm /mnt/shm
        mount --move /mnt /dev; exec \"$@\" <&- >&- 2>&-";
    words.extend(["sh", "-c", script, "sh"]);
    program.through(&words)
}

/// A service with a runsv that writes a message at its start, into a pipe that is full.
fn warning_into_a_full_pipe(suite: &Suite) -> (Service, CommandLine, FullPipe) {
    let web = suite.service("web").run("exec sleep 1000").file("log", "").made();
    let pipe = FullPipe::new(web.tree());
    let runsv = web.runsv().redirected(&pipe.redirection());
    (web, runsv, pipe)
}

/// A service beside an entry that makes runsvdir write a message, into a pipe that is full.
fn a_loop_beside_a_service(suite: &Suite) -> (Service, StartedProgram, FullPipe) {
    let web = suite.service("web").run("exec sleep 1000").made();
    symlink("loop", web.tree().services().join("loop")).expect("a link");
    let pipe = FullPipe::new(web.tree());
    let runsvdir = crate::runsvdir::scanning::watching(web.tree()).arg(web.tree().services());
    (web, runsvdir.redirected(&pipe.redirection()).start(), pipe)
}

/// A service after its runsv was killed and replaced while the exec of `./run` hangs, and that child.
fn succeeded_while_an_exec_hangs(suite: &Suite) -> (Supervised, u32) {
    let mut web = suite.service("web").run("exec sleep 1000").down().supervised();
    make_exec_hang(&web, "run");
    web.control("u");
    let hung = web.eventually_runs().pid;
    web.runsv.signal(Signal::SIGKILL);
    web.runsv.finished();
    web.remove("down");
    web.another_supervisor_starts();
    (web, hung)
}

/// A service that was stopped while links stood where its next record is to be made.
fn told_down_with_links(suite: &Suite) -> Supervised {
    let web = suite.service("web").run("exec sleep 1000").file("precious", "precious\n").running();
    for name in ["pid.new", "stat.new", "status.new"] {
        symlink("../precious", web.path(&format!("supervise/{name}"))).expect("a link");
    }
    web.control("d");
    web.eventually_down();
    web
}

const FORGES: &str = "a\x1b[2J\nfatal: b\u{9b}31m";

/// runsv and runsvdir are given a name with control characters, and show it like this.
fn with_a_name_that_forges(suite: &Suite, shown: &str) {
    let tree = suite.tree();
    let text = format!("runsv {shown}: fatal: unable to change to directory: file does not exist\n");
    tree.command("runsv").arg(FORGES).output().is("", &text, 111);
    symlink("nowhere", tree.services().join(FORGES)).expect("a link");
    let runsvdir = tree.command("runsvdir").arg(tree.services()).start();
    runsvdir.eventually_says(&format!(": warning: unable to stat {shown}: file does not exist\n"));
}

/// A service with a link in `supervise/` to a FIFO elsewhere; for the lock, to nothing.
fn with_a_link_elsewhere(suite: &Suite, name: &str) -> Service {
    let web = suite.service("web").run("exec sleep 1000");
    let web = web.link(&format!("supervise/{name}"), "../elsewhere").made();
    if name != "lock" {
        mkfifo(&web.path("elsewhere"), Mode::S_IRWXU).expect("a FIFO");
    }
    web
}

/// A service with a file in the place of its control FIFO, or with a link to one.
fn with_a_file_for_control(suite: &Suite, is_link: bool) -> Supervised {
    let web = suite.service("web").run("exec sleep 1000").file("precious", "precious\n").running();
    web.remove("supervise/control");
    if is_link {
        symlink("../precious", web.path("supervise/control")).expect("a link");
    } else {
        web.write("supervise/control", "precious\n");
    }
    web
}

/// A service with a link to its record in the place of the status.
fn with_its_status_elsewhere(suite: &Suite) -> Supervised {
    let web = suite.service("web").run("exec sleep 1000").running();
    fs_err::rename(web.path("supervise/status"), web.path("record")).expect("a rename");
    symlink("../record", web.path("supervise/status")).expect("a link");
    web
}

/// A service that runs with a regular file in the place of its `ok`.
fn with_an_ok_that_is_a_file(suite: &Suite) -> Supervised {
    let web = suite.service("web").run("exec sleep 1000").file("supervise/ok", "").running();
    web.eventually_stat("run");
    web
}

/// What runsv writes to a FIFO, which is read, in the place of `status.new`.
fn written_to_a_fifo_for_the_new_status(suite: &Suite) -> Vec<u8> {
    let web = suite.service("web").run("exec sleep 1000").running();
    web.eventually_stat("run");
    let fifo = web.path("supervise/status.new");
    mkfifo(&fifo, Mode::S_IRWXU).expect("a FIFO");
    let open = OFlag::O_RDWR | OFlag::O_NONBLOCK;
    let both_ends = nix::fcntl::open(&fifo, open, Mode::empty()).expect("a FIFO");
    web.control("d");
    web.eventually_stat("down");
    let mut record = vec![0; 100];
    let length = nix::unistd::read(&both_ends, &mut record).unwrap_or(0);
    record.truncate(length);
    record
}

/// A service with a runsv that leads a session, as under `runsvdir -P`, and that has looked for `finish`
/// where there is a link to a terminal.
fn started_again_with_a_terminal_for_finish(suite: &Suite) -> (Supervised, OpenptyResult) {
    let terminal = openpty(None, None).expect("a terminal");
    let name = ttyname(&terminal.slave).expect("its name");
    let web = suite.service("web").run("exec sleep 1000").link("finish", name).made();
    let runsv = web.runsv().through(&["setsid"]);
    let web = web.supervised_by(runsv);
    let first = web.eventually_runs().pid;
    web.control("k");
    web.eventually_runs_anew(first);
    (web, terminal)
}

/// A runsvdir that was told to look, with a link to nothing in the place of its mark.
fn told_to_look_with_a_link_for_the_mark(suite: &Suite) -> (TestTree, StartedProgram) {
    let tree = suite.tree();
    symlink("../elsewhere", tree.services().join(".forced-rescan")).expect("a link");
    let runsvdir = tree.command("runsvdir").arg(tree.services()).start();
    let web = tree.service("web").run("exec sleep 1000").made();
    web.eventually_has("supervise/status");
    runsvdir.signal(Signal::SIGALRM);
    (tree, runsvdir)
}

/// A service of which one status file cannot be written, and that was killed and started anew.
fn with_a_pid_that_cannot_be_written(suite: &Suite) -> (Supervised, u32) {
    let web = suite.service("web").run("echo >>runs; exec sleep 1000").running();
    let old = web.status().pid;
    web.eventually_lines("runs", 1);
    fs_err::create_dir(web.path("supervise/pid.new")).expect("a directory in the way");
    web.control("k");
    web.eventually_lines("runs", 2);
    (web, old)
}

/// A service that writes down every start, and which process starts it.
fn telling(tree: &TestTree) -> Builder {
    let web = tree.service("web").run("echo run $$ >>did; exec sleep 1000");
    web.finish("echo finish $PPID >>did")
}

/// Removes the directory of a service, and makes it anew.
fn make_anew(web: &Supervised) {
    fs_err::remove_dir_all(web.dir()).expect("the old one is removed");
    telling(web.tree()).made();
}

/// Removes what runsv has made.
fn lose_supervise(web: &Supervised) {
    fs_err::remove_dir_all(web.path("supervise")).expect("the old one is removed");
}

/// A runsv that has lost its place, the process of its service, and another runsv in that place.
fn with_two_runsv(suite: &Suite, lose: fn(&Supervised)) -> (Supervised, u32, StartedProgram) {
    let web = telling(&suite.tree()).running();
    let first = web.status().pid;
    web.eventually_lines("did", 1);
    web.eventually("everything is written", |web| !web.has("supervise/status.new"));
    lose(&web);
    let other = web.runsv().start();
    web.eventually("another runsv", tests::Service::is_supervised);
    (web, first, other)
}

/// A runsv after its directory was removed and made anew, and its service has died.
fn with_a_directory_made_anew(suite: &Suite) -> (Supervised, u32) {
    let web = suite.service("web").run("exec sleep 1000").running();
    let old = web.status().pid;
    fs_err::remove_dir_all(web.dir()).expect("the old one is removed");
    web.tree().service("web").run("exec sleep 1000").made();
    send(old, Signal::SIGKILL);
    (web, old)
}

/// The first run of this service fails, and its `./finish` says that this is for good.
fn given_up_by_its_finish(suite: &Suite) -> Supervised {
    let run = "echo >>runs; test $(wc -l <runs) -gt 1 || exit 1; exec sleep 1000";
    suite.service("web").run(run).finish("exit 125").supervised()
}

/// A runsv with a score: each of its programs writes down what it has itself. The control script is run
/// before each start.
fn scores_below_a_runsv_with_500(suite: &Suite, expected: &str) {
    let note = |name: &str| format!("cat /proc/self/oom_score_adj >{name}");
    let parent = suite
        .service("parent")
        .run("echo 500 >/proc/self/oom_score_adj; exec runsv child")
        .script("child/run", &format!("{}; exec sleep 1000", note("of-run")))
        .script("child/finish", &note("of-finish"))
        .script("child/control/u", &note("of-control"))
        .script("child/log/run", &format!("{}; exec cat", note("of-log")))
        .running();
    for file in ["child/of-run", "child/of-control", "child/log/of-log"] {
        parent.eventually_reads(file, expected);
    }
    parent.control("d");
    parent.eventually_reads("child/of-finish", expected);
    parent.eventually_down();
}
