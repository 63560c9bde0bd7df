//! A published live patch in a list.

use jiff::Timestamp;
use suture_advisory::{CveId, PatchVersion, Severity};
use suture_kernel::KernelBuild;
use suture_protocol::{Fix, Manifest, TargetKind, TargetName};
use suture_repository::{Catalogue, PublishedTarget};

use super::manifest;

/// A live patch with what people look for in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatchCard {
    pub version: PatchVersion,
    pub kernel: KernelBuild,
    /// The gravest first.
    pub fixes: Vec<FixLine>,
    /// When the module was built; none: the manifest could not be read.
    pub created: Option<Timestamp>,
    /// File names in the repository's folder `targets`.
    pub manifest: Option<String>,
    pub source: Option<String>,
}

/// A closed hole in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixLine {
    pub cve: CveId,
    /// None: the manifest could not be read.
    pub severity: Option<Severity>,
    pub title: String,
}

impl PatchCard {
    /// Reads the manifest of a module; what can't be read is left out.
    pub(super) fn read(catalogue: &Catalogue, module: &PublishedTarget) -> Self {
        let target = beside(catalogue, module, TargetKind::Manifest);
        let manifest = target.and_then(|target| manifest::read(catalogue, target));
        Self::new(catalogue, module, manifest.as_ref())
    }

    pub(super) fn new(
        catalogue: &Catalogue,
        module: &PublishedTarget,
        manifest: Option<&Manifest>,
    ) -> Self {
        let file = |kind| beside(catalogue, module, kind).map(file_name);
        let fixes = match manifest {
            Some(manifest) => fix_lines(&manifest.fixes),
            None => names_only(module),
        };
        Self {
            version: module.name.version,
            kernel: module.name.kernel.clone(),
            fixes,
            created: manifest.map(|manifest| manifest.created),
            manifest: file(TargetKind::Manifest),
            source: file(TargetKind::Source),
        }
    }

    /// `RELEASE_ARCHITECTURE_BUILDID_VERSION`: the name of its targets without their ends.
    pub fn name(&self) -> String {
        let target = TargetName {
            kernel: self.kernel.clone(),
            version: self.version,
            kind: TargetKind::Module,
        };
        let name = target.to_string();
        name.strip_suffix(TargetKind::Module.suffix())
            .unwrap_or(&name)
            .to_owned()
    }
}

pub(super) fn beside<'list>(
    catalogue: &'list Catalogue,
    module: &PublishedTarget,
    kind: TargetKind,
) -> Option<&'list PublishedTarget> {
    catalogue.find(&module.name.kernel, module.name.version, kind)
}

fn file_name(target: &PublishedTarget) -> String {
    format!("{}.{}", target.sha256, target.name)
}

fn names_only(module: &PublishedTarget) -> Vec<FixLine> {
    let line = |cve: &CveId| FixLine {
        cve: cve.clone(),
        severity: None,
        title: String::new(),
    };
    module.custom.fixes.iter().map(line).collect()
}

fn fix_lines(fixes: &[Fix]) -> Vec<FixLine> {
    let line = |fix: &Fix| FixLine {
        cve: fix.cve.clone(),
        severity: Some(fix.decisive.severity),
        title: fix.title.clone(),
    };
    let mut lines: Vec<_> = fixes.iter().map(line).collect();
    lines.sort_by(|left, right| (right.severity, &left.cve).cmp(&(left.severity, &right.cve)));
    lines
}
