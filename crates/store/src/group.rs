//! Groups of machines, and what an operator decided for each.

use async_trait::async_trait;
use jiff::Timestamp;
use suture_rollout::GroupPolicy;

use crate::{Actor, GroupName, StoreError};

/// A group that has machines or a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub name: GroupName,
    pub machines: u64,
    pub policy: GroupPolicy,
}

/// Groups, in a database. As in [`crate::Store`], every method is one transaction.
#[async_trait]
pub trait GroupStore: Send + Sync {
    /// All groups, by their names.
    async fn groups(&self) -> Result<Vec<Group>, StoreError>;

    /// Sets what holds for a group's machines from their next check-in on; one that says nothing
    /// takes the policy away. A group without machines may have one.
    async fn set_group_policy(
        &self,
        name: &GroupName,
        policy: &GroupPolicy,
        by: &Actor,
        now: Timestamp,
    ) -> Result<(), StoreError>;
}
