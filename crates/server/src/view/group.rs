//! Groups of machines, for operators.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use suture_advisory::PatchVersion;
use suture_rollout::{ChannelName, GroupPolicy};
use suture_store::{Group, InvalidText};
use utoipa::ToSchema;

/// What holds for a group's machines; what is left out says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyView {
    /// Nothing new at all.
    pub hold: bool,
    /// Nothing later than this version.
    #[schema(value_type = Option<String>, example = "104.1")]
    pub pin: Option<PatchVersion>,
    /// Days from the begin of a version's rollout until the group may have it, at most 366.
    pub delay_days: Option<u16>,
    /// Nothing whose rollout began later.
    #[schema(value_type = Option<String>)]
    pub cut_off: Option<Timestamp>,
    /// Nothing that was not promoted to this channel.
    #[schema(value_type = Option<String>, example = "stable")]
    pub channel: Option<ChannelName>,
}

/// A group that has machines or a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GroupView {
    #[schema(example = "canary")]
    pub name: String,
    pub machines: u64,
    pub policy: PolicyView,
}

impl From<&Group> for GroupView {
    fn from(group: &Group) -> Self {
        Self {
            name: group.name.to_string(),
            machines: group.machines,
            policy: group.policy.clone().into(),
        }
    }
}

impl From<GroupPolicy> for PolicyView {
    fn from(policy: GroupPolicy) -> Self {
        let GroupPolicy {
            hold,
            pin,
            delay_days,
            cut_off,
            channel,
        } = policy;
        Self {
            hold,
            pin,
            delay_days,
            cut_off,
            channel,
        }
    }
}

impl TryFrom<PolicyView> for GroupPolicy {
    type Error = InvalidText;

    fn try_from(view: PolicyView) -> Result<Self, InvalidText> {
        if view
            .delay_days
            .is_some_and(|days| days > Self::MOST_DELAY_DAYS)
        {
            return Err(InvalidText {
                what: "delay",
                expected: "at most 366 days",
            });
        }
        Ok(Self {
            hold: view.hold,
            pin: view.pin,
            delay_days: view.delay_days,
            cut_off: view.cut_off,
            channel: view.channel,
        })
    }
}

impl PolicyView {
    /// Each rule in words; none: machines of the group get everything in their turn.
    pub fn rules(&self) -> Vec<String> {
        let hold = self.hold.then(|| "nothing new".to_owned());
        let pin = self.pin.map(|at| format!("nothing later than {at}"));
        let delay = self.delay_days.map(|days| format!("{days} days later"));
        let cut_off = self.cut_off.map(|at| {
            let at = at.strftime("%Y-%m-%d");
            format!("nothing whose rollout began after {at}")
        });
        let channel = self.channel.as_ref();
        let channel = channel.map(|name| format!("what was promoted to `{name}`"));
        [hold, pin, channel, delay, cut_off]
            .into_iter()
            .flatten()
            .collect()
    }
}
