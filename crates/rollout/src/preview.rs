//! What a plan will do, computed before it starts: when, to how many, and what it would stop.
//!
//! Times are the earliest possible ones: no hold, and machines that check in when they should.
//! Numbers of harmed machines are expectations of the same evidence that [`crate::decide`] uses.

mod defect;
mod timetable;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{InvalidPlan, Plan};
use defect::Trial;

/// What the preview needs to know of the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Circumstances {
    pub free_accounts: u64,
    pub paid_accounts: u64,
    /// Machines of free accounts that the rollout covers.
    pub free_machines: u64,
    pub paid_machines: u64,
    /// Seconds between two check-ins of a machine.
    pub check_in_secs: u64,
    /// Unclean ends per machine and hour without any patch (an assumption of the operator's;
    /// see [`Circumstances::USUAL_CRASHES_PER_HOUR`]).
    pub crashes_per_hour: f64,
    /// When the rollout is to begin.
    pub starts: Timestamp,
}

/// What a plan will do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preview {
    pub plan: String,
    pub population: u64,
    /// Units in the draw, and how many of them are drawn.
    pub eligible: u64,
    pub drawn: u64,
    /// Machines that the early group has, as far as the mean number of machines per account
    /// tells; groups and accounts that asked are not in it.
    pub early_machines: u64,
    pub steps: Vec<PreviewStep>,
    /// When everyone that checks in has been offered the version, at the earliest.
    pub everyone_at: Timestamp,
    /// When the rollout is complete at the earliest.
    pub complete_at: Timestamp,
    /// What becomes of a patch that crashes a share of the machines, the gravest first.
    pub defects: Vec<PreviewDefect>,
}

/// A step, as it will be at the earliest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PreviewStep {
    /// From 1, as people count.
    pub number: usize,
    pub early_only: bool,
    pub starts: Timestamp,
    /// Share of the population that may be exposed at the end of the step.
    pub share: f64,
    /// Machines that are exposed at any moment of the step at most.
    pub exposed_at_most: u64,
    /// It is skipped: nobody is there to go first.
    pub skipped: bool,
}

/// A patch that crashes a share of the machines soon after it was applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PreviewDefect {
    /// Share of exposed machines that it crashes.
    pub crashes: f64,
    /// None: the evidence never suffices before everyone has the version.
    pub halt: Option<PreviewHalt>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PreviewHalt {
    /// Step at whose evidence it halts, from 1.
    pub step: usize,
    /// Crashed machines that prove it there.
    pub crashed: u64,
    /// Machines exposed until then, in expectation.
    pub exposed: u64,
    /// The same as a share of the population.
    pub exposed_share: f64,
}

impl Circumstances {
    /// One unclean end per machine and 400 days: an assumption to plan with.
    pub const USUAL_CRASHES_PER_HOUR: f64 = 1e-4;

    fn population(&self) -> u64 {
        self.free_machines.saturating_add(self.paid_machines)
    }
}

impl Preview {
    /// Shares of crashed machines for which the halt is computed.
    pub const DEFECTS: [f64; 3] = [0.1, 0.01, 0.001];

    /// Computes what the plan does. Refuses a plan that cannot be followed.
    pub fn new(plan: &Plan, fleet: &Circumstances) -> Result<Self, InvalidPlan> {
        plan.check_for(fleet.check_in_secs)?;
        let group = timetable::EarlyNumbers::new(plan, fleet);
        let (steps, complete_at) = timetable::steps(plan, fleet, group.machines);
        let last = steps.last().map_or(fleet.starts, |step| step.starts);
        let defects = Self::DEFECTS
            .into_iter()
            .map(|crashes| PreviewDefect {
                crashes,
                halt: Trial::new(plan, fleet, &steps, complete_at).halt(crashes),
            })
            .collect();
        Ok(Self {
            plan: plan.name.clone(),
            population: fleet.population(),
            eligible: group.eligible,
            drawn: group.drawn,
            early_machines: group.machines,
            everyone_at: timetable::later(last, fleet.check_in_secs as f64),
            complete_at,
            steps,
            defects,
        })
    }

    /// For people, one line each.
    pub fn summary(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "Plan `{}` for {} machines: {} of {} eligible are drawn, about {} machines",
            self.plan, self.population, self.drawn, self.eligible, self.early_machines
        )];
        lines.extend(self.steps.iter().map(PreviewStep::summary));
        lines.push(format!(
            "Everyone is offered it from {} on; complete at {} at the earliest",
            self.everyone_at, self.complete_at
        ));
        lines.extend(self.defects.iter().map(PreviewDefect::summary));
        lines
    }
}

impl PreviewStep {
    fn summary(&self) -> String {
        let who = if self.early_only {
            "early group"
        } else {
            "everyone"
        };
        if self.skipped {
            return format!("Step {}: skipped, the early group is empty", self.number);
        }
        format!(
            "Step {}: from {}, {who}, at most {} machines exposed ({} %)",
            self.number,
            self.starts,
            self.exposed_at_most,
            self.share * 100.0
        )
    }
}

impl PreviewDefect {
    fn summary(&self) -> String {
        let percent = self.crashes * 100.0;
        match self.halt {
            None => {
                format!("A patch that crashes {percent} % of machines is not proven bad in time")
            }
            Some(halt) => format!(
                "A patch that crashes {percent} % of machines halts in step {} after about {} exposed machines ({:.3} %), {} of them crashed",
                halt.step,
                halt.exposed,
                halt.exposed_share * 100.0,
                halt.crashed
            ),
        }
    }
}
