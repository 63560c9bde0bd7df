//! What a rollout is called, and what it is about.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use suture_advisory::PatchVersion;
use suture_kernel::KernelBuild;
use uuid::Uuid;

/// Identifies a rollout. A UUID; whoever makes one brings the random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RolloutId(Uuid);

impl RolloutId {
    /// A UUID of version 4 (RFC 9562) from 16 random bytes.
    pub fn from_random_bytes(bytes: [u8; 16]) -> Self {
        Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }
}

impl fmt::Display for RolloutId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(formatter)
    }
}

impl FromStr for RolloutId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::try_parse(text).map(Self)
    }
}

/// What one rollout brings, and to which machines. At most one rollout that is not withdrawn
/// covers a version on a kernel build.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Scope {
    pub version: PatchVersion,
    /// None: all kernel builds for which this version is published move together.
    pub kernel: Option<KernelBuild>,
}

impl Scope {
    pub fn covers(&self, version: PatchVersion, kernel: &KernelBuild) -> bool {
        self.version == version && self.kernel.as_ref().is_none_or(|only| only == kernel)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kernel {
            None => write!(formatter, "{}", self.version),
            Some(kernel) => write!(formatter, "{} for {}", self.version, kernel.release),
        }
    }
}
