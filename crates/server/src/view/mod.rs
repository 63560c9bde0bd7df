//! A rollout as data: what the pages draw, the API answers and the command line prints. Pure.

mod channel;
mod curve;
mod draw;
mod event;
mod fleet;
mod group;
mod harm;
mod hook;
mod kernel;
mod listed;
mod machine;
mod owned;
mod patch;
mod plan;
mod rollout;
#[cfg(test)]
pub(crate) mod sample;
mod state;
mod step;

pub use channel::{ChannelView, PromotionView};
pub use curve::{EvidenceCurve, EvidencePoint};
pub use draw::{DrawRecord, DrawView};
pub use event::{EventPage, EventView};
pub use fleet::{Counted, FleetMoment, FleetView};
pub use group::{GroupView, PolicyView};
pub use harm::{HarmRow, Rate, RateUnit};
pub use hook::{HookTestView, HookTroubleView, HookView};
pub use kernel::{CoveredKernel, CoveredKernels};
pub use listed::{
    AccountPage, AccountSummary, AuditLine, AuditPage, MachinePage, MachineRow, OperatorKeySummary,
    TokenSummary, read_place,
};
pub use machine::ExposedMachineView;
pub use owned::{EarlyGroupState, OwnedMachine};
pub use patch::{FixSummary, PatchPage, PatchSummary, PatchView, RolloutBrief};
pub use plan::PlanView;
pub use rollout::{Counts, RolloutSummary, RolloutView};
pub use state::RolloutState;
pub use step::{StepState, StepView};

/// Looks that a view takes of the store; more add nothing that an eye sees.
pub const MAX_LOOKS: u32 = suture_store::KEPT_LOOKS;

/// Exposed machines in a view.
pub const MAX_MACHINES: u32 = 200;

/// Events in a view and on a page of them.
pub const MAX_EVENTS: u32 = 50;

/// Who looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Everyone: numbers, and no name or id of a machine, an account or a group.
    Public,
    Operator,
}

/// As a number that JSON can write: evidence that outgrows a double is shown as the largest.
fn finite(number: f64) -> f64 {
    if number.is_nan() {
        return 0.0;
    }
    number.clamp(f64::MIN, f64::MAX)
}
