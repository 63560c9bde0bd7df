//! How fast a rollout goes, and what stops it.

mod check;

use jiff::Timestamp;
use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZoneDatabase;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A plan of a rollout. Made by [`Plan::standard`] and its like, or read from a file and checked
/// by [`Plan::check`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// For people, e.g. `standard`.
    pub name: String,
    pub early_group: EarlyGroup,
    /// The steps in order. The first ones may be for the early group alone; the last one has
    /// share 1.
    pub steps: Vec<Step>,
    /// Seconds from an exposure until a problem has shown itself: the time to the next check-in
    /// and to go down and come back (default: 5,400).
    pub signal_secs: u64,
    /// Seconds without a check-in after which a live machine counts as silent (default: 10,800).
    /// At least three check-in intervals, or exposed machines and others are not alike in it.
    pub silence_secs: u64,
    /// Share of exposed machines that must be due ([`crate::Fleet::due`]) before the next step.
    pub settled_share: f64,
    /// Share of due machines that must have been heard of before the next step; the dead-man
    /// rule. No news is no good news.
    pub heard_share: f64,
    /// Largest chance of a false halt over the whole rollout (default: 0.01).
    pub alpha: f64,
    /// Evidence from which on nothing widens, though nothing is proven yet (default: 4).
    pub hold_at: f64,
    pub tolerated: Tolerated,
    /// When machines may be exposed; empty: at any time.
    #[serde(default)]
    pub windows: Vec<Window>,
    /// Whether each kernel build has a rollout of its own.
    #[serde(default)]
    pub kernels_apart: bool,
}

/// Who is drawn to go first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlyGroup {
    /// Share of those eligible that is drawn, rounded up; 0 to 1.
    pub share: f64,
    pub unit: Unit,
    pub eligible: Eligible,
    /// Machines of these groups are always in.
    #[serde(default)]
    pub always: Vec<String>,
    /// Machines of these groups are never in.
    #[serde(default)]
    pub never: Vec<String>,
}

/// What is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// An account goes with all its machines.
    Account,
    /// Each machine by itself, for an operator with one account.
    Machine,
}

/// Whose units are in the draw, besides accounts that asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Eligible {
    Free,
    Everyone,
}

/// A wave.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// At most this share of the population is exposed at the end of the step (rounded up; at
    /// least one machine).
    pub share: f64,
    /// Only members of the early group.
    #[serde(default)]
    pub early_only: bool,
    /// Seconds that the step lasts at least.
    pub soak_secs: u64,
}

/// Rates that a healthy patch may have, for the harms without a control group.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tolerated {
    /// Share of applications that fail (default: 0.01).
    pub apply_failure: f64,
    /// Share of transitions that stall (default: 0.02).
    pub stall: f64,
    /// Warnings that name the patch, per machine-hour under it (default: 1e-6).
    pub patch_trouble_per_hour: f64,
}

impl Default for Tolerated {
    fn default() -> Self {
        Self {
            apply_failure: 0.01,
            stall: 0.02,
            patch_trouble_per_hour: 1e-6,
        }
    }
}

/// A time of the week.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Days on which it begins: `monday` to `sunday`.
    pub days: Vec<Day>,
    /// Wall-clock time, `08:00`.
    pub from: Time,
    /// Exclusive. Not later than `from`: it ends on the next day.
    pub to: Time,
    /// Name of the IANA time zone database, e.g. `Europe/Berlin`.
    pub time_zone: String,
}

/// A day of the week, as plans name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Day {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl From<Day> for Weekday {
    fn from(day: Day) -> Self {
        match day {
            Day::Monday => Self::Monday,
            Day::Tuesday => Self::Tuesday,
            Day::Wednesday => Self::Wednesday,
            Day::Thursday => Self::Thursday,
            Day::Friday => Self::Friday,
            Day::Saturday => Self::Saturday,
            Day::Sunday => Self::Sunday,
        }
    }
}

/// Why a plan can't be followed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("plan `{plan}` cannot be followed: {field}: {reason}")]
pub struct InvalidPlan {
    pub plan: String,
    /// Where in the plan, e.g. `steps[2].share`.
    pub field: String,
    pub reason: String,
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

impl Plan {
    /// A machine that misses fewer check-ins is not silent.
    pub const CHECK_INS_PER_SILENCE: u64 = 3;

    /// Names of the plans that need no file.
    pub const NAMES: [&'static str; 3] = ["standard", "urgent", "immediate"];

    /// A plan by its name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "standard" => Some(Self::standard()),
            "urgent" => Some(Self::urgent()),
            "immediate" => Some(Self::immediate()),
            _ => None,
        }
    }

    /// Everyone within a day.
    pub fn standard() -> Self {
        let step = |share, early_only, hours| Step {
            share,
            early_only,
            soak_secs: hours * HOUR,
        };
        Self {
            name: "standard".to_owned(),
            early_group: EarlyGroup {
                share: 0.01,
                unit: Unit::Account,
                eligible: Eligible::Free,
                always: Vec::new(),
                never: Vec::new(),
            },
            steps: vec![
                step(0.0001, true, 2),
                step(0.0005, true, 5),
                step(0.001, true, 3),
                step(0.005, true, 3),
                step(0.03, false, 2),
                step(0.20, false, 2),
                step(1.0, false, 2),
            ],
            signal_secs: HOUR + 30 * MINUTE,
            silence_secs: 3 * HOUR,
            settled_share: 0.8,
            heard_share: 0.6,
            alpha: 0.01,
            hold_at: 4.0,
            tolerated: Tolerated::default(),
            windows: Vec::new(),
            kernels_apart: false,
        }
    }

    /// Everyone within six hours, for a hole that is being exploited.
    pub fn urgent() -> Self {
        let step = |share, early_only, minutes| Step {
            share,
            early_only,
            soak_secs: minutes * MINUTE,
        };
        Self {
            name: "urgent".to_owned(),
            steps: vec![
                step(0.0001, true, 30),
                step(0.0005, true, 45),
                // So long that those who fell silent in it are told before everyone follows.
                step(0.01, false, 140),
                step(0.10, false, 60),
                step(1.0, false, 60),
            ],
            signal_secs: 30 * MINUTE,
            settled_share: 0.5,
            ..Self::standard()
        }
    }

    /// Everyone at once, for a fleet of a few machines whose owner watches them. The evidence is
    /// still gathered, and halts what is left to halt.
    pub fn immediate() -> Self {
        Self {
            name: "immediate".to_owned(),
            steps: vec![Step {
                share: 1.0,
                early_only: false,
                soak_secs: 2 * HOUR,
            }],
            ..Self::standard()
        }
    }

    /// Machines that may be exposed at the end of a step, of a population: the bound that
    /// holds at every moment of it. The last step has none.
    pub fn cap(&self, step: usize, population: u64) -> u64 {
        match self.step(step) {
            Some(step) if step.share >= 1.0 => u64::MAX,
            Some(step) => {
                let machines = (step.share * population as f64).ceil() as u64;
                machines.max(1)
            }
            None => 0,
        }
    }

    /// Evidence at which the rollout halts: 1/α.
    pub fn halt_at(&self) -> f64 {
        // An alpha that is none, which [`Plan::check`] refuses, halts rather than never halts.
        if self.alpha > 0.0 {
            self.alpha.recip().min(f64::MAX)
        } else {
            1.0
        }
    }

    /// A step, from 0; beyond the last one it stays the last.
    pub fn step(&self, step: usize) -> Option<&Step> {
        self.steps.get(step).or(self.steps.last())
    }

    /// Whether machines may be exposed at this time.
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.windows.is_empty() || self.windows.iter().any(|window| window.holds(now))
    }

    /// The first time from `from` on at which machines may be exposed. None only for windows that
    /// [`Plan::check`] refuses.
    pub fn next_open(&self, from: Timestamp) -> Option<Timestamp> {
        if self.is_open(from) {
            return Some(from);
        }
        self.windows
            .iter()
            .filter_map(|window| window.next_begin(from))
            .min()
    }
}

impl Window {
    /// When it begins next after `from`.
    fn next_begin(&self, from: Timestamp) -> Option<Timestamp> {
        let zone = TimeZoneDatabase::bundled().get(&self.time_zone).ok()?;
        let today = from.to_zoned_datetime(zone.clone()).date();
        // A week further is the same day of the week again, if it began already today.
        (0..=7_i64).find_map(|days| {
            let date = today.checked_add(jiff::Span::new().days(days)).ok()?;
            let on_that_day = self
                .days
                .iter()
                .any(|day| Weekday::from(*day) == date.weekday());
            let begin = date
                .to_datetime(self.from)
                .to_zoned_datetime(zone.clone())
                .ok()?;
            (on_that_day && begin.timestamp() >= from).then(|| begin.timestamp())
        })
    }

    /// Whether `now` lies in the window. False for an unknown time zone, which [`Plan::check`]
    /// refuses.
    fn holds(&self, now: Timestamp) -> bool {
        let Ok(zone) = TimeZoneDatabase::bundled().get(&self.time_zone) else {
            return false;
        };
        let there = now.to_zoned_datetime(zone);
        let begins = |day: Weekday| self.days.iter().any(|known| Weekday::from(*known) == day);
        let (today, time) = (there.weekday(), there.time());
        if self.from < self.to {
            begins(today) && (self.from..self.to).contains(&time)
        } else {
            begins(today) && time >= self.from || begins(today.previous()) && time < self.to
        }
    }
}
