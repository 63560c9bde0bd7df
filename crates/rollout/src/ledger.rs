//! The evidence of a rollout, added up look by look.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::evalue::{self, Mixture};
use crate::{Harm, Plan, Tick, Yardstick};

/// Everything that the verdict needs of the past. Looks are taken in once each and in order;
/// the same looks always give the same ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "StoredLedger")]
pub struct Ledger {
    /// Has every kind; [`StoredLedger`] refuses what lacks one.
    harms: BTreeMap<Harm, HarmLedger>,
    /// Largest logarithm of the total so far. The bound of a false halt covers it too, so that
    /// evidence that faded between two looks still counts.
    peak_log: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    suspicion: Option<Suspicion>,
}

/// More evidence than chance usually makes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Suspicion {
    /// The look at which it arose, or was confirmed by as much more as [`Suspicion::CONFIRMED`].
    since: Timestamp,
    /// Logarithm of the total then.
    log: f64,
}

impl Suspicion {
    /// What nothing confirms for this long suspends the rollout no longer. Where few machines
    /// are exposed, one that crashed can be suspicious for ever; the next step's machines tell
    /// what it was. That takes nothing from the bound of a false halt.
    const LASTS_SECS: i64 = 24 * 3600;

    /// Evidence that grew by this factor is news.
    const CONFIRMED: f64 = 1.1;
}

/// A ledger as it was read from elsewhere.
#[derive(Deserialize)]
struct StoredLedger {
    harms: BTreeMap<Harm, HarmLedger>,
    peak_log: f64,
    suspicion: Option<Suspicion>,
}

/// A stored ledger that no look can be added to.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the ledger's entry for `{}` is missing or has other alternatives than this program's", harm.as_str())]
pub struct InvalidLedger {
    pub harm: Harm,
}

impl TryFrom<StoredLedger> for Ledger {
    type Error = InvalidLedger;

    fn try_from(stored: StoredLedger) -> Result<Self, InvalidLedger> {
        for harm in Harm::ALL {
            let fresh = HarmLedger::new(harm);
            let known = stored.harms.get(&harm);
            if !known.is_some_and(|known| known.mixture.is_sound_as(&fresh.mixture)) {
                return Err(InvalidLedger { harm });
            }
        }
        Ok(Self {
            harms: stored.harms,
            peak_log: stored.peak_log,
            suspicion: stored.suspicion,
        })
    }
}

/// One kind of harm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HarmLedger {
    mixture: Mixture,
    /// Exposed machines that fell.
    pub exposed_fell: u64,
    /// Machines of the control group that fell.
    pub control_fell: u64,
    /// Exposed machines that would have fallen if exposure did nothing, or at the tolerated rate.
    pub expected: f64,
    /// Time at risk in machine-hours; for shares the number of applications.
    pub exposed_risk: f64,
    pub control_risk: f64,
}

/// Evidence for harm, as e-values: how many times better the data fit a harmful patch than a
/// harmless one, in the mean over the sizes of harm that are looked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The largest of the kinds' evidence times their weight ([`Harm::weight`]).
    ///
    /// Not the weighted sum: that would be bounded only if the kinds did not depend on each
    /// other, and a machine that oopses often crashes next. For the largest, the chance to ever
    /// reach 1/α is at most the sum of the chances that one kind reaches 1/(α weight), which is
    /// α, however the kinds hang together.
    pub total: f64,
    /// The largest total so far; this is what halts.
    pub peak: f64,
    /// Of each kind alone, without its weight.
    pub harms: BTreeMap<Harm, f64>,
}

impl Default for Ledger {
    fn default() -> Self {
        let harms = Harm::ALL.map(|harm| (harm, HarmLedger::new(harm)));
        let mut ledger = Self {
            harms: harms.into(),
            peak_log: f64::MIN,
            suspicion: None,
        };
        ledger.peak_log = ledger.total_log();
        ledger
    }
}

impl HarmLedger {
    fn new(harm: Harm) -> Self {
        let mixture = match harm.yardstick() {
            Yardstick::Control => Mixture::against_control(),
            Yardstick::ToleratedShare => Mixture::against_share(),
            Yardstick::ToleratedRate => Mixture::against_rate(),
        };
        Self {
            mixture,
            exposed_fell: 0,
            control_fell: 0,
            expected: 0.0,
            exposed_risk: 0.0,
            control_risk: 0.0,
        }
    }

    /// The e-value.
    pub fn evidence(&self) -> f64 {
        evalue::exp(self.mixture.log())
    }

    fn count(&mut self, well: u64, badly: u64, tolerated: f64) {
        self.mixture.count(well, badly, tolerated);
        let ended = well as f64 + badly as f64;
        self.exposed_fell = self.exposed_fell.saturating_add(badly);
        self.exposed_risk += ended;
        self.expected += tolerated * ended;
    }
}

impl Ledger {
    pub fn harm(&self, harm: Harm) -> &HarmLedger {
        &self.harms[&harm]
    }

    /// Takes in one look.
    pub fn absorb(&mut self, tick: &Tick, plan: &Plan) {
        let hours = tick.elapsed_hours();
        for row in &tick.compared {
            let Some(harm) = self.harms.get_mut(&row.harm).filter(|_| row.is_sound()) else {
                continue;
            };
            harm.mixture.compare(
                row.exposed_at_risk,
                row.control_at_risk,
                row.exposed_fell,
                row.control_fell,
            );
            harm.exposed_fell = harm.exposed_fell.saturating_add(row.exposed_fell);
            harm.control_fell = harm.control_fell.saturating_add(row.control_fell);
            let (exposed, control) = (row.exposed_at_risk as f64, row.control_at_risk as f64);
            harm.exposed_risk += exposed * hours;
            harm.control_risk += control * hours;
            if exposed > 0.0 {
                let fell = row.exposed_fell as f64 + row.control_fell as f64;
                harm.expected += fell * exposed / (exposed + control);
            }
        }
        let ended = tick.applications;
        let tolerated = &plan.tolerated;
        if let Some(harm) = self.harms.get_mut(&Harm::ApplyFailure) {
            harm.count(
                ended.finished.saturating_add(ended.stalled),
                ended.failed,
                tolerated.apply_failure,
            );
        }
        if let Some(harm) = self.harms.get_mut(&Harm::Stall) {
            harm.count(ended.finished, ended.stalled, tolerated.stall);
        }
        if let Some(harm) = self.harms.get_mut(&Harm::PatchTrouble) {
            let time = tick.under_patch as f64 * hours;
            let rate = tolerated.patch_trouble_per_hour;
            harm.mixture.time(tick.patch_trouble, time, rate);
            harm.exposed_fell = harm.exposed_fell.saturating_add(tick.patch_trouble);
            harm.exposed_risk += time;
            harm.expected += rate * time;
        }
        let total = self.total_log();
        self.peak_log = self.peak_log.max(total);
        self.suspect(total, tick.at, plan);
    }

    fn suspect(&mut self, log: f64, now: Timestamp, plan: &Plan) {
        let suspicious = evalue::exp(log) >= plan.hold_at;
        let known = self.suspicion.filter(|_| suspicious);
        let is_news = known.is_none_or(|known| log > known.log + Suspicion::CONFIRMED.ln());
        self.suspicion = if suspicious && is_news {
            Some(Suspicion { since: now, log })
        } else {
            known
        };
    }

    /// Whether the evidence has been at the plan's line of suspicion or above it for less than a
    /// day, or grew within that day.
    pub fn is_suspicious(&self, now: Timestamp) -> bool {
        self.suspicion
            .is_some_and(|known| now.duration_since(known.since).as_secs() < Suspicion::LASTS_SECS)
    }

    fn total_log(&self) -> f64 {
        self.harms
            .iter()
            .map(|(harm, ledger)| harm.weight().ln() + ledger.mixture.log())
            .fold(f64::MIN, f64::max)
    }

    pub fn evidence(&self) -> Evidence {
        Evidence {
            total: evalue::exp(self.total_log()),
            peak: evalue::exp(self.peak_log),
            harms: self
                .harms
                .iter()
                .map(|(harm, ledger)| (*harm, ledger.evidence()))
                .collect(),
        }
    }
}
