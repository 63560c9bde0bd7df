//! A live patch on its way to a machine without network: a folder that is a small repository.
//!
//! ```text
//! FOLDER/metadata/…                    TUF metadata as the repository had it
//!        targets/SHA256.NAME.ko        the module
//!                SHA256.NAME.json      its manifest
//!                SHA256.NAME.tar.gz    its source
//! ```
//!
//! Whoever takes a patch from it verifies it as if it came from the server.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use suture_advisory::PatchVersion;
use suture_kernel::KernelBuild;
use suture_protocol::{TargetKind, TargetName};
use suture_repository::{Client, FolderTransport};
use url::Url;

use crate::files;
use crate::patches::{PatchError, Patches, VerifiedPatch};
use crate::transport::{FILE_LIMIT, HttpTransport};

/// What is brought of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    All,
    /// Manifest and source, which are open to everyone.
    Source,
}

impl Parts {
    fn kinds(self) -> &'static [TargetKind] {
        match self {
            Self::All => &[TargetKind::Module, TargetKind::Manifest, TargetKind::Source],
            Self::Source => &[TargetKind::Manifest, TargetKind::Source],
        }
    }
}

/// A version for a kernel, or the newest.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub kernel: &'a KernelBuild,
    pub version: Option<PatchVersion>,
    pub parts: Parts,
}

impl Patches {
    /// Writes what is wanted into `folder`, which also holds the metadata
    /// ([`Patches::for_once`]). Returns the version and its files.
    pub async fn export(
        &self,
        server: &Url,
        transport: HttpTransport,
        wanted: &Wanted<'_>,
        folder: &Path,
        now: Timestamp,
    ) -> Result<(PatchVersion, Vec<PathBuf>), PatchError> {
        let client = self.update(server, transport, now).await?;
        let kernel = wanted.kernel;
        let version = listed(&client, kernel, wanted.version)?;
        let targets = folder.join("targets");
        files::create_dir(&targets, 0o755).map_err(PatchError::cache(&targets))?;
        let mut written = Vec::new();
        for kind in wanted.parts.kinds().iter().copied() {
            let name = target(kernel, version, kind);
            let bytes = client.read(&name).await?;
            let hash = hex::encode(Sha256::digest(&bytes));
            let path = targets.join(format!("{hash}.{name}"));
            fs::write(&path, bytes).map_err(PatchError::cache(&path))?;
            written.push(path);
        }
        Ok((version, written))
    }

    /// Takes a version, or the newest for `kernel`, from a folder that [`Self::export`] made (or
    /// from any copy of a repository) into the cache: metadata that is not expired nor older
    /// than what was seen before, and files that it proves.
    pub async fn import(
        &self,
        folder: &Path,
        kernel: &KernelBuild,
        version: Option<PatchVersion>,
        now: Timestamp,
    ) -> Result<VerifiedPatch, PatchError> {
        let transport = FolderTransport::new(folder);
        let location = transport.location();
        let client = self.update_from(&location, transport, now).await?;
        let version = listed(&client, kernel, version)?;
        self.bring(&client, kernel, version).await?.verify(kernel)
    }
}

fn listed(
    client: &Client,
    kernel: &KernelBuild,
    wanted: Option<PatchVersion>,
) -> Result<PatchVersion, PatchError> {
    let targets = client.targets().iter().map(|target| &target.name);
    let versions = targets
        .filter(|name| name.kernel == *kernel && name.kind == TargetKind::Manifest)
        .map(|name| name.version);
    let found = match wanted {
        Some(wanted) => versions.into_iter().find(|version| *version == wanted),
        None => versions.max(),
    };
    found.ok_or_else(|| PatchError::NoneFor {
        kernel: kernel.clone(),
        version: wanted,
    })
}

fn target(kernel: &KernelBuild, version: PatchVersion, kind: TargetKind) -> TargetName {
    TargetName {
        kernel: kernel.clone(),
        version,
        kind,
    }
}

/// Whether a file of `targets`, named `SHA256.NAME`, is needed to load a patch of `kernel`.
fn is_needed(file: &str, kernel: &KernelBuild) -> bool {
    let name = file.split_once('.').map(|(_, name)| name.parse());
    matches!(name, Some(Ok(TargetName { kernel: of, kind, .. }))
        if of == *kernel && kind != TargetKind::Source)
}

/// Copies what a load on `kernel` needs of such a folder, for a reader who may not look into it: a
/// whole repository may lie there. No file may be larger than a repository's.
pub fn copy(from: &Path, to: &Path, kernel: &KernelBuild) -> io::Result<()> {
    for part in ["metadata", "targets"] {
        let (from, to) = (from.join(part), to.join(part));
        files::create_dir(&to, 0o755)?;
        for entry in fs::read_dir(&from)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_str().unwrap_or_default();
            let needed = part == "metadata" || is_needed(name, kernel);
            if needed && entry.file_type()?.is_file() {
                let bytes = files::read_bounded(&entry.path(), FILE_LIMIT)?;
                fs::write(to.join(name), bytes)?;
            }
        }
    }
    Ok(())
}
