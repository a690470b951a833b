//! State: decides what happens next, without a system call and without a clock. Time is an argument.

pub mod critical_schedule;
pub mod events;
pub mod exit_code;
pub mod hook_run;
pub mod lifecycle;
pub mod runsvdir;
pub mod service_end;
pub mod signals;
pub mod stop_budget;
pub mod stop_order;
pub mod stop_set;
pub mod text;

pub use events::{
    AdoptedChild, ChildKind, Escalation, HookStage, LateService, LifecycleAction, LifecycleEvent, LogLevel,
    OwnProgram, ReportedState,
};
pub use lifecycle::{Lifecycle, LifecycleSetup};
pub use service_end::ServiceEnd;

#[cfg(test)]
mod tests;
