//! Keeps a copy up to date for as long as a service runs.

use std::error::Error;
use std::time::Duration;

use jiff::Timestamp;
use suture_repository::{Copied, FolderTransport, Mirror};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::address::Address;
use crate::error::RemoteError;
use crate::place::Place;
use crate::transport::PlaceTransport;

/// Where a copy comes from.
#[derive(Debug, Clone)]
pub enum Source {
    Place(Place),
    Folder(FolderTransport),
}

impl Source {
    /// See [`Place::open`] for the environment, which a folder needs not.
    pub fn open(
        address: &Address,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, RemoteError> {
        Ok(match address {
            Address::Folder(path) => Self::Folder(FolderTransport::new(path)),
            Address::Bucket { .. } | Address::Site(_) => {
                Self::Place(Place::open(address, environment)?)
            }
        })
    }

    /// Brings a copy to this source's state.
    pub async fn update(&self, mirror: &Mirror, now: Timestamp) -> Result<Copied, RemoteError> {
        let mirrored = match self {
            Self::Place(place) => {
                let transport = PlaceTransport::new(place.clone());
                mirror.update(&transport.location(), transport, now).await
            }
            Self::Folder(transport) => {
                let location = transport.location();
                mirror.update(&location, transport.clone(), now).await
            }
        };
        Ok(mirrored?)
    }
}

/// Brings a copy up to date again and again, for ever. A source that can't be reached, or that
/// doesn't verify, leaves the copy as it is.
pub async fn follow(source: Source, mirror: Mirror, every: Duration, now: impl Fn() -> Timestamp) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match source.update(&mirror, now()).await {
            Ok(mirrored) if mirrored.changed => {
                let (version, added) = (mirrored.versions.timestamp, mirrored.added.len());
                info!(
                    version,
                    added, "the repository's copy was brought up to date"
                );
            }
            Ok(_) => {}
            Err(error) => {
                let cause = causes(&error);
                warn!(
                    error = cause,
                    "the repository's copy is not up to date: {cause}"
                );
            }
        }
    }
}

fn causes(error: &RemoteError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Some errors have their causes in their own words.
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}
