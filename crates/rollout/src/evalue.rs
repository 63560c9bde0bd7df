//! E-values: numbers that a healthy patch makes large only with a small, known probability,
//! whenever one looks.
//!
//! Each test here is a product of likelihood ratios whose expectation, given what was seen
//! before, is at most one while the patch does no harm. Such a product is a test
//! supermartingale, and Ville's inequality (1939) bounds the chance that it ever reaches 1/α by
//! α. A weighted mean of such products is one again; so several sizes of effect share one bound.
//! `docs/rollouts.md` has the derivations and sources.
//!
//! Nothing here panics or makes a number that is none, whatever it is given: a ledger is stored
//! as JSON, which knows neither infinity nor NaN.

use serde::{Deserialize, Serialize};

/// A mean of likelihood ratios against several alternatives, in logarithms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mixture {
    /// Natural logarithm of each alternative's likelihood ratio.
    logs: Vec<f64>,
}

/// How many times more often exposed machines fall than others, under each alternative.
const HAZARD_RATIOS: [f64; 12] = [
    2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0,
];

/// Odds of failing, as a multiple of the odds that are tolerated.
const ODDS_RATIOS: [f64; 8] = [2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 256.0, 1024.0];

/// Rate, as a multiple of the one that is tolerated.
const RATE_RATIOS: [f64; 6] = [10.0, 100.0, 1e3, 1e4, 1e5, 1e6];

/// Logarithms are kept within this bound on both sides. Far beyond any verdict, and far enough
/// from the largest number that sums of them stay finite.
const LARGEST_LOG: f64 = 1e12;

/// No share below this is told apart from never.
pub(crate) const LEAST_TOLERATED: f64 = 1e-9;

impl Mixture {
    pub fn against_control() -> Self {
        Self::of(HAZARD_RATIOS.len())
    }

    pub fn against_share() -> Self {
        Self::of(ODDS_RATIOS.len())
    }

    pub fn against_rate() -> Self {
        Self::of(RATE_RATIOS.len())
    }

    fn of(alternatives: usize) -> Self {
        Self {
            logs: vec![0.0; alternatives],
        }
    }

    /// Takes in that of `exposed` and `control` machines at risk, `exposed_fell` and
    /// `control_fell` fell.
    ///
    /// Given that d fall, the number of exposed ones among them is hypergeometric if exposure
    /// does nothing; θ^a over its generating function at θ is then an e-value. Drawing with
    /// replacement bounds that function from above by (1 + q(θ - 1))^d with q the exposed share
    /// of those at risk (Hoeffding 1963, theorem 4), which keeps the e-value and needs no sum.
    pub fn compare(&mut self, exposed: u64, control: u64, exposed_fell: u64, control_fell: u64) {
        // Who fell was at risk, even if a caller forgot to count it.
        let exposed = exposed.max(exposed_fell) as f64;
        let control = control.max(control_fell) as f64;
        let (exposed_fell, control_fell) = (exposed_fell as f64, control_fell as f64);
        let fell = exposed_fell + control_fell;
        if fell == 0.0 {
            return;
        }
        let share = exposed / (exposed + control);
        self.add(&HAZARD_RATIOS, |ratio| {
            exposed_fell * ratio.ln() - fell * (share * (ratio - 1.0)).ln_1p()
        });
    }

    /// Takes in trials that end well or badly, where `tolerated` is the share that may end
    /// badly; a Bernoulli likelihood ratio.
    pub fn count(&mut self, well: u64, badly: u64, tolerated: f64) {
        // The plan's check keeps it within these bounds; with others there would be no answer.
        let tolerated = tolerated.clamp(LEAST_TOLERATED, 1.0 - LEAST_TOLERATED);
        let (well, badly) = (well as f64, badly as f64);
        self.add(&ODDS_RATIOS, |ratio| {
            let odds = ratio * tolerated / (1.0 - tolerated);
            let bad = odds / (1.0 + odds);
            badly * (bad / tolerated).ln() + well * ((1.0 - bad) / (1.0 - tolerated)).ln()
        });
    }

    /// Takes in events over a time at risk, where `tolerated` is the rate in the same unit of
    /// time; a Poisson likelihood ratio.
    pub fn time(&mut self, events: u64, time: f64, tolerated: f64) {
        let expected = (tolerated.max(0.0) * time.max(0.0)).min(LARGEST_LOG);
        self.add(&RATE_RATIOS, |ratio| {
            events as f64 * ratio.ln() - (ratio - 1.0) * expected
        });
    }

    fn add<const N: usize>(&mut self, ratios: &[f64; N], log_ratio: impl Fn(f64) -> f64) {
        for (log, ratio) in self.logs.iter_mut().zip(ratios) {
            let sum = *log + log_ratio(*ratio);
            // What is none counts as no evidence.
            *log = if sum.is_nan() {
                -LARGEST_LOG
            } else {
                sum.clamp(-LARGEST_LOG, LARGEST_LOG)
            };
        }
    }

    /// Whether it has these many alternatives, each with a number that is one.
    pub(crate) fn is_sound_as(&self, fresh: &Self) -> bool {
        self.logs.len() == fresh.logs.len() && self.logs.iter().all(|log| log.is_finite())
    }

    /// Natural logarithm of the mean.
    pub fn log(&self) -> f64 {
        // The largest is taken out, so that no exponential overflows.
        let largest = self.logs.iter().copied().fold(-LARGEST_LOG, f64::max);
        let sum: f64 = self.logs.iter().map(|log| (log - largest).exp()).sum();
        largest + (sum / self.logs.len() as f64).ln()
    }
}

/// The number whose natural logarithm this is, or the largest that a double holds.
pub fn exp(log: f64) -> f64 {
    log.exp().min(f64::MAX)
}
