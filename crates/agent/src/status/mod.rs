//! What the agent says of its machine: facts gathered by the daemon, shown by the command line.

mod human;
mod json;
mod patch_state;
mod report;
#[cfg(test)]
mod tests;
mod view;
mod yaml;

pub use human::human;
pub use json::json;
pub use patch_state::{PatchState, patch_state};
pub use report::{
    CheckReport, Coverage, EnrolmentReport, FixReport, QuarantineReport, RolloutReport,
    StatusReport, WithdrawalReport,
};
pub use yaml::yaml;
