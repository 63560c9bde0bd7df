//! Open event streams: how many there may be, and their end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::client_address::ClientAddress;

/// Streams at the same time. Each holds a connection and some kilobytes.
const MAX_STREAMS: usize = 1000;

/// Streams of one address at the same time, so that one visitor can't take all.
const MAX_STREAMS_OF_ADDRESS: usize = 100;

/// The open streams.
#[derive(Clone, Default)]
pub struct Streams {
    open: Arc<Mutex<HashMap<ClientAddress, usize>>>,
    closing: CancellationToken,
}

/// Room for one stream, given back when it is dropped.
pub struct Place {
    streams: Streams,
    address: ClientAddress,
}

impl Streams {
    /// None: there are too many.
    pub fn take(&self, address: ClientAddress) -> Option<Place> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = open.values().sum();
        let of_address = open.get(&address).copied().unwrap_or(0);
        if total >= MAX_STREAMS || of_address >= MAX_STREAMS_OF_ADDRESS {
            return None;
        }
        open.insert(address, of_address + 1);
        Some(Place {
            streams: self.clone(),
            address,
        })
    }

    /// Ends all streams, those that are opened later included: the service stops.
    pub fn close(&self) {
        self.closing.cancel();
    }
}

impl Place {
    /// Completes when the stream has to end.
    pub async fn closing(&self) {
        self.streams.closing.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let open = self.streams.open.lock();
        let mut open = open.unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_gets_no_more_than_its_part_and_all_no_more_than_there_is() {
        let streams = Streams::default();
        let address =
            |number: u32| ClientAddress::new(std::net::Ipv4Addr::from_bits(number).into());
        let mut places: Vec<Place> = (0..100).map_while(|_| streams.take(address(1))).collect();
        assert_eq!(places.len(), 100);
        assert!(streams.take(address(1)).is_none());
        for other in 2..=10 {
            places.extend((0..200).map_while(|_| streams.take(address(other))));
        }
        assert_eq!(places.len(), MAX_STREAMS);
        assert!(streams.take(address(11)).is_none());
        drop(places);
        assert!(streams.take(address(1)).is_some());
        assert!(streams.open.lock().unwrap().is_empty());
    }
}
