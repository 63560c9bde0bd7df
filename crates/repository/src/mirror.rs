//! Copies a repository from somewhere else into a folder, proven, and keeps the copy up to date.
//!
//! ```text
//! <dir>/metadata  <dir>/targets    the copy, a repository like any other
//! <dir>/.source                    what was accepted from the source so far, see `cache.rs`
//! ```
//!
//! A reader of the copy meets a whole state at every moment: targets come first and the timestamp
//! last, as when a publisher writes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use thiserror::Error;
use tough::Transport;
use tough::schema::{Signed, Timestamp as TimestampRole};

use crate::cache::{RootFile, follow, root_name};
use crate::client::Client;
use crate::client_error::ClientError;
use crate::current::read_bounded;
use crate::durable;
use crate::error::RepositoryError;
use crate::files::{Files, TargetFile};
use crate::folder::Location;
use crate::layout::Layout;
use crate::limits::{Limits, MAX_METADATA_BYTES};
use crate::lock::PublisherLock;
use crate::prune::prune;
use crate::recorder::read_bounded_url;
use crate::signer::Versions;

/// A copy of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The copy's folder; it is made if it is missing.
    pub dir: PathBuf,
    /// The root that leads to the source's. Without one, the first root that the copy holds: the
    /// first copy needs one.
    pub trusted_root: Option<Vec<u8>>,
    pub limits: Limits,
}

/// What bringing a copy up to date did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    pub versions: Versions,
    /// Names of the targets that are new in the copy.
    pub added: Vec<String>,
    /// Whether anything is new there.
    pub changed: bool,
}

/// Why a copy could not be made. What it held before is in force.
#[derive(Debug, Error)]
pub enum MirrorError {
    #[error(transparent)]
    Source(#[from] ClientError),
    #[error(transparent)]
    Copy(#[from] RepositoryError),
    #[error("`{}` is new, and nothing says which root to trust", dir.display())]
    NoTrustedRoot { dir: PathBuf },
    #[error(
        "`{}` is at timestamp version {have} and the source at {offered}: something was \
         published here, or the source is old", dir.display()
    )]
    Ahead {
        dir: PathBuf,
        have: u64,
        offered: u64,
    },
    #[error(
        "`{}` and the source each have their own timestamp of version {version}: two publishers \
         signed, or these are two repositories", dir.display()
    )]
    Diverged { dir: PathBuf, version: u64 },
    #[error("the source has no `{file}` that leads to the trusted root")]
    BrokenRoots { file: String },
}

impl MirrorError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Source(ClientError::Transport { .. }) => {
                "check the address and the network; the copy is what it was"
            }
            Self::Source(error) => error.hint(),
            Self::Copy(error) => error.hint(),
            Self::NoTrustedRoot { .. } => {
                "name by --trusted-root the root that machines of this repository have in \
                 /etc/livepatch/root.json"
            }
            Self::Ahead { .. } => {
                "push this folder to the source, or copy into another folder and compare"
            }
            Self::Diverged { .. } => "copy into another folder, and compare the two",
            Self::BrokenRoots { .. } => "ask the publisher for all roots since the first",
        }
    }
}

impl Mirror {
    /// A copy in a folder, with the usual limits.
    pub fn new(dir: impl Into<PathBuf>, trusted_root: Option<Vec<u8>>) -> Self {
        Self {
            dir: dir.into(),
            trusted_root,
            limits: Limits::default(),
        }
    }

    /// Brings the copy to the state that the source has at `now`. Nothing older than what the
    /// copy has seen is taken, nothing that doesn't verify, and nothing that expired.
    pub async fn update<T>(
        &self,
        location: &Location,
        transport: T,
        now: Timestamp,
    ) -> Result<Copied, MirrorError>
    where
        T: Transport + Send + Sync + Clone + 'static,
    {
        let layout = Layout::new(&self.dir);
        for folder in [layout.metadata(), layout.targets()] {
            let failed = RepositoryError::io("make the folder", &folder);
            fs::create_dir_all(&folder).map_err(failed)?;
        }
        let _lock = PublisherLock::take(&layout)?;
        let trusted_root = self.root(&layout)?;
        let source = Source {
            location,
            transport: &transport,
            kept: Layout::new(self.dir.join(".source")),
        };
        let (kept, limits) = (source.kept.dir(), &self.limits);
        let client = Client::update(
            &trusted_root,
            kept,
            location,
            transport.clone(),
            limits,
            now,
        )
        .await?;
        let files = client.files();
        let roots = source.roots(&trusted_root, files.root).await?;
        require_newer(&layout, &source.kept, files.versions.timestamp)?;
        let added = add_targets(&layout, &client, &files).await?;
        let changed = source.add_metadata(&layout, &files, &roots)?;
        prune(&layout, &files.versions)?;
        Ok(Copied {
            versions: files.versions,
            changed: changed || !added.is_empty(),
            added,
        })
    }

    fn root(&self, layout: &Layout) -> Result<Vec<u8>, MirrorError> {
        if let Some(root) = &self.trusted_root {
            return Ok(root.clone());
        }
        let path = layout.root(1);
        match read_bounded(&path, MAX_METADATA_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(MirrorError::NoTrustedRoot {
                    dir: self.dir.clone(),
                })
            }
            read => Ok(read.map_err(RepositoryError::io("read", path))?),
        }
    }
}

/// Where a copy comes from, and what was accepted of it.
struct Source<'a, T> {
    location: &'a Location,
    transport: &'a T,
    kept: Layout,
}

impl<T: Transport + Send + Sync> Source<'_, T> {
    /// All roots from the first to the latest. Those before the trusted one are for readers that
    /// trust an even older one; they must lead to it.
    async fn roots(&self, trusted: &[u8], latest: u64) -> Result<Vec<RootFile>, MirrorError> {
        let broken = |version: u64| MirrorError::BrokenRoots {
            file: root_name(version),
        };
        let trusted = RootFile::parse(trusted.to_vec()).ok_or_else(|| broken(1))?;
        let before = self.roots_before(&trusted).await?;
        let mut roots: Vec<_> = before.into_iter().rev().collect();
        roots.extend(follow(trusted, |name| {
            let path = self.kept.metadata().join(name);
            read_bounded(&path, MAX_METADATA_BYTES).ok()
        }));
        let whole = roots.last().map(RootFile::version) == Some(latest);
        whole.then_some(roots).ok_or_else(|| broken(latest))
    }

    /// The latest first.
    async fn roots_before(&self, trusted: &RootFile) -> Result<Vec<RootFile>, MirrorError> {
        let mut before: Vec<RootFile> = Vec::new();
        for version in (1..trusted.version()).rev() {
            let broken = || MirrorError::BrokenRoots {
                file: root_name(version),
            };
            let url = self.location.metadata.join(&root_name(version));
            let url = url.map_err(|_| broken())?;
            let bytes = read_bounded_url(self.transport, &url, MAX_METADATA_BYTES)
                .await
                .map_err(ClientError::from)?;
            let root = RootFile::parse(bytes).ok_or_else(broken)?;
            if !root.is_followed_by(before.last().unwrap_or(trusted)) {
                return Err(broken());
            }
            before.push(root);
        }
        Ok(before)
    }

    /// Whether any of it is new.
    fn add_metadata(
        &self,
        layout: &Layout,
        files: &Files,
        roots: &[RootFile],
    ) -> Result<bool, MirrorError> {
        let mut changed = false;
        for name in files.metadata() {
            let root = roots.iter().find(|root| root_name(root.version()) == name);
            let bytes = match root {
                Some(root) => root.bytes.clone(),
                None => {
                    let path = self.kept.metadata().join(&name);
                    let failed = RepositoryError::io("read", path.clone());
                    read_bounded(&path, MAX_METADATA_BYTES).map_err(failed)?
                }
            };
            changed |= put(&layout.metadata().join(name), &bytes)?;
        }
        Ok(changed)
    }
}

/// Fetches what is missing; a file that is there has its content by its name and its length.
async fn add_targets(
    layout: &Layout,
    client: &Client,
    files: &Files,
) -> Result<Vec<String>, MirrorError> {
    let mut added = Vec::new();
    for target in &files.targets {
        let path = layout.target(&target.sha256, &target.name);
        if is_there(&path, target) {
            continue;
        }
        let bytes = client.read_named(&target.name).await?;
        durable::write(&path, &bytes).map_err(RepositoryError::io("write", path))?;
        added.push(target.name.clone());
    }
    Ok(added)
}

fn is_there(path: &Path, target: &TargetFile) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == target.length)
}

/// A copy goes forwards only, and never changes what it showed under a version.
fn require_newer(copy: &Layout, source: &Layout, offered: u64) -> Result<(), MirrorError> {
    let Some((bytes, have)) = timestamp(copy) else {
        return Ok(());
    };
    let dir = copy.dir().to_owned();
    if have > offered {
        return Err(MirrorError::Ahead { dir, have, offered });
    }
    let same = timestamp(source).is_some_and(|(source, _)| source == bytes);
    if have == offered && !same {
        let version = have;
        return Err(MirrorError::Diverged { dir, version });
    }
    Ok(())
}

fn timestamp(layout: &Layout) -> Option<(Vec<u8>, u64)> {
    let bytes = read_bounded(&layout.timestamp(), MAX_METADATA_BYTES).ok()?;
    let parsed: Signed<TimestampRole> = serde_json::from_slice(&bytes).ok()?;
    Some((bytes, parsed.signed.version.get()))
}

/// Whether the file is new or changed.
fn put(path: &Path, bytes: &[u8]) -> Result<bool, RepositoryError> {
    if read_bounded(path, MAX_METADATA_BYTES).is_ok_and(|present| present == bytes) {
        return Ok(false);
    }
    durable::write(path, bytes).map_err(RepositoryError::io("write", path))?;
    Ok(true)
}
