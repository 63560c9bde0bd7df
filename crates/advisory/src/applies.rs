//! Whether a kernel version has a hole, by what the record says of versions.
//!
//! The kernel's CNA writes two blocks (source: its vulns repository and the records themselves).
//! One has ranges of commits, which only a git tree could compare, and sometimes ranges of
//! stable versions that got the hole by a backport. The other has versions: when the hole came
//! into mainline, and per stable series the first version without it:
//!
//! ```text
//! 2.6.28                        affected     the version that brought it
//! 0        <  2.6.28            unaffected   before
//! 6.1.188  <= 6.1.*             unaffected   fixed in this series
//! 7.3-rc1  <= *                 unaffected   fixed in mainline (original_commit_for_fix)
//! everything else               affected     defaultStatus
//! ```
//!
//! Where statements disagree, *affected* counts: a hole that is listed and isn't there costs a
//! look, one that is there and isn't listed costs more.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use crate::affected::{Affected, Status, VersionEnd, VersionRange};
use crate::kernel_version::KernelVersion;
use crate::record::Record;

/// What a record says of one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum VersionAnswer {
    Affected,
    /// Not affected, with the statement that says so.
    Unaffected {
        because: String,
    },
    /// The record doesn't say, with why.
    Unknown {
        because: String,
    },
}

/// What one block says of one version.
enum BlockAnswer {
    Affected,
    Unaffected(Reason),
    Silent,
}

/// Why a version is not affected.
enum Reason {
    FixedIn(String),
    BroughtIn(String),
    Stated(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FixedIn(version) => write!(formatter, "fixed in {version}"),
            Self::BroughtIn(version) => write!(formatter, "the hole came in {version}"),
            Self::Stated(version) => write!(formatter, "the record says so of {version}"),
        }
    }
}

impl Record {
    /// Whether the upstream kernel of this version has the hole.
    pub fn applies_to(&self, version: &KernelVersion) -> VersionAnswer {
        let blocks: Vec<&Affected> = self.affected.iter().filter(|one| one.is_kernel()).collect();
        let mut unaffected = None;
        for block in &blocks {
            match block.answer(version) {
                BlockAnswer::Affected => return VersionAnswer::Affected,
                BlockAnswer::Unaffected(reason) => unaffected = unaffected.or(Some(reason)),
                BlockAnswer::Silent => {}
            }
        }
        match unaffected {
            None => unknown("the record names no version that can be compared"),
            Some(Reason::BroughtIn(_)) if brought_by_unnamed_backport(&blocks) => {
                unknown("several commits brought the hole, and the record doesn't say to where")
            }
            Some(reason) => VersionAnswer::Unaffected {
                because: reason.to_string(),
            },
        }
    }
}

fn unknown(because: &str) -> VersionAnswer {
    VersionAnswer::Unknown {
        because: because.to_owned(),
    }
}

/// A backport may have brought the hole to an older series. Newer records list such versions;
/// in older ones only the commits show that there was more than one way in.
fn brought_by_unnamed_backport(blocks: &[&Affected]) -> bool {
    let git = blocks.iter().filter(|block| block.has_git());
    let ranges: Vec<&VersionRange> = git.flat_map(|block| &block.versions).collect();
    let named = ranges
        .iter()
        .any(|range| !range.is_git() && range.status == Status::Affected);
    let ways_in: BTreeSet<&str> = ranges
        .iter()
        .filter(|range| range.is_git() && range.status == Status::Affected)
        .map(|range| range.version.as_str())
        .collect();
    !named && ways_in.len() > 1
}

impl Affected {
    /// Whether the block is about the upstream kernel, and not a distribution's product.
    pub fn is_kernel(&self) -> bool {
        let word = |text: &str| text.trim().to_ascii_lowercase();
        let (vendor, product) = (word(&self.vendor), word(&self.product));
        let linux =
            |text: &str| matches!(text, "linux" | "kernel" | "linux kernel" | "linux_kernel");
        let upstream = matches!(
            vendor.as_str(),
            "" | "linux" | "n/a" | "kernel" | "kernel.org" | "linux kernel" | "unknown"
        );
        let from_kernel_org = self
            .repository
            .contains("git.kernel.org/pub/scm/linux/kernel");
        upstream && (linux(&product) || from_kernel_org)
    }

    fn has_git(&self) -> bool {
        self.versions.iter().any(VersionRange::is_git)
    }

    fn answer(&self, version: &KernelVersion) -> BlockAnswer {
        let statuses = || {
            let holding = self.versions.iter().filter(|range| range.holds(version));
            holding.map(|range| (range.status, range))
        };
        if statuses().any(|(status, _)| status == Status::Affected) {
            return BlockAnswer::Affected;
        }
        if statuses().any(|(status, _)| status == Status::Unknown) {
            return BlockAnswer::Silent;
        }
        if let Some((_, range)) = statuses().find(|(status, _)| *status == Status::Unaffected) {
            return BlockAnswer::Unaffected(range.reason());
        }
        // The default is about what no range names. Ranges of commits, or such that can't be
        // compared, may name this very version.
        let all_compared = self.versions.iter().all(VersionRange::can_compare);
        match self.default_status {
            Status::Affected if !self.has_git() && !self.versions.is_empty() => {
                BlockAnswer::Affected
            }
            Status::Unaffected if all_compared && !self.versions.is_empty() => {
                BlockAnswer::Unaffected(self.default_reason(version))
            }
            _ => BlockAnswer::Silent,
        }
    }

    /// Why a version that no range names is not affected: mostly a range that ended before it.
    fn default_reason(&self, version: &KernelVersion) -> Reason {
        let end = |range: &VersionRange| match &range.end {
            VersionEnd::LessThan(end) => end.parse::<KernelVersion>().ok(),
            _ => None,
        };
        let affected = self
            .versions
            .iter()
            .filter(|range| range.status == Status::Affected);
        let ends = affected.filter_map(end).filter(|end| end <= version);
        ends.max().map_or_else(
            || Reason::Stated(version.to_string()),
            |end| Reason::FixedIn(end.to_string()),
        )
    }
}

impl VersionRange {
    fn is_git(&self) -> bool {
        self.version_type == "git"
    }

    fn can_compare(&self) -> bool {
        let known = |text: &str| text.parse::<KernelVersion>().is_ok();
        let end = match &self.end {
            VersionEnd::Single => true,
            VersionEnd::LessThan(end) => end == "*" || known(end),
            VersionEnd::LessThanOrEqual(end) => {
                end == "*" || known(end.strip_suffix(".*").unwrap_or(end))
            }
        };
        !self.is_git() && (self.version == "*" || known(&self.version)) && end
    }

    fn holds(&self, version: &KernelVersion) -> bool {
        if !self.can_compare() {
            return false;
        }
        let parsed = |text: &str| text.parse::<KernelVersion>().ok();
        let begun = self.version == "*"
            || parsed(&self.version).is_some_and(|first| match self.end {
                VersionEnd::Single => *version == first,
                _ => *version >= first,
            });
        begun
            && match &self.end {
                VersionEnd::Single => true,
                VersionEnd::LessThan(end) => {
                    end == "*" || parsed(end).is_some_and(|end| *version < end)
                }
                VersionEnd::LessThanOrEqual(end) => match end.strip_suffix(".*") {
                    Some(series) => parsed(series)
                        .is_some_and(|end| version.is_of_series(&end) || *version < end),
                    None => end == "*" || parsed(end).is_some_and(|end| *version <= end),
                },
            }
    }

    fn reason(&self) -> Reason {
        match &self.end {
            VersionEnd::LessThan(end) if self.version == "0" => Reason::BroughtIn(end.clone()),
            VersionEnd::Single => Reason::Stated(self.version.clone()),
            _ => Reason::FixedIn(self.version.clone()),
        }
    }
}
