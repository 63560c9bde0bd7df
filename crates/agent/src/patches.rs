//! Fetches live patches, keeps them, and trusts none that the repository's metadata doesn't prove.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use suture_advisory::PatchVersion;
use suture_kernel::KernelBuild;
use suture_protocol::{Manifest, TargetKind, TargetName};
use suture_repository::{Client, ClientError, Limits, Location};
use thiserror::Error;
use tough::Transport;
use url::Url;

use crate::coverage::Series;
use crate::failure::Failure;
use crate::files;
use crate::module_check::{self, CheckError};
use crate::network_trouble::NetworkTrouble;
use crate::state::StateDir;
use crate::transport::{FILE_LIMIT, HttpTransport};

/// Largest trusted root; a root with a few keys has 3 KB.
const ROOT_LIMIT: u64 = 1 << 20;
/// Versions of one kernel build that stay in the cache: the one in force and the one before.
const KEPT_VERSIONS: usize = 2;

/// A patch whose origin and fitness for the running kernel are proven.
#[derive(Debug, Clone)]
pub struct VerifiedPatch {
    pub manifest: Manifest,
    pub module: Vec<u8>,
}

/// What the repository has under a version's names; what it claims is not checked yet.
#[derive(Debug)]
pub struct FetchedPatch {
    version: PatchVersion,
    manifest: Manifest,
    module: Vec<u8>,
}

impl FetchedPatch {
    /// Proves manifest and module against each other and the running kernel.
    pub fn verify(self, kernel: &KernelBuild) -> Result<VerifiedPatch, PatchError> {
        module_check::check(&self.manifest, &self.module, self.version, kernel)?;
        Ok(VerifiedPatch {
            manifest: self.manifest,
            module: self.module,
        })
    }
}

/// Why there is no patch to load.
#[derive(Debug, Error)]
pub enum PatchError {
    #[error("cannot read the trusted root `{}`", path.display())]
    Root { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Repository(#[from] ClientError),
    #[error("the manifest of patch {version} cannot be read")]
    Manifest {
        version: PatchVersion,
        source: serde_json::Error,
    },
    #[error(transparent)]
    Check(#[from] CheckError),
    #[error(
        "the repository has no patch{} for kernel {kernel}",
        version.map_or_else(String::new, |version| format!(" {version}"))
    )]
    NoneFor {
        kernel: KernelBuild,
        version: Option<PatchVersion>,
    },
    #[error("cannot use the cache file `{}`", path.display())]
    Cache { path: PathBuf, source: io::Error },
    #[error("the address `{0}` has no room for a repository's path")]
    Address(Url),
}

impl PatchError {
    /// Whether it is the network that failed, and not the patch.
    pub fn is_network(&self) -> bool {
        matches!(self, Self::Repository(ClientError::Transport { .. }))
    }

    /// Whether it is the version itself that is not as it should be, and not this machine's
    /// clock, disk or network, nor the whole repository.
    pub fn blames_version(&self) -> bool {
        match self {
            Self::Manifest { .. } | Self::Check(_) => true,
            Self::Repository(error) => matches!(
                error,
                ClientError::Altered { .. }
                    | ClientError::TooLong { .. }
                    | ClientError::NotListed { .. }
                    | ClientError::Missing { .. }
                    | ClientError::Inconsistent { .. }
            ),
            Self::Root { .. } | Self::Cache { .. } | Self::NoneFor { .. } | Self::Address(_) => {
                false
            }
        }
    }

    pub(crate) fn cache(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Cache { path, source }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Root { .. } => {
                "the vendor hands out this file; `livepatch config root=/path/to/root.json` \
                 names another place"
            }
            Self::Repository(error) => match NetworkTrouble::in_chain(error) {
                Some(trouble) => trouble.hint(),
                None => error.hint(),
            },
            Self::Check(CheckError::WrongKernel { .. } | CheckError::WrongVermagic { .. }) => {
                "the vendor published it for the wrong kernel; nothing was loaded"
            }
            Self::Manifest { .. } | Self::Check(_) => {
                "nothing was loaded; tell the vendor, or update this agent if the format is newer"
            }
            Self::Cache { .. } => "check the room on the disk",
            Self::NoneFor { .. } => "`livepatch check` tells which kernels have patches",
            Self::Address(_) => return None,
        };
        Some(text.to_owned())
    }
}

impl From<PatchError> for Failure {
    fn from(error: PatchError) -> Self {
        let failure = Self::from_error(&error);
        let hint = failure.hint.clone().or_else(|| error.hint());
        Self { hint, ..failure }
    }
}

/// The repository as this machine sees it, with the cache of fetched files.
#[derive(Debug, Clone)]
pub struct Patches {
    root: PathBuf,
    datastore: PathBuf,
    cache: PathBuf,
    /// Where a check off line may put what it needs for a moment.
    scratch: PathBuf,
}

impl Patches {
    /// For one question, with nothing kept: `folder` holds what it takes meanwhile.
    pub fn for_once(root: &Path, folder: &Path) -> Self {
        Self {
            root: root.to_owned(),
            datastore: folder.to_owned(),
            cache: folder.to_owned(),
            scratch: folder.to_owned(),
        }
    }

    /// The cache of another user, which is read and not written: what is needed for a moment
    /// goes into `scratch`.
    pub fn kept_by_another(root: &Path, state_dir: &Path, scratch: &Path) -> Self {
        Self {
            root: root.to_owned(),
            datastore: StateDir::datastore_in(state_dir),
            cache: StateDir::targets_in(state_dir),
            scratch: scratch.to_owned(),
        }
    }

    /// `root` is the trusted TUF root.
    pub fn new(root: &Path, dir: &StateDir) -> Self {
        Self {
            root: root.to_owned(),
            datastore: dir.datastore(),
            cache: dir.targets(),
            scratch: dir.datastore(),
        }
    }

    fn trusted_root(&self) -> Result<Vec<u8>, PatchError> {
        files::read_bounded(&self.root, ROOT_LIMIT).map_err(|source| PatchError::Root {
            path: self.root.clone(),
            source,
        })
    }

    /// Updates the metadata, then brings the patch, from the cache where it is there already.
    pub async fn fetch(
        &self,
        server: &Url,
        transport: HttpTransport,
        kernel: &KernelBuild,
        version: PatchVersion,
        now: Timestamp,
    ) -> Result<FetchedPatch, PatchError> {
        let client = self.update(server, transport, now).await?;
        self.bring(&client, kernel, version).await
    }

    /// Reads manifest and module, from the cache where they are there already.
    pub(crate) async fn bring(
        &self,
        client: &Client,
        kernel: &KernelBuild,
        version: PatchVersion,
    ) -> Result<FetchedPatch, PatchError> {
        let manifest = self
            .read(client, kernel, version, TargetKind::Manifest)
            .await?;
        let manifest = parse(version, &manifest)?;
        module_check::check_manifest(&manifest, version, kernel)?;
        let module = self
            .read(client, kernel, version, TargetKind::Module)
            .await?;
        Ok(FetchedPatch {
            version,
            manifest,
            module,
        })
    }

    /// The kernels like `kernel` for which the repository has patches now.
    pub async fn series(
        &self,
        server: &Url,
        transport: HttpTransport,
        kernel: &KernelBuild,
        now: Timestamp,
    ) -> Result<Series, PatchError> {
        let client = self.update(server, transport, now).await?;
        let targets = client.targets().iter();
        let modules = targets.filter(|target| target.name.kind == TargetKind::Module);
        Ok(Series::of(
            kernel,
            modules.map(|target| &target.name.kernel),
        ))
    }

    pub(crate) async fn update(
        &self,
        server: &Url,
        transport: HttpTransport,
        now: Timestamp,
    ) -> Result<Client, PatchError> {
        self.update_from(&location(server)?, transport, now).await
    }

    pub(crate) async fn update_from<T>(
        &self,
        location: &Location,
        transport: T,
        now: Timestamp,
    ) -> Result<Client, PatchError>
    where
        T: Transport + Send + Sync + Clone + 'static,
    {
        let limits = Limits {
            target_bytes: FILE_LIMIT,
            ..Limits::default()
        };
        let root = self.trusted_root()?;
        Ok(Client::update(&root, &self.datastore, location, transport, &limits, now).await?)
    }

    /// A patch from the cache, proven anew by the metadata of the last update.
    pub async fn offline(
        &self,
        kernel: &KernelBuild,
        version: PatchVersion,
    ) -> Result<VerifiedPatch, PatchError> {
        let (client, manifest) = self.proven_manifest(kernel, version).await?;
        let module = self.cached(&client, kernel, version, TargetKind::Module)?;
        module_check::check(&manifest, &module, version, kernel)?;
        Ok(VerifiedPatch { manifest, module })
    }

    /// The manifest of a cached patch, proven anew.
    pub async fn manifest(
        &self,
        kernel: &KernelBuild,
        version: PatchVersion,
    ) -> Result<Manifest, PatchError> {
        let (_, manifest) = self.proven_manifest(kernel, version).await?;
        Ok(manifest)
    }

    async fn proven_manifest(
        &self,
        kernel: &KernelBuild,
        version: PatchVersion,
    ) -> Result<(Client, Manifest), PatchError> {
        let client = Client::offline(&self.trusted_root()?, &self.datastore, &self.scratch).await?;
        let manifest = self.cached(&client, kernel, version, TargetKind::Manifest)?;
        let manifest = parse(version, &manifest)?;
        module_check::check_manifest(&manifest, version, kernel)?;
        Ok((client, manifest))
    }

    /// The versions whose module is in the cache; nothing is proven yet.
    pub fn cached_versions(&self, kernel: &KernelBuild) -> Result<Vec<PatchVersion>, PatchError> {
        let mut versions: Vec<_> = self
            .cached_names()?
            .into_iter()
            .filter(|name| name.kernel == *kernel && name.kind == TargetKind::Module)
            .map(|name| name.version)
            .collect();
        versions.sort();
        Ok(versions)
    }

    /// Drops what is older than the version before `in_force`, for this kernel build only: the
    /// machine may start another kernel next time.
    pub fn prune(&self, kernel: &KernelBuild, in_force: PatchVersion) -> Result<(), PatchError> {
        let mut versions = self.cached_versions(kernel)?;
        versions.retain(|version| *version <= in_force);
        let Some(oldest) = versions.iter().rev().nth(KEPT_VERSIONS - 1) else {
            return Ok(());
        };
        for name in self.cached_names()? {
            if name.kernel == *kernel && name.version < *oldest {
                let path = self.cache.join(name.to_string());
                std::fs::remove_file(&path).map_err(|source| PatchError::Cache { path, source })?;
            }
        }
        Ok(())
    }

    fn cached_names(&self) -> Result<Vec<TargetName>, PatchError> {
        let unreadable = |source| PatchError::Cache {
            path: self.cache.clone(),
            source,
        };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.cache).map_err(unreadable)? {
            let name = entry.map_err(unreadable)?.file_name();
            names.extend(
                name.to_str()
                    .and_then(|name| name.parse::<TargetName>().ok()),
            );
        }
        Ok(names)
    }

    /// From the cache if what lies there is what the metadata says, else from the repository.
    async fn read(
        &self,
        client: &Client,
        kernel: &KernelBuild,
        version: PatchVersion,
        kind: TargetKind,
    ) -> Result<Vec<u8>, PatchError> {
        if let Ok(bytes) = self.cached(client, kernel, version, kind) {
            return Ok(bytes);
        }
        let name = TargetName {
            kernel: kernel.clone(),
            version,
            kind,
        };
        let bytes = client.read(&name).await?;
        let path = self.cache.join(name.to_string());
        files::write_atomic(&path, &bytes, 0o600)
            .map_err(|source| PatchError::Cache { path, source })?;
        Ok(bytes)
    }

    fn cached(
        &self,
        client: &Client,
        kernel: &KernelBuild,
        version: PatchVersion,
        kind: TargetKind,
    ) -> Result<Vec<u8>, PatchError> {
        let name = TargetName {
            kernel: kernel.clone(),
            version,
            kind,
        };
        let path = self.cache.join(name.to_string());
        let bytes = files::read_bounded(&path, FILE_LIMIT)
            .map_err(|source| PatchError::Cache { path, source })?;
        client.check(&name, &bytes)?;
        Ok(bytes)
    }
}

fn parse(version: PatchVersion, bytes: &[u8]) -> Result<Manifest, PatchError> {
    serde_json::from_slice(bytes).map_err(|source| PatchError::Manifest { version, source })
}

fn location(server: &Url) -> Result<Location, PatchError> {
    let join = |path| {
        server
            .join(path)
            .map_err(|_| PatchError::Address(server.clone()))
    };
    Ok(Location {
        metadata: join("v1/repository/metadata/")?,
        targets: join("v1/repository/targets/")?,
    })
}
