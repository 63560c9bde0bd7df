//! What of a machine its owner should look at, and whether they were told.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use jiff::Timestamp;
use suture_kernel::InvalidName;
use suture_protocol::MachineId;

use crate::{Account, AccountId, Actor, EmailAddress, Hostname, StoreError};

/// Why a machine needs its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Concern {
    /// Its last try to apply a live patch failed.
    ApplyFailed,
    /// It was not heard of for longer than a machine usually rests.
    Silent,
    /// The account's plan does not cover it.
    OverLimit,
}

impl Concern {
    pub const ALL: [Self; 3] = [Self::ApplyFailed, Self::Silent, Self::OverLimit];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::ApplyFailed => "apply-failed",
            Self::Silent => "silent",
            Self::OverLimit => "over-limit",
        }
    }
}

impl fmt::Display for Concern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Concern {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let found = Self::ALL.into_iter().find(|it| it.as_str() == text);
        found.ok_or_else(|| InvalidName::new("concern", text, "expected a known concern"))
    }
}

/// A concern of which a machine's owner was not told yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UntoldConcern {
    pub account: AccountId,
    pub email: EmailAddress,
    pub machine: MachineId,
    pub hostname: Hostname,
    pub concern: Concern,
}

/// What owners are told by e-mail, in a database. As in [`crate::Store`], every method is one
/// transaction.
#[async_trait]
pub trait AttentionStore: Send + Sync {
    /// Whether the account's owner gets e-mails about machines.
    async fn set_letters(
        &self,
        account: AccountId,
        wanted: bool,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Account, StoreError>;

    /// What owners were not told yet, sorted by account, of accounts after this one, at most so
    /// many concerns: of machines whose owner wants letters and got none since `rested`. A
    /// machine that was last heard of before `heard` is silent.
    async fn untold_concerns(
        &self,
        heard: Timestamp,
        rested: Timestamp,
        after: Option<AccountId>,
        at_most: u32,
    ) -> Result<Vec<UntoldConcern>, StoreError>;

    /// Keeps that an owner was told of these, and when.
    async fn concerns_told(
        &self,
        account: AccountId,
        told: &[(MachineId, Concern)],
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Forgets what was told of concerns that are over, so that they are told again when they
    /// come back.
    async fn forget_past_concerns(&self, heard: Timestamp) -> Result<(), StoreError>;
}
