//! Why a reader does not accept what it was given.

use std::error::Error as _;
use std::io;
use std::path::PathBuf;

use jiff::Timestamp;
use thiserror::Error;
use tough::error::Error as Tough;
use tough::{TransportError, TransportErrorKind};

use crate::published::Contradiction;
use crate::role::Role;

/// Why a client refuses a repository or a target. Nothing that failed is kept or handed out.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The publisher is late, this machine's clock is wrong, or someone holds back newer metadata.
    #[error("the {role} metadata of the repository expired at {expired}")]
    Expired { role: Role, expired: Timestamp },
    /// Older metadata than this machine has seen before.
    #[error("the repository offers {role} version {offered}, this machine has seen version {have}")]
    Rollback { role: Role, have: u64, offered: u64 },
    #[error("the {role} metadata is not signed by the keys that count for it")]
    Signature { role: Role, source: Box<Tough> },
    #[error("the trusted root is not valid root metadata")]
    TrustedRoot { source: Box<Tough> },
    #[error("the {role} metadata cannot be read")]
    Malformed { role: Role, source: Box<Tough> },
    /// Content that differs from what signed metadata says of it.
    #[error("`{what}` is not what the signed metadata says: SHA-256 or length differs")]
    Altered { what: String },
    #[error("`{what}` is longer than {limit} bytes")]
    TooLong { what: String, limit: u64 },
    /// Someone else than the targets role would answer for a part of the targets.
    #[error("the targets metadata leaves targets to others: `{file}`")]
    Delegated { file: String },
    #[error("no target `{name}` is listed in the repository")]
    NotListed { name: String },
    #[error("`{url}` is missing from the repository")]
    Missing { url: String },
    #[error("cannot fetch `{url}`")]
    Transport {
        url: String,
        source: Box<TransportError>,
    },
    #[error("target `{name}` says of itself something else than its name")]
    Inconsistent { name: String },
    #[error("cannot {action} `{}`", path.display())]
    Datastore {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// Off line only.
    #[error("`{}` holds no metadata of an earlier update", path.display())]
    NothingCached { path: PathBuf },
    #[error("the repository's metadata was refused")]
    Refused { source: Box<Tough> },
}

impl ClientError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Expired { .. } => {
                "check this machine's clock; if it is right, the publisher must refresh the repository"
            }
            Self::Rollback { .. } => {
                "an outdated mirror or an attack: compare with the publisher; \
                 nothing older will be accepted"
            }
            Self::Signature { .. } | Self::Altered { .. } => {
                "a damaged mirror or an attack: ask the publisher; nothing of it was used"
            }
            Self::TrustedRoot { .. } => "install the publisher's root metadata anew",
            Self::Malformed { .. } | Self::Inconsistent { .. } | Self::Refused { .. } => {
                "check that the address is the repository's, and ask the publisher"
            }
            Self::Delegated { .. } => {
                "only what the targets role signed itself is loaded: ask the publisher for a \
                 repository without delegations"
            }
            Self::TooLong { .. } => "check that the address is the repository's",
            Self::NotListed { .. } => {
                "update and try again; the publisher may not have made it for this kernel"
            }
            Self::Missing { .. } => "check the repository's address; a mirror may be incomplete",
            Self::Transport { .. } => "check the network; it is tried again at the next check-in",
            Self::Datastore { .. } => "check the folder's owner and the room on the disk",
            Self::NothingCached { .. } => "go on line once, so that the metadata is fetched",
        }
    }

    pub(crate) fn datastore(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Datastore {
            action,
            path,
            source,
        }
    }
}

/// A file that was not read to its end; travels as the cause of a [`TransportError`].
#[derive(Debug, Error)]
#[error("longer than {limit} bytes")]
pub(crate) struct TooLong {
    pub(crate) limit: u64,
}

/// A file of a delegated role, which is not asked for.
#[derive(Debug, Error)]
#[error("`{file}` belongs to none of the four roles")]
pub(crate) struct Delegated {
    pub(crate) file: String,
}

impl From<Tough> for ClientError {
    fn from(error: Tough) -> Self {
        use Tough as E;
        match error {
            E::Transport { source, .. } => Self::from(source),
            E::OlderMetadata {
                role,
                current_version: have,
                new_version: offered,
                ..
            } => Self::Rollback {
                role: Role::from_tough(role),
                have,
                offered,
            },
            E::OlderSnapshotInTimestamp {
                snapshot_old: have,
                snapshot_new: offered,
                ..
            } => Self::Rollback {
                role: Role::Snapshot,
                have,
                offered,
            },
            E::SnapshotRoleRollback {
                old_role_version: have,
                new_role_version: offered,
                ..
            } => Self::Rollback {
                role: Role::Targets,
                have,
                offered,
            },
            E::VerifyMetadata { role, .. } => Self::Signature {
                role: Role::from_tough(role),
                source: Box::new(error),
            },
            E::ParseMetadata { role, .. } | E::VersionMismatch { role, .. } => Self::Malformed {
                role: Role::from_tough(role),
                source: Box::new(error),
            },
            E::VerifyTrustedMetadata { .. } | E::ParseTrustedMetadata { .. } => Self::TrustedRoot {
                source: Box::new(error),
            },
            _ => Self::Refused {
                source: Box::new(error),
            },
        }
    }
}

impl From<TransportError> for ClientError {
    /// `tough` hides its own findings about a stream's content in the cause.
    fn from(error: TransportError) -> Self {
        let what = error.url().to_owned();
        if let Some(TooLong { limit }) = error.source().and_then(|cause| cause.downcast_ref()) {
            return Self::TooLong {
                what,
                limit: *limit,
            };
        }
        if let Some(Delegated { file }) = error.source().and_then(|cause| cause.downcast_ref()) {
            let file = file.clone();
            return Self::Delegated { file };
        }
        match error
            .source()
            .and_then(|cause| cause.downcast_ref::<Tough>())
        {
            Some(Tough::HashMismatch { .. }) => return Self::Altered { what },
            Some(Tough::MaxSizeExceeded { max_size, .. }) => {
                return Self::TooLong {
                    what,
                    limit: *max_size,
                };
            }
            _ => {}
        }
        match error.kind() {
            TransportErrorKind::FileNotFound => Self::Missing { url: what },
            _ => Self::Transport {
                url: what,
                source: Box::new(error),
            },
        }
    }
}

impl From<Contradiction> for ClientError {
    fn from(error: Contradiction) -> Self {
        Self::Inconsistent { name: error.0 }
    }
}
