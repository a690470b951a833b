//! Real daemons from Debian's packages under `init`: what was written is there after the stop, and requests
//! that are being served are served to the end.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use fs_err as fs;
use nix::sys::signal::Signal;
use tests::namespace::PidNamespace;
use tests::{Suite, TestTree, eventually, eventually_some};

/// Longer than any of these daemons should need, and shorter than the harness waits.
const GRACE: &str = "20";

/// A daemon that is missing is an error, never a skip.
#[track_caller]
fn installed(candidates: &[&str]) -> PathBuf {
    let found = candidates.iter().map(PathBuf::from).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("none of {candidates:?} is there: install Debian's packages"))
}

fn init(tree: &TestTree) -> PidNamespace {
    tree.command("init").args(["--grace", GRACE]).arg(tree.services()).start_as_process_1()
}

/// TERM, and then the orderly end.
#[track_caller]
fn stopped(container: &PidNamespace) -> String {
    container.signal(Signal::SIGTERM);
    let end = container.finished();
    assert_eq!(end.code(), Some(0), "{}\n{}", end.stdout, end.stderr);
    end.stderr
}

#[track_caller]
fn connected(socket: &Path) -> UnixStream {
    eventually_some("a server that listens", || UnixStream::connect(socket).ok())
}

fn redis_says(socket: &Path, command: &str) -> String {
    let mut redis = connected(socket);
    redis.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).expect("a command is sent");
    let mut answer = String::new();
    redis.read_to_string(&mut answer).expect("an answer");
    answer
}

/// The last write before the stop is on disk, and there at the next start.
#[test]
fn redis_has_its_last_write_on_disk() {
    let program = installed(&["/usr/bin/redis-server"]);
    let tree = Suite::ours().tree();
    let socket = tree.root().join("redis");
    tree.service("redis")
        .run(&format!(
            "exec {} --port 0 --unixsocket {} --dir . --save 3600 1 --rdbcompression no",
            program.display(),
            socket.display()
        ))
        .made();
    let container = init(&tree);
    assert_eq!(redis_says(&socket, "SET last write-of-the-day"), "+OK\r\n+OK\r\n");
    stopped(&container);
    let dump = fs::read(tree.services().join("redis/dump.rdb")).expect("a dump");
    assert!(dump.windows(16).any(|window| window == b"write-of-the-day"));

    let again = init(&tree);
    let answer = eventually_some("redis has loaded its dump", || {
        Some(redis_says(&socket, "GET last")).filter(|answer| !answer.contains("LOADING"))
    });
    assert!(answer.contains("write-of-the-day"), "{answer}");
    stopped(&again);
}

/// An orderly shutdown is in the log, and the next start needs no recovery.
#[test]
fn postgres_needs_no_recovery_after_the_stop() {
    let initdb = newest_postgres("initdb");
    let (postgres, psql) = (initdb.with_file_name("postgres"), initdb.with_file_name("psql"));
    let tree = Suite::ours().tree();
    let home = tree.root().join("pg");
    fs::create_dir(&home).expect("a home for postgres");
    // The server refuses to run as root.
    let as_user = if nix::unistd::geteuid().is_root() {
        let owner = std::process::Command::new("chown").arg("postgres:").arg(&home).status();
        assert!(owner.is_ok_and(|status| status.success()), "no user postgres");
        "setpriv --reuid=postgres --regid=postgres --clear-groups"
    } else {
        ""
    };
    let data = home.join("data");
    let run = |words: &str| tree.command("sh").args(["-c", words]).output();
    let made = run(&format!("exec {as_user} {} -N -A trust {} 2>&1", initdb.display(), data.display()));
    assert_eq!(made.code(), Some(0), "{}", made.stdout);
    tree.service("postgres")
        .run(&format!(
            "exec 2>&1\nexec {as_user} {} -D {} -k {} -c listen_addresses=",
            postgres.display(),
            data.display(),
            home.display()
        ))
        // Fast shutdown: sessions are ended, not waited for.
        .control('t', "kill -INT $1")
        .log("exec cat >>../postgres.log")
        .made();
    let log = || fs::read_to_string(tree.services().join("postgres/postgres.log")).unwrap_or_default();
    let sql = |statement: &str| {
        run(&format!(
            "exec {as_user} {} -h {} -d postgres -Atc \"{statement}\" 2>&1",
            psql.display(),
            home.display()
        ))
    };

    let container = init(&tree);
    eventually("postgres accepts connections", || sql("select 1").stdout == "1\n");
    assert_eq!(sql("create table kept as select 42 as answer").code(), Some(0));
    stopped(&container);
    assert!(log().contains("database system is shut down"), "{}", log());

    let again = init(&tree);
    eventually("postgres accepts connections again", || sql("select 1").stdout == "1\n");
    assert_eq!(sql("select answer from kept").stdout, "42\n");
    stopped(&again);
    assert!(log().contains("database system was shut down at"), "{}", log());
    for trouble in ["was interrupted", "not properly shut down", "redo starts"] {
        assert!(!log().contains(trouble), "{}", log());
    }
}

#[track_caller]
fn newest_postgres(program: &str) -> PathBuf {
    let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.filter_map(Result::ok).map(|version| version.path()).collect())
        .unwrap_or_default();
    versions.sort();
    let found =
        versions.iter().rev().map(|version| version.join("bin").join(program)).find(|path| path.exists());
    found.expect("no PostgreSQL server: install Debian's postgresql")
}

/// A slow download that is in flight at the stop gets its last byte: `control/t` sends QUIT.
#[test]
fn nginx_serves_a_download_in_flight_to_its_last_byte() {
    const SIZE: usize = 3 << 20;
    let program = installed(&["/usr/sbin/nginx"]);
    let tree = Suite::ours().tree();
    let root = tree.root().display().to_string();
    let socket = tree.root().join("nginx");
    let content: Vec<u8> = (0..SIZE).map(|place| u8::try_from(place % 251).expect("a byte")).collect();
    fs::write(tree.root().join("big"), &content).expect("a big file");
    let user = if nix::unistd::geteuid().is_root() { "user root;" } else { "" };
    let configuration = format!(
        "daemon off; {user} pid {root}/nginx.pid; error_log stderr;
         events {{}}
         http {{
             access_log off; root {root}; sendfile off;
             client_body_temp_path {root}/t1; proxy_temp_path {root}/t2; fastcgi_temp_path {root}/t3;
             uwsgi_temp_path {root}/t4; scgi_temp_path {root}/t5;
             server {{ listen unix:{root}/nginx; location / {{ limit_rate 1m; }} }}
         }}"
    );
    fs::write(tree.root().join("nginx.conf"), configuration).expect("a configuration");
    tree.service("nginx")
        .run(&format!("exec {} -c {root}/nginx.conf -p {root}", program.display()))
        .control('t', "kill -QUIT $1")
        .made();

    let container = init(&tree);
    let mut client = connected(&socket);
    client.set_read_timeout(Some(Duration::from_secs(30))).expect("a limit");
    client.write_all(b"GET /big HTTP/1.0\r\n\r\n").expect("a request");
    let mut answer = vec![0; 64 << 10];
    client.read_exact(&mut answer).expect("the download begins");
    let download = thread::spawn(move || {
        client.read_to_end(&mut answer).expect("the download goes on");
        answer
    });
    let said = stopped(&container);
    let answer = download.join().expect("the client reads");
    let body = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a header") + 4;
    assert_eq!(answer.len() - body, SIZE, "cut off: {said}");
    assert!(answer[body..] == content[..], "the download is garbled");
}
