//! The real rollout code.

use std::sync::Arc;

use suture_rollout::{Decision, Fleet, Ledger, Phase, Plan, Tick, decide};

use super::Policy;
use crate::lottery::Lottery;
use crate::time::{Minute, START, timestamp};

/// A rollout under a plan, decided look by look by [`suture_rollout::decide`].
#[derive(Debug)]
pub struct Suture {
    pub plan: Plan,
    lottery: Arc<Lottery>,
    pub phase: Phase,
    pub ledger: Ledger,
    pub cap: u64,
    pub decision: Option<Decision>,
    stopped: Option<(Minute, String)>,
}

impl Suture {
    pub fn new(plan: Plan, lottery: Arc<Lottery>) -> Self {
        let starts = timestamp(START);
        Self {
            plan,
            lottery,
            phase: Phase::Planned { starts },
            ledger: Ledger::default(),
            cap: 0,
            decision: None,
            stopped: None,
        }
    }
}

impl Policy for Suture {
    fn name(&self) -> String {
        format!("Suture {}", self.plan.name)
    }

    /// The same as [`suture_rollout::choose`] comes to, with the draw worked out before.
    fn admits(&self, machine: u32, exposed: u64) -> bool {
        let step = match &self.phase {
            Phase::Running { step, .. } => *step,
            Phase::Complete { .. } => return true,
            Phase::Planned { .. } | Phase::Halted { .. } | Phase::Withdrawn { .. } => return false,
        };
        if exposed >= self.cap {
            return false;
        }
        let Some(step) = self.plan.step(step) else {
            return false;
        };
        self.lottery.is_early(machine)
            || !step.early_only
                && (self.cap <= FIRST_COME || self.lottery.lot(machine) < step.share)
    }

    fn look(&mut self, now: Minute, tick: &Tick, fleet: Fleet) {
        self.ledger.absorb(tick, &self.plan);
        let at = timestamp(now);
        let decision = decide(&self.plan, &self.phase, &self.ledger, fleet, at);
        self.phase = decision.phase.clone();
        self.cap = decision.cap;
        if let Phase::Halted { reason, .. } = &self.phase {
            self.stopped.get_or_insert_with(|| (now, reason.clone()));
        }
        self.decision = Some(decision);
    }

    fn stopped(&self) -> Option<(Minute, String)> {
        self.stopped.clone()
    }

    fn cap(&self) -> Option<u64> {
        Some(self.cap)
    }
}

/// As in the choice: up to this cap, those who ask first are taken.
const FIRST_COME: u64 = 50;
