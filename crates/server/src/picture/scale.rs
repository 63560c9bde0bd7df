//! From values to places.

/// A logarithmic axis. Values beyond its ends are drawn at them.
#[derive(Debug, Clone, Copy)]
pub struct LogScale {
    /// Logarithms to base ten.
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl LogScale {
    /// From `low` at place `from` to `high` at place `to`; both positive.
    pub fn new(low: f64, high: f64, from: f64, to: f64) -> Self {
        let low = low.max(f64::MIN_POSITIVE).log10();
        Self {
            low,
            high: high.max(f64::MIN_POSITIVE).log10().max(low + 1e-9),
            from,
            to,
        }
    }

    pub fn place(&self, value: f64) -> f64 {
        let log = value.max(f64::MIN_POSITIVE).log10();
        let part = ((log - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        self.from + part * (self.to - self.from)
    }

    /// The same axis for values in another unit, `factor` of which are one of this.
    pub fn times(&self, factor: f64) -> Self {
        let shift = factor.log10();
        Self {
            low: self.low + shift,
            high: self.high + shift,
            ..*self
        }
    }

    /// Powers of ten on the axis, at most `at_most` of them, evenly thinned.
    pub fn ticks(&self, at_most: usize) -> Vec<f64> {
        let (first, last) = (self.low.ceil() as i32, self.high.floor() as i32);
        let all = usize::try_from(last - first + 1).unwrap_or(0);
        let stride = all.div_ceil(at_most.max(1)).max(1);
        (first..=last)
            .step_by(stride)
            .map(|exponent| 10_f64.powi(exponent))
            .collect()
    }
}

/// A linear axis over seconds.
#[derive(Debug, Clone, Copy)]
pub struct TimeScale {
    span: f64,
    from: f64,
    to: f64,
}

/// Distances between two ticks that people read easily, in seconds.
const STRIDES: [u64; 14] = [
    1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 604_800,
];

impl TimeScale {
    /// From 0 at place `from` to `span` seconds at place `to`.
    pub fn new(span: f64, from: f64, to: f64) -> Self {
        Self {
            span: span.max(1.0),
            from,
            to,
        }
    }

    pub fn place(&self, seconds: f64) -> f64 {
        self.from + (seconds / self.span).clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// At most `at_most` ticks after 0, in seconds.
    pub fn ticks(&self, at_most: u64) -> Vec<u64> {
        let fits = |stride: &&u64| self.span / **stride as f64 <= at_most as f64;
        let longest = (self.span / at_most as f64).ceil() as u64;
        let stride = STRIDES.iter().find(fits).copied().unwrap_or(longest);
        let count = (self.span / stride as f64).floor() as u64;
        (1..=count).map(|number| number * stride).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tenfold_is_as_far() {
        let scale = LogScale::new(0.1, 1000.0, 0.0, 400.0);
        let places: Vec<f64> = scale
            .ticks(9)
            .into_iter()
            .map(|at| scale.place(at))
            .collect();
        assert_eq!(places.len(), 5);
        for (place, expected) in places.iter().zip([0.0, 100.0, 200.0, 300.0, 400.0]) {
            assert!((place - expected).abs() < 1e-9, "{places:?}");
        }
        assert_eq!((scale.place(0.0), scale.place(f64::MAX)), (0.0, 400.0));
        assert_eq!(scale.ticks(2).len(), 2);
    }

    #[test]
    fn times_have_round_ticks() {
        let day = TimeScale::new(86_400.0, 0.0, 100.0);
        assert_eq!(day.ticks(5), [21_600, 43_200, 64_800, 86_400]);
        let moment = TimeScale::new(0.0, 0.0, 100.0);
        assert_eq!(moment.ticks(5), [1]);
        let years = TimeScale::new(1e9, 0.0, 100.0);
        assert!(years.ticks(5).len() <= 5);
    }
}
