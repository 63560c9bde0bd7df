//! The kinds of harm, in numbers.

use serde::{Deserialize, Serialize};
use suture_rollout::{Harm, HarmLedger, Ledger, Plan, Yardstick};
use utoipa::ToSchema;

use super::finite;

/// One kind of harm: exposed machines against what they are compared with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HarmRow {
    /// `crash`, `silence`, `kernel-trouble`, `patch-trouble`, `apply-failure` or `stall`.
    #[schema(value_type = String, example = "crash")]
    pub harm: Harm,
    pub unit: RateUnit,
    /// Exposed machines that fell.
    pub exposed_fell: u64,
    /// Machine-hours at risk, or applications.
    pub exposed_at_risk: f64,
    /// How many would have fallen if the patch did nothing, or at the tolerated rate.
    pub expected: f64,
    /// Of exposed machines; none: none was at risk.
    pub exposed: Option<Rate>,
    /// Machines of the control group that fell; none: there is no control group for this kind.
    pub control_fell: Option<u64>,
    pub control_at_risk: Option<f64>,
    pub control: Option<Rate>,
    /// The rate that the plan tolerates, where nothing is compared.
    pub tolerated: Option<f64>,
    /// Evidence for harm of this kind alone.
    pub evidence: f64,
    /// Share of it in the total.
    pub weight: f64,
}

/// A rate with its uncertainty.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Rate {
    pub value: f64,
    /// 95 % confidence.
    pub interval: Interval,
}

/// Both ends, in the unit of what lies between them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

impl From<suture_rollout::Rate> for Rate {
    fn from(rate: suture_rollout::Rate) -> Self {
        Self {
            value: rate.estimate,
            interval: Interval {
                low: rate.low,
                high: rate.high,
            },
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RateUnit {
    PerMachineHour,
    /// Of applications that came to an end.
    Share,
}

impl RateUnit {
    fn of(harm: Harm) -> Self {
        match harm.yardstick() {
            Yardstick::Control | Yardstick::ToleratedRate => Self::PerMachineHour,
            Yardstick::ToleratedShare => Self::Share,
        }
    }

    fn rate(self, fell: u64, at_risk: f64) -> Option<Rate> {
        let rate = match self {
            Self::PerMachineHour => suture_rollout::Rate::of_events(fell, at_risk),
            Self::Share => suture_rollout::Rate::of_share(fell, at_risk),
        };
        rate.map(Rate::from)
    }
}

impl HarmRow {
    /// All kinds, in their fixed order.
    pub fn table(ledger: &Ledger, plan: &Plan) -> Vec<Self> {
        let row = |harm: Harm| Self::new(harm, ledger.harm(harm), plan);
        Harm::ALL.into_iter().map(row).collect()
    }

    fn new(harm: Harm, row: &HarmLedger, plan: &Plan) -> Self {
        let unit = RateUnit::of(harm);
        let compared = harm.yardstick() == Yardstick::Control;
        Self {
            harm,
            unit,
            exposed_fell: row.exposed_fell,
            exposed_at_risk: row.exposed_risk,
            expected: row.expected,
            exposed: unit.rate(row.exposed_fell, row.exposed_risk),
            control_fell: compared.then_some(row.control_fell),
            control_at_risk: compared.then_some(row.control_risk),
            control: compared
                .then(|| unit.rate(row.control_fell, row.control_risk))
                .flatten(),
            tolerated: tolerated(harm, plan),
            evidence: finite(row.evidence()),
            weight: harm.weight(),
        }
    }

    /// The kind in words that go on with "machines".
    pub fn words(&self) -> &'static str {
        words(self.harm)
    }
}

fn tolerated(harm: Harm, plan: &Plan) -> Option<f64> {
    match harm {
        Harm::Crash | Harm::Silence | Harm::KernelTrouble => None,
        Harm::PatchTrouble => Some(plan.tolerated.patch_trouble_per_hour),
        Harm::ApplyFailure => Some(plan.tolerated.apply_failure),
        Harm::Stall => Some(plan.tolerated.stall),
    }
}

pub fn words(harm: Harm) -> &'static str {
    match harm {
        Harm::Crash => "Crashed",
        Harm::Silence => "Fell silent",
        Harm::KernelTrouble => "Had kernel trouble",
        Harm::PatchTrouble => "Kernel named the patch",
        Harm::ApplyFailure => "Could not apply it",
        Harm::Stall => "Transition stalled",
    }
}
