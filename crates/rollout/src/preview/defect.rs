//! After how many crashes a defect is proven, in expectation.

use jiff::Timestamp;

use super::{Circumstances, PreviewHalt, PreviewStep};
use crate::evalue::Mixture;
use crate::{Harm, Plan};

/// A rollout of a defective patch, thought through step by step.
pub struct Trial<'a> {
    plan: &'a Plan,
    fleet: &'a Circumstances,
    steps: &'a [PreviewStep],
    complete_at: Timestamp,
}

/// What happened until a step began.
#[derive(Clone, Default)]
struct Course {
    /// Evidence from machines that fell for other reasons.
    background: Option<Mixture>,
    /// Exposed machines that fell for other reasons, in expectation.
    fell: f64,
    exposed: u64,
}

impl<'a> Trial<'a> {
    pub fn new(
        plan: &'a Plan,
        fleet: &'a Circumstances,
        steps: &'a [PreviewStep],
        complete_at: Timestamp,
    ) -> Self {
        Self {
            plan,
            fleet,
            steps,
            complete_at,
        }
    }

    /// Where a patch halts that crashes this share of exposed machines.
    pub fn halt(&self, crashes: f64) -> Option<PreviewHalt> {
        let mut course = Course::default();
        for (index, step) in self.steps.iter().enumerate() {
            if step.skipped {
                continue;
            }
            let end = self.steps.get(index + 1);
            let ends = end.map_or(self.complete_at, |next| next.starts);
            let hours = ends.duration_since(step.starts).as_secs_f64() / 3600.0;
            if let Some(halt) = self.halt_in(step, &course, crashes) {
                return Some(halt);
            }
            self.pass(step, hours, &mut course);
        }
        None
    }

    /// Machines that are compared in a step.
    fn compared(&self, step: &PreviewStep) -> u64 {
        let free_only = step.early_only && self.plan.early_group.eligible == crate::Eligible::Free;
        if free_only {
            self.fleet.free_machines
        } else {
            self.fleet.population()
        }
    }

    /// The smallest number of exposed machines in the step that is expected to prove it.
    fn halt_in(&self, step: &PreviewStep, course: &Course, crashes: f64) -> Option<PreviewHalt> {
        let expected = |exposed: u64| crashes * exposed as f64 + course.fell;
        let proves = |exposed: u64| {
            self.needed(step, course, exposed)
                .is_some_and(|needed| expected(exposed) >= needed as f64)
        };
        // The nearer to everyone, the fewer are left to compare with: more machines are not
        // always more proof, so the first stretch that proves is looked for.
        let most = step.exposed_at_most;
        let first = course.exposed.min(most);
        let stretch = |number: u64| first + (most - first) * number / STRETCHES;
        let proving = (1..=STRETCHES).find(|number| proves(stretch(*number)))?;
        let (mut too_few, mut enough) = (stretch(proving - 1), stretch(proving));
        while too_few + 1 < enough {
            let middle = too_few + (enough - too_few) / 2;
            if proves(middle) {
                enough = middle;
            } else {
                too_few = middle;
            }
        }
        Some(PreviewHalt {
            step: step.number,
            crashed: self.needed(step, course, enough)?,
            exposed: enough,
            exposed_share: enough as f64 / self.fleet.population().max(1) as f64,
        })
    }

    /// Crashed machines that halt, with this many exposed.
    fn needed(&self, step: &PreviewStep, course: &Course, exposed: u64) -> Option<u64> {
        let control = self.compared(step).saturating_sub(exposed);
        let line = self.plan.halt_at().ln() - Harm::Crash.weight().ln();
        // One time to signal passes until the crashes are told.
        let hours = self.plan.signal_secs as f64 / 3600.0;
        let mut evidence = course
            .background
            .clone()
            .unwrap_or_else(Mixture::against_control);
        evidence.compare(exposed, control, 0, self.background(control, hours));
        (1..=exposed.min(MOST_CRASHES)).find(|_| {
            evidence.compare(exposed, control, 1, 0);
            evidence.log() >= line
        })
    }

    /// Takes in what happens in a step besides the defect.
    fn pass(&self, step: &PreviewStep, hours: f64, course: &mut Course) {
        let exposed = step.exposed_at_most;
        let control = self.compared(step).saturating_sub(exposed);
        let mixture = course
            .background
            .get_or_insert_with(Mixture::against_control);
        mixture.compare(exposed, control, 0, self.background(control, hours));
        course.fell += self.fleet.crashes_per_hour.max(0.0) * exposed as f64 * hours;
        course.exposed = exposed;
    }

    /// Machines that fall for other reasons, rounded.
    fn background(&self, machines: u64, hours: f64) -> u64 {
        (self.fleet.crashes_per_hour.max(0.0) * machines as f64 * hours).round() as u64
    }
}

/// Parts of a step that are tried one after the other.
const STRETCHES: u64 = 64;

/// A defect that needs more crashes than this for its proof is not one that a preview is about.
const MOST_CRASHES: u64 = 10_000;
