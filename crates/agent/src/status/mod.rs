//! What the agent says of its machine: facts gathered by the daemon, shown by the command line.

mod advice;
mod human;
#[cfg(test)]
mod integrations;
mod json;
mod metrics;
mod patch_state;
mod report;
#[cfg(test)]
mod tests;
mod view;
mod yaml;

pub use advice::{login_message, needs_upgrade, not_live_patched, regular_update, restart_advice};
pub use human::human;
pub use json::json;
pub use metrics::metrics;
pub use patch_state::{Known, PatchState, patch_state};
pub use report::{
    CheckReport, Coverage, EnrolmentReport, FixReport, QuarantineReport, RolloutReport,
    StatusReport, TransitionReport, TroubleReport, WithdrawalReport,
};
pub use yaml::yaml;
