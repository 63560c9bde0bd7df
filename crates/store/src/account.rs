//! Who the machines belong to, and what they pay for.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use suture_kernel::InvalidName;
use suture_rollout::EarlyPreference;

use crate::EmailAddress;
use crate::random_id::random_id;

random_id! {
    /// Identifies an account.
    AccountId
}

/// An owner of machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub id: AccountId,
    /// Unique among accounts, upper and lower case taken as the same.
    pub email: EmailAddress,
    /// What it has: the better of what an operator granted and what it pays for.
    pub plan: Plan,
    /// What an operator granted.
    pub granted: Plan,
    /// The most machines, where an operator set it for this account; none: what the plan says.
    pub limit: Option<u32>,
    /// What it wants of early groups.
    pub early: EarlyPreference,
    /// Whether its owner gets e-mails about machines that need them.
    pub letters: bool,
    pub created: Timestamp,
}

impl Account {
    /// The most machines that are served at the same time; none: no limit.
    pub fn machine_limit(&self) -> Option<u32> {
        self.limit.or(self.plan.machine_limit())
    }
}

/// What an account is created from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAccount {
    pub email: EmailAddress,
    pub plan: Plan,
}

/// What an account may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Plan {
    /// Costs nothing; three machines.
    Free,
    /// Paid by the month; any number of machines.
    Subscription,
}

impl Plan {
    pub const ALL: [Self; 2] = [Self::Free, Self::Subscription];

    /// The most machines enrolled at the same time; none: no limit.
    pub fn machine_limit(self) -> Option<u32> {
        match self {
            Self::Free => Some(3),
            Self::Subscription => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Subscription => "subscription",
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Plan {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::ALL
            .into_iter()
            .find(|plan| plan.as_str() == text)
            .ok_or_else(|| InvalidName::new("plan", text, "expected `free` or `subscription`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_read_by_the_name_they_are_written_with() {
        for plan in Plan::ALL {
            assert_eq!(plan.to_string().parse(), Ok(plan));
        }
        assert!("Free".parse::<Plan>().is_err());
        assert_eq!(Plan::Free.machine_limit(), Some(3));
    }
}
