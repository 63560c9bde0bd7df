//! A place as a source for readers.

use futures_util::TryStreamExt;
use object_store::Error;
use suture_repository::Location;
use sync_wrapper::SyncStream;
use tough::{Transport, TransportError, TransportErrorKind, TransportStream, async_trait};
use url::Url;

use crate::place::Place;

/// Answers `remote:///metadata/<file>` and `remote:///targets/<file>` from a place.
#[derive(Debug, Clone)]
pub struct PlaceTransport(Place);

impl PlaceTransport {
    pub fn new(place: Place) -> Self {
        Self(place)
    }

    /// The URLs that this transport answers.
    pub fn location(&self) -> Location {
        let folder = |name: &str| {
            Url::parse(&format!("remote:///{name}/"))
                .unwrap_or_else(|_| unreachable!("the text is a URL"))
        };
        Location {
            metadata: folder("metadata"),
            targets: folder("targets"),
        }
    }
}

#[async_trait]
impl Transport for PlaceTransport {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        let unsupported = || TransportError::new(TransportErrorKind::UnsupportedUrlScheme, &url);
        if url.scheme() != "remote" {
            return Err(unsupported());
        }
        let file = url.path().trim_start_matches('/');
        let found = self
            .0
            .get(file)
            .await
            .map_err(|error| failed(&url, error))?;
        let pieces = found.into_stream();
        let pieces = pieces.map_err(move |error| failed(&url, error));
        Ok(Box::pin(SyncStream::new(pieces)))
    }
}

fn failed(url: &Url, error: Error) -> TransportError {
    let kind = match error {
        Error::NotFound { .. } => TransportErrorKind::FileNotFound,
        _ => TransportErrorKind::Other,
    };
    TransportError::new_with_cause(kind, url, error)
}
