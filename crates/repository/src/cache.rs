//! The metadata that a client has accepted, kept for three purposes: nothing older is accepted
//! afterwards, unchanged files are not fetched again, and it can be verified anew off line.
//!
//! ```text
//! <datastore>/metadata/N.root.json        every root that followed the trusted one
//!                      N.snapshot.json    the two files that timestamp.json leads to
//!                      N.targets.json
//!                      timestamp.json     written last
//! ```
//!
//! A file here is the publisher's, byte for byte, and is verified from the trusted root on
//! whenever it is used. A damaged file counts as absent: the machine then knows no more than a
//! new one does.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tough::Repository;
use tough::schema::{Root, Signed, Timestamp};

use crate::client_error::ClientError;
use crate::current::read_bounded;
use crate::durable;
use crate::expiry::from_seconds;
use crate::seen::Seen;

pub(crate) struct Cache {
    dir: PathBuf,
    limit: u64,
}

/// A root with the bytes that were signed.
pub(crate) struct RootFile {
    pub(crate) bytes: Vec<u8>,
    root: Signed<Root>,
}

impl RootFile {
    /// None unless the bytes are a root that its own keys signed.
    pub(crate) fn parse(bytes: Vec<u8>) -> Option<Self> {
        let root: Signed<Root> = serde_json::from_slice(&bytes).ok()?;
        root.signed.verify_role(&root).ok()?;
        Some(Self { bytes, root })
    }

    pub(crate) fn version(&self) -> u64 {
        self.root.signed.version.get()
    }

    pub(crate) fn expires(&self) -> jiff::Timestamp {
        from_seconds(self.root.signed.expires.as_second())
    }

    /// Whether a timestamp is signed by the keys that count for it.
    pub(crate) fn signed(&self, timestamp: &Signed<Timestamp>) -> bool {
        self.root.signed.verify_role(timestamp).is_ok()
    }

    /// Whether `next` may take this root's place: the next version, signed by this root's keys
    /// (source: TUF specification 1.0, 5.3.4 and 5.3.5).
    pub(crate) fn is_followed_by(&self, next: &Self) -> bool {
        self.version().checked_add(1) == Some(next.version())
            && self.root.signed.verify_role(&next.root).is_ok()
    }
}

impl Cache {
    pub(crate) fn open(datastore: &Path, limit: u64) -> Result<Self, ClientError> {
        let dir = datastore.to_owned();
        let metadata = dir.join("metadata");
        fs::create_dir_all(&metadata)
            .map_err(ClientError::datastore("make the folder", &metadata))?;
        Ok(Self { dir, limit })
    }

    pub(crate) fn metadata(&self) -> PathBuf {
        self.dir.join("metadata")
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// The timestamp of the last accepted update.
    pub(crate) fn timestamp(&self) -> Option<Vec<u8>> {
        self.read("timestamp.json")
    }

    /// The snapshot of the last accepted update.
    pub(crate) fn snapshot(&self) -> Option<Vec<u8>> {
        let version = snapshot_version(&self.timestamp()?)?;
        self.read(&format!("{version}.snapshot.json"))
    }

    /// The latest root that kept files lead to from the trusted one. A root once replaced never
    /// counts again, even if a server no longer shows its successor.
    pub(crate) fn latest_root(&self, trusted: &[u8]) -> Option<RootFile> {
        let trusted = RootFile::parse(trusted.to_vec())?;
        let roots = follow(trusted, |name| self.read(name));
        roots.into_iter().next_back()
    }

    /// A folder for one run of `tough`, which overwrites its files in place: it gets a copy of
    /// what rollbacks are told by.
    pub(crate) fn staging(&self) -> Result<TempDir, ClientError> {
        let failed = || ClientError::datastore("write into", &self.dir);
        let staging = scratch_folder(&self.dir).map_err(failed())?;
        let seen = Seen::of(self);
        for (name, bytes) in [
            ("timestamp.json", seen.timestamp()),
            ("snapshot.json", seen.snapshot()),
        ] {
            if let Some(bytes) = bytes {
                fs::write(staging.path().join(name), bytes).map_err(failed())?;
            }
        }
        Ok(staging)
    }

    /// Keeps roots that follow the latest one, also of an update that failed later on, and
    /// returns the last of them.
    pub(crate) fn keep_roots(
        &self,
        latest: RootFile,
        files: &BTreeMap<String, Vec<u8>>,
    ) -> Result<RootFile, ClientError> {
        let mut last = None;
        for root in follow(latest, |name| files.get(name).cloned()) {
            if last.is_some() {
                self.write(&root_name(root.version()), &root.bytes)?;
            }
            last = Some(root);
        }
        Ok(last.unwrap_or_else(|| unreachable!("the chain starts with the latest root")))
    }

    /// Keeps the files of an accepted update, the timestamp last, then drops those before it.
    pub(crate) fn keep(
        &self,
        repository: &Repository,
        files: &BTreeMap<String, Vec<u8>>,
    ) -> Result<(), ClientError> {
        let snapshot = format!("{}.snapshot.json", repository.snapshot().signed.version);
        let targets = format!("{}.targets.json", repository.targets().signed.version);
        for name in [targets.as_str(), snapshot.as_str(), "timestamp.json"] {
            if let Some(bytes) = files.get(name) {
                self.write(name, bytes)?;
            }
        }
        self.drop_others(&[&snapshot, &targets])?;
        Seen::of(self).forget()
    }

    pub(crate) fn has_timestamp(&self) -> bool {
        self.metadata().join("timestamp.json").exists()
    }

    fn read(&self, name: &str) -> Option<Vec<u8>> {
        read_bounded(&self.metadata().join(name), self.limit).ok()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ClientError> {
        if self.read(name).is_some_and(|present| present == bytes) {
            return Ok(());
        }
        let path = self.metadata().join(name);
        durable::write(&path, bytes).map_err(ClientError::datastore("write", path))
    }

    fn drop_others(&self, keep: &[&str]) -> Result<(), ClientError> {
        let dir = self.metadata();
        let entries = fs::read_dir(&dir).map_err(ClientError::datastore("list", &dir))?;
        for entry in entries {
            let entry = entry.map_err(ClientError::datastore("list", &dir))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let old = name.ends_with(".snapshot.json") || name.ends_with(".targets.json");
            if old && !keep.contains(&name.as_ref()) {
                fs::remove_file(entry.path())
                    .map_err(ClientError::datastore("remove", entry.path()))?;
            }
        }
        Ok(())
    }
}

/// The given root and all that follow it.
pub(crate) fn follow(first: RootFile, next: impl Fn(&str) -> Option<Vec<u8>>) -> Vec<RootFile> {
    let mut roots = vec![first];
    while let Some(latest) = roots.last() {
        let name = root_name(latest.version().saturating_add(1));
        match next(&name).and_then(RootFile::parse) {
            Some(root) if latest.is_followed_by(&root) => roots.push(root),
            _ => break,
        }
    }
    roots
}

pub(crate) fn root_name(version: u64) -> String {
    format!("{version}.root.json")
}

fn snapshot_version(timestamp: &[u8]) -> Option<u64> {
    let timestamp: Signed<Timestamp> = serde_json::from_slice(timestamp).ok()?;
    Some(timestamp.signed.meta.get("snapshot.json")?.version.get())
}

/// A folder for a while, by a name that tells whoever finds it after a power cut that nobody
/// needs it.
pub(crate) fn scratch_folder(within: &Path) -> io::Result<TempDir> {
    tempfile::Builder::new()
        .prefix(".update-")
        .tempdir_in(within)
}
