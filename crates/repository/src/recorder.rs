//! A transport that keeps what passes through it, so that it can be kept for later verbatim.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{StreamExt, stream};
use tough::schema::Signed;
use tough::{Bytes, Transport, TransportError, TransportErrorKind, TransportStream, async_trait};
use url::Url;

use crate::cache::{RootFile, follow};
use crate::client_error::{Delegated, TooLong};
use crate::current::read_bounded;

/// Wraps the transport of one update's metadata.
#[derive(Debug, Clone)]
pub(crate) struct Recorder {
    inner: Box<dyn Transport + Send + Sync>,
    limit: u64,
    kept: Arc<Kept>,
    recording: Arc<Mutex<Recording>>,
}

/// What earlier updates left.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Folder of snapshot and targets metadata seen before; a file there never changes, and
    /// signed hashes decide whether it is the right one.
    pub(crate) metadata: Option<PathBuf>,
    /// The latest root.
    pub(crate) root: Vec<u8>,
    /// The last verified timestamp.
    pub(crate) timestamp: Option<Vec<u8>>,
}

/// What an update saw.
#[derive(Debug, Default)]
pub(crate) struct Recording {
    /// Metadata files by name.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) cache_was_used: bool,
    /// Why the next root could not be asked for. A missing file is no failure: it means that
    /// there is no later root.
    pub(crate) root_failure: Option<TransportError>,
    finished: bool,
}

impl Recorder {
    pub(crate) fn new(inner: Box<dyn Transport + Send + Sync>, limit: u64, kept: Kept) -> Self {
        Self {
            inner,
            limit,
            kept: Arc::new(kept),
            recording: Arc::default(),
        }
    }

    /// Takes out what was recorded; from now on everything just passes through.
    pub(crate) fn finish(&self) -> Recording {
        let finished = Recording {
            finished: true,
            ..Recording::default()
        };
        std::mem::replace(&mut *self.recording(), finished)
    }

    fn recording(&self) -> MutexGuard<'_, Recording> {
        self.recording
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn metadata(&self, url: &Url, name: &str) -> Result<Vec<u8>, TransportError> {
        if !is_of_the_four_roles(name) {
            let cause = Delegated {
                file: name.to_owned(),
            };
            let other = TransportErrorKind::Other;
            return Err(TransportError::new_with_cause(other, url, cause));
        }
        if let Some(bytes) = self.cached(name) {
            self.recording().cache_was_used = true;
            return Ok(bytes);
        }
        let failure = match self.read(url).await {
            Ok(bytes) if name == "timestamp.json" => return Ok(self.newer_timestamp(bytes)),
            Ok(bytes) => return Ok(bytes),
            Err(failure) => failure,
        };
        let missing = failure.kind() == TransportErrorKind::FileNotFound;
        if missing || !name.ends_with(".root.json") {
            return Err(failure);
        }
        // `tough` takes any failure here for "no later root", so it is told of later.
        self.recording().root_failure = Some(failure);
        Err(TransportError::new(TransportErrorKind::Other, url))
    }

    /// A timestamp whose version is that of the kept one brings nothing new, whatever else it
    /// says: the kept one goes on to count (source: TUF specification 1.0, 5.4.3.1). Not if the
    /// keys were replaced meanwhile, nor if the fetched one isn't signed, which `tough` tells.
    fn newer_timestamp(&self, fetched: Vec<u8>) -> Vec<u8> {
        let Some(kept) = &self.kept.timestamp else {
            return fetched;
        };
        match (timestamp(&fetched), timestamp(kept), self.root()) {
            (Some(new), Some(old), Some(root))
                if new.signed.version == old.signed.version
                    && root.signed(&new)
                    && root.signed(&old) =>
            {
                kept.clone()
            }
            _ => fetched,
        }
    }

    /// The latest root, those of this update included.
    fn root(&self) -> Option<RootFile> {
        let first = RootFile::parse(self.kept.root.clone())?;
        let recording = self.recording();
        follow(first, |name| recording.files.get(name).cloned()).pop()
    }

    fn cached(&self, name: &str) -> Option<Vec<u8>> {
        let unchanging = name.ends_with(".snapshot.json") || name.ends_with(".targets.json");
        let path = self
            .kept
            .metadata
            .as_ref()
            .filter(|_| unchanging)?
            .join(name);
        read_bounded(&path, self.limit).ok()
    }

    async fn read(&self, url: &Url) -> Result<Vec<u8>, TransportError> {
        read_bounded_url(self.inner.as_ref(), url, self.limit).await
    }
}

/// Reads a file to its end, or fails when it is longer than `limit` bytes.
pub(crate) async fn read_bounded_url(
    transport: &(dyn Transport + Send + Sync),
    url: &Url,
    limit: u64,
) -> Result<Vec<u8>, TransportError> {
    let mut stream = transport.fetch(url.clone()).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        if (bytes.len() + chunk.len()) as u64 > limit {
            let other = TransportErrorKind::Other;
            return Err(TransportError::new_with_cause(
                other,
                url,
                TooLong { limit },
            ));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

#[async_trait]
impl Transport for Recorder {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        if self.recording().finished {
            return self.inner.fetch(url).await;
        }
        let name = file_name(&url);
        let bytes = self.metadata(&url, name).await?;
        self.recording()
            .files
            .insert(name.to_owned(), bytes.clone());
        Ok(Box::pin(stream::once(std::future::ready(Ok(Bytes::from(
            bytes,
        ))))))
    }
}

/// A live patch is signed by the targets role itself, so that its keys can't be lent to others.
fn is_of_the_four_roles(file: &str) -> bool {
    let numbered = |end: &str| {
        let number = file.strip_suffix(end).unwrap_or_default();
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    let unnumbered = ["timestamp.json", "snapshot.json", "targets.json"];
    unnumbered.contains(&file)
        || [".root.json", ".snapshot.json", ".targets.json"]
            .into_iter()
            .any(numbered)
}

fn timestamp(bytes: &[u8]) -> Option<Signed<tough::schema::Timestamp>> {
    serde_json::from_slice(bytes).ok()
}

fn file_name(url: &Url) -> &str {
    url.path_segments()
        .and_then(|mut segments| segments.next_back())
        .unwrap_or_default()
}
