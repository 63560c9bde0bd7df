//! What an operator decided for a group of machines, beside every rollout's own course.

use std::collections::BTreeSet;
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use suture_advisory::PatchVersion;

use crate::{ChannelName, Course};

/// What holds for the machines of a group. It only ever makes them wait: nothing goes to a
/// machine that its rollout would not bring there, and nothing is taken back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Nothing that was not promoted to this channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<ChannelName>,
}

/// A group's policy, and what its words stand for at the time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupRules {
    pub policy: GroupPolicy,
    /// What was promoted to the policy's channel.
    pub promoted: BTreeSet<PatchVersion>,
}

/// Which of a policy's rules makes a machine wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    Hold,
    Channel {
        name: ChannelName,
    },
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

    const NOTHING: Self = Self {
        hold: false,
        pin: None,
        delay_days: None,
        cut_off: None,
        channel: None,
    };

    /// It says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::NOTHING
    }
}

impl GroupRules {
    /// For a machine without a group, or of one without a policy.
    pub const NONE: &'static Self = &Self {
        policy: GroupPolicy::NOTHING,
        promoted: BTreeSet::new(),
    };

    /// The rule that keeps a version from the group at this time, if one does.
    pub fn withholds(
        &self,
        version: PatchVersion,
        course: &Course,
        now: Timestamp,
    ) -> Option<Rule> {
        let policy = &self.policy;
        if policy.hold {
            return Some(Rule::Hold);
        }
        if let Some(at) = policy.pin.filter(|pin| version > *pin) {
            return Some(Rule::Pin { at });
        }
        if let Some(name) = &policy.channel
            && !self.promoted.contains(&version)
        {
            return Some(Rule::Channel { name: name.clone() });
        }
        let begun = course.draw.at;
        if let Some(at) = policy.cut_off.filter(|cut_off| begun > *cut_off) {
            return Some(Rule::CutOff { at });
        }
        let wait = SignedDuration::from_hours(24 * i64::from(policy.delay_days?));
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
            Self::Channel { name } => {
                write!(formatter, "gets what is promoted to the channel `{name}`")
            }
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
