//! What a vendor tells the machines of a kernel beside its patches.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Nothing is loaded for it, so the server's word is enough.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct KernelNotice {
    /// The last day (UTC) on which live patches are made for this kernel.
    #[schema(value_type = Option<String>, format = Date)]
    pub covered_until: Option<Date>,
    /// High and Critical holes that no live patch closes, at most [`KernelNotice::MAX_HOLES`].
    pub not_live_patched: Vec<OpenHole>,
}

/// A hole that waits for the regular kernel update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenHole {
    /// For example `CVE-2026-89603`.
    pub cve: String,
    /// Why it could not be live patched: a clause of at most 300 characters.
    pub reason: String,
}

impl KernelNotice {
    pub const MAX_HOLES: usize = 50;

    pub fn is_empty(&self) -> bool {
        self.covered_until.is_none() && self.not_live_patched.is_empty()
    }
}
