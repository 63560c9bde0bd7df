//! What the running kernel has, against what it should have.

use serde::{Deserialize, Serialize};
use suture_advisory::PatchVersion;
use suture_kernel::KernelBuild;
use suture_rollout::Offer;

use crate::coverage::Series;
use crate::lifecycle::Load;
use crate::livepatch_sysfs::Running;
use crate::state::{Quarantined, Refusal, Withdrawn};

/// The patch state. What is in force comes from the kernel at this moment, never from memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum PatchState {
    /// Nothing is loaded, and the server was not asked yet.
    NotChecked,
    /// The kernel is covered and needs no patch at this time.
    NothingToApply,
    /// No live patches are made for this kernel, and none is in force.
    NotCovered,
    /// Live patches are made for kernels like this one, but none for it yet.
    NotBuiltYet,
    /// There is a patch, whose rollout has not come to this machine; none is in force.
    HeldBack,
    /// The version that this machine had was withdrawn while it was in force; it is not loaded
    /// again, and there is no other.
    Withdrawn {
        version: PatchVersion,
        reason: String,
    },
    /// A patch is on offer and not loaded yet.
    Pending {
        wanted: PatchVersion,
        in_force: Option<PatchVersion>,
    },
    /// The kernel moves tasks to the patch.
    Applying {
        version: PatchVersion,
        in_force: Option<PatchVersion>,
        stalled: bool,
    },
    /// The kernel takes an unfinished transition back.
    Reversing {
        version: PatchVersion,
        in_force: Option<PatchVersion>,
    },
    Applied {
        version: PatchVersion,
    },
    /// A patch is on offer, and this machine's owner lets it wait.
    Deferred {
        wanted: PatchVersion,
        in_force: Option<PatchVersion>,
        reason: String,
    },
    /// The last try failed; what was in force before still is.
    Failed {
        wanted: PatchVersion,
        in_force: Option<PatchVersion>,
        reason: String,
        hint: Option<String>,
    },
    /// The patch on offer brought this machine down before.
    Quarantined {
        wanted: PatchVersion,
        in_force: Option<PatchVersion>,
        reason: String,
    },
}

impl PatchState {
    /// The version in force.
    pub fn in_force(&self) -> Option<PatchVersion> {
        match self {
            Self::NotChecked
            | Self::NothingToApply
            | Self::NotCovered
            | Self::NotBuiltYet
            | Self::HeldBack
            | Self::Withdrawn { .. } => None,
            Self::Applied { version } => Some(*version),
            Self::Pending { in_force, .. }
            | Self::Applying { in_force, .. }
            | Self::Reversing { in_force, .. }
            | Self::Deferred { in_force, .. }
            | Self::Failed { in_force, .. }
            | Self::Quarantined { in_force, .. } => *in_force,
        }
    }

    /// The version that the machine has or goes to.
    pub fn newest(&self) -> Option<PatchVersion> {
        match self {
            Self::NotChecked
            | Self::NothingToApply
            | Self::NotCovered
            | Self::NotBuiltYet
            | Self::HeldBack
            | Self::Withdrawn { .. } => None,
            Self::Applied { version }
            | Self::Applying { version, .. }
            | Self::Reversing { version, .. } => Some(*version),
            Self::Pending { wanted, .. }
            | Self::Deferred { wanted, .. }
            | Self::Failed { wanted, .. }
            | Self::Quarantined { wanted, .. } => Some(*wanted),
        }
    }
}

/// What is known besides what the kernel runs.
#[derive(Debug, Clone, Default)]
pub struct Known<'a> {
    /// The last answer for this kernel.
    pub offer: Option<&'a Offer>,
    /// The journal's record.
    pub record: Option<&'a Load>,
    /// The last refusal.
    pub refusal: Option<&'a Refusal>,
    /// What the repository said of kernels like this one.
    pub series: Option<&'a Series>,
    /// This kernel's.
    pub quarantine: &'a [Quarantined],
    /// This kernel's.
    pub withdrawn: &'a [Withdrawn],
}

/// Derives the state from what the kernel runs and what is known besides.
pub fn patch_state(kernel: &KernelBuild, running: &Running, known: &Known<'_>) -> PatchState {
    let in_force = running.in_force;
    if let Some(version) = running.in_transition {
        let stalled = matches!(known.record, Some(Load::InTransition { stalled: true, .. }));
        return PatchState::Applying {
            version,
            in_force,
            stalled,
        };
    }
    if let Some(version) = running.reversing {
        return PatchState::Reversing { version, in_force };
    }
    let wanted = match known.offer {
        Some(Offer::Version { version }) if Some(*version) > in_force => Some(*version),
        _ => None,
    };
    let Some(wanted) = wanted else {
        return at_rest(kernel, in_force, known);
    };
    // The offer is the machine's own word of what it had; the server offers no such version.
    if let Some(entry) = known.withdrawn.iter().find(|entry| entry.version == wanted) {
        let (version, reason) = (wanted, entry.reason.clone());
        return match in_force {
            None => PatchState::Withdrawn { version, reason },
            Some(version) => PatchState::Applied { version },
        };
    }
    if let Some(entry) = known
        .quarantine
        .iter()
        .find(|entry| entry.version == wanted)
    {
        return PatchState::Quarantined {
            wanted,
            in_force,
            reason: entry.reason.clone(),
        };
    }
    match known.refusal {
        Some(refusal)
            if refusal.deferred && refusal.version == wanted && refusal.kernel == *kernel =>
        {
            PatchState::Deferred {
                wanted,
                in_force,
                reason: refusal.reason.clone(),
            }
        }
        Some(refusal) if refusal.version == wanted && refusal.kernel == *kernel => {
            let (reason, hint) = (refusal.reason.clone(), refusal.hint.clone());
            PatchState::Failed {
                wanted,
                in_force,
                reason,
                hint,
            }
        }
        _ => PatchState::Pending { wanted, in_force },
    }
}

fn at_rest(kernel: &KernelBuild, in_force: Option<PatchVersion>, known: &Known<'_>) -> PatchState {
    let is_built_later = known
        .series
        .is_some_and(|series| series.kernel == *kernel && series.is_built_later());
    match (in_force, known.offer) {
        (Some(version), _) => PatchState::Applied { version },
        (None, None) => PatchState::NotChecked,
        (None, Some(Offer::NotCovered)) if is_built_later => PatchState::NotBuiltYet,
        (None, Some(Offer::NotCovered)) => PatchState::NotCovered,
        (None, Some(Offer::NotYet)) => PatchState::HeldBack,
        (None, Some(Offer::UpToDate | Offer::Version { .. })) => PatchState::NothingToApply,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::Subject;
    use crate::testing::{FakeTree, time, version};

    fn offer(text: &str) -> Offer {
        Offer::Version {
            version: version(text),
        }
    }

    fn state(running: &Running, offer: Option<&Offer>, refusal: Option<&Refusal>) -> PatchState {
        let known = Known {
            offer,
            refusal,
            ..Known::default()
        };
        patch_state(&FakeTree::kernel(), running, &known)
    }

    #[test]
    fn clean_uncovered_held_back_and_unasked_are_four_answers() {
        let nothing = Running::default();
        assert_eq!(state(&nothing, None, None), PatchState::NotChecked);
        assert_eq!(
            state(&nothing, Some(&Offer::UpToDate), None),
            PatchState::NothingToApply
        );
        assert_eq!(
            state(&nothing, Some(&Offer::NotCovered), None),
            PatchState::NotCovered
        );
        assert_eq!(
            state(&nothing, Some(&Offer::NotYet), None),
            PatchState::HeldBack
        );
    }

    #[test]
    fn a_kernel_that_is_newer_than_those_with_patches_is_not_just_uncovered() {
        let kernel = FakeTree::kernel();
        let mut older = kernel.clone();
        older.release = "6.1.0-9-amd64".parse().unwrap();
        let series = Series::of(&kernel, [older].iter());
        let state = |offer: &Offer, running: &Running| {
            let known = Known {
                offer: Some(offer),
                series: Some(&series),
                ..Known::default()
            };
            patch_state(&kernel, running, &known)
        };
        let nothing = Running::default();
        assert_eq!(state(&Offer::NotCovered, &nothing), PatchState::NotBuiltYet);
        assert_eq!(state(&Offer::NotYet, &nothing), PatchState::HeldBack);
        assert_eq!(
            state(&Offer::UpToDate, &nothing),
            PatchState::NothingToApply
        );
    }

    #[test]
    fn what_the_owner_lets_wait_has_not_failed() {
        let deferred = Refusal {
            kernel: FakeTree::kernel(),
            version: version("104.1"),
            reason: "this machine's `patch-delay` is 1d".to_owned(),
            hint: None,
            at: time(0),
            deferred: true,
            not_before: None,
        };
        let state = state(&Running::default(), Some(&offer("104.1")), Some(&deferred));
        assert!(matches!(state, PatchState::Deferred { .. }), "{state:?}");
    }

    #[test]
    fn a_withdrawn_version_that_the_kernel_lost_is_not_on_offer() {
        let withdrawn = [Withdrawn {
            kernel: FakeTree::kernel(),
            version: version("104.1"),
            reason: "it broke".to_owned(),
        }];
        let state = |running: &Running| {
            let (kernel, offer) = (FakeTree::kernel(), offer("104.1"));
            let known = Known {
                offer: Some(&offer),
                withdrawn: &withdrawn,
                ..Known::default()
            };
            patch_state(&kernel, running, &known)
        };
        let lost = PatchState::Withdrawn {
            version: version("104.1"),
            reason: "it broke".to_owned(),
        };
        assert_eq!(state(&Running::default()), lost);
        for text in ["103.2", "104.1"] {
            let version = version(text);
            let running = Running {
                in_force: Some(version),
                ..Running::default()
            };
            assert_eq!(state(&running), PatchState::Applied { version });
        }
    }

    #[test]
    fn the_kernel_is_believed_and_not_the_journal() {
        let settled = Load::Settled {
            subject: Subject {
                version: version("104.1"),
                kernel: FakeTree::kernel(),
                boot_id: FakeTree::BOOT_ID.to_owned(),
            },
            at: time(0),
        };
        let pending = PatchState::Pending {
            wanted: version("104.1"),
            in_force: None,
        };
        let (kernel, nothing) = (FakeTree::kernel(), Running::default());
        let offered = offer("104.1");
        let known = Known {
            offer: Some(&offered),
            record: Some(&settled),
            ..Known::default()
        };
        let state_with_record = patch_state(&kernel, &nothing, &known);
        assert_eq!(state_with_record, pending);
        let running = Running {
            in_force: Some(version("104.1")),
            ..Running::default()
        };
        let applied = PatchState::Applied {
            version: version("104.1"),
        };
        assert_eq!(state(&running, Some(&Offer::NotCovered), None), applied);
    }

    #[test]
    fn a_failure_counts_for_the_version_on_offer_only() {
        let refused = Refusal {
            kernel: FakeTree::kernel(),
            version: version("104.1"),
            reason: "no".to_owned(),
            hint: None,
            at: time(0),
            deferred: false,
            not_before: None,
        };
        let running = Running {
            in_force: Some(version("103.1")),
            ..Running::default()
        };
        let wanted = version("104.1");
        let failed = PatchState::Failed {
            wanted,
            in_force: running.in_force,
            reason: "no".to_owned(),
            hint: None,
        };
        assert_eq!(
            state(&running, Some(&offer("104.1")), Some(&refused)),
            failed
        );
        let pending = PatchState::Pending {
            wanted: version("105.1"),
            in_force: running.in_force,
        };
        assert_eq!(
            state(&running, Some(&offer("105.1")), Some(&refused)),
            pending
        );
    }
}
