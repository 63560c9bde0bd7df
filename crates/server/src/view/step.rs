//! The steps of a plan, as far as a rollout has come.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use suture_rollout::{Phase, Plan, Step};
use suture_store::{PastLook, Rollout};
use utoipa::ToSchema;

/// A step and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StepView {
    /// From 1.
    pub number: usize,
    /// Share of the machines that may be exposed at its end.
    pub share: f64,
    pub early_only: bool,
    /// Seconds that it lasts at least.
    pub soak_secs: u64,
    /// Machines that may be exposed at its end; none: no bound.
    pub cap: Option<u64>,
    pub state: StepState,
    /// Machines that were exposed at its end, or are now; those of the steps before included.
    pub exposed: u64,
    /// Unknown if it has not begun, or was over between two looks that were kept.
    #[schema(value_type = Option<String>)]
    pub started: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    Done,
    Now,
    /// The rollout was halted or withdrawn in it.
    Stopped,
    Later,
}

impl StepState {
    pub fn words(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Now => "now",
            Self::Stopped => "stopped here",
            Self::Later => "later",
        }
    }
}

impl StepView {
    /// All steps of the rollout's plan. `looks` are in order.
    pub fn table(rollout: &Rollout, looks: &[PastLook], population: u64) -> Vec<Self> {
        let reached = reached(rollout, looks);
        let steps = rollout.plan.steps.iter().enumerate();
        steps
            .map(|(index, step)| {
                let state = reached.state(index);
                let exposed = match state {
                    StepState::Done => exposed_at_end(index, looks).unwrap_or(rollout.exposed),
                    StepState::Now | StepState::Stopped => rollout.exposed,
                    StepState::Later => 0,
                };
                Self {
                    number: index + 1,
                    share: step.share,
                    early_only: step.early_only,
                    soak_secs: step.soak_secs,
                    cap: cap(&rollout.plan, step, index, population),
                    state,
                    exposed,
                    started: started(rollout, looks, index),
                }
            })
            .collect()
    }
}

fn cap(plan: &Plan, step: &Step, index: usize, population: u64) -> Option<u64> {
    (step.share < 1.0).then(|| plan.cap(index, population))
}

/// How far it came.
enum Reached {
    Nothing,
    Now(usize),
    Stopped(usize),
    Everything,
}

impl Reached {
    fn state(&self, index: usize) -> StepState {
        let before = |at: usize, there: StepState| match index.cmp(&at) {
            std::cmp::Ordering::Less => StepState::Done,
            std::cmp::Ordering::Equal => there,
            std::cmp::Ordering::Greater => StepState::Later,
        };
        match self {
            Self::Nothing => StepState::Later,
            Self::Now(at) => before(*at, StepState::Now),
            Self::Stopped(at) => before(*at, StepState::Stopped),
            Self::Everything => StepState::Done,
        }
    }
}

fn reached(rollout: &Rollout, looks: &[PastLook]) -> Reached {
    let last = rollout.plan.steps.len().saturating_sub(1);
    match &rollout.phase {
        Phase::Planned { .. } => Reached::Nothing,
        Phase::Running { step, .. } => Reached::Now((*step).min(last)),
        Phase::Halted { step, .. } => Reached::Stopped((*step).min(last)),
        // The phase itself forgets the step; the looks before it know.
        Phase::Withdrawn { .. } => {
            let before = looks.iter().rev().map(|look| &look.decision.phase);
            before
                .filter_map(step_of)
                .next()
                .map_or(Reached::Nothing, |step| Reached::Stopped(step.min(last)))
        }
        Phase::Complete { .. } => Reached::Everything,
    }
}

fn step_of(phase: &Phase) -> Option<usize> {
    match phase {
        Phase::Running { step, .. } | Phase::Halted { step, .. } => Some(*step),
        Phase::Complete { .. } => Some(usize::MAX),
        Phase::Planned { .. } | Phase::Withdrawn { .. } => None,
    }
}

fn started(rollout: &Rollout, looks: &[PastLook], index: usize) -> Option<Timestamp> {
    let phases = looks.iter().map(|look| &look.decision.phase);
    phases
        .chain([&rollout.phase])
        .find_map(|phase| match phase {
            Phase::Running { step, since } if *step == index => Some(*since),
            _ => None,
        })
}

/// What the next step began with is what this one ended with.
fn exposed_at_end(index: usize, looks: &[PastLook]) -> Option<u64> {
    let in_it = |look: &&PastLook| matches!(look.decision.phase, Phase::Running { step, .. } if step == index);
    let last = looks.iter().rposition(|look| in_it(&look))?;
    let next = looks.get(last + 1).unwrap_or(&looks[last]);
    Some(next.fleet.exposed)
}
