//! Channels: which versions an operator let through to the machines that follow one.

use async_trait::async_trait;
use jiff::Timestamp;
use suture_advisory::PatchVersion;
use suture_rollout::ChannelName;

use crate::{Actor, StoreError};

/// A channel that has versions. The groups that follow it name it in their policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    pub name: ChannelName,
    /// Newest version first.
    pub promotions: Vec<Promotion>,
}

/// A version in a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promotion {
    pub version: PatchVersion,
    pub at: Timestamp,
    pub by: Actor,
}

/// What becomes of a version in a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelChange {
    pub version: PatchVersion,
    pub channel: ChannelName,
    /// Whether it is to be there.
    pub promoted: bool,
}

/// Channels, in a database. As in [`crate::Store`], every method is one transaction.
#[async_trait]
pub trait ChannelStore: Send + Sync {
    /// All channels that have versions, by their names.
    async fn channels(&self) -> Result<Vec<Channel>, StoreError>;

    /// Lets a version through to a channel's machines, from their next check-in on, or takes it out:
    /// machines that were offered it keep it, others wait. Nothing if it is so already.
    async fn change_channel(
        &self,
        change: &ChannelChange,
        by: &Actor,
        now: Timestamp,
    ) -> Result<(), StoreError>;
}
