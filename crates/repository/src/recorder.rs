//! A transport that keeps what passes through it, so that it can be kept for later verbatim.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{StreamExt, stream};
use tough::{Bytes, Transport, TransportError, TransportErrorKind, TransportStream, async_trait};
use url::Url;

use crate::client_error::TooLong;
use crate::current::read_bounded;

/// Wraps the transport of one update's metadata.
#[derive(Debug, Clone)]
pub(crate) struct Recorder {
    inner: Box<dyn Transport + Send + Sync>,
    limit: u64,
    /// Folder of snapshot and targets metadata seen before; a file there never changes, and
    /// signed hashes decide whether it is the right one.
    cache: Option<PathBuf>,
    recording: Arc<Mutex<Recording>>,
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
    pub(crate) fn new(
        inner: Box<dyn Transport + Send + Sync>,
        limit: u64,
        cache: Option<PathBuf>,
    ) -> Self {
        Self {
            inner,
            limit,
            cache,
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
        if let Some(bytes) = self.cached(name) {
            self.recording().cache_was_used = true;
            return Ok(bytes);
        }
        let failure = match self.read(url).await {
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

    fn cached(&self, name: &str) -> Option<Vec<u8>> {
        let unchanging = name.ends_with(".snapshot.json") || name.ends_with(".targets.json");
        let path = self.cache.as_ref().filter(|_| unchanging)?.join(name);
        read_bounded(&path, self.limit).ok()
    }

    async fn read(&self, url: &Url) -> Result<Vec<u8>, TransportError> {
        let mut stream = self.inner.fetch(url.clone()).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk?;
            if (bytes.len() + chunk.len()) as u64 > self.limit {
                let cause = TooLong { limit: self.limit };
                return Err(TransportError::new_with_cause(
                    TransportErrorKind::Other,
                    url,
                    cause,
                ));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
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

fn file_name(url: &Url) -> &str {
    url.path_segments()
        .and_then(|mut segments| segments.next_back())
        .unwrap_or_default()
}
