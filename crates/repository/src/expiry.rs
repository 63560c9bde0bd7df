//! How long signed metadata counts.
//!
//! `tough` has a clock of its own inside and a `jiff` of an older version in its types. Here
//! time is an argument: `tough` is told not to look at its clock, and each expiry is compared
//! with the caller's time in this file.

use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};
use tough::Repository;

use crate::error::RepositoryError;
use crate::role::Role;

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// How long newly signed metadata of each role counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiries {
    /// Default: 365 days; renewing needs the root keys.
    pub root: SignedDuration,
    /// Default: 90 days.
    pub targets: SignedDuration,
    /// Default: 30 days.
    pub snapshot: SignedDuration,
    /// Default: 7 days. It bounds how long someone who controls a machine's network can hide a
    /// new live patch from it, and how long the publisher may be away.
    pub timestamp: SignedDuration,
}

impl Default for Expiries {
    fn default() -> Self {
        Self {
            root: DAY * 365,
            targets: DAY * 90,
            snapshot: DAY * 30,
            timestamp: DAY * 7,
        }
    }
}

impl Expiries {
    pub fn of(&self, role: Role) -> SignedDuration {
        match role {
            Role::Root => self.root,
            Role::Targets => self.targets,
            Role::Snapshot => self.snapshot,
            Role::Timestamp => self.timestamp,
        }
    }

    /// Whether less than half of a role's time is left.
    pub(crate) fn is_due(&self, role: Role, expires: Timestamp, now: Timestamp) -> bool {
        expires.duration_since(now) < self.of(role) / 2
    }

    /// The expiry of metadata signed now, in `tough`'s own type. Text is what both versions of
    /// `jiff` agree on; TUF wants whole seconds.
    pub(crate) fn sign<T: FromStr>(
        &self,
        role: Role,
        now: Timestamp,
    ) -> Result<T, RepositoryError> {
        let expires = now
            .checked_add(self.of(role))
            .map_err(|_| RepositoryError::Time { role })?;
        let whole = Timestamp::from_second(expires.as_second())
            .map_err(|_| RepositoryError::Time { role })?;
        whole
            .to_string()
            .parse()
            .map_err(|_| RepositoryError::Time { role })
    }
}

/// A time in `tough`'s type, given as its seconds since the epoch.
pub(crate) fn from_seconds(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MIN)
}

/// When a role's metadata stops to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiry {
    pub role: Role,
    pub at: Timestamp,
}

/// All four expiries of verified metadata.
pub(crate) fn expiries(repository: &Repository) -> [Expiry; 4] {
    let root = repository.root().signed.expires.as_second();
    let timestamp = repository.timestamp().signed.expires.as_second();
    let snapshot = repository.snapshot().signed.expires.as_second();
    let targets = repository.targets().signed.expires.as_second();
    [
        Expiry {
            role: Role::Root,
            at: from_seconds(root),
        },
        Expiry {
            role: Role::Timestamp,
            at: from_seconds(timestamp),
        },
        Expiry {
            role: Role::Snapshot,
            at: from_seconds(snapshot),
        },
        Expiry {
            role: Role::Targets,
            at: from_seconds(targets),
        },
    ]
}

/// The role that expired first, if any did (source: TUF specification 1.0, 5.3.10, 5.4.4, 5.5.6
/// and 5.6.6: the expiry must be later than the time at which the update started).
pub(crate) fn first_expired(expiries: &[Expiry], now: Timestamp) -> Option<Expiry> {
    expiries
        .iter()
        .filter(|expiry| expiry.at <= now)
        .min_by_key(|expiry| expiry.at)
        .copied()
}
