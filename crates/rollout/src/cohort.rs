//! The draw of the early group, which anyone can check afterwards.
//!
//! A secret seed is made for each rollout. Its commitment is published before the rollout
//! starts, together with a digest of the list of those eligible; the seed and the list are
//! revealed after its end. Who is drawn follows from seed and list alone, and a fresh seed means
//! that nobody is always first.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::{digest, hmac};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use suture_kernel::InvalidName;

use crate::RolloutId;
pub use crate::draw_record::verify;

/// 32 secret random bytes. Shown by nothing before the rollout's end.
#[derive(Clone, PartialEq, Eq)]
pub struct Seed([u8; 32]);

/// SHA-256 of a prefix, the rollout's id and its seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Commitment([u8; 32]);

/// An account or machine in the draw of one rollout, without its name: the first 16 bytes of
/// SHA-256 of a prefix, the rollout's id and the unit's id. Its owner knows the id and finds
/// itself in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitDigest([u8; 16]);

/// A unit's place in the order that the seed makes: the first eight bytes of HMAC-SHA-256 with
/// the seed as key, as a big-endian number. The lowest go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rank(u64);

/// The result of a draw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draw {
    pub at: Timestamp,
    /// Units in the list.
    pub eligible: u64,
    /// Units drawn.
    pub drawn: u64,
    /// The highest rank that was drawn; none if nobody was.
    pub last: Option<Rank>,
    /// SHA-256 of the sorted list of unit digests, as lowercase hex.
    pub list_sha256: String,
}

const SEED_PREFIX: &[u8] = b"suture rollout seed v1\0";
const UNIT_PREFIX: &[u8] = b"suture rollout unit v1\0";

impl Seed {
    pub fn from_random_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub fn commitment(&self, rollout: RolloutId) -> Commitment {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(SEED_PREFIX);
        context.update(rollout.to_string().as_bytes());
        context.update(b"\0");
        context.update(&self.0);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        Commitment(bytes)
    }

    pub fn rank(&self, unit: UnitDigest) -> Rank {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let tag = hmac::sign(&key, &unit.0);
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&tag.as_ref()[..8]);
        Rank(u64::from_be_bytes(bytes))
    }

    /// The seed as hex, to be stored, or revealed after the end of the rollout.
    pub fn reveal(&self) -> String {
        hex::encode(self.0)
    }
}

/// Never the seed itself, so that no log reveals it.
impl fmt::Debug for Seed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Seed(..)")
    }
}

impl FromStr for Seed {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        // The text is not repeated: it may be a secret.
        let bad = || InvalidName::new("seed", "…", "expected 64 hex digits");
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| bad())?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Commitment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

impl FromStr for Commitment {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| InvalidName::new("commitment", text, "expected 64 hex digits"))?;
        Ok(Self(bytes))
    }
}

impl UnitDigest {
    /// Bytes of a digest.
    pub const LEN: usize = 16;

    /// Of an account's or a machine's id, as text.
    pub fn new(rollout: RolloutId, unit: &str) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(UNIT_PREFIX);
        context.update(rollout.to_string().as_bytes());
        context.update(b"\0");
        context.update(unit.as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&context.finish().as_ref()[..16]);
        Self(bytes)
    }

    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for UnitDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

impl FromStr for UnitDigest {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| InvalidName::new("unit digest", text, "expected 32 hex digits"))?;
        Ok(Self(bytes))
    }
}

impl Rank {
    /// The place as a fraction, from 0 to less than 1.
    pub fn fraction(self) -> f64 {
        // 53 bits are what a double holds, so the result never rounds up to 1.
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl Draw {
    /// Draws `share` of the list, rounded up, by the order that the seed makes.
    ///
    /// The list may be in any order; units that occur twice count once.
    pub fn new(seed: &Seed, mut list: Vec<UnitDigest>, share: f64, at: Timestamp) -> Self {
        list.sort_unstable();
        list.dedup();
        let list_sha256 = list_sha256(&list);
        let mut ranks: Vec<Rank> = list.iter().map(|unit| seed.rank(*unit)).collect();
        ranks.sort_unstable();
        let drawn = ((share * ranks.len() as f64).ceil() as usize).min(ranks.len());
        Self {
            at,
            eligible: ranks.len() as u64,
            drawn: drawn as u64,
            last: drawn.checked_sub(1).map(|last| ranks[last]),
            list_sha256,
        }
    }

    /// Whether a unit of the list was drawn.
    pub fn includes(&self, rank: Rank) -> bool {
        self.last.is_some_and(|last| rank <= last)
    }
}

/// SHA-256 of a sorted list without repetitions.
pub fn list_sha256(list: &[UnitDigest]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for unit in list {
        context.update(&unit.0);
    }
    hex::encode(context.finish())
}
