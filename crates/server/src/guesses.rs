//! Bounds how often something is tried by one party: wrong keys from an address, wrong passwords
//! for an account, e-mails caused by an address.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

/// Begins with the first try that counts.
const WINDOW: SignedDuration = SignedDuration::from_mins(15);

/// Parties that are remembered, some 50 bytes each.
const MAX_PARTIES: usize = 10_000;

/// What was tried lately, by whom or on whom.
pub struct Guesses<K> {
    at_most: u32,
    wrong: Mutex<HashMap<K, Wrong>>,
}

/// The party has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyTries {
    pub retry_secs: u64,
}

#[derive(Debug, Clone, Copy)]
struct Wrong {
    since: Timestamp,
    count: u32,
}

impl<K: Copy + Eq + Hash> Guesses<K> {
    /// Allows each party so many tries within a quarter of an hour.
    pub fn new(at_most: u32) -> Self {
        Self {
            at_most,
            wrong: Mutex::default(),
        }
    }

    /// Whether the party may try now.
    pub fn may_try(&self, party: K, now: Timestamp) -> Result<(), TooManyTries> {
        let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        match wrong.get(&party) {
            Some(entry) if entry.count >= self.at_most => match left(entry, now) {
                0 => Ok(()),
                retry_secs => Err(TooManyTries { retry_secs }),
            },
            Some(_) | None => Ok(()),
        }
    }

    /// Counts a try, if the party may have one now: for what is counted however it ends.
    pub fn take(&self, party: K, now: Timestamp) -> Result<(), TooManyTries> {
        self.may_try(party, now)?;
        self.count(party, now);
        Ok(())
    }

    /// Counts a try.
    pub fn count(&self, party: K, now: Timestamp) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if !wrong.contains_key(&party) && wrong.len() >= MAX_PARTIES {
            make_room(&mut wrong, now);
        }
        let entry = wrong.entry(party).or_insert(Wrong {
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

fn make_room<K: Copy + Eq + Hash>(wrong: &mut HashMap<K, Wrong>, now: Timestamp) {
    wrong.retain(|_, entry| left(entry, now) > 0);
    if wrong.len() >= MAX_PARTIES {
        let oldest = wrong.iter().min_by_key(|(_, entry)| entry.since);
        if let Some(party) = oldest.map(|(party, _)| *party) {
            wrong.remove(&party);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client_address::ClientAddress;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + secs).unwrap()
    }

    fn address(number: u32) -> ClientAddress {
        ClientAddress::new(std::net::Ipv4Addr::from_bits(number).into())
    }

    #[test]
    fn an_address_waits_after_ten_wrong_keys_and_others_do_not() {
        let guesses = Guesses::new(10);
        for second in 0..10 {
            assert_eq!(guesses.may_try(address(1), at(second)), Ok(()));
            guesses.count(address(1), at(second));
        }
        let wait = TooManyTries { retry_secs: 840 };
        assert_eq!(guesses.may_try(address(1), at(60)), Err(wait));
        assert_eq!(guesses.may_try(address(2), at(60)), Ok(()));
        assert_eq!(guesses.may_try(address(1), at(900)), Ok(()));
        guesses.count(address(1), at(900));
        assert_eq!(guesses.may_try(address(1), at(901)), Ok(()), "counted anew");
    }

    #[test]
    fn however_many_addresses_guess_the_memory_is_bounded() {
        let guesses = Guesses::new(10);
        for number in 0..MAX_PARTIES as u32 + 50 {
            guesses.count(address(number), at(i64::from(number % 600)));
        }
        assert_eq!(guesses.wrong.lock().unwrap().len(), MAX_PARTIES);
    }
}
