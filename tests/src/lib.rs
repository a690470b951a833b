//! The harness: one scenario, run on our programs, on the original's, and on services that init supervises.
//!
//! A scenario is a function that takes a [`Suite`] and does not know which one it is:
//!
//! ```
//! use tests::{Suite, all_suites};
//!
//! all_suites! { finish_is_told_how_run_ended }
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
//!   [`Builder::supervised`] and [`Builder::running`] also start a [`Supervisor`] on it: a runsv, or an init
//!   that hosts this one service.
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
pub mod supervisor;
pub mod text;
pub mod tree;
pub mod wait;

pub use command::{CommandLine, Output, StartedProgram};
pub use service::{Builder, Service, Supervised};
pub use status::RawStatus;
pub use suite::Suite;
pub use supervisor::Supervisor;
pub use text::normal;
pub use tree::TestTree;
pub use wait::{eventually, eventually_some, nothing_happens_for, time_until};

/// Makes three tests of each scenario: `ours::name`, `theirs::name`, and `hosted::name`, where init supervises
/// the services.
///
/// What a semicolon and `not_hosted` or `not_theirs` precede runs on the other two only, and behind
/// `only_ours` on the first only; each for the reason given. The groups come in this order.
///
/// ```
/// use tests::{Suite, all_suites};
///
/// all_suites! {
///     d_stops_it;
///     not_hosted "the command line of runsv":
///     without_a_name_it_is_a_usage_error;
///     not_theirs "ADD-20":
///     finish_may_give_up,
/// }
/// # fn d_stops_it(_: &Suite) {}
/// # fn without_a_name_it_is_a_usage_error(_: &Suite) {}
/// # fn finish_may_give_up(_: &Suite) {}
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! all_suites {
    (
        $($(#[$attribute:meta])* $name:ident),* $(,)?
        $(; not_hosted $_not_hosted:literal: $($classic:ident),* $(,)?)*
        $(; not_theirs $_not_theirs:literal: $($new:ident),* $(,)?)*
        $(; only_ours $_only_ours:literal: $($of_ours:ident),* $(,)?)*
    ) => {
        $crate::on_suites! {
            ours: $($(#[$attribute])* $name,)* $($($classic,)*)* $($($new,)*)* $($($of_ours,)*)*
        }
        $crate::on_suites! { theirs: $($(#[$attribute])* $name,)* $($($classic,)*)* }
        $crate::on_suites! { hosted: $($(#[$attribute])* $name,)* $($($new,)*)* }
    };
}

/// Makes two tests of each scenario that the original knows nothing of, or does otherwise: `ours::name` and
/// `hosted::name`, but for those behind `not_hosted`, as in [`all_suites!`].
#[macro_export]
macro_rules! our_suites {
    (
        $($(#[$attribute:meta])* $name:ident),* $(,)?
        $(; not_hosted $_reason:literal: $($classic:ident),* $(,)?)*
    ) => {
        $crate::on_suites! { ours: $($(#[$attribute])* $name,)* $($($classic,)*)* }
        $crate::on_suites! { hosted: $($(#[$attribute])* $name),* }
    };
}

/// Makes three tests of each scenario that is about sv and a supervisor: each half from another suite, and the
/// original's sv on services that init supervises; but for those behind `not_hosted`, as in [`all_suites!`].
#[macro_export]
macro_rules! sv_pairs {
    (
        $($(#[$attribute:meta])* $name:ident),* $(,)?
        $(; not_hosted $_reason:literal: $($classic:ident),* $(,)?)*
    ) => {
        $crate::on_suites! { our_sv_on_their_runsv: $($(#[$attribute])* $name,)* $($($classic,)*)* }
        $crate::on_suites! { their_sv_on_our_runsv: $($(#[$attribute])* $name,)* $($($classic,)*)* }
        $crate::on_suites! { their_sv_on_hosted_services: $($(#[$attribute])* $name),* }
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
