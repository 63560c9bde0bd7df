//! Reads a repository: what the trusted root leads to, and nothing else.

use std::path::Path;

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use suture_advisory::PatchVersion;
use suture_kernel::KernelBuild;
use suture_protocol::{TargetKind, TargetName};
use tough::{ExpirationEnforcement, IntoVec, Repository, RepositoryLoader, Transport};

use crate::cache::{self, Cache};
use crate::client_error::ClientError;
use crate::expiry::{self, Expiry};
use crate::files::Files;
use crate::folder::{FolderTransport, Location};
use crate::limits::Limits;
use crate::published::{self, PublishedTarget};
use crate::recorder::{Kept, Recorder, Recording};
use crate::seen::Seen;

/// A verified view of a repository.
#[derive(Debug, Clone)]
pub struct Client {
    repository: Repository,
    targets: Vec<PublishedTarget>,
    limits: Limits,
}

impl Client {
    /// Fetches and verifies the repository's present metadata, starting from the latest root
    /// that `trusted_root` led to so far. Only if all of it is valid at `now` and no older than
    /// what was seen before, it is kept in the folder `datastore` and handed out.
    pub async fn update<T>(
        trusted_root: &[u8],
        datastore: &Path,
        location: &Location,
        transport: T,
        limits: &Limits,
        now: Timestamp,
    ) -> Result<Self, ClientError>
    where
        T: Transport + Send + Sync + Clone + 'static,
    {
        let cache = Cache::open(datastore, limits.metadata_bytes)?;
        let update = Update {
            trusted_root,
            cache: &cache,
            location,
            limits,
            now,
        };
        match update.run(Box::new(transport.clone()), true).await {
            Err(failure) if failure.may_come_from_cache() => {
                update.run(Box::new(transport), false).await
            }
            other => other,
        }
        .map_err(|failure| failure.error)
    }

    /// Verifies the metadata of the last update anew, from the trusted root on and without any
    /// network, so that a module fetched earlier can be checked and applied after a reboot.
    ///
    /// Expiry is not enforced: it guards against being held back at an old state, which is no
    /// worse for a machine without network than not patching at all, and the version was chosen
    /// when the metadata was fresh. Signatures, hashes and the root's chain are checked as ever.
    ///
    /// `scratch` is a folder for files of the moment; `datastore` itself is only read.
    pub async fn offline(
        trusted_root: &[u8],
        datastore: &Path,
        scratch: &Path,
    ) -> Result<Self, ClientError> {
        let limits = Limits::default();
        let cache = Cache::open(datastore, limits.metadata_bytes)?;
        if !cache.has_timestamp() {
            return Err(ClientError::NothingCached {
                path: cache.metadata(),
            });
        }
        let latest = cache.latest_root(trusted_root);
        let root = latest
            .as_ref()
            .map_or(trusted_root, |root| root.bytes.as_slice());
        let transport = FolderTransport::new(cache.dir());
        let location = transport.location();
        let staging = cache::scratch_folder(scratch)
            .map_err(ClientError::datastore("write into", scratch))?;
        let repository = load(root, &location, transport, &limits, staging.path()).await?;
        let targets = published::list(&repository.targets().signed)?;
        Ok(Self {
            repository,
            targets,
            limits,
        })
    }

    /// All live patch files that the repository lists, by kernel, version, kind.
    pub fn targets(&self) -> &[PublishedTarget] {
        &self.targets
    }

    pub fn find(
        &self,
        kernel: &KernelBuild,
        version: PatchVersion,
        kind: TargetKind,
    ) -> Option<&PublishedTarget> {
        published::find(&self.targets, kernel, version, kind)
    }

    /// Fetches a target and returns its bytes if their hash and length are the signed ones.
    pub async fn read(&self, name: &TargetName) -> Result<Vec<u8>, ClientError> {
        self.require(name)?;
        self.read_named(&name.to_string()).await
    }

    /// Like [`Client::read`], for a target of any name: other files may live in a repository.
    pub async fn read_named(&self, name: &str) -> Result<Vec<u8>, ClientError> {
        let (length, sha256) = self.listed(name)?;
        if length > self.limits.target_bytes {
            let limit = self.limits.target_bytes;
            return Err(ClientError::TooLong {
                what: name.to_owned(),
                limit,
            });
        }
        let key = tough::TargetName::new(name)?;
        let stream = self.repository.read_target(&key).await?;
        let stream = stream.ok_or_else(|| not_listed(name))?;
        let bytes = stream.into_vec().await?;
        compare(name, &bytes, length, &sha256)?;
        Ok(bytes)
    }

    /// Whether bytes are the target that the metadata lists under any name.
    pub fn check_named(&self, name: &str, bytes: &[u8]) -> Result<(), ClientError> {
        let (length, sha256) = self.listed(name)?;
        compare(name, bytes, length, &sha256)
    }

    /// Length in bytes and hash of a target, as the targets role signed them.
    fn listed(&self, name: &str) -> Result<(u64, String), ClientError> {
        let key = tough::TargetName::new(name)?;
        let target = self.repository.targets().signed.targets.get(&key);
        let target = target.ok_or_else(|| not_listed(name))?;
        Ok((target.length, hex::encode(&target.hashes.sha256)))
    }

    /// Whether bytes that were read earlier are the target that the metadata lists.
    pub fn check(&self, name: &TargetName, bytes: &[u8]) -> Result<(), ClientError> {
        let target = self.require(name)?;
        compare(&name.to_string(), bytes, target.length, &target.sha256)
    }

    /// What a copy of the repository needs.
    pub fn files(&self) -> Files {
        Files::of(&self.repository)
    }

    /// The expiries of all four roles.
    pub fn expiries(&self) -> [Expiry; 4] {
        expiry::expiries(&self.repository)
    }

    fn require(&self, name: &TargetName) -> Result<&PublishedTarget, ClientError> {
        self.find(&name.kernel, name.version, name.kind)
            .ok_or_else(|| not_listed(&name.to_string()))
    }
}

fn not_listed(name: &str) -> ClientError {
    ClientError::NotListed {
        name: name.to_owned(),
    }
}

fn compare(name: &str, bytes: &[u8], length: u64, sha256: &str) -> Result<(), ClientError> {
    if bytes.len() as u64 == length && hex::encode(Sha256::digest(bytes)) == sha256 {
        Ok(())
    } else {
        Err(ClientError::Altered {
            what: name.to_owned(),
        })
    }
}

/// What one update is made of.
struct Update<'a> {
    trusted_root: &'a [u8],
    cache: &'a Cache,
    location: &'a Location,
    limits: &'a Limits,
    now: Timestamp,
}

struct Failure {
    error: ClientError,
    cache_was_used: bool,
}

impl Failure {
    /// A damaged disk, or a publisher who went back to a copy and signed a version number twice:
    /// what is kept under it is then the wrong file, and only fetching tells.
    fn may_come_from_cache(&self) -> bool {
        use ClientError as E;
        let content = matches!(
            self.error,
            E::Altered { .. } | E::TooLong { .. } | E::Malformed { .. } | E::Signature { .. }
        );
        self.cache_was_used && content
    }
}

impl Update<'_> {
    async fn run(
        &self,
        transport: Box<dyn Transport + Send + Sync>,
        use_cache: bool,
    ) -> Result<Client, Failure> {
        let kept = Kept {
            metadata: use_cache.then(|| self.cache.metadata()),
            root: self.latest_root(),
            timestamp: Seen::of(self.cache).timestamp(),
        };
        let recorder = Recorder::new(transport, self.limits.metadata_bytes, kept);
        let (root, limits) = (self.latest_root(), self.limits);
        let staging = self.cache.staging().map_err(|error| Failure {
            error,
            cache_was_used: false,
        })?;
        let loaded = load(
            &root,
            self.location,
            recorder.clone(),
            limits,
            staging.path(),
        )
        .await;
        let recording = recorder.finish();
        let cache_was_used = recording.cache_was_used;
        self.accept(loaded, recording, staging.path())
            .map_err(|error| Failure {
                error,
                cache_was_used,
            })
    }

    /// The root from which this update starts.
    fn latest_root(&self) -> Vec<u8> {
        match self.cache.latest_root(self.trusted_root) {
            Some(root) => root.bytes,
            None => self.trusted_root.to_vec(),
        }
    }

    fn accept(
        &self,
        loaded: Result<Repository, ClientError>,
        recording: Recording,
        staging: &Path,
    ) -> Result<Client, ClientError> {
        if let Some(latest) = self.cache.latest_root(self.trusted_root) {
            let root = self.cache.keep_roots(latest, &recording.files)?;
            // Without an answer about the next root, nobody knows which keys count.
            if recording.root_failure.is_none() {
                let seen = Seen::of(self.cache);
                seen.keep(&root, staging, &recording.files, self.now)?;
            }
        }
        let repository = loaded?;
        if let Some(failure) = recording.root_failure {
            return Err(failure.into());
        }
        if let Some(Expiry { role, at: expired }) =
            expiry::first_expired(&expiry::expiries(&repository), self.now)
        {
            return Err(ClientError::Expired { role, expired });
        }
        let targets = published::list(&repository.targets().signed)?;
        self.cache.keep(&repository, &recording.files)?;
        Ok(Client {
            repository,
            targets,
            limits: *self.limits,
        })
    }
}

/// Runs `tough` with its own clock out of the game: expiry is compared with the caller's time.
async fn load<T: Transport + Send + Sync + 'static>(
    root: &[u8],
    location: &Location,
    transport: T,
    limits: &Limits,
    staging: &Path,
) -> Result<Repository, ClientError> {
    let (metadata, targets) = (location.metadata.clone(), location.targets.clone());
    let repository = RepositoryLoader::new(&root, metadata, targets)
        .transport(transport)
        .limits(limits.to_tough())
        .datastore(staging)
        .expiration_enforcement(ExpirationEnforcement::Unsafe)
        .load()
        .await?;
    Ok(repository)
}
