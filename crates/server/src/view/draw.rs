//! The draw of the early group, as anyone may check it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use suture_rollout::RolloutId;
use suture_rollout::cohort::UnitDigest;
use suture_store::Rollout;
use utoipa::ToSchema;

/// The draw in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrawView {
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// SHA-256 of `suture rollout seed v1`, a zero byte, the rollout's id, a zero byte and the
    /// seed; hex. Published before the rollout starts.
    pub commitment: String,
    /// SHA-256 of the sorted list of those eligible; hex.
    pub list_sha256: String,
    /// Units in the list.
    pub eligible: u64,
    pub drawn: u64,
    /// The seed in hex; only when the rollout is over.
    pub seed: Option<String>,
}

/// The whole record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DrawRecord {
    #[schema(value_type = String)]
    pub rollout: RolloutId,
    /// `account` or `machine`: what is drawn.
    #[schema(value_type = String, example = "account")]
    pub unit: suture_rollout::Unit,
    /// Share that is drawn, rounded up.
    pub share: f64,
    #[serde(flatten)]
    pub draw: DrawView,
    /// The sorted list, once the rollout is over: for each unit the first 16 bytes, as hex, of
    /// SHA-256 of `suture rollout unit v1`, a zero byte, the rollout's id, a zero byte and the
    /// unit's id (an account's id, or `ACCOUNT/MACHINE`). Those with the lowest first eight bytes
    /// of HMAC-SHA-256 under the seed are drawn.
    pub units: Option<Vec<String>>,
}

impl DrawView {
    pub fn new(rollout: &Rollout) -> Self {
        let draw = &rollout.draw;
        Self {
            at: draw.at,
            commitment: rollout.commitment.to_string(),
            list_sha256: draw.list_sha256.clone(),
            eligible: draw.eligible,
            drawn: draw.drawn,
            seed: rollout.phase.is_over().then(|| rollout.seed.reveal()),
        }
    }
}

impl DrawRecord {
    /// `list` is left out before the end, whoever asks.
    pub fn new(rollout: &Rollout, list: &[UnitDigest]) -> Self {
        let over = rollout.phase.is_over();
        Self {
            rollout: rollout.id,
            unit: rollout.plan.early_group.unit,
            share: rollout.plan.early_group.share,
            draw: DrawView::new(rollout),
            units: over.then(|| list.iter().map(ToString::to_string).collect()),
        }
    }
}
