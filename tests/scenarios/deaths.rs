//! Deaths of `./run` and `./finish`, and what follows.

use tests::{Suite, both_suites};

both_suites! { finish_is_told_how_run_ended }

/// RSV-40: a signal is told as code -1 and its number.
fn finish_is_told_how_run_ended(suite: &Suite) {
    let web = suite
        .service("web")
        .run("exec sleep 100")
        .finish("echo $* >told")
        .running();
    web.control("k");
    web.eventually_reads("told", "-1 9\n");
}
