//! The harness: one scenario, run on our programs and on the original's.
//!
//! A scenario is a function that takes a [`Suite`] and does not know which one it is:
//!
//! ```
//! use tests::{Suite, both_suites};
//!
//! both_suites! { finish_is_told_how_run_ended }
//!
//! /// RSV-40: a signal is told as code -1 and its number.
//! fn finish_is_told_how_run_ended(suite: &Suite) {
//!     let web = suite.service("web").run("exec sleep 100").finish("echo $* >told").running();
//!     web.control("k");
//!     web.eventually_reads("told", "-1 9\n");
//! }
//! # fn main() {}
//! ```
//!
//! * [`Suite`] knows where the programs are, and makes a [`TestTree`]: a temporary directory of services.
//! * [`TestTree::service`] describes a service directory; [`Builder::made`] writes it,
//!   [`Builder::supervised`] and [`Builder::running`] also start a runsv on it.
//! * [`Service`] reads the status files, writes control bytes and awaits what they lead to.
//! * [`TestTree::command`] runs anything else: sv, runsvdir, or a program as process 1 of a
//!   [`PidNamespace`](namespace::PidNamespace).
//! * [`eventually`] awaits a condition; [`nothing_happens_for`] is for what must not happen.
//!
//! When a tree is dropped, every process that it started is killed, on panic too; on panic the tree first
//! prints its state.

// A harness reports failures by panics.
#![allow(clippy::missing_panics_doc)]

pub mod command;
pub mod hung_fs;
pub mod load;
pub mod namespace;
pub mod process;
pub mod service;
pub mod status;
pub mod suite;
pub mod text;
pub mod tree;
pub mod wait;

pub use command::{CommandLine, Output, StartedProgram};
pub use service::{Builder, Service, Supervised};
pub use status::RawStatus;
pub use suite::Suite;
pub use text::normal;
pub use tree::TestTree;
pub use wait::{eventually, eventually_some, nothing_happens_for, time_until};

/// Makes two tests of each scenario: `ours::name` and `theirs::name`.
#[macro_export]
macro_rules! both_suites {
    ($($(#[$attribute:meta])* $name:ident),* $(,)?) => {
        $crate::on_suites! { ours: $($(#[$attribute])* $name),* }
        $crate::on_suites! { theirs: $($(#[$attribute])* $name),* }
    };
}

/// Makes two tests of each scenario that is about sv and a runsv: each half from another suite.
#[macro_export]
macro_rules! sv_pairs {
    ($($(#[$attribute:meta])* $name:ident),* $(,)?) => {
        $crate::on_suites! { our_sv_on_their_runsv: $($(#[$attribute])* $name),* }
        $crate::on_suites! { their_sv_on_our_runsv: $($(#[$attribute])* $name),* }
    };
}

/// Makes two tests of each scenario that is about runsvdir and the runsv it starts: each half from
/// another suite.
#[macro_export]
macro_rules! runsvdir_pairs {
    ($($(#[$attribute:meta])* $name:ident),* $(,)?) => {
        $crate::on_suites! { our_runsvdir_on_their_runsv: $($(#[$attribute])* $name),* }
        $crate::on_suites! { their_runsvdir_on_our_runsv: $($(#[$attribute])* $name),* }
    };
}

/// Makes a module named after a constructor of [`Suite`] with one test for each scenario.
#[macro_export]
macro_rules! on_suites {
    ($suite:ident: $($(#[$attribute:meta])* $name:ident),* $(,)?) => {
        mod $suite {
            $(
                $(#[$attribute])*
                #[test]
                fn $name() {
                    super::$name($crate::Suite::$suite());
                }
            )*
        }
    };
}
