//! Where the files of a repository lie: exactly as a static file server hands them out.
//!
//! ```text
//! <dir>/metadata/1.root.json 2.root.json …     every root, for readers that trust an older one
//!                N.snapshot.json N.targets.json
//!                timestamp.json                the only file that is ever replaced
//! <dir>/targets/<sha256>.<name>                modules, manifests, sources
//! <dir>/.publisher.lock
//! ```

use std::path::{Path, PathBuf};

/// The folders of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    dir: PathBuf,
}

impl Layout {
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn metadata(&self) -> PathBuf {
        self.dir.join("metadata")
    }

    pub fn targets(&self) -> PathBuf {
        self.dir.join("targets")
    }

    /// `metadata/N.root.json`.
    pub fn root(&self, version: u64) -> PathBuf {
        self.metadata().join(format!("{version}.root.json"))
    }

    pub fn timestamp(&self) -> PathBuf {
        self.metadata().join("timestamp.json")
    }

    /// `targets/<sha256>.<name>`.
    pub fn target(&self, sha256: &str, name: &str) -> PathBuf {
        self.targets().join(format!("{sha256}.{name}"))
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.dir.join(".publisher.lock")
    }
}
