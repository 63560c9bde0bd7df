//! How a live patch was tried on its kernel before it was signed, and what was seen.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use suture_advisory::PatchVersion;
use suture_kernel::{KernelBuild, ObjectName};

use crate::FileHash;

/// What the manifest says of the smoke test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum SmokeTest {
    /// It went well; the evidence is the file of this hash.
    Passed { evidence: FileHash },
    /// Nobody tried the module, for this reason.
    Skipped { why: String },
}

/// The record of one smoke test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SmokeEvidence {
    /// Format of this document; readers refuse a later one.
    pub schema: u32,
    pub version: PatchVersion,
    /// The build that was booted, as it told itself.
    pub kernel: KernelBuild,
    /// SHA-256 of the module that was loaded, as lowercase hex: its bytes before signing.
    pub unsigned_sha256: String,
    /// The second version that replaced it: the same fixes under the next number.
    pub successor: Successor,
    pub machine: SmokeMachine,
    pub began: Timestamp,
    /// Why the module must not be released; nothing if all went well.
    pub failure: Option<String>,
    pub steps: Vec<SmokeStep>,
    pub objects: Vec<SmokeObject>,
    pub load: Vec<SmokeLoad>,
    /// What the kernel printed from the load of the patch on, at most the first 1,000 lines.
    pub kernel_log: Vec<String>,
}

impl SmokeEvidence {
    /// The one format so far.
    pub const SCHEMA: u32 = 1;

    /// Whether the module may be released.
    pub fn passed(&self) -> bool {
        self.failure.is_none()
    }
}

/// The version that replaced the tested one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Successor {
    pub version: PatchVersion,
    pub unsigned_sha256: String,
}

/// The virtual machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SmokeMachine {
    pub cpus: u32,
    pub memory_mib: u32,
}

/// One thing that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SmokeStep {
    pub what: String,
    pub took_ms: u64,
    /// What was seen.
    pub found: String,
}

/// A patched object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SmokeObject {
    pub name: ObjectName,
    /// Whether it was in the kernel when the patch came.
    pub loaded: bool,
    /// Why it was not: a driver may insist on its device.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why_not: String,
    /// Functions whose calls the kernel was seen to redirect into the patch.
    pub functions: Vec<String>,
}

/// A kind of work that went on all the time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SmokeLoad {
    pub name: String,
    /// Rounds done when the patch came, when it was replaced, and at the end.
    pub rounds: [u64; 3],
}
