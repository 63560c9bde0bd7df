//! What a repository says of a kernel for which it has no patch. Pure.
//!
//! "None is made for kernels like yours" and "yours is newer than the last that a patch was made
//! for" are two answers: the first calls for another kernel, the second for patience.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use suture_kernel::{KernelBuild, KernelRelease};

/// Releases that are remembered, the newest; a series has a few dozen.
const MOST_RELEASES: usize = 32;

/// The kernels of one series for which a repository has live patches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Series {
    /// The kernel that was asked for.
    pub kernel: KernelBuild,
    /// Oldest first, each once; without `kernel` itself.
    pub releases: Vec<KernelRelease>,
    /// Whether there is a patch for `kernel` itself.
    pub built: bool,
}

impl Series {
    /// Of `builds`, for which the repository has patches, those of the series of `kernel`: the
    /// same architecture, upstream series and flavour (`6.1.0-53-cloud-amd64`: `6.1` and
    /// `cloud-amd64`).
    pub fn of<'a>(kernel: &KernelBuild, builds: impl Iterator<Item = &'a KernelBuild>) -> Self {
        let mut series = Self {
            kernel: kernel.clone(),
            releases: Vec::new(),
            built: false,
        };
        for build in builds.filter(|it| it.architecture == kernel.architecture) {
            if build == kernel {
                series.built = true;
            } else if series_and_flavour(&build.release) == series_and_flavour(&kernel.release) {
                series.releases.push(build.release.clone());
            }
        }
        series.releases.sort_by(compare);
        series.releases.dedup();
        let surplus = series.releases.len().saturating_sub(MOST_RELEASES);
        series.releases.drain(..surplus);
        series
    }

    /// Whether patches are made for kernels like this one, and none for it yet: an older or equal
    /// release has some. A kernel that is older than all of them is not covered any more.
    pub fn is_built_later(&self) -> bool {
        let before = |release| compare(release, &self.kernel.release) != Ordering::Greater;
        !self.built && self.releases.iter().any(before)
    }
}

/// Upstream series and flavour.
pub(crate) fn series_and_flavour(release: &KernelRelease) -> (Vec<&str>, &str) {
    let (upstream, rest) = release
        .as_str()
        .split_once('-')
        .unwrap_or((release.as_str(), ""));
    let flavour = match rest.split_once('-') {
        Some((abi, flavour)) if abi.starts_with(|it: char| it.is_ascii_digit()) => flavour,
        _ => rest,
    };
    (upstream.split('.').take(2).collect(), flavour)
}

/// By the numbers in them: `6.1.0-9` comes before `6.1.0-53`.
fn compare(one: &KernelRelease, other: &KernelRelease) -> Ordering {
    let key = |release: &KernelRelease| -> Vec<u64> {
        let pieces = release.as_str().split(|it: char| !it.is_ascii_digit());
        pieces
            .filter_map(|piece| piece.parse().ok())
            .take(8)
            .collect()
    };
    key(one)
        .cmp(&key(other))
        .then_with(|| one.as_str().cmp(other.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeTree;

    fn build(release: &str) -> KernelBuild {
        KernelBuild {
            release: release.parse().unwrap(),
            ..FakeTree::kernel()
        }
    }

    fn series(kernel: &str, others: &[&str]) -> Series {
        let builds: Vec<_> = others.iter().map(|release| build(release)).collect();
        Series::of(&build(kernel), builds.iter())
    }

    #[test]
    fn a_kernel_newer_than_those_that_have_patches_waits_for_its_own() {
        let others = ["6.1.0-53-amd64", "6.1.0-9-amd64"];
        assert!(series("6.1.0-54-amd64", &others).is_built_later());
        assert!(series("6.1.0-10-amd64", &others).is_built_later());
        assert!(
            !series("6.1.0-8-amd64", &others).is_built_later(),
            "too old"
        );
        assert!(
            !series("6.1.0-53-amd64", &others).is_built_later(),
            "it has one"
        );
        let releases = series("6.1.0-54-amd64", &others).releases;
        assert_eq!(releases[0].as_str(), "6.1.0-9-amd64");
    }

    #[test]
    fn the_same_release_built_again_waits_too() {
        let mut other = build("6.1.0-53-amd64");
        other.build_id = suture_kernel::BuildId::from_bytes(&[1; 20]).unwrap();
        let series = Series::of(&build("6.1.0-53-amd64"), [other].iter());
        assert!(series.is_built_later());
    }

    #[test]
    fn other_series_flavours_and_architectures_say_nothing() {
        let others = [
            "6.12.1-53-amd64",
            "6.1.0-53-rt-amd64",
            "6.1.0-53-cloud-amd64",
        ];
        let alone = series("6.1.0-54-amd64", &others);
        assert_eq!(alone.releases, []);
        assert!(!alone.is_built_later());
        assert!(series("6.1.0-54-cloud-amd64", &others).is_built_later());
        assert!(series("6.12.9-2-amd64", &["6.12.1-1-amd64"]).is_built_later());
        assert!(!series("4.4.0-210-generic", &others).is_built_later());
    }
}
