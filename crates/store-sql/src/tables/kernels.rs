//! Kernel builds as a statement's argument.

use std::collections::BTreeSet;

use serde::Serialize;
use suture_kernel::KernelBuild;
use suture_rollout::{Published, Scope};
use suture_store::StoreError;

use crate::column::to_json;

#[derive(Serialize, PartialEq, Eq, PartialOrd, Ord)]
struct KernelColumns<'a>(&'a str, &'a str, &'a str);

/// The kernel builds for which a rollout's version is published, as JSON.
pub fn covered(scope: &Scope, published: &[Published]) -> Result<String, StoreError> {
    let kernels: BTreeSet<_> = published
        .iter()
        .filter(|patch| scope.covers(patch.version, &patch.kernel))
        .map(|Published { kernel, .. }| {
            KernelColumns(
                kernel.release.as_str(),
                kernel.architecture.as_str(),
                kernel.build_id.as_str(),
            )
        })
        .collect();
    to_json(&kernels)
}

/// Whether a rollout's version is published for a kernel build that it covers.
pub fn covers(scope: &Scope, kernel: &KernelBuild, published: &[Published]) -> bool {
    scope.covers(scope.version, kernel)
        && published
            .iter()
            .any(|patch| patch.version == scope.version && patch.kernel == *kernel)
}
