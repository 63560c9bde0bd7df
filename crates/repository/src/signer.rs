//! Signs metadata and puts it in place, so that a reader always meets a whole state.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::path::PathBuf;

use aws_lc_rs::rand::SystemRandom;
use jiff::Timestamp;
use serde::Serialize;
use tough::Repository;
use tough::editor::signed::SignedRole;
use tough::key_source::KeySource;
use tough::schema::{
    Hashes, KeyHolder, Metafile, Role as ToughRole, Root, Snapshot, Targets,
    Timestamp as TimestampRole,
};

use crate::durable;
use crate::error::RepositoryError;
use crate::expiry::Expiries;
use crate::keys::{self, SigningKey};
use crate::layout::Layout;
use crate::limits::MAX_METADATA_BYTES;
use crate::prune::prune;
use crate::role::Role;

/// Version of the TUF specification that the metadata follows.
pub(crate) const SPEC_VERSION: &str = "1.0.0";

/// Signs on behalf of the online roles.
pub(crate) struct Signer<'a> {
    pub layout: &'a Layout,
    pub expiries: Expiries,
    pub now: Timestamp,
    /// The root that will be the latest.
    pub root: Root,
    /// The root before it, while keys are being replaced: what is signed then is good under
    /// both, so a reader is served at every moment of the change.
    pub previous: Option<Root>,
    keys_dir: PathBuf,
    sources: Vec<Box<dyn KeySource>>,
}

/// What was signed last; none in a new repository.
pub(crate) struct Present {
    targets: Metafile,
    targets_version: u64,
    snapshot: Metafile,
    snapshot_version: u64,
    timestamp_version: u64,
}

impl Present {
    /// None if the metadata lacks an entry that TUF demands; `tough` has checked them.
    pub(crate) fn of(repository: &Repository) -> Option<Self> {
        let (snapshot, timestamp) = (
            &repository.snapshot().signed,
            &repository.timestamp().signed,
        );
        Some(Self {
            targets: snapshot.meta.get("targets.json")?.clone(),
            targets_version: repository.targets().signed.version.get(),
            snapshot: timestamp.meta.get("snapshot.json")?.clone(),
            snapshot_version: snapshot.version.get(),
            timestamp_version: timestamp.version.get(),
        })
    }
}

/// Which roles are signed anew. The timestamp always is.
#[derive(Debug)]
pub(crate) enum Change {
    Targets(Box<Targets>),
    Snapshot,
    Timestamp,
}

/// The versions after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    pub targets: u64,
    pub snapshot: u64,
    pub timestamp: u64,
}

impl<'a> Signer<'a> {
    pub(crate) fn new(
        layout: &'a Layout,
        keys_dir: &std::path::Path,
        keys: &[SigningKey],
        expiries: Expiries,
        root: Root,
        now: Timestamp,
    ) -> Self {
        let sources = keys::sources(keys);
        let keys_dir = keys_dir.to_owned();
        Self {
            layout,
            expiries,
            now,
            root,
            previous: None,
            keys_dir,
            sources,
        }
    }

    /// Signs a change and writes it, the timestamp last: until then nobody looks at the rest.
    pub(crate) async fn commit(
        &self,
        present: Option<&Present>,
        change: Change,
    ) -> Result<Versions, RepositoryError> {
        let mut versions = Versions {
            targets: present.map_or(0, |present| present.targets_version),
            snapshot: present.map_or(0, |present| present.snapshot_version),
            timestamp: present.map_or(0, |present| present.timestamp_version) + 1,
        };
        let mut targets_meta = present.map(|present| present.targets.clone());
        let mut snapshot_meta = present.map(|present| present.snapshot.clone());
        let resign_snapshot = !matches!(change, Change::Timestamp) || snapshot_meta.is_none();
        if let Change::Targets(targets) = change {
            versions.targets += 1;
            targets_meta = Some(self.write_targets(*targets, versions.targets).await?);
        }
        if let (true, Some(meta)) = (resign_snapshot, targets_meta) {
            versions.snapshot += 1;
            snapshot_meta = Some(self.write_snapshot(meta, versions.snapshot).await?);
        }
        if let Some(meta) = snapshot_meta {
            self.write_timestamp(meta, versions.timestamp).await?;
        }
        prune(self.layout, &versions)?;
        Ok(versions)
    }

    async fn write_targets(
        &self,
        mut targets: Targets,
        version: u64,
    ) -> Result<Metafile, RepositoryError> {
        targets.version = non_zero(version);
        targets.expires = self.expiries.sign(Role::Targets, self.now)?;
        self.write(Role::Targets, targets).await
    }

    async fn write_snapshot(
        &self,
        targets: Metafile,
        version: u64,
    ) -> Result<Metafile, RepositoryError> {
        let expires = self.expiries.sign(Role::Snapshot, self.now)?;
        let mut snapshot = Snapshot::new(SPEC_VERSION.to_owned(), non_zero(version), expires);
        snapshot.meta.insert("targets.json".to_owned(), targets);
        self.write(Role::Snapshot, snapshot).await
    }

    async fn write_timestamp(
        &self,
        snapshot: Metafile,
        version: u64,
    ) -> Result<Metafile, RepositoryError> {
        let expires = self.expiries.sign(Role::Timestamp, self.now)?;
        let mut timestamp = TimestampRole::new(SPEC_VERSION.to_owned(), non_zero(version), expires);
        timestamp.meta.insert("snapshot.json".to_owned(), snapshot);
        self.write(Role::Timestamp, timestamp).await
    }

    /// Signs one role and writes its file; the answer describes the file for the next role.
    async fn write<T>(&self, role: Role, metadata: T) -> Result<Metafile, RepositoryError>
    where
        T: ToughRole + Serialize + Clone,
    {
        let version = metadata.version();
        let path = self.layout.metadata().join(metadata.filename(true));
        let signed = self.sign(role, metadata).await?;
        if *signed.length() > MAX_METADATA_BYTES {
            let name = format!("{role}.json");
            return Err(RepositoryError::TooLong {
                name,
                limit: MAX_METADATA_BYTES,
            });
        }
        durable::write(&path, signed.buffer()).map_err(RepositoryError::io("write", path))?;
        Ok(Metafile {
            length: Some(*signed.length()),
            hashes: Some(Hashes {
                sha256: signed.sha256().to_vec().into(),
                _extra: HashMap::new(),
            }),
            version,
            _extra: HashMap::new(),
        })
    }

    async fn sign<T>(&self, role: Role, metadata: T) -> Result<SignedRole<T>, RepositoryError>
    where
        T: ToughRole + Serialize + Clone,
    {
        let signed = sign_with(&self.root, &self.sources, metadata.clone())
            .await
            .map_err(|source| self.explain(role, source))?;
        let Some(previous) = &self.previous else {
            return Ok(signed);
        };
        // Without the old key nobody is worse off than a moment later, when it stops to count.
        let Ok(old) = sign_with(previous, &self.sources, metadata).await else {
            return Ok(signed);
        };
        signed
            .add_old_signatures(old.signed().signatures.clone())
            .map_err(|source| self.explain(role, source))
    }

    fn explain(&self, role: Role, source: tough::error::Error) -> RepositoryError {
        use tough::error::Error;
        match source {
            Error::SigningKeysNotFound { .. } | Error::KeysNotFoundInRoot { .. } => {
                RepositoryError::MissingKey {
                    role,
                    dir: self.keys_dir.clone(),
                }
            }
            source => RepositoryError::Sign {
                role,
                source: Box::new(source),
            },
        }
    }
}

/// Signs metadata with those of the keys that count for its role.
pub(crate) async fn sign_with<T>(
    root: &Root,
    sources: &[Box<dyn KeySource>],
    metadata: T,
) -> Result<SignedRole<T>, tough::error::Error>
where
    T: ToughRole + Serialize,
{
    SignedRole::new(
        metadata,
        &KeyHolder::Root(root.clone()),
        sources,
        &SystemRandom::new(),
    )
    .await
}

/// Versions count from 1.
pub(crate) fn non_zero(version: u64) -> NonZeroU64 {
    NonZeroU64::new(version).unwrap_or(NonZeroU64::MIN)
}
