//! Which published versions want a rollout.

use std::collections::{BTreeMap, BTreeSet};

use suture_advisory::PatchVersion;
use suture_kernel::KernelBuild;
use suture_rollout::{Phase, Published, Scope};

/// A rollout that there is, as far as this question needs it.
pub struct Existing {
    pub scope: Scope,
    pub withdrawn: bool,
}

impl Existing {
    pub fn new(scope: Scope, phase: &Phase) -> Self {
        Self {
            scope,
            withdrawn: matches!(phase, Phase::Withdrawn { .. }),
        }
    }
}

/// Scopes of the rollouts to make.
///
/// Wanted is, for each kernel build, the newest published version that was not withdrawn, if no
/// rollout covers it there. Versions before it never get one by themselves: they are superseded,
/// and those that went out earlier had theirs. A service that meets a repository with patches in
/// force for the first time makes rollouts all the same: it can't know on which machines the
/// newest version was tried, and one that has it is not told to go anywhere.
pub fn missing(published: &[Published], existing: &[Existing], apart: bool) -> Vec<Scope> {
    let mut kernels_of = BTreeMap::<PatchVersion, BTreeSet<&KernelBuild>>::new();
    for (kernel, version) in newest(published, existing) {
        let covered = |it: &Existing| it.scope.covers(version, kernel);
        if !existing.iter().any(covered) {
            kernels_of.entry(version).or_default().insert(kernel);
        }
    }
    kernels_of
        .into_iter()
        .flat_map(|(version, kernels)| scopes(version, &kernels, existing, apart))
        .collect()
}

/// The newest version of each kernel build that was not withdrawn there.
fn newest<'a>(
    published: &'a [Published],
    existing: &[Existing],
) -> BTreeMap<&'a KernelBuild, PatchVersion> {
    let mut newest = BTreeMap::new();
    for Published { kernel, version } in published {
        let gone = |it: &Existing| it.withdrawn && it.scope.covers(*version, kernel);
        if !existing.iter().any(gone) {
            let best = newest.entry(kernel).or_insert(*version);
            *best = (*best).max(*version);
        }
    }
    newest
}

fn scopes(
    version: PatchVersion,
    kernels: &BTreeSet<&KernelBuild>,
    existing: &[Existing],
    apart: bool,
) -> Vec<Scope> {
    // Beside a rollout of one kernel build there can't be one of all.
    let begun_apart = existing.iter().any(|it| it.scope.version == version);
    if !(apart || begun_apart) {
        return vec![Scope {
            version,
            kernel: None,
        }];
    }
    let one = |kernel: &&KernelBuild| Scope {
        version,
        kernel: Some((*kernel).clone()),
    };
    kernels.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use suture_kernel::BuildId;

    use super::*;

    fn kernel(release: &str) -> KernelBuild {
        KernelBuild {
            release: release.parse().unwrap(),
            architecture: "amd64".parse().unwrap(),
            build_id: BuildId::from_bytes(&[0xab; 20]).unwrap(),
        }
    }

    fn published(all: &[(&str, &str)]) -> Vec<Published> {
        all.iter()
            .map(|(release, version)| Published {
                kernel: kernel(release),
                version: version.parse().unwrap(),
            })
            .collect()
    }

    fn scope(version: &str, release: Option<&str>) -> Scope {
        Scope {
            version: version.parse().unwrap(),
            kernel: release.map(kernel),
        }
    }

    fn existing(scope: Scope, withdrawn: bool) -> Existing {
        Existing { scope, withdrawn }
    }

    const STABLE: &str = "6.1.0-53-amd64";
    const BACKPORT: &str = "6.12.117+deb13-amd64";

    #[test]
    fn the_newest_version_of_each_kernel_build_gets_one() {
        let all = published(&[(STABLE, "104.1"), (STABLE, "105.1"), (BACKPORT, "104.1")]);
        assert_eq!(
            missing(&all, &[], false),
            [scope("104.1", None), scope("105.1", None)]
        );
        let apart = [scope("104.1", Some(BACKPORT)), scope("105.1", Some(STABLE))];
        assert_eq!(missing(&all, &[], true), apart);
        assert_eq!(missing(&[], &[], false), []);
    }

    #[test]
    fn a_version_that_has_one_gets_no_other_whatever_became_of_it() {
        let all = published(&[(STABLE, "104.1"), (BACKPORT, "104.1")]);
        for withdrawn in [false, true] {
            let known = [existing(scope("104.1", None), withdrawn)];
            assert_eq!(missing(&all, &known, false), []);
        }
    }

    #[test]
    fn a_kernel_build_that_was_left_out_follows_by_itself() {
        let all = published(&[(STABLE, "104.1"), (BACKPORT, "104.1")]);
        let known = [existing(scope("104.1", Some(STABLE)), false)];
        let left_out = [scope("104.1", Some(BACKPORT))];
        assert_eq!(missing(&all, &known, false), left_out);
    }

    #[test]
    fn behind_a_withdrawn_version_the_one_before_counts_as_the_newest() {
        let all = published(&[(STABLE, "104.1"), (STABLE, "105.1")]);
        let known = [existing(scope("105.1", None), true)];
        assert_eq!(missing(&all, &known, false), [scope("104.1", None)]);
        let superseded = [existing(scope("105.1", None), false)];
        assert_eq!(missing(&all, &superseded, false), []);
    }
}
