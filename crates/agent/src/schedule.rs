//! When to check in next. Pure functions of a random number, so that a fleet spreads itself.

use std::time::Duration;

/// First wait after a failed check-in.
const FIRST_RETRY: Duration = Duration::from_secs(30);
/// Longest wait after failed check-ins, where the interval is not shorter.
const LONGEST_RETRY: Duration = Duration::from_secs(3600);
/// A started agent asks the server within this time, so that a data centre that comes back after
/// a power cut does not ask all at once. The kernel is open until there is an answer or the
/// patience of the start is over.
const START_SPREAD: Duration = Duration::from_secs(3);
/// Harm is told within this time, from now on, so that an oops has time to end.
const EARLY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
/// Between two check-ins that harm brought forward.
const EARLY_SPACING: Duration = Duration::from_secs(60);

/// Time from the start of the agent to its first check-in.
pub fn first_check(random: u64) -> Duration {
    scale(START_SPREAD, random, 0.0, 1.0)
}

/// Time from harm to the check-in that tells of it; `since_last` is the time since the last
/// check-in that was brought forward like this.
pub fn early_check(since_last: Option<Duration>, random: u64) -> Duration {
    let (least, most) = EARLY;
    let soon = least + scale(most - least, random, 0.0, 1.0);
    let wait = since_last.map_or(Duration::ZERO, |it| EARLY_SPACING.saturating_sub(it));
    soon.max(wait)
}

/// Time from a successful check-in to the next: the interval or what the server wished for,
/// within a quarter and twice of the interval, plus or minus a tenth.
pub fn next_check(interval: Duration, wish: Option<Duration>, random: u64) -> Duration {
    let wanted = wish.unwrap_or(interval).clamp(interval / 4, interval * 2);
    scale(wanted, random, 0.9, 1.1)
}

/// Time from the `failures`-th failed check-in in a row (from 1) to the next try: 30 s, doubled
/// each time, at most an hour and never more than the interval; minus up to a half.
pub fn retry(interval: Duration, failures: u32, random: u64) -> Duration {
    let doublings = failures.saturating_sub(1).min(10);
    let wait = FIRST_RETRY * 2_u32.pow(doublings);
    scale(wait.min(LONGEST_RETRY).min(interval), random, 0.5, 1.0)
}

/// `time` times a factor between `least` and `most`, chosen by `random`.
fn scale(time: Duration, random: u64, least: f64, most: f64) -> Duration {
    let fraction = random as f64 / u64::MAX as f64;
    time.mul_f64(least + (most - least) * fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn secs(duration: Duration) -> u64 {
        duration.as_secs_f64().round() as u64
    }

    #[test]
    fn retries_back_off_to_the_interval() {
        let waits =
            |interval| [1, 2, 3, 4, 9, u32::MAX].map(|n| secs(retry(interval, n, u64::MAX)));
        assert_eq!(waits(HOUR), [30, 60, 120, 240, 3600, 3600]);
        assert_eq!(
            waits(Duration::from_secs(100)),
            [30, 60, 100, 100, 100, 100]
        );
        assert_eq!(secs(retry(HOUR, 1, 0)), 15);
    }

    #[test]
    fn the_servers_wish_counts_within_bounds() {
        let wish = |secs| Some(Duration::from_secs(secs));
        let middle = u64::MAX / 2;
        assert_eq!(secs(next_check(HOUR, None, middle)), 3600);
        assert_eq!(secs(next_check(HOUR, wish(1800), middle)), 1800);
        assert_eq!(secs(next_check(HOUR, wish(1), middle)), 900);
        assert_eq!(secs(next_check(HOUR, wish(u64::MAX), middle)), 7200);
        assert_eq!(secs(next_check(HOUR, None, 0)), 3240);
        assert_eq!(secs(next_check(HOUR, None, u64::MAX)), 3960);
    }

    #[test]
    fn harm_is_told_within_seconds_and_at_most_once_a_minute() {
        let after = |secs_since| early_check(Some(Duration::from_secs(secs_since)), u64::MAX);
        assert_eq!(secs(early_check(None, 0)), 1);
        assert_eq!(secs(early_check(None, u64::MAX)), 5);
        assert_eq!(secs(after(10)), 50);
        assert_eq!(secs(after(3600)), 5);
    }

    #[test]
    fn the_first_check_comes_soon() {
        assert_eq!(first_check(0), Duration::ZERO);
        assert_eq!(first_check(u64::MAX), START_SPREAD);
    }
}
