//! Machines that a rollout exposed; for operators.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use suture_advisory::PatchVersion;
use suture_store::ExposedMachine;
use utoipa::ToSchema;

/// An exposed machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExposedMachineView {
    pub account: String,
    pub machine: String,
    /// None: it was released since.
    pub hostname: Option<String>,
    /// In the early group.
    pub early: bool,
    /// When it was offered the version first.
    #[schema(value_type = String)]
    pub exposed: Timestamp,
    #[schema(value_type = Option<String>)]
    pub last_check_in: Option<Timestamp>,
    /// The version in force by its last check-in.
    #[schema(value_type = Option<String>)]
    pub applied: Option<PatchVersion>,
}

impl ExposedMachineView {
    pub fn new(machine: &ExposedMachine) -> Self {
        Self {
            account: machine.account.to_string(),
            machine: machine.machine.to_string(),
            hostname: machine.hostname.clone(),
            early: machine.early,
            exposed: machine.exposed,
            last_check_in: machine.last_check_in,
            applied: machine.applied,
        }
    }
}
