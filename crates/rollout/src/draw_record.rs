//! What is published of a draw, and how anyone checks it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use suture_advisory::PatchVersion;
use thiserror::Error;

use crate::cohort::{Commitment, Draw, Seed, UnitDigest};
use crate::{RolloutId, Unit};

/// The public record of a draw. The first part is published before the rollout starts, seed and
/// units after its end; a reader keeps the first and compares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DrawRecord {
    pub rollout: RolloutId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<PatchVersion>,
    /// When it was drawn.
    pub at: Timestamp,
    /// What was drawn: accounts or machines.
    pub unit: Unit,
    /// 64 hex digits; see [`Seed::commitment`].
    pub commitment: String,
    /// SHA-256 of the sorted list of unit digests, as lowercase hex.
    pub list_sha256: String,
    /// Units in the list.
    pub eligible: u64,
    /// Units drawn.
    pub drawn: u64,
    /// Share of the list that was to be drawn, rounded up to whole units.
    pub share: f64,
    /// 64 hex digits, after the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<String>,
    /// The list, each unit as 32 hex digits, after the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units: Option<Vec<String>>,
}

/// Why a draw is not what its record says.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidDraw {
    #[error("the rollout is not over: seed and list are not revealed yet")]
    NotRevealed,
    #[error("the record's {field} cannot be read")]
    Unreadable { field: &'static str },
    #[error("the revealed seed has commitment {found}, but {published} was published")]
    OtherSeed { published: String, found: String },
    #[error("the revealed list has digest {found}, but {published} was published")]
    OtherList { published: String, found: String },
    #[error("the list has {found} units, but the record says {published}")]
    OtherSize { published: u64, found: u64 },
    #[error("seed and list draw {found} units, but the record says {published}")]
    OtherDrawn { published: u64, found: u64 },
    #[error("the last rank that seed and list draw is not the recorded one")]
    OtherLast,
}

/// Where one account or machine is in a draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Not in the list: not eligible, or made after the draw.
    NotListed,
    /// In the list, and not drawn.
    NotDrawn,
    Drawn,
}

/// Checks a draw against the revealed seed and list: the seed is the one committed to, the list
/// the one whose digest was published, and the result follows from both.
pub fn verify(
    seed: &Seed,
    rollout: RolloutId,
    commitment: Commitment,
    list: &[UnitDigest],
    draw: &Draw,
    share: f64,
) -> Result<(), InvalidDraw> {
    let found = seed.commitment(rollout);
    if found != commitment {
        return Err(InvalidDraw::OtherSeed {
            published: commitment.to_string(),
            found: found.to_string(),
        });
    }
    let again = Draw::new(seed, list.to_vec(), share, draw.at);
    compare(&again, draw)
}

fn compare(again: &Draw, published: &Draw) -> Result<(), InvalidDraw> {
    if again.list_sha256 != published.list_sha256 {
        return Err(InvalidDraw::OtherList {
            published: published.list_sha256.clone(),
            found: again.list_sha256.clone(),
        });
    }
    if again.eligible != published.eligible {
        return Err(InvalidDraw::OtherSize {
            published: published.eligible,
            found: again.eligible,
        });
    }
    if again.drawn != published.drawn {
        return Err(InvalidDraw::OtherDrawn {
            published: published.drawn,
            found: again.drawn,
        });
    }
    if again.last != published.last {
        return Err(InvalidDraw::OtherLast);
    }
    Ok(())
}

impl DrawRecord {
    /// Checks the record against itself, after the end: what [`verify`] checks, without the last
    /// rank, which is not published.
    pub fn verify(&self) -> Result<(), InvalidDraw> {
        let (draw, _) = self.redraw()?;
        compare(
            &draw,
            &Draw {
                at: self.at,
                eligible: self.eligible,
                drawn: self.drawn,
                last: draw.last,
                list_sha256: self.list_sha256.clone(),
            },
        )
    }

    /// Where an account is (its id), or a machine (account's id, `/`, machine's id). Whether the
    /// record is right, [`DrawRecord::verify`] says.
    pub fn place(&self, unit: &str) -> Result<Place, InvalidDraw> {
        let (draw, seed) = self.redraw()?;
        let digest = UnitDigest::new(self.rollout, unit);
        if !self.list()?.contains(&digest) {
            return Ok(Place::NotListed);
        }
        Ok(if draw.includes(seed.rank(digest)) {
            Place::Drawn
        } else {
            Place::NotDrawn
        })
    }

    /// Makes the draw again from what was revealed.
    fn redraw(&self) -> Result<(Draw, Seed), InvalidDraw> {
        let seed = self.seed.as_ref().ok_or(InvalidDraw::NotRevealed)?;
        let unreadable = |_| InvalidDraw::Unreadable { field: "seed" };
        let seed: Seed = seed.parse().map_err(unreadable)?;
        let found = seed.commitment(self.rollout).to_string();
        if found != self.commitment {
            return Err(InvalidDraw::OtherSeed {
                published: self.commitment.clone(),
                found,
            });
        }
        let draw = Draw::new(&seed, self.list()?, self.share, self.at);
        Ok((draw, seed))
    }

    fn list(&self) -> Result<Vec<UnitDigest>, InvalidDraw> {
        let units = self.units.as_ref().ok_or(InvalidDraw::NotRevealed)?;
        let unreadable = |_| InvalidDraw::Unreadable { field: "units" };
        units
            .iter()
            .map(|unit| unit.parse().map_err(unreadable))
            .collect()
    }
}
