//! Which kernel to show a fix on, from what the package archive offers today.

use std::cmp::Ordering;

use anyhow::Context as _;
use suture_factory::archive::{Archive, compare_versions};
use suture_factory::stock_releases;
use suture_kernel::KernelRelease;

use super::KnownFix;

/// A stock kernel that lacks a fix, and the source version that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picked {
    pub release: KernelRelease,
    /// Version of the source that the kernel was built from.
    pub version: String,
    pub fixed_version: String,
}

/// The newest stock kernel without the fix whose source is on offer, and the first source on
/// offer with it. A release that is asked for by name is taken instead of the newest.
pub fn pick(
    archive: &Archive,
    fix: &KnownFix,
    wanted: Option<&KernelRelease>,
) -> anyhow::Result<Picked> {
    let sources = archive.versions(fix.package)?;
    let series = fix.package.trim_start_matches("linux-source-");
    let releases = stock_releases(archive, series)?;
    let unfixed = |version: &str| lacks(version, fix);
    let mut fixed_version: Option<&String> = None;
    for version in &sources {
        let earlier = match fixed_version {
            Some(known) => compare_versions(version, known)? == Ordering::Less,
            None => true,
        };
        if !unfixed(version)? && earlier {
            fixed_version = Some(version);
        }
    }
    let fixed_version = fixed_version.with_context(|| {
        format!(
            "the package archive offers no {} with the fix for {}",
            fix.package, fix.cve
        )
    })?;
    for (release, version) in releases {
        let asked_for = wanted.is_none_or(|wanted| *wanted == release);
        if asked_for && unfixed(&version)? && sources.contains(&version) {
            return Ok(Picked {
                release,
                version,
                fixed_version: fixed_version.clone(),
            });
        }
    }
    let which = wanted.map_or("stock kernel".to_owned(), |release| {
        format!("kernel {release}")
    });
    anyhow::bail!(
        "the package archive offers no {which} without the fix for {} together with its \
         source; run `apt-get update`, or add the distribution's main archive to apt's sources",
        fix.cve
    )
}

/// Whether a kernel built from this version of the source lacks the fix.
pub fn lacks(version: &str, fix: &KnownFix) -> anyhow::Result<bool> {
    Ok(compare_versions(version, fix.fixed_in)? == Ordering::Less)
}

/// Kernels on which the fixes can be shown, each with those that it lacks and no one before it:
/// the first, and for what that one has already, the newest that lacks it.
pub fn showing<'f>(
    archive: &Archive,
    fixes: &'f [KnownFix],
    first: Picked,
) -> anyhow::Result<Vec<(Picked, Vec<&'f KnownFix>)>> {
    let mut kernels = vec![(first, Vec::new())];
    for fix in fixes {
        let mut lacking = None;
        for (index, (kernel, _)) in kernels.iter().enumerate() {
            if lacking.is_none() && lacks(&kernel.version, fix)? {
                lacking = Some(index);
            }
        }
        match lacking {
            Some(index) => kernels[index].1.push(fix),
            None => kernels.push((pick(archive, fix, None)?, vec![fix])),
        }
    }
    Ok(kernels)
}
