//! A plan, as far as everyone may know it.

use serde::{Deserialize, Serialize};
use suture_rollout::{Eligible, Plan, Unit};
use utoipa::ToSchema;

/// How fast the rollout goes, and what stops it. The steps are told by themselves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlanView {
    #[schema(example = "standard")]
    pub name: String,
    /// Share of those eligible that is drawn to go first.
    pub early_share: f64,
    /// `account` or `machine`.
    #[schema(value_type = String, example = "account")]
    pub unit: Unit,
    /// `free` or `everyone`.
    #[schema(value_type = String, example = "free")]
    pub eligible: Eligible,
    /// Seconds from an exposure until a problem has shown itself.
    pub signal_secs: u64,
    /// Seconds without a check-in after which a machine counts as silent.
    pub silence_secs: u64,
    /// Share of exposed machines that must have had that time before the next step.
    pub settled_share: f64,
    /// Share of those that must have been heard of before the next step.
    pub heard_share: f64,
    /// Largest chance of a false halt over the whole rollout.
    pub alpha: f64,
    /// Machines are exposed only in certain hours of the week.
    pub windows: bool,
    /// Each kernel build has a rollout of its own.
    pub kernels_apart: bool,
}

impl PlanView {
    pub fn new(plan: &Plan) -> Self {
        Self {
            name: plan.name.clone(),
            early_share: plan.early_group.share,
            unit: plan.early_group.unit,
            eligible: plan.early_group.eligible,
            signal_secs: plan.signal_secs,
            silence_secs: plan.silence_secs,
            settled_share: plan.settled_share,
            heard_share: plan.heard_share,
            alpha: plan.alpha,
            windows: !plan.windows.is_empty(),
            kernels_apart: plan.kernels_apart,
        }
    }
}
