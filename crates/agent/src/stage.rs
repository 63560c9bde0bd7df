//! The life cycle of live patching on one machine: every stage, every way from one to the next
//! and its reason. `docs/agent.md` draws it; a test keeps the two the same.
//!
//! What the machine *has* is never remembered here: it is read from the kernel at each status
//! ([`crate::status::PatchState`]). The stage says what the agent does, or what it came to.

use std::fmt;

use serde::{Deserialize, Serialize};
use suture_advisory::PatchVersion;
use thiserror::Error;

use crate::mode::Mode;
use crate::status::{Coverage, PatchState};

/// Where the machine's live patching stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Stage {
    /// The daemon came up and has not judged the last run yet.
    #[default]
    Starting,
    NotEnrolled,
    /// A brake is on; see [`crate::mode`].
    Stopped,
    /// There is nothing to do.
    Idle,
    /// The server is asked.
    Checking,
    /// Metadata, manifest and module come from the repository.
    Fetching {
        version: PatchVersion,
    },
    /// They are proven against each other and the running kernel.
    Verifying {
        version: PatchVersion,
    },
    /// The kernel is asked to take the module.
    Applying {
        version: PatchVersion,
    },
    /// The kernel moves tasks to the first patch of this boot.
    InTransition {
        version: PatchVersion,
    },
    /// The kernel moves tasks from one patch to its successor.
    Superseding {
        version: PatchVersion,
        replaces: PatchVersion,
    },
    /// The kernel takes an unfinished transition back.
    Reversing {
        version: PatchVersion,
    },
    /// Every task runs the patch.
    Applied {
        version: PatchVersion,
    },
    /// The patch on offer did not come into force.
    Failed {
        version: PatchVersion,
    },
    /// The patch on offer brought this machine down before.
    Quarantined {
        version: PatchVersion,
    },
    /// There is a patch, and this machine's turn, or its owner's time for it, has not come.
    HeldBack,
    /// Patches are made for kernels like this one, and none for it yet.
    NotBuiltYet,
    /// No patches are made for kernels like this one.
    NotCovered,
    /// Patches for this kernel have ended.
    UpgradeRequired,
}

/// A [`Stage`] without what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Starting,
    NotEnrolled,
    Stopped,
    Idle,
    Checking,
    Fetching,
    Verifying,
    Applying,
    InTransition,
    Superseding,
    Reversing,
    Applied,
    Failed,
    Quarantined,
    HeldBack,
    NotBuiltYet,
    NotCovered,
    UpgradeRequired,
}

/// Why the machine goes from one stage to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    Started,
    Enabled,
    Disabled,
    Changed,
    CheckDue,
    NoAnswer,
    Answered,
    Offered,
    FromCache,
    Fetched,
    Unfetched,
    Refused,
    OwnerWaits,
    Verified,
    Taken,
    Ended,
    Overdue,
    TakenBack,
    TakenOut,
    Lifted,
}

/// Stages in which the agent itself does nothing; the kernel may.
pub const RESTING: [Kind; 13] = [
    Kind::NotEnrolled,
    Kind::Stopped,
    Kind::Idle,
    Kind::InTransition,
    Kind::Superseding,
    Kind::Reversing,
    Kind::Applied,
    Kind::Failed,
    Kind::Quarantined,
    Kind::HeldBack,
    Kind::NotBuiltYet,
    Kind::NotCovered,
    Kind::UpgradeRequired,
];

/// A step that the life cycle does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a machine that is {from} does not become {to} because {reason}")]
pub struct WrongStep {
    pub from: Kind,
    pub reason: Reason,
    pub to: Kind,
}

/// One line of the table: from each of these, for this reason, to one of those.
struct Edge {
    from: &'static [Kind],
    reason: Reason,
    to: &'static [Kind],
}

const fn edge(from: &'static [Kind], reason: Reason, to: &'static [Kind]) -> Edge {
    Edge { from, reason, to }
}

const EDGES: [Edge; 20] = {
    use Kind as K;
    use Reason as R;
    [
        edge(&[K::Starting], R::Started, &RESTING),
        edge(&RESTING, R::Enabled, &RESTING),
        edge(&RESTING, R::Disabled, &RESTING),
        edge(&RESTING, R::Changed, &RESTING),
        edge(&RESTING, R::CheckDue, &[K::Checking]),
        edge(&[K::Checking], R::NoAnswer, &RESTING),
        edge(&[K::Checking], R::Answered, &RESTING),
        edge(&[K::Checking], R::Offered, &[K::Fetching]),
        edge(&RESTING, R::FromCache, &[K::Verifying]),
        edge(&[K::Fetching], R::Fetched, &[K::Verifying]),
        edge(&[K::Fetching], R::Unfetched, &RESTING),
        edge(
            &[K::Fetching, K::Verifying, K::Applying],
            R::Refused,
            &RESTING,
        ),
        edge(&[K::Verifying], R::OwnerWaits, &RESTING),
        edge(&[K::Verifying], R::Verified, &[K::Applying]),
        edge(&[K::Applying], R::Taken, &RESTING),
        edge(
            &[K::InTransition, K::Superseding, K::Reversing],
            R::Ended,
            &RESTING,
        ),
        edge(
            &[K::InTransition, K::Superseding],
            R::Overdue,
            &[K::Reversing],
        ),
        edge(&[K::Reversing], R::TakenBack, &RESTING),
        edge(&RESTING, R::TakenOut, &RESTING),
        edge(&RESTING, R::Lifted, &RESTING),
    ]
};

impl Stage {
    pub fn kind(&self) -> Kind {
        match self {
            Self::Starting => Kind::Starting,
            Self::NotEnrolled => Kind::NotEnrolled,
            Self::Stopped => Kind::Stopped,
            Self::Idle => Kind::Idle,
            Self::Checking => Kind::Checking,
            Self::Fetching { .. } => Kind::Fetching,
            Self::Verifying { .. } => Kind::Verifying,
            Self::Applying { .. } => Kind::Applying,
            Self::InTransition { .. } => Kind::InTransition,
            Self::Superseding { .. } => Kind::Superseding,
            Self::Reversing { .. } => Kind::Reversing,
            Self::Applied { .. } => Kind::Applied,
            Self::Failed { .. } => Kind::Failed,
            Self::Quarantined { .. } => Kind::Quarantined,
            Self::HeldBack => Kind::HeldBack,
            Self::NotBuiltYet => Kind::NotBuiltYet,
            Self::NotCovered => Kind::NotCovered,
            Self::UpgradeRequired => Kind::UpgradeRequired,
        }
    }

    /// The next stage, if the life cycle has this step.
    pub fn step(&self, reason: Reason, to: Self) -> Result<Self, WrongStep> {
        let (from, kind) = (self.kind(), to.kind());
        let fits = |edge: &Edge| {
            edge.reason == reason && edge.from.contains(&from) && edge.to.contains(&kind)
        };
        if EDGES.iter().any(fits) {
            Ok(to)
        } else {
            Err(WrongStep {
                from,
                reason,
                to: kind,
            })
        }
    }

    /// Where a machine comes to rest, by what is known of it. That the server cannot be reached
    /// is not asked for: it does not change what the machine has.
    pub fn at_rest(enrolled: bool, mode: Mode, coverage: Coverage, patch: &PatchState) -> Self {
        match patch {
            PatchState::Applying {
                version,
                in_force: Some(replaces),
                ..
            } => Self::Superseding {
                version: *version,
                replaces: *replaces,
            },
            PatchState::Applying { version, .. } => Self::InTransition { version: *version },
            PatchState::Reversing { version, .. } => Self::Reversing { version: *version },
            _ if mode == Mode::Stop => Self::Stopped,
            _ if !enrolled => Self::NotEnrolled,
            PatchState::Applied { .. } | PatchState::NotCovered if coverage == Coverage::Ended => {
                Self::UpgradeRequired
            }
            PatchState::Applied { version } => Self::Applied { version: *version },
            PatchState::Failed { wanted, .. } => Self::Failed { version: *wanted },
            PatchState::Quarantined { wanted, .. } => Self::Quarantined { version: *wanted },
            PatchState::HeldBack | PatchState::Deferred { .. } | PatchState::Withdrawn { .. } => {
                Self::HeldBack
            }
            PatchState::NotBuiltYet => Self::NotBuiltYet,
            PatchState::NotCovered => Self::NotCovered,
            PatchState::NotChecked | PatchState::NothingToApply | PatchState::Pending { .. } => {
                Self::Idle
            }
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Starting => "starting",
            Self::NotEnrolled => "not enrolled",
            Self::Stopped => "stopped",
            Self::Idle => "idle",
            Self::Checking => "checking",
            Self::Fetching => "fetching",
            Self::Verifying => "verifying",
            Self::Applying => "applying",
            Self::InTransition => "in transition",
            Self::Superseding => "superseding",
            Self::Reversing => "reversing",
            Self::Applied => "applied",
            Self::Failed => "failed",
            Self::Quarantined => "quarantined",
            Self::HeldBack => "held back",
            Self::NotBuiltYet => "not built yet",
            Self::NotCovered => "not covered",
            Self::UpgradeRequired => "upgrade required",
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Started => "the daemon started and judged the last run",
            Self::Enabled => "the machine was enrolled",
            Self::Disabled => "the machine was released",
            Self::Changed => "a look at the kernel and the brakes found them changed",
            Self::CheckDue => "a check-in is due or asked for",
            Self::NoAnswer => "the server did not answer",
            Self::Answered => "the server has nothing new for this machine",
            Self::Offered => "the server named a version",
            Self::FromCache => "the cache has a version for this kernel",
            Self::Fetched => "all files are here",
            Self::Unfetched => "the network failed",
            Self::Refused => "the repository, the agent or the kernel refused it",
            Self::OwnerWaits => "the owner's cut-off date or delay holds it back",
            Self::Verified => "it is proven to be for this kernel",
            Self::Taken => "the kernel took the module",
            Self::Ended => "every task runs the same code",
            Self::Overdue => "the transition outlived `reverse-after`",
            Self::TakenBack => "the kernel took the patch back",
            Self::TakenOut => "somebody took the patch out by hand",
            Self::Lifted => "an administrator lifted a quarantine",
        })
    }
}

/// The table of the life cycle, as `docs/agent.md` has it.
pub fn table() -> String {
    let mut text = "| from | because | to |\n|---|---|---|\n".to_owned();
    for Edge { from, reason, to } in &EDGES {
        text.push_str(&format!("| {} | {reason} | {} |\n", names(from), names(to)));
    }
    text
}

fn names(kinds: &[Kind]) -> String {
    if kinds == RESTING {
        return "*any at rest*".to_owned();
    }
    kinds
        .iter()
        .map(Kind::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::version;

    #[test]
    fn the_documentation_has_this_life_cycle() {
        let page = include_str!("../../../docs/agent.md");
        assert!(
            page.contains(&table()),
            "docs/agent.md lacks this table:\n{}",
            table()
        );
        for kind in RESTING {
            assert!(
                page.contains(&format!("**{kind}**")),
                "{kind} is not explained"
            );
        }
    }

    #[test]
    fn a_patch_goes_its_way_and_no_other() {
        let version = version("104.1");
        let checking = Stage::Idle.step(Reason::CheckDue, Stage::Checking).unwrap();
        let fetching = checking.step(Reason::Offered, Stage::Fetching { version });
        let verifying = fetching
            .unwrap()
            .step(Reason::Fetched, Stage::Verifying { version });
        let applying = verifying
            .unwrap()
            .step(Reason::Verified, Stage::Applying { version })
            .unwrap();
        assert!(
            applying
                .step(Reason::Taken, Stage::InTransition { version })
                .is_ok()
        );
        let unverified = Stage::Fetching { version }.step(Reason::Verified, applying);
        assert_eq!(
            unverified.unwrap_err().to_string(),
            "a machine that is fetching does not become applying because it is proven to be for \
             this kernel"
        );
    }

    #[test]
    fn every_stage_can_be_entered_and_left() {
        for kind in RESTING {
            assert!(EDGES.iter().any(|edge| edge.to.contains(&kind)), "{kind}");
            assert!(EDGES.iter().any(|edge| edge.from.contains(&kind)), "{kind}");
        }
        for kind in [
            Kind::Checking,
            Kind::Fetching,
            Kind::Verifying,
            Kind::Applying,
        ] {
            assert!(EDGES.iter().any(|edge| edge.to.contains(&kind)), "{kind}");
            let back = |edge: &Edge| edge.from.contains(&kind) && edge.to == RESTING;
            assert!(EDGES.iter().any(back), "{kind} has no way to rest");
        }
    }

    #[test]
    fn a_machine_rests_where_the_kernel_and_the_last_answer_put_it() {
        let rest = |enrolled, mode, coverage, patch| {
            Stage::at_rest(enrolled, mode, coverage, &patch).kind()
        };
        let applied = || PatchState::Applied {
            version: version("104.1"),
        };
        let covered = Coverage::Covered;
        assert_eq!(rest(true, Mode::Normal, covered, applied()), Kind::Applied);
        assert_eq!(
            rest(false, Mode::Normal, covered, applied()),
            Kind::NotEnrolled
        );
        assert_eq!(rest(true, Mode::Stop, covered, applied()), Kind::Stopped);
        assert_eq!(
            rest(true, Mode::Normal, Coverage::Ended, applied()),
            Kind::UpgradeRequired
        );
        let superseding = PatchState::Applying {
            version: version("104.1"),
            in_force: Some(version("103.2")),
            stalled: false,
        };
        assert_eq!(
            rest(true, Mode::Stop, covered, superseding),
            Kind::Superseding
        );
        assert_eq!(
            rest(
                true,
                Mode::Normal,
                Coverage::NotBuiltYet,
                PatchState::NotBuiltYet
            ),
            Kind::NotBuiltYet
        );
    }
}
