//! Bounds how often wrong keys are tried from one address.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use crate::client_address::ClientAddress;

/// Wrong keys of one address in [`WINDOW`] before it has to wait. A key has 256 random bits, so
/// this keeps logs and the database quiet rather than the keys safe.
pub const MAX_WRONG: u32 = 10;

/// Begins with the first wrong key.
const WINDOW: SignedDuration = SignedDuration::from_mins(15);

/// Addresses that are remembered, some 50 bytes each.
const MAX_ADDRESSES: usize = 10_000;

/// Wrong keys lately, by address.
#[derive(Default)]
pub struct Guesses {
    wrong: Mutex<HashMap<ClientAddress, Wrong>>,
}

#[derive(Debug, Clone, Copy)]
struct Wrong {
    since: Timestamp,
    count: u32,
}

impl Guesses {
    /// Whether the address may try a key now; if not, the seconds to wait.
    pub fn may_try(&self, address: ClientAddress, now: Timestamp) -> Result<(), u64> {
        let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        match wrong.get(&address) {
            Some(entry) if entry.count >= MAX_WRONG => match left(entry, now) {
                0 => Ok(()),
                secs => Err(secs),
            },
            Some(_) | None => Ok(()),
        }
    }

    /// Counts a wrong key.
    pub fn was_wrong(&self, address: ClientAddress, now: Timestamp) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if !wrong.contains_key(&address) && wrong.len() >= MAX_ADDRESSES {
            make_room(&mut wrong, now);
        }
        let entry = wrong.entry(address).or_insert(Wrong {
            since: now,
            count: 0,
        });
        if left(entry, now) == 0 {
            *entry = Wrong {
                since: now,
                count: 0,
            };
        }
        entry.count += 1;
    }
}

/// Seconds until the entry is forgotten.
fn left(entry: &Wrong, now: Timestamp) -> u64 {
    let left = WINDOW - now.duration_since(entry.since);
    // A clock that was put back makes nobody wait for longer than the window.
    u64::try_from(left.min(WINDOW).as_secs()).unwrap_or(0)
}

fn make_room(wrong: &mut HashMap<ClientAddress, Wrong>, now: Timestamp) {
    wrong.retain(|_, entry| left(entry, now) > 0);
    if wrong.len() >= MAX_ADDRESSES {
        let oldest = wrong.iter().min_by_key(|(_, entry)| entry.since);
        if let Some(address) = oldest.map(|(address, _)| *address) {
            wrong.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + secs).unwrap()
    }

    fn address(number: u32) -> ClientAddress {
        ClientAddress::new(std::net::Ipv4Addr::from_bits(number).into())
    }

    #[test]
    fn an_address_waits_after_ten_wrong_keys_and_others_do_not() {
        let guesses = Guesses::default();
        for second in 0..10 {
            assert_eq!(guesses.may_try(address(1), at(second)), Ok(()));
            guesses.was_wrong(address(1), at(second));
        }
        assert_eq!(guesses.may_try(address(1), at(60)), Err(840));
        assert_eq!(guesses.may_try(address(2), at(60)), Ok(()));
        assert_eq!(guesses.may_try(address(1), at(900)), Ok(()));
        guesses.was_wrong(address(1), at(900));
        assert_eq!(guesses.may_try(address(1), at(901)), Ok(()), "counted anew");
    }

    #[test]
    fn however_many_addresses_guess_the_memory_is_bounded() {
        let guesses = Guesses::default();
        for number in 0..MAX_ADDRESSES as u32 + 50 {
            guesses.was_wrong(address(number), at(i64::from(number % 600)));
        }
        assert_eq!(guesses.wrong.lock().unwrap().len(), MAX_ADDRESSES);
    }
}
