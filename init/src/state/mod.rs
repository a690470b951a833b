//! State: decides what happens next, without a system call and without a clock. Time is an argument.

pub mod critical_ends;
pub mod events;
pub mod exit_code;
pub mod hook_run;
pub mod lifecycle;
pub mod service_end;
pub mod service_graph;
pub mod service_set;
pub mod signals;
pub mod stop_budget;
pub mod stop_set;
pub mod text;

pub use events::{
    CheckResult, Escalation, HookStage, LateService, LifecycleAction, LifecycleEvent, LogLevel, OwnProgram,
    ServiceReport, SupervisorId,
};
pub use lifecycle::{Lifecycle, LifecycleSetup};

#[cfg(test)]
mod tests;
