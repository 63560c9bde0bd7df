//! Where the machine stands in its life cycle.

use std::sync::PoisonError;

use tracing::{debug, warn};

use super::Engine;
use crate::failure::Failure;
use crate::stage::{Kind, RESTING, Reason, Stage};

impl Engine {
    /// The present stage.
    pub fn stage(&self) -> Stage {
        self.stage
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Goes on to the next stage. A step that the life cycle does not have is a mistake of ours:
    /// it is told, and the machine is protected all the same.
    pub(super) fn enter(&self, reason: Reason, to: Stage) {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if *stage == to && self.is_at_rest(&to) {
            return;
        }
        match stage.step(reason, to.clone()) {
            Ok(_) => debug!("{} → {}: {reason}", stage.kind(), to.kind()),
            Err(wrong) => {
                warn!("{wrong}");
                #[cfg(test)]
                self.test
                    .wrong_steps
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(wrong);
            }
        }
        *stage = to;
    }

    /// Comes to rest where the kernel and the last answer put the machine.
    pub(super) fn rest(&self, reason: Reason) {
        match self.resting_stage() {
            Ok(stage) => self.enter(reason, stage),
            Err(failure) => warn!("the stage is not known: {}", failure.one_line()),
        }
    }

    /// Nobody is at work any more; what was begun ended with an error.
    pub(super) fn come_to_rest(&self) {
        match self.stage().kind() {
            Kind::Checking => self.rest(Reason::NoAnswer),
            Kind::Fetching | Kind::Verifying | Kind::Applying => self.rest(Reason::Refused),
            _ => {}
        }
    }

    /// As [`Self::rest`], if nobody is at work: the kernel may have gone on by itself.
    pub(super) fn follow_kernel(&self, reason: Reason) {
        if self.is_at_rest(&self.stage()) {
            self.rest(reason);
        }
    }

    fn is_at_rest(&self, stage: &Stage) -> bool {
        RESTING.contains(&stage.kind())
    }

    fn resting_stage(&self) -> Result<Stage, Failure> {
        let state = self.memory.state();
        Ok(Stage::at_rest(
            state.enrolment.is_some(),
            self.brake().mode,
            self.coverage(&state),
            &self.patch_state()?,
        ))
    }
}
