//! The boots that check in as one machine: two that take turns are two machines.

use std::fmt;
use std::str::FromStr;

use suture_kernel::InvalidName;

use crate::BootId;

/// The boots that a machine's secret was last used from.
///
/// A machine that restarts never comes back with an earlier boot id. Where earlier ones come back
/// again and again, a disk was copied with the secret on it, and several machines run from the
/// copies. Once is not enough: a virtual machine may be set back to an earlier moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Boots {
    /// The latest first.
    recent: Vec<BootId>,
    /// How often an earlier one came back since the last new one.
    returns: u32,
}

impl Boots {
    /// Boots that are remembered: so many copies of one disk are told apart.
    const KEPT: usize = 8;

    /// Returns that show a copied disk.
    const RETURNS: u32 = 2;

    /// Where the latest check-in came from.
    pub fn latest(&self) -> Option<&BootId> {
        self.recent.first()
    }

    /// With a check-in from a boot.
    #[must_use]
    pub fn seen(&self, boot: &BootId) -> Self {
        let place = self.recent.iter().position(|known| known == boot);
        let mut recent = self.without(boot).recent;
        recent.insert(0, boot.clone());
        recent.truncate(Self::KEPT);
        let returns = match place {
            Some(0) => self.returns,
            Some(_) => self.returns.saturating_add(1),
            None => 0,
        };
        Self { recent, returns }
    }

    /// As it is once a boot has become a machine of its own.
    #[must_use]
    pub fn without(&self, boot: &BootId) -> Self {
        let others = self.recent.iter().filter(|known| *known != boot);
        Self {
            recent: others.cloned().collect(),
            returns: 0,
        }
    }

    /// Several machines check in as this one.
    pub fn are_of_copies(&self) -> bool {
        self.returns >= Self::RETURNS
    }
}

/// For the database: the number, then the boot ids; empty before the first check-in.
impl fmt::Display for Boots {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.recent.is_empty() {
            return Ok(());
        }
        write!(formatter, "{}", self.returns)?;
        self.recent
            .iter()
            .try_for_each(|boot| write!(formatter, " {boot}"))
    }
}

impl FromStr for Boots {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let unreadable = || InvalidName::new("list of boots", text, "expected a number and ids");
        let mut words = text.split(' ').filter(|word| !word.is_empty());
        let Some(returns) = words.next() else {
            return Ok(Self::default());
        };
        let recent = words.map(|word| word.parse().map_err(|_| unreadable()));
        Ok(Self {
            returns: returns.parse().map_err(|_| unreadable())?,
            recent: recent.collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(number: u8) -> BootId {
        format!("6b0c1b62-8b0b-4b0e-9d58-2d5ff6c4f2{number:02x}")
            .parse()
            .unwrap()
    }

    fn after(boots: &[u8]) -> Boots {
        boots.iter().fold(Boots::default(), |known, number| {
            let seen = known.seen(&boot(*number));
            // The way through the database.
            seen.to_string().parse().unwrap()
        })
    }

    #[test]
    fn a_machine_that_restarts_is_one_machine() {
        assert!(!after(&[1, 1, 1]).are_of_copies());
        assert!(!after(&[1, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]).are_of_copies());
        assert!(!after(&[1, 1, 2, 1, 1]).are_of_copies(), "set back once");
        assert!(!after(&[1, 2, 1, 3, 4, 3]).are_of_copies(), "and again");
    }

    #[test]
    fn copies_take_turns() {
        assert!(after(&[1, 2, 1, 2]).are_of_copies());
        assert!(after(&[1, 1, 2, 2, 1, 1, 2]).are_of_copies());
        assert!(after(&[1, 2, 3, 1, 2]).are_of_copies(), "three of them");
        let two = after(&[1, 2, 1, 2]);
        assert!(!two.without(&boot(2)).are_of_copies());
        assert!(!two.without(&boot(2)).seen(&boot(1)).are_of_copies());
        assert_eq!("".parse(), Ok(Boots::default()));
        assert!("1 x".parse::<Boots>().is_err());
    }
}
