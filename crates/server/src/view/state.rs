//! What state a rollout is in, in a word and a sentence.

use serde::{Deserialize, Serialize};
use suture_rollout::{HaltedBy, Hold, Phase, Verdict};
use suture_store::Rollout;
use utoipa::ToSchema;

/// A rollout's phase as people see it; a held one is told from one that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RolloutState {
    Planned,
    Running,
    /// It runs, yet nothing widens: the evidence is suspicious, or too little was heard.
    Held,
    Halted,
    Withdrawn,
    Complete,
}

impl RolloutState {
    pub fn of(rollout: &Rollout) -> Self {
        match &rollout.phase {
            Phase::Planned { .. } => Self::Planned,
            Phase::Running { .. } if is_held(rollout) => Self::Held,
            Phase::Running { .. } => Self::Running,
            Phase::Halted { .. } => Self::Halted,
            Phase::Withdrawn { .. } => Self::Withdrawn,
            Phase::Complete { .. } => Self::Complete,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Running => "running",
            Self::Held => "held",
            Self::Halted => "halted",
            Self::Withdrawn => "withdrawn",
            Self::Complete => "complete",
        }
    }

    /// For people, with a sign that needs no colour.
    pub fn words(self) -> &'static str {
        match self {
            Self::Planned => "○ Planned",
            Self::Running => "▶ Running",
            Self::Held => "‖ Held",
            Self::Halted => "■ Halted",
            Self::Withdrawn => "✕ Withdrawn",
            Self::Complete => "✓ Complete",
        }
    }
}

fn is_held(rollout: &Rollout) -> bool {
    let Some(decision) = current_decision(rollout) else {
        return false;
    };
    matches!(
        decision.verdict,
        Verdict::Hold {
            because: Hold::Suspicion | Hold::NoNews
        }
    )
}

/// The latest decision, unless the rollout was changed by hand since.
fn current_decision(rollout: &Rollout) -> Option<&suture_rollout::Decision> {
    rollout
        .decision
        .as_ref()
        .filter(|decision| decision.phase == rollout.phase)
}

/// Where the rollout stands, for people.
pub fn sentence(rollout: &Rollout) -> String {
    match &rollout.phase {
        // What the evidence says begins with the word itself.
        Phase::Halted {
            by: HaltedBy::Evidence,
            reason,
            ..
        } => reason.clone(),
        Phase::Halted {
            by: HaltedBy::Operator,
            reason,
            ..
        } => format!("Halted by an operator: {reason}"),
        Phase::Withdrawn { reason, .. } => format!("Withdrawn for good: {reason}"),
        Phase::Planned { .. } | Phase::Running { .. } | Phase::Complete { .. } => {
            current_decision(rollout).map_or_else(
                || undecided(&rollout.phase),
                |decision| decision.sentence.clone(),
            )
        }
    }
}

/// Before the first look, or the first one after a change by hand.
fn undecided(phase: &Phase) -> String {
    match phase {
        Phase::Planned { starts } => format!("Starts at {starts}"),
        Phase::Running { step, .. } => {
            format!("Step {} runs; its first look is to come", step + 1)
        }
        Phase::Complete { .. } => "Complete: everyone is offered the version".to_owned(),
        Phase::Halted { reason, .. } | Phase::Withdrawn { reason, .. } => reason.clone(),
    }
}
