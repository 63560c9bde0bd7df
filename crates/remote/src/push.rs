//! Brings a bucket to the state of a publisher's folder.
//!
//! Targets come first and the timestamp last, so that a reader meets a whole state at every
//! moment. All files but the timestamp are written once and never changed; the timestamp is
//! replaced only if it is still the one that was looked at. So of two publishers who sign at the
//! same time one is told, and a push that was cut off goes on where it was.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use suture_repository::{
    Copied, Files, Layout, MAX_METADATA_BYTES, PublisherLock, RepositoryError, is_superseded,
};

use crate::error::RemoteError;
use crate::place::{Place, Version, Written};

/// Brings a place to the state that the repository in `dir` has now.
pub async fn push(dir: &Path, place: &Place) -> Result<Copied, RemoteError> {
    place.require_writable()?;
    let layout = Layout::new(dir);
    let _lock = PublisherLock::take(&layout)?;
    let push = Push {
        files: Files::read(dir).await?,
        layout,
        place,
    };
    push.run().await
}

const TIMESTAMP: &str = "timestamp.json";

struct Push<'a> {
    layout: Layout,
    files: Files,
    place: &'a Place,
}

/// The timestamp that a place has.
struct Theirs {
    bytes: Vec<u8>,
    version: Version,
}

impl Push<'_> {
    async fn run(&self) -> Result<Copied, RemoteError> {
        let ours = self.metadata(TIMESTAMP)?;
        let theirs = self.theirs().await?;
        if let Some(theirs) = &theirs {
            self.require_newer(&ours, &theirs.bytes)?;
        }
        let added = self.add_targets().await?;
        let mut changed = !added.is_empty();
        for file in self.files.metadata() {
            if file != TIMESTAMP {
                changed |= self.add_metadata(&file).await?;
            }
        }
        if theirs.as_ref().is_none_or(|theirs| theirs.bytes != ours) {
            self.replace_timestamp(ours, theirs).await?;
            changed = true;
        }
        self.prune().await?;
        Ok(Copied {
            versions: self.files.versions,
            added,
            changed,
        })
    }

    async fn theirs(&self) -> Result<Option<Theirs>, RemoteError> {
        let file = in_metadata(TIMESTAMP);
        let found = self.place.read(&file, MAX_METADATA_BYTES).await?;
        Ok(found.map(|(bytes, version)| Theirs { bytes, version }))
    }

    fn require_newer(&self, ours: &[u8], theirs: &[u8]) -> Result<(), RemoteError> {
        let place = self.place.name().to_owned();
        let dir = self.layout.dir().to_owned();
        let Some(version) = version(theirs) else {
            return Err(RemoteError::NoTimestamp { place });
        };
        let have = self.files.versions.timestamp;
        if version > have {
            return Err(RemoteError::Behind {
                dir,
                place,
                ours: have,
                theirs: version,
            });
        }
        if version == have && ours != theirs {
            let file = in_metadata(TIMESTAMP);
            return Err(RemoteError::Diverged { dir, place, file });
        }
        Ok(())
    }

    async fn add_targets(&self) -> Result<Vec<String>, RemoteError> {
        let there = self.place.list("targets").await?;
        let mut added = Vec::new();
        for target in &self.files.targets {
            let file = target.file_name();
            if there.get(&file) == Some(&target.length) {
                continue;
            }
            let path = self.layout.target(&target.sha256, &target.name);
            let bytes = fs::read(&path).map_err(RemoteError::file("read", path))?;
            self.place.put(&format!("targets/{file}"), bytes).await?;
            added.push(target.name.clone());
        }
        Ok(added)
    }

    /// Whether it is new there.
    async fn add_metadata(&self, file: &str) -> Result<bool, RemoteError> {
        let (bytes, there) = (self.metadata(file)?, in_metadata(file));
        if self.place.create(&there, bytes.clone()).await? == Written::Yes {
            return Ok(true);
        }
        let theirs = self.place.read(&there, MAX_METADATA_BYTES).await?;
        if theirs.is_some_and(|(theirs, _)| theirs == bytes) {
            return Ok(false);
        }
        Err(RemoteError::Diverged {
            dir: self.layout.dir().to_owned(),
            place: self.place.name().to_owned(),
            file: there,
        })
    }

    async fn replace_timestamp(
        &self,
        ours: Vec<u8>,
        theirs: Option<Theirs>,
    ) -> Result<(), RemoteError> {
        let version = theirs.map(|theirs| theirs.version);
        let file = in_metadata(TIMESTAMP);
        match self.place.replace(&file, ours, version).await? {
            Written::Yes => Ok(()),
            Written::Other => Err(RemoteError::Overtaken {
                place: self.place.name().to_owned(),
            }),
        }
    }

    /// Removes metadata that no reader can ask for any more.
    async fn prune(&self) -> Result<(), RemoteError> {
        for file in self.place.list("metadata").await?.into_keys() {
            if is_superseded(&file, &self.files.versions) {
                self.place.remove(&in_metadata(&file)).await?;
            }
        }
        Ok(())
    }

    fn metadata(&self, file: &str) -> Result<Vec<u8>, RemoteError> {
        let path = self.layout.metadata().join(file);
        let failed = RepositoryError::io("read", path.clone());
        Ok(fs::read(path).map_err(failed)?)
    }
}

fn in_metadata(file: &str) -> String {
    format!("metadata/{file}")
}

/// The version that metadata says it has; nothing of it is trusted.
fn version(metadata: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Metadata {
        signed: Signed,
    }
    #[derive(Deserialize)]
    struct Signed {
        version: u64,
    }
    let metadata: Metadata = serde_json::from_slice(metadata).ok()?;
    Some(metadata.signed.version)
}
