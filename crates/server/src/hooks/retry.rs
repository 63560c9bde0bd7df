//! When a line that nobody took is tried again, and when no more.

use jiff::{SignedDuration, Timestamp};

/// After the first failure; doubled with each.
const FIRST: SignedDuration = SignedDuration::from_secs(15);

const LONGEST: SignedDuration = SignedDuration::from_hours(1);

/// A receiver that is away over a long weekend misses nothing.
const PATIENCE: SignedDuration = SignedDuration::from_hours(5 * 24);

/// When to try again after so many failures, at least 1.
pub fn after(tries: u32, now: Timestamp) -> Timestamp {
    let doubled = FIRST * 2_i32.pow(tries.saturating_sub(1).min(16));
    now.saturating_add(doubled.min(LONGEST))
        .unwrap_or(Timestamp::MAX)
}

/// Whether what happened then is no news any more.
pub fn is_too_old(at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(at) > PATIENCE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_an_hour() {
        let now: Timestamp = "2026-11-26T00:00:00Z".parse().unwrap();
        let pauses: Vec<_> = [1, 2, 3, 8, 9, 1_000_000]
            .into_iter()
            .map(|tries| after(tries, now).duration_since(now).as_secs())
            .collect();
        assert_eq!(pauses, [15, 30, 60, 1920, 3600, 3600]);
        assert!(!is_too_old(now, now + PATIENCE));
        assert!(is_too_old(now, now + PATIENCE + FIRST));
    }
}
