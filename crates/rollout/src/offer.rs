//! What a machine is told at check-in.

use serde::{Deserialize, Serialize};
use suture_advisory::PatchVersion;
use suture_kernel::KernelBuild;

/// The server's choice for one machine. It says where to go; what is loaded there is proven by
/// the repository's metadata alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Offer {
    /// Go to this version.
    Version { version: PatchVersion },
    /// The machine has the newest version that there is for it.
    UpToDate,
    /// No live patch is made for this kernel build.
    NotCovered,
}

/// A published live patch, as far as the choice needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    pub kernel: KernelBuild,
    pub version: PatchVersion,
}

/// Chooses for a machine that runs `kernel` with `applied` in force.
///
/// The newest version for this very build wins; a machine is never told to go back.
pub fn choose(
    kernel: &KernelBuild,
    applied: Option<PatchVersion>,
    published: &[Published],
) -> Offer {
    let newest = published
        .iter()
        .filter(|patch| patch.kernel == *kernel)
        .map(|patch| patch.version)
        .max();
    match newest {
        None => Offer::NotCovered,
        Some(version) if applied.is_some_and(|current| current >= version) => Offer::UpToDate,
        Some(version) => Offer::Version { version },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(release: &str, id: u8) -> KernelBuild {
        KernelBuild {
            release: release.parse().unwrap(),
            architecture: "amd64".parse().unwrap(),
            build_id: suture_kernel::BuildId::from_bytes(&[id; 20]).unwrap(),
        }
    }

    fn version(text: &str) -> PatchVersion {
        text.parse().unwrap()
    }

    #[test]
    fn the_newest_version_for_this_very_build_is_offered() {
        let ours = build("6.1.0-53-amd64", 1);
        let same_release_other_build = build("6.1.0-53-amd64", 2);
        let published = [
            Published {
                kernel: ours.clone(),
                version: version("9.1"),
            },
            Published {
                kernel: ours.clone(),
                version: version("10.1"),
            },
            Published {
                kernel: same_release_other_build,
                version: version("11.1"),
            },
        ];
        let offer = |applied| choose(&ours, applied, &published);
        assert_eq!(
            offer(None),
            Offer::Version {
                version: version("10.1")
            }
        );
        assert_eq!(
            offer(Some(version("9.1"))),
            Offer::Version {
                version: version("10.1")
            }
        );
        assert_eq!(offer(Some(version("10.1"))), Offer::UpToDate);
        assert_eq!(offer(Some(version("12.1"))), Offer::UpToDate, "never back");
        assert_eq!(
            choose(&build("6.1.0-54-amd64", 3), None, &published),
            Offer::NotCovered
        );
    }
}
