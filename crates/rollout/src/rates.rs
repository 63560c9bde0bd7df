//! Rates of harm with intervals, for people to look at. No verdict depends on them.
//!
//! Byar's approximation to the exact Poisson interval (Breslow and Day, Statistical Methods in
//! Cancer Research II, 1987, section 2.3) and Wilson's interval of a share (1927). Both are
//! closed forms whose error cannot be seen on a page, and they keep this crate, which is part of
//! the agent too, free of a library of special functions. They are good for one look; only the
//! evidence may be looked at as often as one likes.

/// A rate and the interval that covers the true one in 95 of 100 cases.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    pub estimate: f64,
    pub low: f64,
    pub high: f64,
}

/// The quantile of the normal distribution that leaves 2.5 % on either side.
const Z: f64 = 1.959_963_984_540_054;

impl Rate {
    /// Of events over a time at risk.
    pub fn of_events(events: u64, time: f64) -> Option<Self> {
        if !(time.is_finite() && time > 0.0) {
            return None;
        }
        let count = events as f64;
        let above = count + 1.0;
        let low = count * (1.0 - 1.0 / (9.0 * count) - Z / (3.0 * count.sqrt())).powi(3);
        let high = above * (1.0 - 1.0 / (9.0 * above) + Z / (3.0 * above.sqrt())).powi(3);
        Some(Self {
            estimate: count / time,
            low: if events == 0 {
                0.0
            } else {
                low.max(0.0) / time
            },
            high: high / time,
        })
    }

    /// Of trials that ended badly among all.
    pub fn of_share(badly: u64, trials: f64) -> Option<Self> {
        if !(trials.is_finite() && trials > 0.0) {
            return None;
        }
        let share = (badly as f64 / trials).min(1.0);
        let spread = Z * Z / trials;
        let centre = (share + spread / 2.0) / (1.0 + spread);
        let half = (share * (1.0 - share) * spread + spread * spread / 4.0).sqrt() / (1.0 + spread);
        Some(Self {
            estimate: share,
            low: (centre - half).clamp(0.0, share),
            high: (centre + half).clamp(share, 1.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Exact limits from the table in Ulm, American Journal of Epidemiology 131 (1990).
    #[test]
    fn poisson_interval_is_near_the_exact_one() {
        for (events, low, high) in [(0, 0.0, 3.689), (5, 1.623, 11.668), (20, 12.217, 30.888)] {
            let rate = Rate::of_events(events, 1.0).unwrap();
            assert!((rate.low - low).abs() < 0.06, "{events}: {rate:?}");
            assert!((rate.high - high).abs() < 0.06, "{events}: {rate:?}");
        }
    }

    #[test]
    fn one_of_a_thousand_applications_failed() {
        let rate = Rate::of_share(1, 1000.0).unwrap();
        assert_eq!(rate.estimate, 0.001);
        assert!((rate.low - 0.000_177).abs() < 1e-5, "{rate:?}");
        assert!((rate.high - 0.005_642).abs() < 1e-5, "{rate:?}");
    }

    #[test]
    fn without_risk_there_is_no_rate() {
        assert_eq!(Rate::of_events(3, 0.0), None);
        assert_eq!(Rate::of_share(3, f64::NAN), None);
    }

    #[test]
    fn intervals_hold_their_estimate() {
        for count in 0..50 {
            for rate in [Rate::of_events(count, 7.5), Rate::of_share(count, 50.0)] {
                let Rate {
                    estimate,
                    low,
                    high,
                } = rate.unwrap();
                assert!(low <= estimate && estimate <= high && low >= 0.0);
            }
        }
    }
}
