//! How the files of a live patch are named in the repository, and what TUF says of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use suture_advisory::{CveId, PatchVersion};
use suture_kernel::{Architecture, InvalidName, KernelBuild};

/// Which of a live patch's files a target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetKind {
    /// The kernel module; for enrolled machines only.
    Module,
    /// [`crate::Manifest`] as JSON; open to all.
    Manifest,
    /// The source archive; open to all.
    Source,
}

impl TargetKind {
    pub const ALL: [Self; 3] = [Self::Module, Self::Manifest, Self::Source];

    /// The end of the target's name.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Module => ".ko",
            Self::Manifest => ".json",
            Self::Source => ".tar.gz",
        }
    }
}

/// A target's name: `RELEASE_ARCHITECTURE_BUILDID_VERSION.SUFFIX`, flat, so that it is the same
/// in metadata, in a folder and in a URL (`+` of a release included, which a URL path may hold).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetName {
    pub kernel: KernelBuild,
    pub version: PatchVersion,
    pub kind: TargetKind,
}

impl fmt::Display for TargetName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let KernelBuild {
            release,
            architecture,
            build_id,
        } = &self.kernel;
        let suffix = self.kind.suffix();
        write!(
            formatter,
            "{release}_{architecture}_{build_id}_{}{suffix}",
            self.version
        )
    }
}

impl FromStr for TargetName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let parse = || {
            let kind = TargetKind::ALL
                .into_iter()
                .find(|kind| text.ends_with(kind.suffix()))?;
            let stem = text.strip_suffix(kind.suffix())?;
            // A release may hold an underscore, the other parts never do.
            let mut parts = stem.rsplitn(4, '_');
            let version = parts.next()?.parse().ok()?;
            let build_id = parts.next()?.parse().ok()?;
            let architecture: Architecture = parts.next()?.parse().ok()?;
            let release = parts.next()?.parse().ok()?;
            Some(Self {
                kernel: KernelBuild {
                    release,
                    architecture,
                    build_id,
                },
                version,
                kind,
            })
        };
        parse().ok_or_else(|| {
            InvalidName::new(
                "target name",
                text,
                "expected RELEASE_ARCH_BUILDID_VERSION.ko",
            )
        })
    }
}

/// What a target's `custom` data in TUF metadata says, under the key `suture`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetCustom {
    pub kind: TargetKind,
    pub kernel: KernelBuild,
    pub version: PatchVersion,
    pub fixes: Vec<CveId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_round_trip() {
        let build_id = "ab".repeat(20);
        for release in ["6.1.0-53-amd64", "6.12.117+deb13-amd64", "6.1.0_local"] {
            for suffix in [".ko", ".json", ".tar.gz"] {
                let text = format!("{release}_amd64_{build_id}_104.1{suffix}");
                assert_eq!(text.parse::<TargetName>().unwrap().to_string(), text);
            }
        }
        assert!(
            "6.1.0-53-amd64_amd64_104.1.ko"
                .parse::<TargetName>()
                .is_err()
        );
    }
}
