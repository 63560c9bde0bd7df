//! Fixes that a vendor's factory refused, or that the vendor decided not to make.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use suture_kernel::KernelRelease;

use crate::names::CveId;

/// Why a hole of a kernel has no live patch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedFix {
    pub cve: CveId,
    pub kernel: KernelRelease,
    /// In the words of the factory, or of the person who decided.
    pub reason: String,
    pub at: Timestamp,
}

/// All of them, in the order of kernel and identifier; the newest word on each counts.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RefusedFixes(Vec<RefusedFix>);

impl RefusedFixes {
    pub fn find(&self, cve: &CveId, kernel: &KernelRelease) -> Option<&RefusedFix> {
        self.0
            .iter()
            .find(|one| one.cve == *cve && one.kernel == *kernel)
    }

    /// Notes a refusal in place of an earlier one.
    pub fn note(&mut self, refused: RefusedFix) {
        self.take_back(&refused.cve, &refused.kernel);
        self.0.push(refused);
        self.0.sort_by(|left, right| {
            let key = |one: &RefusedFix| (one.kernel.to_string(), one.cve.clone());
            key(left).cmp(&key(right))
        });
    }

    /// Makes the hole an open one again; whether there was a refusal.
    pub fn take_back(&mut self, cve: &CveId, kernel: &KernelRelease) -> bool {
        let before = self.0.len();
        self.0
            .retain(|one| one.cve != *cve || one.kernel != *kernel);
        self.0.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_word_counts_and_can_be_taken_back() {
        let refused = |reason: &str| RefusedFix {
            cve: "CVE-2026-89761".parse().unwrap(),
            kernel: "6.1.0-53-amd64".parse().unwrap(),
            reason: reason.to_owned(),
            at: Timestamp::UNIX_EPOCH,
        };
        let mut all = RefusedFixes::default();
        all.note(refused("it changes a header"));
        all.note(refused("it changes the layout of a structure"));
        let one = refused("");
        let found = all.find(&one.cve, &one.kernel).unwrap();
        assert_eq!(found.reason, "it changes the layout of a structure");
        assert!(all.take_back(&one.cve, &one.kernel));
        assert!(!all.take_back(&one.cve, &one.kernel));
        assert_eq!(all, RefusedFixes::default());
    }
}
