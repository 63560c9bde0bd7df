//! Which products, files and versions a CVE record names.

use serde::Deserialize;

/// A product with its affected and unaffected versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Affected {
    /// Empty where the record names a package instead.
    pub vendor: String,
    pub product: String,
    /// Address of the repository that the versions are of; empty where none is given.
    pub repository: String,
    /// Source files, relative to the tree that the record is about (mainline, for the kernel).
    pub program_files: Vec<String>,
    /// What holds for versions that no range names.
    pub default_status: Status,
    pub versions: Vec<VersionRange>,
}

/// Whether versions have the hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Affected,
    Unaffected,
    Unknown,
}

/// A range of versions, or a single one where no end is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionRange {
    /// First version, `0` for the beginning of time, or a commit.
    pub version: String,
    pub end: VersionEnd,
    pub status: Status,
    /// How versions are compared: `semver`, `git`, …; empty for a single version.
    pub version_type: String,
}

/// Where a range ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionEnd {
    /// It is that one version.
    Single,
    LessThan(String),
    /// May end in `.*`; `*` alone: no end.
    LessThanOrEqual(String),
}

impl Status {
    fn parse(text: &str) -> Self {
        match text {
            "affected" => Self::Affected,
            "unaffected" => Self::Unaffected,
            _ => Self::Unknown,
        }
    }
}

/// As it stands in a record.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct AffectedObject {
    vendor: String,
    product: String,
    repo: String,
    #[serde(rename = "collectionURL")]
    collection_url: String,
    program_files: Vec<String>,
    default_status: String,
    versions: Vec<VersionObject>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct VersionObject {
    version: String,
    status: String,
    less_than: Option<String>,
    less_than_or_equal: Option<String>,
    version_type: String,
}

impl From<AffectedObject> for Affected {
    fn from(object: AffectedObject) -> Self {
        let repository = if object.repo.is_empty() {
            object.collection_url
        } else {
            object.repo
        };
        Self {
            vendor: object.vendor,
            product: object.product,
            repository,
            program_files: object.program_files,
            default_status: Status::parse(&object.default_status),
            versions: object
                .versions
                .into_iter()
                .map(VersionRange::from)
                .collect(),
        }
    }
}

impl From<VersionObject> for VersionRange {
    fn from(object: VersionObject) -> Self {
        let end = match (object.less_than, object.less_than_or_equal) {
            (Some(end), _) => VersionEnd::LessThan(end),
            (None, Some(end)) => VersionEnd::LessThanOrEqual(end),
            (None, None) => VersionEnd::Single,
        };
        let status = Status::parse(&object.status);
        Self {
            version: object.version,
            end,
            status,
            version_type: object.version_type,
        }
    }
}
