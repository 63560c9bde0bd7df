//! The manifest that travels with every live patch.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use suture_advisory::{CveId, PatchVersion, SeverityClaim};
use suture_kernel::{KernelBuild, ObjectName};

use crate::SmokeTest;

/// What a live patch is, for people and programs. It is a TUF target of its own, so a reader
/// trusts it as much as the module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Format of this document; readers refuse a later one.
    pub schema: u32,
    pub version: PatchVersion,
    pub kernel: KernelBuild,
    pub module: ModuleFile,
    pub fixes: Vec<Fix>,
    pub objects: Vec<PatchedObject>,
    pub build: BuildRecord,
    /// The archive from which anyone rebuilds the module.
    pub source: FileHash,
    /// How it was tried before it was signed; manifests from before that was done say nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smoke_test: Option<SmokeTest>,
    /// Parts of the fixes that the patch goes without, and why, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    pub created: Timestamp,
}

impl Manifest {
    /// The one format so far.
    pub const SCHEMA: u32 = 1;
}

/// The module file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleFile {
    /// The kernel's name of it, also in `/sys/kernel/livepatch`.
    pub name: String,
    /// SHA-256 of the file before the signature was appended, as lowercase hex.
    pub unsigned_sha256: String,
    #[serde(flatten)]
    pub file: FileHash,
}

/// A file by its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileHash {
    /// Lowercase hex.
    pub sha256: String,
    /// Bytes.
    pub length: u64,
}

/// A hole that the patch closes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fix {
    pub cve: CveId,
    /// The record's title.
    pub title: String,
    /// The record's description, shortened to its first 2,000 characters.
    #[serde(default)]
    pub description: String,
    /// Every claim, in the order of the record.
    pub claims: Vec<SeverityClaim>,
    /// The claim that counted at the severity gate.
    pub decisive: SeverityClaim,
}

/// The functions that the patch swaps in one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatchedObject {
    pub name: ObjectName,
    pub functions: Vec<PatchedFunction>,
}

/// A function that the patch swaps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatchedFunction {
    pub name: String,
    /// Position among symbols of that name in the object, from 1; 0: the name is unique.
    pub sympos: u64,
    /// Source file, relative to the kernel tree.
    pub unit: String,
    /// Bytes of the replaced and of the new code.
    pub old_size: u64,
    pub new_size: u64,
    /// SHA-256 of the shipped kernel's code of this function, which the factory's own compile
    /// of the unpatched source was proven to equal.
    pub shipped_sha256: String,
}

/// What the module was made from and with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildRecord {
    /// First line of the compiler's `--version`.
    pub compiler: String,
    /// Source package and its version, e.g. `linux-source-6.1 6.1.187-1`.
    pub source_package: String,
    /// SHA-256 of each input by its name (fixes, kernel configuration, `Module.symvers`).
    pub inputs: Vec<NamedHash>,
    /// Version of this program.
    pub suture: String,
}

/// A hash with the name of what it is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedHash {
    pub name: String,
    /// Lowercase hex.
    pub sha256: String,
}
