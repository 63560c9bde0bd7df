//! The repository's file names, as they come in a URL. A name is read into its parts and the
//! path is made from those alone, so nothing that a client writes reaches the file system.

use std::fmt;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::str::FromStr;

use suture_protocol::{TargetKind, TargetName};
use suture_repository::Layout;

/// A text that names no file of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAName;

/// A metadata file (source: TUF specification 1.0, 6.2: with consistent snapshots all but the
/// timestamp carry their version).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetadataName {
    /// `timestamp.json`: the only file that ever changes.
    Timestamp,
    /// `N.root.json` and so on.
    Versioned {
        version: NonZeroU64,
        role: VersionedRole,
    },
}

/// The roles whose files carry a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionedRole {
    Root,
    Snapshot,
    Targets,
}

impl VersionedRole {
    fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Snapshot => "snapshot",
            Self::Targets => "targets",
        }
    }
}

impl MetadataName {
    pub fn path(self, layout: &Layout) -> PathBuf {
        layout.metadata().join(self.to_string())
    }
}

impl fmt::Display for MetadataName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timestamp => formatter.write_str("timestamp.json"),
            Self::Versioned { version, role } => {
                write!(formatter, "{version}.{}.json", role.as_str())
            }
        }
    }
}

impl FromStr for MetadataName {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        if text == "timestamp.json" {
            return Ok(Self::Timestamp);
        }
        let stem = text.strip_suffix(".json").ok_or(NotAName)?;
        let (version, role) = stem.split_once('.').ok_or(NotAName)?;
        let role = match role {
            "root" => VersionedRole::Root,
            "snapshot" => VersionedRole::Snapshot,
            "targets" => VersionedRole::Targets,
            _ => return Err(NotAName),
        };
        let canonical = !version.starts_with(['0', '+']);
        let version = version.parse().ok().filter(|_| canonical).ok_or(NotAName)?;
        Ok(Self::Versioned { version, role })
    }
}

/// A target file, `<sha256>.<name>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetFile {
    /// 64 lowercase hex digits.
    sha256: String,
    name: TargetName,
}

impl TargetFile {
    pub fn path(&self, layout: &Layout) -> PathBuf {
        layout.target(&self.sha256, &self.name.to_string())
    }

    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    pub fn kind(&self) -> TargetKind {
        self.name.kind
    }
}

impl FromStr for TargetFile {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let (sha256, name) = text.split_once('.').ok_or(NotAName)?;
        let lower_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if sha256.len() != 64 || !sha256.bytes().all(lower_hex) {
            return Err(NotAName);
        }
        let name: TargetName = name.parse().map_err(|_| NotAName)?;
        Ok(Self {
            sha256: sha256.to_owned(),
            name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_names_survive_the_round_trip() {
        for text in [
            "timestamp.json",
            "1.root.json",
            "12.snapshot.json",
            "3.targets.json",
        ] {
            assert_eq!(text.parse::<MetadataName>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "root.json",
            "0.root.json",
            "01.root.json",
            "+1.root.json",
            "1.root.json/..",
            "../1.root.json",
            "1.timestamp.json",
            "1.key.json",
            "18446744073709551616.root.json",
        ] {
            assert_eq!(bad.parse::<MetadataName>(), Err(NotAName), "{bad}");
        }
    }

    #[test]
    fn target_names_stay_in_their_folder() {
        let (sha256, build_id) = ("0a".repeat(32), "ab".repeat(20));
        let name = format!("6.12.117+deb13-amd64_amd64_{build_id}_104.1.ko");
        let file: TargetFile = format!("{sha256}.{name}").parse().unwrap();
        assert_eq!(
            (file.sha256(), file.kind()),
            (sha256.as_str(), TargetKind::Module)
        );
        let path = file.path(&Layout::new("/srv/repository"));
        assert_eq!(
            path,
            PathBuf::from(format!("/srv/repository/targets/{sha256}.{name}"))
        );
        for bad in [
            name.clone(),
            format!("{}.{name}", "0A".repeat(32)),
            format!("{}.{name}", "0a".repeat(31)),
            format!("../{sha256}.{name}"),
            format!("{sha256}.../{name}"),
            format!("{sha256}.6/../../x_amd64_{build_id}_104.1.ko"),
        ] {
            assert_eq!(bad.parse::<TargetFile>(), Err(NotAName), "{bad}");
        }
    }
}
