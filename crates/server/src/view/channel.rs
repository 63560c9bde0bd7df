//! Channels and what was promoted to them, for operators.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use suture_advisory::PatchVersion;
use suture_rollout::ChannelName;
use suture_store::{Channel, Group, Promotion};
use utoipa::ToSchema;

/// A channel that has versions, or that a group follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChannelView {
    #[schema(example = "stable")]
    pub name: String,
    /// Groups that follow it, by their names.
    pub groups: Vec<String>,
    /// What was promoted to it, the newest version first.
    pub promotions: Vec<PromotionView>,
}

/// A version in a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PromotionView {
    #[schema(value_type = String, example = "104.1")]
    pub version: PatchVersion,
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// Who promoted it, as the audit log names them.
    pub by: String,
}

impl ChannelView {
    /// All channels, by their names.
    pub fn all(channels: &[Channel], groups: &[Group]) -> Vec<Self> {
        let promotions = channels
            .iter()
            .map(|channel| (&channel.name, channel.promotions.as_slice()));
        let mut known: BTreeMap<&ChannelName, &[Promotion]> = promotions.collect();
        for channel in groups
            .iter()
            .filter_map(|group| group.policy.channel.as_ref())
        {
            known.entry(channel).or_default();
        }
        let view = |(name, promotions)| Self::new(name, promotions, groups);
        known.into_iter().map(view).collect()
    }

    /// One channel, which may have nothing.
    pub fn of(name: &ChannelName, channels: &[Channel], groups: &[Group]) -> Self {
        let known = channels.iter().find(|channel| channel.name == *name);
        let promotions = known.map_or(&[][..], |channel| &channel.promotions);
        Self::new(name, promotions, groups)
    }

    fn new(name: &ChannelName, promotions: &[Promotion], groups: &[Group]) -> Self {
        let follows = |group: &&Group| group.policy.channel.as_ref() == Some(name);
        let followers = groups.iter().filter(follows);
        Self {
            name: name.to_string(),
            groups: followers.map(|group| group.name.to_string()).collect(),
            promotions: promotions.iter().map(PromotionView::from).collect(),
        }
    }
}

impl From<&Promotion> for PromotionView {
    fn from(promotion: &Promotion) -> Self {
        Self {
            version: promotion.version,
            at: promotion.at,
            by: promotion.by.to_string(),
        }
    }
}
