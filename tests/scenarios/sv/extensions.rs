//! The words of sv that runit's sv does not know: `list`, `why`, `lint`, `enable`, `disable`, `--json`; and
//! that they, and `health`, change nothing that it knows.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;

use fs_err as fs;
use tests::{Output, Service, Suite, TestTree, eventually, eventually_some, on_suites};

use crate::sv::words::{Fake, RUNNING, USAGE};

on_suites! {
    theirs:
    every_abbreviation_keeps_its_meaning,
    options_unknown_to_runit_end_the_options,
}

on_suites! {
    ours:
    every_abbreviation_keeps_its_meaning,
    options_unknown_to_runit_end_the_options,
    list_shows_every_service_in_aligned_columns,
    list_is_coloured_for_eyes_only,
    list_of_nothing_is_nothing,
    a_directory_that_cannot_be_read_is_fatal,
    json_has_the_documented_members,
    json_is_valid_whatever_a_service_is_called,
    json_says_whether_the_check_agrees,
    json_waits_for_a_check_as_long_as_it_is_told,
    why_explains_a_crash_loop,
    why_tells_what_stopped_it,
    why_tells_what_this_runsv_was_told_alone,
    why_tells_what_is_waited_for,
    why_without_a_runsv_tells_what_to_do,
    why_finds_the_runsvdir_by_whatever_name_it_has_the_directory,
    why_names_the_place_it_looked_in,
    lint_finds_nothing_in_the_example_tree,
    lint_finds_nothing_in_a_tree_that_runs,
    lint_finds_what_is_wrong_with_programs,
    lint_finds_shell_scripts_that_do_not_exec,
    lint_reads_what_is_nested_without_end,
    lint_finds_the_circles_among_many_services,
    noexec_is_named,
    a_log_that_was_added_later_is_named,
    why_tells_what_keeps_signals_from_a_process,
    why_tells_of_a_process_that_may_not_be_signalled,
    a_name_drives_no_terminal,
    what_is_found_is_printable,
    lint_finds_names_that_no_program_reads,
    lint_finds_bad_words_and_circles,
    lint_finds_a_supervise_that_cannot_work,
    lint_finds_entries_that_share_a_directory,
    lint_counts_directories,
    enable_links_and_disable_unlinks,
    enable_and_disable_refuse_what_would_destroy,
    an_empty_svdir_is_no_directory,
    an_init_script_knows_none_of_the_new_words,
}

on_suites! {
    our_sv_on_their_runsv:
    why_tells_what_the_status_does,
}

/// SV-4: all that begins like a new word, and is not one.
fn every_abbreviation_keeps_its_meaning(suite: &Suite) {
    let words = |word: &'static str| (1..word.len()).filter_map(move |end| word.get(..end));
    for word in
        words("list").chain(words("lint")).chain(words("why")).chain(["lists", "lintx", "whys", "List"])
    {
        suite.tree().sv(&format!("{word} web")).is("", USAGE, 100);
    }
    let exit = words("enable").chain(["enables", "enablex", "ex", "exi", "exit", "e-nable"]);
    let hup = words("health").chain(["healths", "healthx", "hup"]);
    let down = words("disable").chain(["disabled", "disablex", "do", "dow", "down"]);
    let status = ["s", "sv", "st", "sta", "stat", "statu", "sx", "sho"];
    let words: Vec<(&str, &str)> = exit
        .map(|word| (word, "x"))
        .chain(down.map(|word| (word, "d")))
        .chain(hup.map(|word| (word, "h")))
        .collect();
    // With a limit the original takes most of a second for each.
    thread::scope(|scope| {
        for some in words.chunks(4) {
            scope.spawn(move || {
                let fake = Fake::new(suite);
                for (word, bytes) in some {
                    let (sent, output) = fake.sent(word, RUNNING);
                    assert_eq!(sent, *bytes, "sv {word}: {output:?}");
                }
            });
        }
    });
    let web = suite.service("web").run("exec sleep 1000").running();
    for word in status {
        web.sv(word).says("run: web: (pid N) Ns\n", 0);
    }
}

/// GEN-4: and what follows them is the command.
fn options_unknown_to_runit_end_the_options(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").running();
    for option in ["--jso", "--jsonx", "--json=1", "--", "--list"] {
        web.sv(&format!("{option} status")).says("run: web: (pid N) Ns\n", 0);
    }
    let text =
        "fail: --json: unable to change to service directory: file does not exist\nrun: web: (pid N) Ns\n";
    web.tree().sv("status --json web").says(text, 1);
}

/// The columns of each line.
fn columns(output: &Output) -> Vec<Vec<&str>> {
    output
        .stdout
        .lines()
        .map(|line| line.split("  ").map(str::trim).filter(|it| !it.is_empty()).collect())
        .collect()
}

fn list_shows_every_service_in_aligned_columns(suite: &Suite) {
    let tree = suite.tree();
    let web = tree.service("web").run("exec sleep 1000").log("exec cat").running();
    web.log().eventually_runs();
    let job = tree.service("a-long-name").run("exec sleep 1000").down().supervised();
    job.eventually_down();
    tree.service("new").run("exec sleep 1000").made();
    tree.service(".hidden").run("exec sleep 1000").made();
    fs::write(tree.services().join("README"), "").unwrap();
    symlink("/nonexistent", tree.services().join("gone")).unwrap();
    symlink(web.dir(), tree.services().join("web2")).unwrap();

    let output = tree.sv("list");
    let pid = web.status().pid.to_string();
    let is_age = |text: &str| text.ends_with('s') && text.len() < 4;
    let columns = columns(&output);
    assert_eq!(output.code(), Some(2), "{output:?}");
    assert_eq!(columns[0], ["NAME", "STATE", "PID", "UPTIME", "LOG", "NOTES"]);
    assert_eq!(columns[1][..3], ["a-long-name", "down", "-"]);
    assert_eq!(columns[2][..5], ["gone", "fail", "-", "-", "-"]);
    assert_eq!(columns[2][5], "unable to change to service directory: file does not exist");
    assert_eq!(columns[3][5], "unable to open supervise/ok: file does not exist");
    for (line, name) in [(4, "web"), (5, "web2")] {
        assert_eq!(columns[line][..3], [name, "run", &pid]);
        assert!(is_age(columns[line][3]), "{output:?}");
        assert_eq!(columns[line][4..], ["run"]);
    }
    assert_eq!(columns.len(), 6);
    let starts: Vec<_> = output.stdout.lines().map(|line| line.find("run ").or(line.find("down"))).collect();
    assert_eq!(starts[4], starts[5]);

    web.sv("-v down").says("ok: down: web: Ns, normally up\n", 0);
    let output = tree.sv("list web");
    assert_eq!((output.stdout.lines().count(), output.code()), (2, Some(0)));
    assert!(output.stdout.ends_with("run  normally up\n"), "{output:?}");
}

fn list_is_coloured_for_eyes_only(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").running();
    let on_terminal = |variable: &str, value: &str| {
        let script = web.tree().command("script").args(["-qec", "sv list", "/dev/null"]);
        script.env("TERM", "xterm").env(variable, value).output().stdout
    };
    assert!(on_terminal("NO_COLOR", "").contains("\x1b[32mrun\x1b[0m"));
    assert!(!on_terminal("NO_COLOR", "1").contains('\x1b'));
    assert!(!on_terminal("TERM", "dumb").contains('\x1b'));
    assert!(!web.tree().sv("list").stdout.contains('\x1b'));
}

fn list_of_nothing_is_nothing(suite: &Suite) {
    let tree = suite.tree();
    tree.sv("list").says("", 0);
    tree.sv("--json list").says("[]\n", 0);
    tree.sv("lint").says("", 0);
    for words in ["why", "enable", "disable", "--json", "--json up a", "--json why a", "--json status"] {
        tree.sv(words).is("", USAGE, 100);
    }
}

fn a_directory_that_cannot_be_read_is_fatal(suite: &Suite) {
    let tree = suite.tree();
    for word in ["list", "lint"] {
        let sv = tree.command("sv").arg(word).env("SVDIR", "/nonexistent");
        sv.output().is("", "fatal: unable to open /nonexistent: file does not exist\n", 100);
    }
}

/// The object of a service, without what differs from run to run.
fn timeless(text: &str) -> String {
    let mut text = text.to_owned();
    for (member, end) in [("\"since\":\"", '"'), ("\"uptime\":", ','), ("\"pid\":", ',')] {
        let mut at = 0;
        while let Some(found) = text[at..].find(member) {
            at += found + member.len();
            let length = text[at..].find(end).unwrap();
            if &text[at..at + length] != "null" {
                text.replace_range(at..at + length, "?");
            }
        }
    }
    text
}

fn json_has_the_documented_members(suite: &Suite) {
    let tree = suite.tree();
    let web = tree.service("web").run("exec sleep 1000").log("exec cat").running();
    web.log().eventually_runs();
    tree.service("job").run("exec sleep 1000").down().supervised().eventually_down();
    tree.service("new").run("exec sleep 1000").made();

    let output = tree.sv("--json list");
    let job = r#"{"name":"job","state":"down","pid":null,"since":"?","uptime":?,"want":"down","paused":false,"normally_up":false,"got_term":false,"ready":null,"log":null,"error":null,"status_text":null}"#;
    let new = r#"{"name":"new","state":null,"pid":null,"since":null,"uptime":null,"want":null,"paused":null,"normally_up":true,"got_term":null,"ready":null,"log":null,"error":"unable to open supervise/ok: file does not exist","status_text":null}"#;
    let log = r#"{"name":"web/log","state":"run","pid":?,"since":"?","uptime":?,"want":"up","paused":false,"normally_up":true,"got_term":false,"ready":null,"log":null,"error":null,"status_text":null}"#;
    let web_text = log.replace("web/log", "web").replace("\"log\":null", &format!("\"log\":{log}"));
    assert_eq!(timeless(&output.stdout), format!("[\n{job},\n{new},\n{web_text}\n]\n"));
    assert_eq!((output.stderr.as_str(), output.code()), ("", Some(1)));
    assert!(output.stdout.contains(&format!("\"pid\":{},", web.status().pid)));

    let since = output.stdout.split("\"since\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let date = tree.command("date").args(["-u", "-d", since, "+%Y-%m-%dT%H:%M:%S"]).output().stdout;
    assert_eq!(format!("{}.", date.trim_end()), since[..20]);

    let output = tree.sv("--json status web");
    assert_eq!(timeless(&output.stdout), format!("[\n{web_text}\n]\n"));
    let output = tree.sv("--json status nope");
    assert!(
        output.stdout.contains("unable to change to service directory: file does not exist"),
        "{output:?}"
    );
    assert_eq!(output.code(), Some(1));
}

fn json_is_valid_whatever_a_service_is_called(suite: &Suite) {
    let tree = suite.tree();
    let name = "a \"b\" \\ c\n\td";
    fs::create_dir(tree.services().join(name)).unwrap();
    let output = tree.sv("--json list");
    assert!(
        output.stdout.starts_with("[\n{\"name\":\"a \\\"b\\\" \\\\ c\\n\\td\",\"state\":null,"),
        "{output:?}"
    );
    let output = tree.sv("list");
    assert!(output.stdout.contains("a \"b\" \\ c??d"), "{output:?}");
    let odd = OsStr::from_bytes(b"x\xff");
    let output = tree.command("sv").args(["--json", "status"]).arg(odd).output();
    assert!(output.stdout.starts_with("[\n{\"name\":\"x\u{fffd}\","), "{output:?}");
}

fn json_says_whether_the_check_agrees(suite: &Suite) {
    let tree = suite.tree();
    let _running = [("good", 0), ("bad", 1)].map(|(name, code)| {
        tree.service(name).run("exec sleep 1000").check(&format!("exit {code}")).running()
    });
    let down = tree.service("down").run("exec sleep 1000").check("exit 0").down().supervised();
    down.eventually_down();
    let ready = |words: &str| -> Vec<String> {
        let output = tree.sv(words).stdout;
        output.split("\"ready\":").skip(1).map(|rest| rest.split(',').next().unwrap().to_owned()).collect()
    };
    assert_eq!(ready("--json status good bad down"), ["true", "false", "false"]);
    assert_eq!(ready("--json list"), ["null", "null", "null"]);
    assert_eq!(ready("--json -v list"), ["false", "false", "true"]);
    let output = tree.sv("-v list");
    assert!(output.stdout.contains("  ready\n") && output.stdout.contains("  not ready\n"), "{output:?}");
}

fn json_waits_for_a_check_as_long_as_it_is_told(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").check("sleep 1234").running();
    let output = web.sv("-w 1 --json status");
    assert!(output.stdout.contains("\"ready\":false"), "{output:?}");
    eventually("the check is ended", || web.tree().processes_called("sleep 1234").is_empty());
}

fn why_explains_a_crash_loop(suite: &Suite) {
    let web = suite.service("web").run("no-such-program").supervised();
    web.eventually("three lives", |web| web.read("supervise/.history").matches("./run ended").count() >= 3);
    let texts = [
        "web: ",
        " ago  ./run ended with exit code 127 after 0.",
        "  hint: exit code 127: the shell did not find a program",
        "  hint: crash loop: the last ",
    ];
    // A shell that has to wait for a processor does not end at once.
    eventually("three short lives in a row", || {
        let output = web.sv("why");
        assert_eq!(output.code(), Some(0), "{output:?}");
        texts.iter().all(|text| output.stdout.contains(text))
    });
}

fn why_tells_what_stopped_it(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").running();
    let output = web.sv("why");
    assert!(output.stdout.starts_with("web: running for "), "{output:?}");
    assert_eq!(output.stdout.lines().count(), 1, "{output:?}");
    web.sv("-v down").says("ok: down: web: Ns, normally up\n", 0);
    let output = web.sv("why");
    assert!(output.stdout.starts_with("web: down for "), "{output:?}");
    assert!(output.stdout.contains(": was told to be down "), "{output:?}");
    for text in
        ["was told down", "runsv sent SIGTERM to pid ", "./run was killed by SIGTERM after ", "sv up web"]
    {
        assert!(output.stdout.contains(text), "{text}: {output:?}");
    }
    web.sv("-v up");
    tests::process::send(web.status().pid, nix::sys::signal::Signal::SIGKILL);
    web.eventually("its end is remembered", |web| web.read("supervise/.history").contains("ended: SIGKILL"));
    let output = web.sv("why");
    assert!(output.stdout.contains("hint: runsv did not send this SIGKILL"), "{output:?}");
}

fn why_tells_what_this_runsv_was_told_alone(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").down().supervised();
    web.sv("start");
    web.sv("stop");
    web.control("x");
    web.runsv.finished();
    let history = web.read("supervise/.history");
    assert!(history.contains("told down"), "{history}");
    let runsv = web.runsv().start();
    web.eventually("is supervised again", Service::is_supervised);
    let output =
        eventually_some("what it says", || Some(web.sv("why")).filter(|output| output.code() == Some(0)));
    assert!(output.stdout.contains(": there is a file down, and no command to start it\n"), "{output:?}");
    drop(runsv);
}

fn why_tells_what_is_waited_for(suite: &Suite) {
    let web =
        suite.service("web").run("exec sleep 1000").control('t', "echo $$ >asked; exec sleep 1000").running();
    web.sv("term");
    web.eventually_has("asked");
    web.eventually("it is remembered", |web| web.read("supervise/.history").contains("waits for control/t"));
    let output = web.sv("why");
    let hook = web.read("asked");
    let text = format!("; waits for control/t (pid {}) to end\n", hook.trim_end());
    assert!(output.stdout.contains(&text), "{output:?}");
}

/// The status that the original's runsv publishes is shown; it keeps no history.
fn why_tells_what_the_status_does(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").running();
    let output = web.sv("why");
    let pid = web.status().pid;
    assert!(output.stdout.starts_with("web: running for "), "{output:?}");
    assert!(output.stdout.ends_with(&format!(", pid {pid}\n")), "{output:?}");
    let bad = web.tree().service("bad").run("exit 1").supervised();
    // It runs for a moment each second.
    let output = tests::eventually_some("it is seen at rest", || {
        Some(bad.sv("why")).filter(|output| output.stdout.contains("hint: there is no history"))
    });
    assert_eq!(output.code(), Some(0));
}

fn why_without_a_runsv_tells_what_to_do(suite: &Suite) {
    let tree = suite.tree();
    let web = tree.service("web").file("run", "#!/bin/sh\nexec sleep 1000\n").made();
    let output = web.sv("why");
    let place = tree.services().display().to_string();
    for text in [
        "warning: web: unable to open supervise/ok: file does not exist\n",
        &format!("hint: no visible runsvdir scans {place}: start one with runsvdir {place}"),
        &format!("hint: run: not executable; chmod +x {place}/web/run\n"),
    ] {
        assert!(output.stdout.contains(text), "{text}: {output:?}");
    }
    assert_eq!(output.code(), Some(1));
    // No runsvdir scans another directory.
    let elsewhere = tree.command("sv").args(["why"]).arg(web.dir()).env("SVDIR", tree.root());
    let output = elsewhere.output();
    assert!(output.stdout.contains("is not in "), "{output:?}");
    assert!(output.stdout.contains("sv enable "), "{output:?}");
}

fn why_finds_the_runsvdir_by_whatever_name_it_has_the_directory(suite: &Suite) {
    let tree = suite.tree();
    let web = tree.service("web").run("exec sleep 1000").made();
    // No runsv can work there.
    symlink("/no/such/directory", web.path("supervise")).expect("a link");
    symlink("service", tree.root().join("current")).expect("a link");
    let runsvdir = tree.command("runsvdir").arg("current").dir(tree.root()).start();
    let text = format!("hint: runsvdir (pid {}) scans {}", runsvdir.pid(), tree.services().display());
    let output = tests::eventually_some("a runsvdir that has its name", || {
        Some(web.sv("why")).filter(|output| output.stdout.contains(&text))
    });
    assert_eq!(output.code(), Some(1));
}

fn why_names_the_place_it_looked_in(suite: &Suite) {
    let tree = suite.tree();
    tree.service("webserver").run("exec sleep 1000").made();
    let output = tree.sv("why websever");
    let text = format!(
        "fail: websever: unable to change to service directory: file does not exist\n  \
         hint: looked in {}, which SVDIR can change\n  hint: did you mean \"webserver\"?\n",
        tree.services().display()
    );
    output.is(&text, "", 1);
}

fn lint_finds_nothing_in_the_example_tree(suite: &Suite) {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc-service-example");
    let tree = suite.tree();
    tree.command("sv").arg("lint").env("SVDIR", &example).output().says("", 0);
    tree.command("sv").args(["lint", "etc-service-example/web"]).dir(example.join("..")).output().says("", 0);
}

fn lint_finds_nothing_in_a_tree_that_runs(suite: &Suite) {
    let web = suite
        .service("web")
        .run("exec 2>&1\nexec sleep 1000")
        .finish("echo finished")
        .check("true")
        .control('t', "exit 1")
        .log("exec cat")
        .file("down-signal", "QUIT\n")
        .file("timeout-kill", "5000\n")
        .file("timeout-finish", "0\n")
        .file("process-group", "")
        .file("README", "")
        .file("conf", "")
        .running();
    web.tree().sv("lint").says("", 0);
    web.tree().sv("exit web");
    eventually("runsv ends", || !web.is_supervised());
    web.tree().sv("lint web").says("", 0);
}

/// What `sv lint` says of a service called web.
#[track_caller]
fn lint_says(tree: &TestTree, findings: &[&str]) {
    let text = findings.iter().flat_map(|finding| ["sv lint: web: ", finding, "\n"]).collect::<String>();
    let services = tree.services().display().to_string();
    tree.sv("lint web").is(&text.replace("SVDIR", &services), "", i32::from(!findings.is_empty()));
}

fn lint_finds_what_is_wrong_with_programs(suite: &Suite) {
    let missing = "run: missing; runsv tries to start it every second";
    lint_says(suite.service("web").dir(".").made().tree(), &[missing]);
    lint_says(suite.service("web").dir("run").made().tree(), &["run: a directory; it must be a program"]);
    let web = suite.service("web").link("run", "nowhere").made();
    lint_says(web.tree(), &["run: dangling symlink: create the target or remove it"]);
    let web = suite.service("web").file("run", "#!/bin/sh\nexec x\n").file("check", "#!/bin/sh\n").made();
    lint_says(
        web.tree(),
        &["run: not executable; chmod +x SVDIR/web/run", "check: not executable; chmod +x SVDIR/web/check"],
    );
    for (body, finding) in [
        ("", "empty; begin it with a line such as #!/bin/sh"),
        ("exec x\n", "no #! in its first line; begin it with a line such as #!/bin/sh"),
        ("#!/bin/sh\r\nexec x\r\n", "lines end with CR LF, so its interpreter is not found; remove the CRs"),
        ("#!/bin/sh\nexec x\r\n", "lines end with CR LF, which the shell takes for words; remove the CRs"),
        ("#!/bin/shh\n", "interpreter /bin/shh: file does not exist; install or correct it"),
        ("#!/usr/bin/env phyton3\n", "interpreter phyton3: not in PATH; install or correct it"),
        ("#!\n", "nothing follows #! in its first line; name an interpreter there"),
    ] {
        let web = suite.service("web").file("run", body).made();
        tests::tree::set_mode(&web.path("run"), 0o755);
        lint_says(web.tree(), &[&format!("run: {finding}")]);
    }
    let web =
        suite.service("web").run("exec x").file("control/t", "#!/bin/sh\n").file("control/z", "").made();
    let ignored = "not executable by its owner, so runsv ignores it; chmod u+x SVDIR/web/control/t";
    lint_says(web.tree(), &[&format!("control/t: {ignored}")]);
    let web = suite.service("web").run("exec x").file("log", "").file("control", "").made();
    lint_says(
        web.tree(),
        &[
            "control: not a directory; runsv warns at every command",
            "log: not a directory, so there is no log service; make it one, with a run in it",
        ],
    );
}

fn lint_finds_shell_scripts_that_do_not_exec(suite: &Suite) {
    let web = suite.service("web").run("exec 2>&1\nhttpd -f").log("svlogd ./main").finish("rm -f pid").made();
    let text = |name: &str| {
        format!("may lack an exec before {name}, and then signals reach the shell only; exec {name}")
    };
    lint_says(web.tree(), &[&format!("run: {}", text("httpd")), &format!("log/run: {}", text("svlogd"))]);
    for run in
        ["echo x\nrm -f /service/web", "test -d / || exit 1\nrunsvchdir single", "httpd &\nwait", "a | b"]
    {
        lint_says(suite.service("web").run(run).made().tree(), &[]);
    }
}

fn lint_reads_what_is_nested_without_end(suite: &Suite) {
    for nested in ["$((", "$(", "${$", "\"$(\"", "((", "{", "`\\`"] {
        let run = format!("#!/bin/sh\n{}\n", nested.repeat(300_000 / nested.len()));
        let web = suite.service("web").file("run", &run).made();
        tests::tree::set_mode(&web.path("run"), 0o755);
        lint_says(web.tree(), &[]);
        assert_eq!(web.sv("why").code(), Some(1));
    }
}

fn lint_finds_the_circles_among_many_services(suite: &Suite) {
    let tree = suite.tree();
    let name = |number: usize| format!("s{number:03}");
    for number in 0..150 {
        let service = tree.service(&name(number)).run("exec x").dir("dependencies.d").made();
        (0..number).for_each(|other| service.write(&format!("dependencies.d/{}", name(other)), ""));
    }
    tree.sv("lint").is("", "", 0);
    // The first needs the last: all need themselves.
    fs::write(tree.services().join("s000/dependencies.d/s149"), "").unwrap();
    let output = tree.sv("lint");
    assert_eq!(output.code(), Some(99), "{output:?}");
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(lines.len(), 150);
    let text = "dependencies.d: dependency cycle: s007 -> s000 -> s149 -> s007";
    assert_eq!(lines[7], format!("sv lint: s007: {text}"));
    // And none if the way does not come back.
    let tree = suite.tree();
    for number in 0..40 {
        let next = format!("dependencies.d/{}", name((number + 1).min(39)));
        tree.service(&name(number)).run("exec x").file(&next, "").made();
    }
    tree.sv("lint s000").is("", "", 0);
    tree.sv("lint s039").says("sv lint: s039: dependencies.d: dependency cycle: s039 -> s039\n", 1);
    fs::write(tree.services().join("s039/dependencies.d/s000"), "").unwrap();
    let output = tree.sv("lint s000");
    assert!(output.stdout.contains("dependency cycle: s000 -> s001 -> s002 -> "), "{output:?}");
    assert!(output.stdout.ends_with(" -> s011 -> 28 others -> s000\n"), "{output:?}");
}

/// podman mounts /run and /tmp so.
fn noexec_is_named(suite: &Suite) {
    let tree = suite.tree();
    tree.service("web").made();
    let script = "mount -t tmpfs -o noexec none service/web && mkdir service/web/log &&
        printf '#!/bin/sh\nexec sleep 1000\n' | tee service/web/run service/web/log/run >service/web/check &&
        chmod +x service/web/run service/web/log/run && sv lint web; sv why web";
    let output = tree.command("unshare").args(["--mount", "sh", "-c", script]).dir(tree.root()).output();
    let finding = "on a file system that is mounted noexec, so it cannot be executed; keep it on another, or mount that one with exec";
    for text in ["sv lint: web: run: ", "sv lint: web: log/run: ", "hint: run: ", "sv lint: web: check: "] {
        assert!(output.stdout.contains(&format!("{text}{finding}\n")), "{text}: {output:?}");
    }
    let check = format!("check: not executable; chmod +x {}/web/check\n", tree.services().display());
    assert!(output.stdout.contains(&check), "{output:?}");
    assert!(!output.stdout.contains("run: not executable"), "{output:?}");
}

/// B17: it is not used, and one thing helps.
fn a_log_that_was_added_later_is_named(suite: &Suite) {
    let tree = suite.tree();
    let web = tree.service("web").run("exec sleep 1000").running();
    let text = "log: created after runsv started, which looks for it only at its start; sv exit web makes runsvdir \
                start a new runsv";
    assert!(!web.sv("why").stdout.contains("log: created"));
    lint_says(&tree, &[]);
    fs::create_dir(web.path("log")).unwrap();
    web.write_script("log/run", "#!/bin/sh\nexec cat\n");
    lint_says(&tree, &[text]);
    let hint = format!("\n  hint: {text}\n");
    for name in ["web", "web/log"] {
        let output = tree.sv(&format!("why {name}"));
        assert!(output.stdout.ends_with(&hint), "{output:?}");
        assert_eq!(output.stdout.matches("hint: ").count(), 1, "{output:?}");
    }
    web.sv("shutdown").says("ok: web: runsv not running\n", 0);
    let runsv = web.runsv().start();
    web.log().eventually_runs();
    lint_says(&tree, &[]);
    // One that an earlier runsv had, and this one has not.
    runsv.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(runsv.finished().code(), Some(0));
    fs::rename(web.path("log"), web.path("spare")).unwrap();
    let _runsv = web.runsv().start();
    web.eventually_runs();
    fs::rename(web.path("spare"), web.path("log")).unwrap();
    lint_says(&tree, &[text]);
}

fn why_tells_what_keeps_signals_from_a_process(suite: &Suite) {
    use nix::sys::signal::Signal;

    let web = suite.service("web").run("trap '' TERM; echo >ready; exec sleep 1000").running();
    web.eventually_has("ready");
    let pid = web.eventually_runs().pid;
    let hints = || -> Vec<String> {
        let output = web.sv("why").stdout;
        output.lines().filter_map(|line| line.strip_prefix("  hint: ")).map(str::to_owned).collect()
    };
    assert_eq!(hints(), [""; 0]);
    web.sv("term");
    web.eventually_stat("run, got TERM");
    assert_eq!(hints(), [format!("pid {pid} ignores SIGTERM: down-signal may name another signal")]);
    tests::process::send(pid, Signal::SIGSTOP);
    eventually("it is stopped", || {
        hints() == [format!("pid {pid} is stopped, though not by runsv: it goes on after sv cont")]
    });
    web.runsv.signal(Signal::SIGSTOP);
    let runsv = web.runsv.pid();
    eventually("its runsv is stopped", || {
        hints() == [format!("its runsv (pid {runsv}) is stopped, and does nothing: kill -CONT {runsv}")]
    });
    web.runsv.signal(Signal::SIGCONT);
    tests::process::send(pid, Signal::SIGKILL);
}

/// A tree of an ordinary user, with a service that becomes another user.
fn why_tells_of_a_process_that_may_not_be_signalled(suite: &Suite) {
    let web = suite.service("web").run("exec ./other").file("down", "").made();
    fs::copy("/usr/bin/setpriv", web.path("setpriv")).unwrap();
    tests::tree::set_mode(&web.path("setpriv"), 0o4755);
    web.write_script("other", "#!/bin/sh\nexec ./setpriv --reuid 0 --regid 0 --clear-groups sleep 1000\n");
    for path in ["", "run"] {
        std::os::unix::fs::chown(web.path(path), Some(65534), Some(65534)).unwrap();
    }
    let runsv = web.tree().command("runsv").arg(web.dir()).as_nobody().start();
    web.eventually("is supervised", Service::is_supervised);
    web.sv("up");
    let text = |pid| {
        format!(
            "runsv is not permitted to signal it: runsv runs as user 65534, pid {pid} as user 0; as that user, \
             or as root: kill {pid}\n"
        )
    };
    eventually("it has become root", || web.sv("why").stdout.contains(&text(web.status().pid)));
    tests::process::send(web.status().pid, nix::sys::signal::Signal::SIGKILL);
    drop(runsv);
}

/// SV-12: names come from the disk, by way of a shell.
fn a_name_drives_no_terminal(suite: &Suite) {
    let tree = suite.tree();
    let name = "./a\x1b[31m\u{9b}2J\rb";
    let command = |word: &str| format!("sv {word} \"$NAME\"");
    let fail = "unable to change to service directory: file does not exist";
    let raw = tree.command("sh").args(["-c", &command("status")]).env("NAME", name).output();
    raw.says(&format!("fail: {name}: {fail}\n"), 1);
    for word in ["status", "start", "check"] {
        let script = tree.command("script").args(["-qec", &command(word), "/dev/null"]).env("NAME", name);
        assert_eq!(script.output().stdout, format!("fail: ./a?[31m?2J?b: {fail}\r\n"), "{word}");
    }
}

/// The name of a file or a process does not drive the terminal of the caller.
fn what_is_found_is_printable(suite: &Suite) {
    let tree = suite.tree();
    let evil = "\x1b]0;x\x07\u{9b}2J\r";
    let web = tree
        .service("web")
        .file("run", &format!("#!/nope{evil}\n"))
        .file(&format!("dependencies.d/{evil}"), "")
        .script("control/restart", "")
        .link("supervise", format!("/nowhere{evil}/x"))
        .made();
    fs::create_dir(tree.services().join(evil)).unwrap();
    fs::create_dir_all(web.path("history")).unwrap();
    let dead = tree.service("dead").run("exec sleep 1").dir("supervise").made();
    let line = format!("@400000006b00f7383856c484 unable to start ./run: {evil}\n");
    dead.write("supervise/.history", &line);
    let odd = tree.services().join(evil);
    for words in ["lint", "list", "why web", "why dead", "lint web", "why webb", "disable dead"] {
        for base in [tree.services(), odd.clone()] {
            let sv = tree.command("sv").args(words.split(' ')).env("SVDIR", base);
            let output = sv.output();
            let text = output.stdout + &output.stderr;
            assert!(!text.contains(|it: char| it.is_control() && it != '\n'), "{words}: {text:?}");
        }
    }
    let output = tree.command("sv").arg("why").arg(evil).output();
    assert!(output.stdout.starts_with("warning: ?]0;x??2J?: "), "{output:?}");
}

fn lint_finds_names_that_no_program_reads(suite: &Suite) {
    let web = suite
        .service("web")
        .run("exec x")
        .script("finsh", "")
        .log("exec cat")
        .script("log/finish", "")
        .script("control/restart", "")
        .script("control/o", "")
        .made();
    lint_says(
        web.tree(),
        &[
            "control/o: never run; the name for this is control/u (once starts it, and before each start runs)",
            "control/restart: never run; the name for this is control/t",
            "finsh: unknown file, did you mean \"finish\"?",
            "log/finish: never run: a log service has none",
        ],
    );
    let web = suite.service("web").script("runn", "exec x").made();
    lint_says(
        web.tree(),
        &["run: missing; runsv tries to start it every second", "runn: unknown file, did you mean \"run\"?"],
    );
}

fn lint_finds_bad_words_and_circles(suite: &Suite) {
    let tree = suite.tree();
    tree.service("web")
        .run("exec x")
        .file("down-signal", "TREM\n")
        .file("timeout-kill", "5s\n")
        .file("timeout-finish", "-1\n")
        .file("dependencies.d/db", "")
        .file("dependencies.d/nope", "")
        .made();
    tree.service("db").run("exec x").file("dependencies.d/web", "").made();
    lint_says(
        &tree,
        &[
            "down-signal: bad content, so it counts as missing; write the name or number of a signal into it",
            "timeout-kill: bad content, so it counts as missing; write a number of milliseconds into it",
            "timeout-finish: bad content, so it counts as missing; write a number of milliseconds into it",
            "dependencies.d/nope: there is no service nope beside this one",
            "dependencies.d: dependency cycle: web -> db -> web",
        ],
    );
}

/// LAY-9, LAY-10, LAY-14.
fn lint_finds_a_supervise_that_cannot_work(suite: &Suite) {
    let long = "x/".repeat(128) + "x";
    for (target, finding) in [
        ("/nonexistent/web", "link to a place that runsv cannot make; mkdir -p /nonexistent"),
        ("supervise", "symbolic link loop; runsv cannot use it"),
        (&long, "the text of the link has more than 255 bytes; make it shorter"),
        ("/dev/null", "not a directory; remove it, runsv makes its own"),
    ] {
        let web = suite.service("web").run("exec x").link("supervise", target).made();
        lint_says(web.tree(), &[&format!("supervise: {finding}")]);
    }
    // One level is made by runsv.
    let web = suite.service("web").run("exec x").link("supervise", "../../made-later").made();
    lint_says(web.tree(), &[]);
    let web = suite.service("web").run("exec x").file("supervise/control", "").dir("supervise/lock").made();
    lint_says(
        web.tree(),
        &[
            "supervise/control: not a fifo; remove it, runsv makes its own",
            "supervise/lock: not a regular file; remove it, runsv makes its own",
        ],
    );
    let web = suite.service("web").run("exec x").link("supervise", "/proc/sys/web").made();
    let output = web.sv("lint");
    assert!(
        output.stdout.starts_with("sv lint: web: supervise: runsv cannot write to /proc/sys: "),
        "{output:?}"
    );
}

fn lint_finds_entries_that_share_a_directory(suite: &Suite) {
    let web = suite.service("web").run("exec x").dir("supervise").made();
    let tree = web.tree();
    symlink(web.path("supervise"), tree.service("api").run("exec x").made().path("supervise")).unwrap();
    let text = |name, other| {
        format!(
            "sv lint: {name}: supervise: the same directory as that of {other}, so only one of them can be \
             started; give each its own\n"
        )
    };
    tree.sv("lint").is(&[text("api", "web"), text("web", "api")].concat(), "", 2);
    fs::remove_file(tree.at("api").path("supervise")).unwrap();
    tree.sv("lint").is("", "", 0);
    symlink("web", tree.services().join("www")).unwrap();
    let text = |name, other| {
        format!(
            "sv lint: {name}: .: the same directory as {other}, so only one of them can be started; remove \
             the other\n"
        )
    };
    tree.sv("lint web").is(&text("web", "www"), "", 1);
    tree.sv("lint").is(&[text("web", "www"), text("www", "web")].concat(), "", 2);
}

fn lint_counts_directories(suite: &Suite) {
    let tree = suite.tree();
    for name in ["a", "b"] {
        tree.service(name).run("sleep 1").file("timeout-kill", "x").made();
    }
    tree.service("good").run("exec sleep 1").made();
    let output = tree.sv("lint");
    assert_eq!((output.stdout.lines().count(), output.code()), (4, Some(2)), "{output:?}");
    let text = "fail: nope: unable to change to service directory: file does not exist\n";
    tree.sv("lint nope good").says(text, 1);
}

fn enable_links_and_disable_unlinks(suite: &Suite) {
    let tree = suite.tree();
    let sources = tree.root().join("sv");
    let web = tree.service("web").run("exec sleep 1000").made();
    fs::create_dir(&sources).unwrap();
    fs::rename(web.dir(), sources.join("web")).unwrap();
    let sv = |words: &[&str]| tree.command("sv").args(words).env("SVSOURCE", &sources).output();

    sv(&["enable", "web"]).says("ok: web: enabled\n", 0);
    assert_eq!(fs::read_link(web.dir()).unwrap(), sources.join("web"));
    // Once is enough.
    sv(&["enable", "web"]).says("ok: web: enabled\n", 0);
    sv(&["disable", "web"]).says("ok: web: disabled\n", 0);
    assert!(web.dir().symlink_metadata().is_err());
    let text = format!("fail: web: unable to remove {}: file does not exist\n", web.dir().display());
    sv(&["disable", "web"]).says(&text, 1);

    let _runsvdir = tree.command("runsvdir").arg(tree.services()).start();
    let path = sources.join("web/");
    let text = format!("ok: {}: enabled, runsv running\n", path.display());
    tree.command("sv").args(["-v", "enable"]).arg(&path).output().says(&text, 0);
    sv(&["status", "web"]).says("run: web: (pid N) Ns\n", 0);
    let output = sv(&["why", "nope"]);
    assert_eq!(output.code(), Some(1));
    sv(&["-v", "disable", "web"]).says("ok: web: disabled, runsv not running\n", 0);
    assert!(tree.processes_called("sleep 1000").is_empty());
}

fn enable_and_disable_refuse_what_would_destroy(suite: &Suite) {
    let tree = suite.tree();
    let web = tree.service("web").run("exec sleep 1000").made();
    let other = tree.root().join("web");
    fs::create_dir(&other).unwrap();
    let link = web.dir().display();
    let output = tree.command("sv").arg("enable").arg(&other).output();
    let name = other.display();
    output.says(&format!("fail: {name}: unable to find {name}/run: file does not exist\n"), 1);
    fs::write(other.join("run"), "").unwrap();
    let output = tree.command("sv").arg("enable").arg(&other).output();
    output.says(&format!("fail: {name}: unable to link {link}: file already exists\n"), 1);
    let text = format!(
        "fail: web: a directory, not a symlink, is not removed; to keep it down: touch {link}/down && sv down web\n"
    );
    tree.sv("disable web").says(&text, 1);
    assert!(web.has("run"));

    // A link in another directory is left alone.
    symlink(&other, tree.root().join("elsewhere")).unwrap();
    let text = format!("fail: ../elsewhere: not an entry of {}\n", tree.services().display());
    tree.sv("disable ../elsewhere").says(&text, 1);
    assert!(tree.root().join("elsewhere").exists());
    let sources = tree.root();
    fs::write(sources.join("file"), "").unwrap();
    for (word, what) in [
        ("/nonexistent/x", "/nonexistent/x: file does not exist".to_owned()),
        ("nope", format!("{}/nope: file does not exist", sources.display())),
        ("file", format!("{}/file/run: not a directory", sources.display())),
        ("", "the service directory: file does not exist".to_owned()),
    ] {
        let text = format!("fail: {word}: unable to find {what}\n");
        tree.command("sv").args(["enable", word]).env("SVSOURCE", sources).output().says(&text, 1);
    }
}

/// SV-61: other programs call scripts in `/etc/init.d`, with words of their own.
fn an_init_script_knows_none_of_the_new_words(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").running();
    let script = web.tree().root().join("web");
    symlink(web.tree().bin().join("sv"), &script).unwrap();
    for word in ["list", "lint", "why"] {
        let output = web.tree().command(&script).arg(word).output();
        output.is("", "usage: web [-w sec] command\n\n", 2);
    }
    web.tree().command(&script).arg("disable").output().says("", 0);
    web.eventually_down();
    web.tree().command(&script).arg("enable").output().says("", 0);
    eventually("runsv ends", || !web.is_supervised());
}

/// SV-10: what an empty path is joined to would otherwise be in the working directory.
fn an_empty_svdir_is_no_directory(suite: &Suite) {
    let web = suite.service("web").run("exec sleep 1000").made();
    let tree = web.tree();
    symlink(web.dir(), tree.root().join("link")).expect("a link");
    let message = "fatal: SVDIR is empty: name a services directory in it, or unset it\n";
    let path = web.dir().to_str().expect("a path");
    for words in [&["enable", path][..], &["disable", "link"], &["disable", "./link"], &["list"], &["lint"]] {
        let sv = tree.command("sv").args(words).env("SVDIR", "").dir(tree.root());
        sv.output().is("", message, 100);
    }
    assert!(!tree.root().join("web").exists());
    assert!(tree.root().join("link").exists());
}
