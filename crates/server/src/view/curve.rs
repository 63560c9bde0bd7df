//! The evidence over time.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use suture_rollout::{Evidence, Phase};
use suture_store::{PastLook, Rollout};
use utoipa::ToSchema;

use super::finite;

/// The evidence at each look that was kept, and the lines that it is held against.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EvidenceCurve {
    /// It halts here: one over the chance of a false halt that is accepted.
    pub halt_at: f64,
    /// From here on nothing widens.
    pub hold_at: f64,
    /// The largest total so far.
    pub peak: f64,
    /// Oldest first.
    pub points: Vec<EvidencePoint>,
    /// When each step began, as far as the looks know.
    #[schema(value_type = Vec<String>)]
    pub widened: Vec<Timestamp>,
}

/// The evidence at one look: how many times better the data fit a harmful patch than a harmless
/// one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EvidencePoint {
    #[schema(value_type = String)]
    pub at: Timestamp,
    pub total: f64,
    /// By kind of harm.
    pub harms: BTreeMap<String, f64>,
}

impl EvidenceCurve {
    pub fn new(rollout: &Rollout, looks: &[PastLook]) -> Self {
        Self {
            halt_at: 1.0 / rollout.plan.alpha,
            hold_at: rollout.plan.hold_at,
            peak: finite(rollout.ledger.evidence().peak),
            points: looks.iter().map(EvidencePoint::new).collect(),
            widened: widened(looks),
        }
    }

    /// The evidence now; 1 before the first look: nothing speaks for either side.
    pub fn latest(&self) -> f64 {
        self.points.last().map_or(1.0, |point| point.total)
    }
}

impl EvidencePoint {
    fn new(look: &PastLook) -> Self {
        let Evidence { total, harms, .. } = &look.decision.evidence;
        let harm = |(harm, value): (&suture_rollout::Harm, &f64)| {
            (harm.as_str().to_owned(), finite(*value))
        };
        Self {
            at: look.tick.at,
            total: finite(*total),
            harms: harms.iter().map(harm).collect(),
        }
    }
}

fn widened(looks: &[PastLook]) -> Vec<Timestamp> {
    let mut times: Vec<Timestamp> = looks
        .iter()
        .filter_map(|look| match look.decision.phase {
            Phase::Running { since, .. } => Some(since),
            _ => None,
        })
        .collect();
    times.dedup();
    times
}
