//! What a repository's folder offers now, for the server.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use jiff::Timestamp;
use suture_advisory::PatchVersion;
use suture_kernel::KernelBuild;
use suture_protocol::{TargetKind, TargetName};

use crate::current;
use crate::error::RepositoryError;
use crate::expiry::{self, Expiry};
use crate::layout::Layout;
use crate::published::{self, PublishedTarget};
use crate::publisher::inconsistent;

/// The published targets of a folder, from verified metadata. Expired metadata is listed all
/// the same (machines refuse it by themselves); [`Catalogue::expired`] tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue {
    layout: Layout,
    targets: Vec<PublishedTarget>,
    expiries: [Expiry; 4],
    stamp: Stamp,
}

/// Tells one `timestamp.json` from another without reading it: each is a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl Catalogue {
    /// Reads and verifies a folder, from the given trusted root or, without one, from the
    /// folder's own first root.
    pub async fn load(dir: &Path, root: Option<&[u8]>) -> Result<Self, RepositoryError> {
        let layout = Layout::new(dir);
        // The stamp comes first: a change in between makes the catalogue look old, never new.
        let stamp = match Stamp::of(&layout) {
            Ok(stamp) => stamp,
            Err(_) => {
                return Err(RepositoryError::NotARepository {
                    dir: dir.to_owned(),
                });
            }
        };
        let repository = current::load(&layout, root).await?;
        let targets = published::list(&repository.targets().signed).map_err(inconsistent)?;
        let expiries = expiry::expiries(&repository);
        Ok(Self {
            layout,
            targets,
            expiries,
            stamp,
        })
    }

    /// Whether the folder still is as it was read; costs one stat(2).
    pub fn is_current(&self) -> bool {
        Stamp::of(&self.layout).is_ok_and(|stamp| stamp == self.stamp)
    }

    /// By kernel, then version, then kind.
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

    /// A target by its name.
    pub fn get(&self, name: &TargetName) -> Option<&PublishedTarget> {
        self.find(&name.kernel, name.version, name.kind)
    }

    /// The file of a target.
    pub fn path(&self, target: &PublishedTarget) -> std::path::PathBuf {
        self.layout.target(&target.sha256, &target.name.to_string())
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The role whose metadata expired first, if any did.
    pub fn expired(&self, now: Timestamp) -> Option<Expiry> {
        expiry::first_expired(&self.expiries, now)
    }

    /// The expiries of all four roles.
    pub fn expiries(&self) -> &[Expiry; 4] {
        &self.expiries
    }
}

impl Stamp {
    fn of(layout: &Layout) -> std::io::Result<Self> {
        let metadata = fs::metadata(layout.timestamp())?;
        Ok(Self {
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}
