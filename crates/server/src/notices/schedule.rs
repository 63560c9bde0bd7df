//! When regular kernel updates come: what no live patch closes waits for them.

use jiff::civil::Date;
use jiff::{Span, ToSpan as _};
use serde::Deserialize;

/// Longest time between two updates, in days.
const LONGEST: u16 = 366;

/// A day on which an update came or is to come, and how often one follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RegularUpdates {
    pub first: Date,
    /// Three weeks, if nothing else is said.
    #[serde(default = "three_weeks")]
    pub every_days: u16,
}

fn three_weeks() -> u16 {
    21
}

impl RegularUpdates {
    /// What is wrong with it.
    pub(super) fn wrong(&self) -> Option<String> {
        let days = self.every_days;
        (!(1..=LONGEST).contains(&days))
            .then(|| format!("`regular-updates` come every {days} days: expected 1 to {LONGEST}"))
    }

    /// The next `count` of them, `today` included.
    pub fn upcoming(&self, today: Date, count: usize) -> Vec<Date> {
        let every = i64::from(self.every_days.max(1));
        let days_since = (today - self.first).get_days();
        let passed = i64::from(days_since.max(0));
        let steps = passed.div_euclid(every) + i64::from(passed.rem_euclid(every) > 0);
        let nth = |step: i64| -> Option<Date> {
            let days: Span = step.checked_mul(every)?.days();
            self.first.checked_add(days).ok()
        };
        (steps..).map_while(nth).take(count).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(text: &[&str]) -> Vec<Date> {
        text.iter().map(|day| day.parse().unwrap()).collect()
    }

    fn upcoming(first: &str, every_days: u16, today: &str) -> Vec<Date> {
        let updates = RegularUpdates {
            first: first.parse().unwrap(),
            every_days,
        };
        updates.upcoming(today.parse().unwrap(), 2)
    }

    #[test]
    fn updates_follow_each_other_and_today_counts() {
        let from = |today| upcoming("2026-11-10", 21, today);
        assert_eq!(from("2026-11-10"), days(&["2026-11-10", "2026-12-01"]));
        assert_eq!(from("2026-11-11"), days(&["2026-12-01", "2026-12-22"]));
        assert_eq!(from("2026-12-01"), days(&["2026-12-01", "2026-12-22"]));
        assert_eq!(from("2027-11-10"), days(&["2027-11-23", "2027-12-14"]));
    }

    #[test]
    fn before_the_first_one_it_is_the_next() {
        assert_eq!(
            upcoming("2026-11-10", 1, "2020-01-01"),
            days(&["2026-11-10", "2026-11-11"])
        );
    }

    #[test]
    fn the_calendars_end_is_no_crash() {
        assert_eq!(
            upcoming("9999-12-30", 21, "2026-01-01"),
            days(&["9999-12-30"])
        );
    }
}
