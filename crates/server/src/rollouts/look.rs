//! One look, without IO.

use jiff::Timestamp;
use suture_rollout::{Phase, decide};
use suture_store::{Look, Observation, Rollout};

/// What becomes of a rollout by what was counted since its last look.
pub fn look(rollout: &Rollout, observation: Observation, now: Timestamp) -> Look {
    let mut ledger = rollout.ledger.clone();
    ledger.absorb(&observation.tick, &rollout.plan);
    let fleet = observation.fleet;
    let decision = decide(&rollout.plan, &rollout.phase, &ledger, fleet, now);
    Look {
        observation,
        ledger,
        decision,
    }
}

/// Whether anything is decided about a rollout without a person.
pub fn is_looked_at(phase: &Phase) -> bool {
    match phase {
        Phase::Planned { .. } | Phase::Running { .. } => true,
        Phase::Halted { .. } | Phase::Withdrawn { .. } | Phase::Complete { .. } => false,
    }
}
