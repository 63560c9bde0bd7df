//! What is wrong with a version.

use std::sync::atomic::{AtomicUsize, Ordering};

use suture_advisory::PatchVersion;

/// A version that brings machines down: of those that apply it, in the order in which they do,
/// one in so many. Counted and not drawn, so that every run has its crashes.
#[derive(Debug)]
pub struct Flaw {
    version: PatchVersion,
    first: usize,
    every: usize,
    applied: AtomicUsize,
}

impl Flaw {
    /// The machine number `first` that applies `version` goes down, and from then on one in
    /// `every`.
    pub fn new(version: PatchVersion, first: usize, every: usize) -> Self {
        Self {
            version,
            first,
            every,
            applied: AtomicUsize::new(0),
        }
    }

    /// Whether the machine that applies `version` now goes down over it.
    pub(super) fn strikes(&self, version: PatchVersion) -> bool {
        if version != self.version {
            return false;
        }
        let number = self.applied.fetch_add(1, Ordering::Relaxed) + 1;
        number >= self.first && (number - self.first).is_multiple_of(self.every)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bad_version_takes_every_third_from_the_second_on() {
        let [bad, other] = ["1.1", "1.2"].map(|text| text.parse().unwrap());
        let flaw = Flaw::new(bad, 2, 3);
        assert!(!flaw.strikes(other));
        let struck: Vec<usize> = (1..=9).filter(|_| flaw.strikes(bad)).collect();
        assert_eq!(struck, [2, 5, 8]);
    }
}
