//! How much a reader takes from a repository before it gives up.

use crate::ingest::MAX_TARGET_BYTES;

/// Longest metadata file, 16 MiB, for publisher and reader alike. An entry of the targets
/// metadata takes about 600 bytes, so that is some 27,000 targets.
pub const MAX_METADATA_BYTES: u64 = 16 * 1024 * 1024;

/// Bounds on what is read from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one metadata file (default: [`MAX_METADATA_BYTES`]).
    pub metadata_bytes: u64,
    /// Bytes of one target (default: [`MAX_TARGET_BYTES`]).
    pub target_bytes: u64,
    /// New roots taken in one update (default: 64; one is made a year).
    pub root_updates: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            metadata_bytes: MAX_METADATA_BYTES,
            target_bytes: MAX_TARGET_BYTES,
            root_updates: 64,
        }
    }
}

impl Limits {
    pub(crate) fn to_tough(self) -> tough::Limits {
        tough::Limits {
            max_root_size: self.metadata_bytes,
            max_targets_size: self.metadata_bytes,
            max_timestamp_size: self.metadata_bytes,
            max_snapshot_size: self.metadata_bytes,
            max_root_updates: self.root_updates,
        }
    }
}
