//! The whole fleet as operators look at it: found, counted, and its course.

use async_trait::async_trait;
use jiff::Timestamp;
use suture_advisory::PatchVersion;
use suture_kernel::KernelRelease;
use suture_protocol::{MachineId, MachineState};

use crate::{Account, AccountId, AuditEntry, EmailAddress, Machine, StoreError};

/// What to look for among machines; an empty query finds all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MachineQuery {
    /// A part of the host name, or the start of the id.
    pub text: Option<String>,
    /// A part of the kernel's release.
    pub kernel: Option<String>,
    pub state: Option<MachineState>,
    pub applied: Option<PatchVersion>,
    pub account: Option<AccountId>,
    /// Not heard of since then, or never.
    pub silent_since: Option<Timestamp>,
    /// The machine after which to go on.
    pub after: Option<(AccountId, MachineId)>,
    pub limit: u32,
}

/// A machine with the address of its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedMachine {
    pub machine: Machine,
    pub owner: EmailAddress,
}

/// What to look for among accounts; an empty query finds all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccountQuery {
    /// A part of the address.
    pub text: Option<String>,
    /// The account after which to go on.
    pub after: Option<AccountId>,
    pub limit: u32,
}

/// An account with the number of its machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedAccount {
    pub account: Account,
    pub machines: u64,
}

/// A line of the audit log with its place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberedEntry {
    pub number: u64,
    pub entry: AuditEntry,
}

/// Machines that are alike, counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetGroup {
    pub release: KernelRelease,
    /// None: enrolled and not heard of yet.
    pub state: Option<MachineState>,
    pub applied: Option<PatchVersion>,
    pub machines: u64,
    /// Of them, heard of within the last hour.
    pub heard: u64,
}

/// How a group was at some hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetSample {
    pub at: Timestamp,
    pub group: FleetGroup,
}

/// Seconds for which machines count as heard of.
pub const HEARD_SECS: i64 = 3600;

/// How long samples are kept: one for each hour, then one for each day.
const HOURLY_SECS: i64 = 14 * 86_400;
const DAILY_SECS: i64 = 2 * 366 * 86_400;

/// Until when samples of each kind are forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forget {
    /// Those before this, if they are not a day's first.
    pub hourly_before: Timestamp,
    /// All those before this.
    pub all_before: Timestamp,
}

impl Forget {
    pub fn at(now: Timestamp) -> Self {
        let ago = |secs: i64| {
            let second = now.as_second().saturating_sub(secs);
            Timestamp::from_second(second).unwrap_or(Timestamp::MIN)
        };
        Self {
            hourly_before: ago(HOURLY_SECS),
            all_before: ago(DAILY_SECS),
        }
    }
}

/// The hour that a moment is in, by its beginning.
pub fn hour_of(at: Timestamp) -> Timestamp {
    let second = at.as_second().div_euclid(3600) * 3600;
    Timestamp::from_second(second).unwrap_or(at)
}

/// Reading the fleet, and keeping its course. As in [`crate::Store`], every method is one
/// transaction.
#[async_trait]
pub trait FleetStore: Send + Sync {
    /// Machines in the order of their accounts and ids, which moves none while a reader pages.
    async fn find_machines(&self, query: &MachineQuery) -> Result<Vec<ListedMachine>, StoreError>;

    /// Accounts in the order of their ids.
    async fn find_accounts(&self, query: &AccountQuery) -> Result<Vec<ListedAccount>, StoreError>;

    /// Lines of the audit log before the one with this number, newest first; of one account or
    /// of all.
    async fn audit_before(
        &self,
        before: Option<u64>,
        account: Option<AccountId>,
        limit: u32,
    ) -> Result<Vec<NumberedEntry>, StoreError>;

    /// All machines in groups; reads every machine.
    async fn fleet_groups(&self, now: Timestamp) -> Result<Vec<FleetGroup>, StoreError>;

    /// Whether the hour's sample is there.
    async fn has_fleet_sample(&self, hour: Timestamp) -> Result<bool, StoreError>;

    /// Keeps the hour's sample and forgets old ones. Whoever comes second with the same hour
    /// changes nothing.
    async fn keep_fleet_sample(
        &self,
        hour: Timestamp,
        groups: &[FleetGroup],
    ) -> Result<(), StoreError>;

    /// Releases machines that were not heard of since then, at most so many, and gives them. The
    /// audit log says why.
    async fn release_silent(
        &self,
        since: Timestamp,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Machine>, StoreError>;

    /// Releases machines whose hardware another one has taken and that were not heard of for
    /// [`Machine::REPLACED_SECS`], at most so many, and gives them. The audit log says why.
    async fn release_replaced(
        &self,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Machine>, StoreError>;

    /// The samples since a moment, oldest first.
    async fn fleet_samples(&self, since: Timestamp) -> Result<Vec<FleetSample>, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_named_by_its_beginning() {
        let hour = |text: &str| hour_of(text.parse().unwrap()).to_string();
        assert_eq!(hour("2026-11-25T20:41:17.5Z"), "2026-11-25T20:00:00Z");
        assert_eq!(hour("2026-11-25T20:00:00Z"), "2026-11-25T20:00:00Z");
        assert_eq!(hour("1969-12-31T23:59:59Z"), "1969-12-31T23:00:00Z");
    }

    #[test]
    fn samples_are_forgotten_in_two_steps() {
        let forget = Forget::at("2026-11-25T20:00:00Z".parse().unwrap());
        assert_eq!(forget.hourly_before.to_string(), "2026-11-11T20:00:00Z");
        assert!(forget.all_before < forget.hourly_before);
        assert!(Forget::at(Timestamp::MIN).all_before <= Timestamp::MIN);
    }
}
