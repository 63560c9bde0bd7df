//! Errors of the publishing side.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::role::Role;

/// Why a repository could not be made, changed or read.
#[derive(Debug, Error)]
pub enum RepositoryError {
    #[error("cannot {action} `{}`", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("`{}` is already there", path.display())]
    Exists { path: PathBuf },
    #[error("`{}` holds no repository: `metadata/1.root.json` is missing", dir.display())]
    NotARepository { dir: PathBuf },
    #[error("the metadata in `{}` does not verify", dir.display())]
    Metadata {
        dir: PathBuf,
        source: Box<tough::error::Error>,
    },
    #[error("`{}` is not an ed25519 key in PEM form (PKCS#8)", path.display())]
    KeyFile { path: PathBuf },
    #[error("`{}` lies within `{}`, which everyone may read", keys.display(), dir.display())]
    PublicKeyFolder { keys: PathBuf, dir: PathBuf },
    #[error("`{}` would hold the root keys beside the others", dir.display())]
    SharedKeyFolder { dir: PathBuf },
    #[error("cannot make a key")]
    MakeKey,
    #[error("no key in `{}` counts for the {role} role", dir.display())]
    MissingKey { role: Role, dir: PathBuf },
    #[error("{threshold} of {count} root keys cannot sign: the threshold must be 1 to {count}")]
    Threshold { threshold: u64, count: u64 },
    #[error("the present root asks for {needed} root keys, `{}` holds {found}", dir.display())]
    TooFewRootKeys {
        needed: u64,
        found: u64,
        dir: PathBuf,
    },
    #[error("cannot sign the {role} metadata")]
    Sign {
        role: Role,
        source: Box<tough::error::Error>,
    },
    #[error("cannot write the {role} metadata as JSON")]
    Json {
        role: Role,
        source: serde_json::Error,
    },
    #[error("the expiry of the {role} metadata is out of range")]
    Time { role: Role },
    #[error(
        "target `{name}` is published with SHA-256 {published} and was offered again with {offered}"
    )]
    Replaced {
        name: String,
        published: String,
        offered: String,
    },
    #[error("target `{name}` is published and was offered again with other fixes")]
    OtherFixes { name: String },
    #[error("`{name}` is longer than {limit} bytes")]
    TooLong { name: String, limit: u64 },
    #[error("target `{name}` has a name that TUF does not allow")]
    TargetName {
        name: String,
        source: Box<tough::error::Error>,
    },
    #[error("target `{name}` says of itself something else than its name")]
    Inconsistent { name: String },
    #[error("another publisher is at work in `{}`", dir.display())]
    Locked { dir: PathBuf },
}

impl RepositoryError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Io { .. } => "check that the folder exists, is writable and has room",
            Self::Exists { .. } => "choose another folder; nothing was overwritten",
            Self::NotARepository { .. } => {
                "make a repository there first, or name the right folder"
            }
            Self::Metadata { .. } | Self::Inconsistent { .. } => {
                "restore the folder from a copy; someone may have changed it"
            }
            Self::KeyFile { .. } | Self::MissingKey { .. } => {
                "name the folder that holds this repository's keys, or rotate the key with the root keys"
            }
            Self::PublicKeyFolder { .. } => "name a folder for the keys outside of the repository",
            Self::SharedKeyFolder { .. } => {
                "name a folder of its own for the root keys, which belong off line"
            }
            Self::MakeKey => "try again; the system's source of randomness failed",
            Self::Threshold { .. } => "choose a threshold not above the number of root keys",
            Self::TooFewRootKeys { .. } => "bring together the media that hold the root keys",
            Self::Sign { .. } | Self::Json { .. } | Self::Time { .. } => {
                "check the keys and the configured expiries"
            }
            Self::Replaced { .. } | Self::OtherFixes { .. } => {
                "build the patch under a new version; a published version never changes"
            }
            Self::TooLong { .. } => "machines would refuse to read it; make it smaller",
            Self::TargetName { .. } => "name the target RELEASE_ARCH_BUILDID_VERSION.SUFFIX",
            Self::Locked { .. } => "wait until it is done and try again",
        }
    }

    /// An error of the file system, from what was done to which path.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
