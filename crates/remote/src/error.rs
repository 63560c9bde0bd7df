//! Errors of what lies elsewhere.

use std::io;
use std::path::PathBuf;

use suture_repository::{MirrorError, RepositoryError};
use thiserror::Error;
use url::Url;

/// Why a repository could not be copied from or to another place.
#[derive(Debug, Error)]
pub enum RemoteError {
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    #[error("cannot make a connection for `{place}`")]
    Connect {
        place: String,
        source: Box<object_store::Error>,
    },
    #[error("cannot {action} `{file}` of `{place}`")]
    Object {
        action: &'static str,
        place: String,
        file: String,
        source: Box<object_store::Error>,
    },
    #[error("SUTURE_MIRROR_TOKEN would go to `{url}` without TLS")]
    PlainToken { url: Url },
    #[error("what is in SUTURE_MIRROR_TOKEN is no token")]
    NoToken,
    #[error("`{place}` is no bucket")]
    NotABucket { place: String },
    #[error("`{file}` of `{place}` is longer than {limit} bytes")]
    TooLong {
        place: String,
        file: String,
        limit: u64,
    },
    #[error("`metadata/timestamp.json` of `{place}` is none")]
    NoTimestamp { place: String },
    #[error("`{place}` is at timestamp version {theirs}, `{}` at {ours}", dir.display())]
    Behind {
        dir: PathBuf,
        place: String,
        ours: u64,
        theirs: u64,
    },
    #[error("`{place}` has another `{file}` than `{}`", dir.display())]
    Diverged {
        dir: PathBuf,
        place: String,
        file: String,
    },
    #[error("another publisher wrote to `{place}` at the same time")]
    Overtaken { place: String },
    #[error("cannot {action} `{}`", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("`{}` is no archive of a repository: {why}", path.display())]
    NotAnArchive { path: PathBuf, why: String },
}

impl RemoteError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Mirror(error) => error.hint(),
            Self::Repository(error) => error.hint(),
            Self::Connect { .. } => {
                "a bucket wants AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION in the \
                 environment, and AWS_ENDPOINT_URL unless it is Amazon's"
            }
            Self::Object { .. } => {
                "check the address, the network and that the keys in AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY may do this; it is safe to try again"
            }
            Self::PlainToken { .. } => "name an `https://` address, or unset SUTURE_MIRROR_TOKEN",
            Self::NoToken => "set it to the token that the source's service gave you",
            Self::NotABucket { .. } => {
                "name `s3://BUCKET/FOLDER`: sites can only be read, and a folder is brought up to \
                 date by `suture repository mirror`"
            }
            Self::TooLong { .. } | Self::NoTimestamp { .. } => {
                "check that the address is a repository's"
            }
            Self::Behind { .. } | Self::Overtaken { .. } => {
                "bring this folder up to date with `suture repository mirror`, then publish again"
            }
            Self::Diverged { .. } => {
                "two publishers signed the same version: mirror the bucket into a new folder, and \
                 publish there what is missing"
            }
            Self::File { .. } => "check that the folder exists, is writable and has room",
            Self::NotAnArchive { .. } => "make it with `suture repository export`",
        }
    }

    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}
