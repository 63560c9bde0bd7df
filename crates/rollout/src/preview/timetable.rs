//! When each step begins at the earliest, and who can be in it.

use jiff::{SignedDuration, Timestamp};

use super::{Circumstances, PreviewStep};
use crate::{Eligible, Plan, Unit};

/// The early group in numbers.
pub struct EarlyNumbers {
    pub eligible: u64,
    pub drawn: u64,
    pub machines: u64,
}

impl EarlyNumbers {
    pub fn new(plan: &Plan, fleet: &Circumstances) -> Self {
        let (accounts, machines) = match plan.early_group.eligible {
            Eligible::Free => (fleet.free_accounts, fleet.free_machines),
            Eligible::Everyone => (
                fleet.free_accounts.saturating_add(fleet.paid_accounts),
                fleet.population(),
            ),
        };
        let eligible = match plan.early_group.unit {
            Unit::Account => accounts,
            Unit::Machine => machines,
        };
        let drawn = (plan.early_group.share * eligible as f64).ceil() as u64;
        let mean_machines = machines as f64 / eligible.max(1) as f64;
        Self {
            eligible,
            drawn: drawn.min(eligible),
            machines: (drawn.min(eligible) as f64 * mean_machines).round() as u64,
        }
    }
}

/// The steps, and when the last one is over.
pub fn steps(plan: &Plan, fleet: &Circumstances, early: u64) -> (Vec<PreviewStep>, Timestamp) {
    let mut starts = plan.next_open(fleet.starts).unwrap_or(fleet.starts);
    let mut steps = Vec::with_capacity(plan.steps.len());
    for (index, step) in plan.steps.iter().enumerate() {
        let nobody = step.early_only && early == 0;
        steps.push(PreviewStep {
            number: index + 1,
            early_only: step.early_only,
            starts,
            share: step.share,
            exposed_at_most: at_most(plan, index, fleet.population(), early),
            skipped: nobody,
        });
        let lasts = if nobody {
            // The group is found empty when the first step's soak time is over.
            if index == 0 {
                step.soak_secs as f64
            } else {
                0.0
            }
        } else {
            (step.soak_secs as f64).max(settling_secs(plan, index, fleet, early))
        };
        let ends = later(starts, lasts);
        let is_last = index + 1 == plan.steps.len();
        starts = if is_last {
            ends
        } else {
            plan.next_open(ends).unwrap_or(ends)
        };
    }
    (steps, starts)
}

/// Until enough of the exposed machines had time to show a problem: those who may be exposed check
/// in evenly over the interval. An early group that is larger than the step fills it sooner; the
/// lot over machines, which decides in wider steps, does not.
fn settling_secs(plan: &Plan, index: usize, fleet: &Circumstances, early: u64) -> f64 {
    let early_only = plan.step(index).is_some_and(|step| step.early_only);
    let wanted = at_most(plan, index, fleet.population(), early);
    let share = if early_only && early > wanted {
        wanted as f64 / early as f64
    } else {
        1.0
    };
    plan.signal_secs as f64 + plan.settled_share * share * fleet.check_in_secs as f64
}

fn at_most(plan: &Plan, step: usize, population: u64, early: u64) -> u64 {
    let early_only = plan.step(step).is_some_and(|step| step.early_only);
    let reachable = if early_only { early } else { population };
    plan.cap(step, population).min(reachable)
}

/// A time so many seconds later, or the last that there is.
pub fn later(from: Timestamp, secs: f64) -> Timestamp {
    from.checked_add(SignedDuration::from_secs(secs as i64))
        .unwrap_or(Timestamp::MAX)
}
