//! Metadata that was proven on the way of an update which then failed.
//!
//! TUF has each role's file kept as soon as it is verified (specification 1.0, 5.4.5, 5.5.7), so
//! that nothing older is accepted afterwards even if the rest of the update does not come
//! through. Off line, however, only files that belong together prove a target. So what a failed
//! update proved lies apart:
//!
//! ```text
//! <datastore>/seen/timestamp.json
//!                  snapshot.json
//! ```
//!
//! It goes when an update comes through, whose files are then the newest.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use tough::schema::{Signed, Snapshot, Timestamp as TimestampRole};

use crate::cache::{Cache, RootFile};
use crate::client_error::ClientError;
use crate::current::read_bounded;
use crate::durable;
use crate::expiry::from_seconds;

pub(crate) struct Seen<'cache> {
    cache: &'cache Cache,
}

impl<'cache> Seen<'cache> {
    pub(crate) fn of(cache: &'cache Cache) -> Self {
        Self { cache }
    }

    fn dir(&self) -> PathBuf {
        self.cache.dir().join("seen")
    }

    /// The last verified timestamp, of a failed update or of the one before.
    pub(crate) fn timestamp(&self) -> Option<Vec<u8>> {
        self.read("timestamp.json")
            .or_else(|| self.cache.timestamp())
    }

    /// The last verified snapshot.
    pub(crate) fn snapshot(&self) -> Option<Vec<u8>> {
        self.read("snapshot.json").or_else(|| self.cache.snapshot())
    }

    fn read(&self, name: &str) -> Option<Vec<u8>> {
        read_bounded(&self.dir().join(name), self.cache.limit()).ok()
    }

    /// Keeps what an update proved before it failed: `staging` holds what `tough` verified, and
    /// `files` the same as the publisher wrote it. A role counts only if it and those before it
    /// are valid at `now`.
    pub(crate) fn keep(
        &self,
        root: &RootFile,
        staging: &Path,
        files: &BTreeMap<String, Vec<u8>>,
        now: Timestamp,
    ) -> Result<(), ClientError> {
        if root.expires() <= now {
            return Ok(());
        }
        let limit = self.cache.limit();
        let verified = |name: &str| read_bounded(&staging.join(name), limit).ok();
        let Some((bytes, timestamp)) = proven::<TimestampRole>(
            verified("timestamp.json"),
            files.get("timestamp.json").cloned(),
        ) else {
            return Ok(());
        };
        if from_seconds(timestamp.signed.expires.as_second()) <= now {
            return Ok(());
        }
        self.write("timestamp.json", &bytes)?;
        let version = timestamp.signed.meta.get("snapshot.json");
        let fetched =
            version.and_then(|meta| files.get(&format!("{}.snapshot.json", meta.version)));
        match proven::<Snapshot>(verified("snapshot.json"), fetched.cloned()) {
            Some((bytes, snapshot)) if from_seconds(snapshot.signed.expires.as_second()) > now => {
                self.write("snapshot.json", &bytes)
            }
            _ => Ok(()),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ClientError> {
        if self.read(name).is_some_and(|present| present == bytes) {
            return Ok(());
        }
        let dir = self.dir();
        fs::create_dir_all(&dir).map_err(ClientError::datastore("make the folder", &dir))?;
        let path = dir.join(name);
        durable::write(&path, bytes).map_err(ClientError::datastore("write", path))
    }

    /// An update came through: its files are the newest.
    pub(crate) fn forget(&self) -> Result<(), ClientError> {
        match fs::remove_dir_all(self.dir()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(ClientError::datastore("remove", self.dir())(error))
            }
            _ => Ok(()),
        }
    }
}

/// The publisher's bytes and their content, if they say what was verified.
fn proven<T: DeserializeOwned + PartialEq>(
    verified: Option<Vec<u8>>,
    fetched: Option<Vec<u8>>,
) -> Option<(Vec<u8>, Signed<T>)> {
    let bytes = fetched?;
    let fetched: Signed<T> = serde_json::from_slice(&bytes).ok()?;
    let verified: Signed<T> = serde_json::from_slice(&verified?).ok()?;
    (fetched == verified).then_some((bytes, fetched))
}
