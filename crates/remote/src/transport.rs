//! A place as a source for readers.

use futures_util::TryStreamExt;
use object_store::Error;
use suture_repository::Location;
use sync_wrapper::SyncStream;
use tough::{Transport, TransportError, TransportErrorKind, TransportStream, async_trait};
use url::Url;

use crate::place::Place;

/// Answers for the files under a place's own address.
#[derive(Debug, Clone)]
pub struct PlaceTransport(Place);

impl PlaceTransport {
    pub fn new(place: Place) -> Self {
        Self(place)
    }

    /// The URLs that this transport answers.
    pub fn location(&self) -> Location {
        let folder = |name: &str| {
            let address = format!("{}{name}/", self.base());
            Url::parse(&address).unwrap_or_else(|_| unreachable!("an address is a URL"))
        };
        Location {
            metadata: folder("metadata"),
            targets: folder("targets"),
        }
    }

    fn base(&self) -> String {
        format!("{}/", self.0.name().trim_end_matches('/'))
    }
}

#[async_trait]
impl Transport for PlaceTransport {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        let unsupported = || TransportError::new(TransportErrorKind::UnsupportedUrlScheme, &url);
        let base = self.base();
        let file = url.as_str().strip_prefix(&base).ok_or_else(unsupported)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_asked_for_under_the_place_s_own_address() {
        for (place, metadata) in [
            (
                "https://debian.org/suture/",
                "https://debian.org/suture/metadata/",
            ),
            ("https://debian.org", "https://debian.org/metadata/"),
        ] {
            let place = Place::open(&place.parse().unwrap(), []).unwrap();
            let location = PlaceTransport::new(place).location();
            assert_eq!(location.metadata.as_str(), metadata);
        }
    }
}
