//! Publishes: adds targets and keeps the metadata fresh.

use std::path::PathBuf;

use jiff::Timestamp;
use suture_advisory::CveId;
use suture_protocol::TargetName;
use tough::Repository;
use tough::schema::Targets;

use crate::current;
use crate::error::RepositoryError;
use crate::expiry::{self, Expiries};
use crate::ingest::{self, Ingested};
use crate::keys;
use crate::layout::Layout;
use crate::lock::PublisherLock;
use crate::published::{self, PublishedTarget};
use crate::role::Role;
use crate::signer::{Change, Present, Signer, Versions};

/// Someone who holds the keys of the online roles. Its calls wait for the disk; they are meant
/// for a command line or a thread of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publisher {
    /// The repository's folder.
    pub dir: PathBuf,
    /// The folder with the keys of targets, snapshot and timestamp.
    pub keys: PathBuf,
    pub expiries: Expiries,
}

/// Where a target's bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Bytes(Vec<u8>),
    File(PathBuf),
}

/// A target to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTarget {
    pub name: TargetName,
    pub content: Content,
    /// The advisories that the live patch resolves.
    pub fixes: Vec<CveId>,
}

/// What publishing did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    pub added: Vec<PublishedTarget>,
    /// Targets that were published before, with the same content.
    pub unchanged: Vec<PublishedTarget>,
    pub versions: Versions,
}

impl Publisher {
    /// With default expiries.
    pub fn new(dir: impl Into<PathBuf>, keys: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            keys: keys.into(),
            expiries: Expiries::default(),
        }
    }

    /// Adds targets, all or none. A published target keeps its content for ever: offering the
    /// same again changes nothing, offering something else under its name is an error.
    pub async fn publish(
        &self,
        targets: Vec<NewTarget>,
        now: Timestamp,
    ) -> Result<Published, RepositoryError> {
        let layout = Layout::new(&self.dir);
        let _lock = PublisherLock::take(&layout)?;
        let repository = current::load(&layout, None).await?;
        let known = published::list(&repository.targets().signed).map_err(inconsistent)?;
        let mut metadata = repository.targets().signed.clone();
        let (mut added, mut unchanged) = (Vec::new(), Vec::new());
        let mut files = Vec::new();
        for target in targets {
            let ingested = ingest::read(&layout, target)?;
            match known
                .iter()
                .chain(&added)
                .find(|known| known.name == ingested.target.name)
            {
                Some(known) => {
                    require_same(known, &ingested.target)?;
                    unchanged.push(known.clone());
                }
                None => {
                    add(&mut metadata, &ingested.target)?;
                    added.push(ingested.target.clone());
                }
            }
            files.push(ingested);
        }
        files
            .into_iter()
            .try_for_each(|file: Ingested| file.install(&layout))?;
        let change = if added.is_empty() {
            self.due(&repository, now)
        } else {
            Change::Targets(Box::new(metadata))
        };
        let versions = self.commit(&layout, &repository, change, now).await?;
        Ok(Published {
            added,
            unchanged,
            versions,
        })
    }

    /// Signs the timestamp anew, and of snapshot and targets what has less than half of its time
    /// left. Run it daily, from a timer.
    pub async fn refresh(&self, now: Timestamp) -> Result<Versions, RepositoryError> {
        let layout = Layout::new(&self.dir);
        let _lock = PublisherLock::take(&layout)?;
        let repository = current::load(&layout, None).await?;
        let change = self.due(&repository, now);
        self.commit(&layout, &repository, change, now).await
    }

    fn due(&self, repository: &Repository, now: Timestamp) -> Change {
        let due = |role: Role| {
            let mut expiries = expiry::expiries(repository).into_iter();
            expiries.any(|expiry| expiry.role == role && self.expiries.is_due(role, expiry.at, now))
        };
        if due(Role::Targets) {
            Change::Targets(Box::new(repository.targets().signed.clone()))
        } else if due(Role::Snapshot) {
            Change::Snapshot
        } else {
            Change::Timestamp
        }
    }

    async fn commit(
        &self,
        layout: &Layout,
        repository: &Repository,
        change: Change,
        now: Timestamp,
    ) -> Result<Versions, RepositoryError> {
        let keys = keys::read_dir(&self.keys)?;
        let root = repository.root().signed.clone();
        let present = Present::of(repository);
        Signer::new(layout, &self.keys, &keys, self.expiries, root, now)
            .commit(present.as_ref(), change)
            .await
    }
}

fn require_same(known: &PublishedTarget, offered: &PublishedTarget) -> Result<(), RepositoryError> {
    let name = || known.name.to_string();
    if known.sha256 != offered.sha256 {
        let (published, offered) = (known.sha256.clone(), offered.sha256.clone());
        return Err(RepositoryError::Replaced {
            name: name(),
            published,
            offered,
        });
    }
    if known.custom != offered.custom {
        return Err(RepositoryError::OtherFixes { name: name() });
    }
    Ok(())
}

fn add(metadata: &mut Targets, target: &PublishedTarget) -> Result<(), RepositoryError> {
    let name = target.name.to_string();
    let json = |source| RepositoryError::Json {
        role: Role::Targets,
        source,
    };
    let described = target.to_metadata().map_err(json)?;
    let key =
        tough::TargetName::new(name.as_str()).map_err(|source| RepositoryError::TargetName {
            name,
            source: Box::new(source),
        })?;
    metadata.targets.insert(key, described);
    Ok(())
}

pub(crate) fn inconsistent(error: published::Contradiction) -> RepositoryError {
    RepositoryError::Inconsistent { name: error.0 }
}
