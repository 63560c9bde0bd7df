//! The published live patches as people read them.

use std::cmp::Reverse;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest;
use suture_advisory::{CveId, PatchVersion, Severity};
use suture_kernel::KernelBuild;
use suture_protocol::{Manifest, TargetKind};
use suture_repository::{Catalogue, PublishedTarget};
use tokio::sync::OnceCell;
use tracing::warn;

/// Live patches on the page, the latest first. Each costs a read of its manifest, once for every
/// change of the repository.
pub const MAX_PATCHES: usize = 100;

/// Bytes of a manifest that are read; a fix takes some 3 KB of it.
const MAX_MANIFEST_BYTES: u64 = 4 * 1024 * 1024;

/// A live patch on the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatchCard {
    pub version: PatchVersion,
    pub kernel: KernelBuild,
    pub fixes: Vec<FixLine>,
    /// File names in the repository's folder `targets`.
    pub manifest: Option<String>,
    pub source: Option<String>,
}

/// A closed hole on the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixLine {
    pub cve: CveId,
    /// None: the manifest could not be read.
    pub severity: Option<Severity>,
    pub title: String,
}

/// The cards of one content of the repository, made when they are first asked for.
#[derive(Default)]
pub struct PatchList {
    cards: OnceCell<Arc<[PatchCard]>>,
}

impl PatchList {
    pub async fn cards(&self, catalogue: &Catalogue) -> Arc<[PatchCard]> {
        let make = || async {
            let catalogue = catalogue.clone();
            let cards = tokio::task::spawn_blocking(move || cards(&catalogue)).await;
            cards.unwrap_or_else(|error| {
                warn!(error = %error, "cannot list the live patches: {error}");
                Arc::from([])
            })
        };
        Arc::clone(self.cards.get_or_init(make).await)
    }
}

fn cards(catalogue: &Catalogue) -> Arc<[PatchCard]> {
    let targets = catalogue.targets().iter();
    let mut modules: Vec<_> = targets
        .filter(|target| target.name.kind == TargetKind::Module)
        .collect();
    modules.sort_by_key(|target| (Reverse(target.name.version), &target.name.kernel));
    modules
        .into_iter()
        .take(MAX_PATCHES)
        .map(|module| card(catalogue, module))
        .collect()
}

fn card(catalogue: &Catalogue, module: &PublishedTarget) -> PatchCard {
    let (kernel, version) = (&module.name.kernel, module.name.version);
    let beside = |kind| catalogue.find(kernel, version, kind);
    let manifest = beside(TargetKind::Manifest);
    let fixes = manifest.and_then(|target| read_fixes(&catalogue.path(target), &target.sha256));
    let file_name = |target: &PublishedTarget| format!("{}.{}", target.sha256, target.name);
    PatchCard {
        version,
        kernel: kernel.clone(),
        fixes: fixes.unwrap_or_else(|| names_only(module)),
        manifest: manifest.map(file_name),
        source: beside(TargetKind::Source).map(file_name),
    }
}

fn names_only(module: &PublishedTarget) -> Vec<FixLine> {
    let line = |cve: &CveId| FixLine {
        cve: cve.clone(),
        severity: None,
        title: String::new(),
    };
    module.custom.fixes.iter().map(line).collect()
}

/// The manifest's fixes, the gravest first; none, with a line in the log, if it can't be read or
/// isn't what the metadata says.
fn read_fixes(path: &Path, sha256: &str) -> Option<Vec<FixLine>> {
    let name = path.file_name().unwrap_or_default().display();
    match read_manifest(path, sha256) {
        Ok(manifest) => Some(fix_lines(manifest)),
        Err(reason) => {
            warn!(target.name = %name, "cannot show manifest `{name}`: {reason}");
            None
        }
    }
}

fn fix_lines(manifest: Manifest) -> Vec<FixLine> {
    let fixes = manifest.fixes.into_iter();
    let mut lines: Vec<_> = fixes
        .map(|fix| FixLine {
            cve: fix.cve,
            severity: Some(fix.decisive.severity),
            title: fix.title,
        })
        .collect();
    lines.sort_by(|left, right| (right.severity, &left.cve).cmp(&(left.severity, &right.cve)));
    lines
}

fn read_manifest(path: &Path, sha256: &str) -> Result<Manifest, String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_MANIFEST_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_MANIFEST_BYTES {
        return Err(format!("it is longer than {MAX_MANIFEST_BYTES} bytes"));
    }
    if hex::encode(digest::digest(&digest::SHA256, &bytes)) != sha256 {
        return Err("its content is not what the metadata says".to_owned());
    }
    serde_json::from_slice(&bytes).map_err(|error| error.to_string())
}
