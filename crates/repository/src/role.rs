//! The four top-level roles of a TUF repository.

use std::fmt;

use tough::schema::RoleType;

/// A top-level role (source: TUF specification 1.0, section 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Says which keys count for which role. Its keys are kept off line.
    Root,
    /// Says which files exist, by name, length and hash.
    Targets,
    /// Says which version of the targets metadata belongs to the repository's present state.
    Snapshot,
    /// Says which snapshot is the latest; short-lived, so that nobody can hold a reader back.
    Timestamp,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Targets => "targets",
            Self::Snapshot => "snapshot",
            Self::Timestamp => "timestamp",
        }
    }

    pub(crate) fn to_tough(self) -> RoleType {
        match self {
            Self::Root => RoleType::Root,
            Self::Targets => RoleType::Targets,
            Self::Snapshot => RoleType::Snapshot,
            Self::Timestamp => RoleType::Timestamp,
        }
    }

    /// Delegated targets count as targets; this project makes none.
    pub(crate) fn from_tough(role: RoleType) -> Self {
        match role {
            RoleType::Root => Self::Root,
            RoleType::Targets | RoleType::DelegatedTargets => Self::Targets,
            RoleType::Snapshot => Self::Snapshot,
            RoleType::Timestamp => Self::Timestamp,
        }
    }
}

/// A role whose key the publisher holds, and which is therefore replaced more easily.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OnlineRole {
    Targets,
    Snapshot,
    Timestamp,
}

impl OnlineRole {
    pub const ALL: [Self; 3] = [Self::Targets, Self::Snapshot, Self::Timestamp];
}

impl From<OnlineRole> for Role {
    fn from(role: OnlineRole) -> Self {
        match role {
            OnlineRole::Targets => Self::Targets,
            OnlineRole::Snapshot => Self::Snapshot,
            OnlineRole::Timestamp => Self::Timestamp,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
