//! The kernels that live patches are made for.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use suture_advisory::PatchVersion;
use suture_kernel::KernelBuild;
use suture_protocol::{KernelNotice, OpenHole};
use suture_rollout::Published;
use utoipa::ToSchema;

/// A kernel build with live patches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CoveredKernel {
    #[schema(value_type = Object)]
    pub kernel: KernelBuild,
    /// The latest version for it.
    #[schema(value_type = String, example = "104.1")]
    pub newest: PatchVersion,
    /// Number of versions for it.
    pub versions: usize,
    /// The last day (UTC) on which live patches are made for it; none: no end was told.
    #[schema(value_type = Option<String>, format = Date)]
    pub covered_until: Option<Date>,
    /// High and Critical holes that no live patch closes.
    pub not_live_patched: Vec<OpenHole>,
}

/// All of them, by their names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CoveredKernels {
    pub kernels: Vec<CoveredKernel>,
}

impl CoveredKernels {
    pub fn new(
        published: &[Published],
        notice: impl Fn(&KernelBuild) -> Option<KernelNotice>,
    ) -> Self {
        let mut builds: BTreeMap<&KernelBuild, Vec<PatchVersion>> = BTreeMap::new();
        for patch in published {
            builds.entry(&patch.kernel).or_default().push(patch.version);
        }
        let covered = |(kernel, versions): (&KernelBuild, Vec<PatchVersion>)| {
            let notice = notice(kernel).unwrap_or_default();
            Some(CoveredKernel {
                kernel: kernel.clone(),
                newest: versions.iter().max().copied()?,
                versions: versions.len(),
                covered_until: notice.covered_until,
                not_live_patched: notice.not_live_patched,
            })
        };
        Self {
            kernels: builds.into_iter().filter_map(covered).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(release: &str, version: &str) -> Published {
        let kernel = serde_json::json!({
            "release": release, "architecture": "amd64", "build_id": "ab".repeat(20),
        });
        Published {
            kernel: serde_json::from_value(kernel).unwrap(),
            version: version.parse().unwrap(),
        }
    }

    #[test]
    fn each_build_is_listed_once_with_its_newest_patch_and_what_was_told_of_it() {
        let published = [
            patch("6.12.9-amd64", "3.1"),
            patch("6.1.0-53-amd64", "2.10"),
            patch("6.1.0-53-amd64", "2.9"),
        ];
        let notice = |kernel: &KernelBuild| {
            kernel
                .release
                .as_str()
                .starts_with("6.1.")
                .then(|| KernelNotice {
                    covered_until: Some("2027-06-30".parse().unwrap()),
                    not_live_patched: Vec::new(),
                })
        };
        let listed = CoveredKernels::new(&published, notice).kernels;
        let told: Vec<_> = listed
            .iter()
            .map(|it| {
                let until = it.covered_until.map(|date| date.to_string());
                (
                    it.kernel.release.as_str(),
                    it.newest.to_string(),
                    it.versions,
                    until,
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                (
                    "6.1.0-53-amd64",
                    "2.10".to_owned(),
                    2,
                    Some("2027-06-30".to_owned())
                ),
                ("6.12.9-amd64", "3.1".to_owned(), 1, None),
            ]
        );
    }
}
