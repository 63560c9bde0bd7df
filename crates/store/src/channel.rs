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

/// Channels, in a database. As in [`crate::Store`], every method is one transaction.
#[async_trait]
pub trait ChannelStore: Send + Sync {
    /// All channels that have versions, by their names.
    async fn channels(&self) -> Result<Vec<Channel>, StoreError>;

    /// Lets a version through to a channel's machines, from their next check-in on; nothing if it
    /// is there already.
    async fn promote(
        &self,
        version: PatchVersion,
        channel: &ChannelName,
        by: &Actor,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Takes a version out of a channel; nothing if it is not there. Machines that were offered it
    /// keep it, others wait.
    async fn demote(
        &self,
        version: PatchVersion,
        channel: &ChannelName,
        by: &Actor,
        now: Timestamp,
    ) -> Result<(), StoreError>;
}
