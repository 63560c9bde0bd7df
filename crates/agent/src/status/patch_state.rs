//! What the running kernel has, against what it should have.

use serde::{Deserialize, Serialize};
use suture_advisory::PatchVersion;
use suture_kernel::KernelBuild;
use suture_rollout::Offer;

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
    Applied {
        version: PatchVersion,
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
            | Self::HeldBack
            | Self::Withdrawn { .. } => None,
            Self::Applied { version } => Some(*version),
            Self::Pending { in_force, .. }
            | Self::Applying { in_force, .. }
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
            | Self::HeldBack
            | Self::Withdrawn { .. } => None,
            Self::Applied { version } | Self::Applying { version, .. } => Some(*version),
            Self::Pending { wanted, .. }
            | Self::Failed { wanted, .. }
            | Self::Quarantined { wanted, .. } => Some(*wanted),
        }
    }
}

/// Derives the state from what the kernel runs, the last answer for this kernel, the journal's
/// record, the last refusal, and this kernel's quarantine and withdrawals.
pub fn patch_state(
    kernel: &KernelBuild,
    running: &Running,
    offer: Option<&Offer>,
    record: Option<&Load>,
    refusal: Option<&Refusal>,
    quarantine: &[Quarantined],
    withdrawn: &[Withdrawn],
) -> PatchState {
    let in_force = running.in_force;
    if let Some(version) = running.in_transition {
        let stalled = matches!(record, Some(Load::InTransition { stalled: true, .. }));
        return PatchState::Applying {
            version,
            in_force,
            stalled,
        };
    }
    let wanted = match offer {
        Some(Offer::Version { version }) if Some(*version) > in_force => Some(*version),
        _ => None,
    };
    let Some(wanted) = wanted else {
        return at_rest(in_force, offer);
    };
    // The offer is the machine's own word of what it had; the server offers no such version.
    if let Some(entry) = withdrawn.iter().find(|entry| entry.version == wanted) {
        let (version, reason) = (wanted, entry.reason.clone());
        return match in_force {
            None => PatchState::Withdrawn { version, reason },
            Some(version) => PatchState::Applied { version },
        };
    }
    if let Some(entry) = quarantine.iter().find(|entry| entry.version == wanted) {
        return PatchState::Quarantined {
            wanted,
            in_force,
            reason: entry.reason.clone(),
        };
    }
    match refusal {
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

fn at_rest(in_force: Option<PatchVersion>, offer: Option<&Offer>) -> PatchState {
    match (in_force, offer) {
        (Some(version), _) => PatchState::Applied { version },
        (None, None) => PatchState::NotChecked,
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
        patch_state(&FakeTree::kernel(), running, offer, None, refusal, &[], &[])
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
    fn a_withdrawn_version_that_the_kernel_lost_is_not_on_offer() {
        let withdrawn = [Withdrawn {
            kernel: FakeTree::kernel(),
            version: version("104.1"),
            reason: "it broke".to_owned(),
        }];
        let state = |running: &Running| {
            let (kernel, offer) = (FakeTree::kernel(), offer("104.1"));
            patch_state(&kernel, running, Some(&offer), None, None, &[], &withdrawn)
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
        let state_with_record = patch_state(
            &kernel,
            &nothing,
            Some(&offer("104.1")),
            Some(&settled),
            None,
            &[],
            &[],
        );
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
