//! What an operator decided for a group of machines, beside every rollout's own course.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use suture_advisory::PatchVersion;

use crate::Course;

/// What holds for the machines of a group. It only ever makes them wait: nothing goes to a
/// machine that its rollout would not bring there, and nothing is taken back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GroupPolicy {
    /// Nothing new at all.
    pub hold: bool,
    /// Nothing later than this version.
    pub pin: Option<PatchVersion>,
    /// Days from the begin of a version's rollout until the group may have it.
    pub delay_days: Option<u16>,
    /// Nothing whose rollout began later.
    pub cut_off: Option<Timestamp>,
}

/// Which of a policy's rules makes a machine wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    Hold,
    Pin {
        at: PatchVersion,
    },
    Delay {
        /// When the wait is over.
        until: Timestamp,
    },
    CutOff {
        at: Timestamp,
    },
}

impl GroupPolicy {
    /// Longest delay, in days: a year.
    pub const MOST_DELAY_DAYS: u16 = 366;

    /// It says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The rule that keeps a version from the group at this time, if one does.
    pub fn withholds(
        &self,
        version: PatchVersion,
        course: &Course,
        now: Timestamp,
    ) -> Option<Rule> {
        if self.hold {
            return Some(Rule::Hold);
        }
        if let Some(at) = self.pin.filter(|pin| version > *pin) {
            return Some(Rule::Pin { at });
        }
        let begun = course.draw.at;
        if let Some(at) = self.cut_off.filter(|cut_off| begun > *cut_off) {
            return Some(Rule::CutOff { at });
        }
        let wait = SignedDuration::from_hours(24 * i64::from(self.delay_days?));
        let until = begun.saturating_add(wait).unwrap_or(Timestamp::MAX);
        (now < until).then_some(Rule::Delay { until })
    }
}

/// As the end of a sentence that begins with the group.
impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hold => formatter.write_str("is held: it gets nothing new"),
            Self::Pin { at } => write!(formatter, "is pinned to {at}"),
            Self::Delay { until } => {
                write!(
                    formatter,
                    "waits until {}",
                    until.strftime("%Y-%m-%d %H:%M UTC")
                )
            }
            Self::CutOff { at } => {
                let at = at.strftime("%Y-%m-%d");
                write!(formatter, "gets nothing whose rollout began after {at}")
            }
        }
    }
}
