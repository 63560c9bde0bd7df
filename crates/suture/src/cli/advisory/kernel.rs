//! What is known of a kernel here: its packages, its source, the repository.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use flate2::read::MultiGzDecoder;
use suture_advisory::{
    Changelog, Compiled, CveId, KernelVersion, MAX_CHANGELOG_BYTES, PatchVersion,
};
use suture_factory::{Log, Presence, ShippedKernel};
use suture_kernel::KernelRelease;
use suture_protocol::TargetKind;
use suture_repository::Catalogue;

use crate::progress::Steps;

/// A stock kernel.
pub struct Kernel {
    shipped: ShippedKernel,
    /// The upstream version that it was made from.
    pub version: KernelVersion,
    /// What its own package says it fixed; empty where the package has no changelog.
    pub changelog: Changelog,
    /// None: its configuration is not asked.
    presence: Option<Presence>,
}

impl Kernel {
    /// Fetches the packages; with `source`, prepares the source and asks Kbuild what it compiles.
    pub fn open(release: &KernelRelease, cache: &Path, source: bool) -> anyhow::Result<Self> {
        let log = Log::none();
        let archive = ShippedKernel::archive(cache, release, &log)?;
        let shipped = ShippedKernel::fetch(cache, &archive, release)?;
        let version = KernelVersion::of_package(&shipped.version)
            .with_context(|| format!("the packages of {release} have an odd version"))?;
        let steps = Steps::new();
        let presence = source
            .then(|| Presence::open(&shipped, &archive, &log, &steps))
            .transpose()?;
        Ok(Self {
            changelog: changelog(&shipped)?,
            shipped,
            version,
            presence,
        })
    }

    pub fn compiled(&self, file: &str) -> Compiled {
        let objects = self.presence.as_ref().and_then(|one| one.objects_of(file));
        let Some(objects) = objects else {
            return Compiled::Unknown;
        };
        match objects.first() {
            None => Compiled::NotCompiled,
            Some(_) if objects.iter().any(|object| object.is_vmlinux()) => Compiled::BuiltIn,
            Some(module) => Compiled::Module(module.to_string()),
        }
    }
}

/// The changelog of the image package, where the distribution ships one.
fn changelog(shipped: &ShippedKernel) -> anyhow::Result<Changelog> {
    let release = &shipped.release;
    // `image/boot/vmlinuz-RELEASE`
    let vmlinuz = shipped.vmlinuz();
    let image = vmlinuz.ancestors().nth(2).unwrap_or(Path::new("."));
    let documents = image.join("usr/share/doc");
    for package in [
        format!("linux-image-{release}"),
        format!("linux-image-{release}-unsigned"),
    ] {
        for name in ["changelog.gz", "changelog.Debian.gz"] {
            let path = documents.join(&package).join(name);
            if path.exists() {
                return read_changelog(&path)
                    .with_context(|| format!("cannot read `{}`", path.display()));
            }
        }
    }
    Ok(Changelog::default())
}

/// A changelog is cut off at the bound: its newest entries come first.
fn read_changelog(path: &Path) -> anyhow::Result<Changelog> {
    let file = std::fs::File::open(path)?;
    let mut bytes = Vec::new();
    MultiGzDecoder::new(file)
        .take(MAX_CHANGELOG_BYTES as u64)
        .read_to_end(&mut bytes)?;
    Ok(Changelog::parse(&String::from_utf8_lossy(&bytes)))
}

/// The newest published live patch for the kernel and what it closes.
pub async fn published(
    repository: &Path,
    kernel: &Kernel,
) -> anyhow::Result<Option<(PatchVersion, BTreeSet<CveId>)>> {
    let catalogue = Catalogue::load(repository, None).await?;
    let shipped = &kernel.shipped;
    let vmlinux = shipped.vmlinux()?;
    let image = suture_kernel::vmlinux::Vmlinux::parse(&vmlinux)
        .with_context(|| format!("cannot read the image of {}", shipped.release))?;
    let build = shipped.build(&image)?;
    let modules = catalogue
        .targets()
        .iter()
        .filter(|target| target.custom.kind == TargetKind::Module && target.custom.kernel == build);
    let newest = modules.max_by_key(|target| target.custom.version);
    Ok(newest.map(|target| {
        let fixes = target.custom.fixes.iter().cloned().collect();
        (target.custom.version, fixes)
    }))
}
