//! What a machine's events say, to a rollout and at all; the same for every database.

use suture_advisory::PatchVersion;
use suture_protocol::{EventKind, MachineEvent};
use suture_rollout::Harm;

/// Names of tasks that are kept of a stalled transition.
const MAX_TASKS: usize = 8;

/// Characters that are kept of a task's name or a boot id.
const MAX_NAME_CHARS: usize = 64;

/// What an event says of a machine, to the rollout of one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    Harm(Harm),
    /// The version was applied, and its transition came to an end.
    Finished,
}

impl Sign {
    /// What an event says to a rollout of `version`; none: nothing.
    pub fn of(kind: &EventKind, version: PatchVersion) -> Option<Self> {
        match kind {
            EventKind::Restarted { clean: false, .. } => Some(Self::Harm(Harm::Crash)),
            EventKind::KernelTrouble { names_patch, .. } if *names_patch == Some(version) => {
                Some(Self::Harm(Harm::PatchTrouble))
            }
            // A trace that names an earlier patch says nothing of this one by its name.
            EventKind::KernelTrouble { .. } | EventKind::TaintChanged { .. } => {
                Some(Self::Harm(Harm::KernelTrouble))
            }
            EventKind::ApplyFailed { version: of, .. }
            | EventKind::Quarantined { version: of, .. } => {
                (*of == version).then_some(Self::Harm(Harm::ApplyFailure))
            }
            EventKind::TransitionStalled { version: of, .. } => {
                (*of == version).then_some(Self::Harm(Harm::Stall))
            }
            EventKind::TransitionFinished { version: of, .. } => {
                (*of == version).then_some(Self::Finished)
            }
            EventKind::Fetched { .. }
            | EventKind::Verified { .. }
            | EventKind::Applied { .. }
            | EventKind::Restarted { clean: true, .. } => None,
        }
    }
}

/// Whether an event tells harm, of whatever version.
pub fn tells_harm(kind: &EventKind) -> bool {
    match kind {
        EventKind::Restarted { clean, .. } => !clean,
        EventKind::KernelTrouble { .. }
        | EventKind::TaintChanged { .. }
        | EventKind::ApplyFailed { .. }
        | EventKind::Quarantined { .. }
        | EventKind::TransitionStalled { .. } => true,
        EventKind::Fetched { .. }
        | EventKind::Verified { .. }
        | EventKind::Applied { .. }
        | EventKind::TransitionFinished { .. } => false,
    }
}

/// The event with its texts no longer than they may be.
pub fn shortened(mut event: MachineEvent) -> MachineEvent {
    shorten(&mut event.boot_id, MAX_NAME_CHARS);
    match &mut event.kind {
        EventKind::ApplyFailed { reason: text, .. }
        | EventKind::Quarantined { reason: text, .. }
        | EventKind::KernelTrouble { text, .. } => shorten(text, EventKind::MAX_TEXT_CHARS),
        EventKind::TransitionStalled { tasks, .. } => {
            tasks.truncate(MAX_TASKS);
            tasks
                .iter_mut()
                .for_each(|task| shorten(task, MAX_NAME_CHARS));
        }
        EventKind::Restarted {
            previous_boot_id, ..
        } => shorten(previous_boot_id, MAX_NAME_CHARS),
        EventKind::Fetched { .. }
        | EventKind::Verified { .. }
        | EventKind::Applied { .. }
        | EventKind::TransitionFinished { .. }
        | EventKind::TaintChanged { .. } => {}
    }
    event
}

fn shorten(text: &mut String, at_most: usize) {
    if let Some((end, _)) = text.char_indices().nth(at_most) {
        text.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use suture_protocol::{EventId, KernelTrouble};

    use super::*;

    fn version(text: &str) -> PatchVersion {
        text.parse().unwrap()
    }

    fn restarted(clean: bool) -> EventKind {
        EventKind::Restarted {
            clean,
            previous_boot_id: "6b0c1b62-8b0b-4b0e-9d58-2d5ff6c4f2a1".to_owned(),
            applied: Some(version("104.1")),
        }
    }

    fn trouble(names_patch: Option<&str>) -> EventKind {
        EventKind::KernelTrouble {
            trouble: KernelTrouble::Oops,
            names_patch: names_patch.map(version),
            applied: None,
            text: "BUG: kernel NULL pointer dereference, address: 0000000000000000".to_owned(),
        }
    }

    #[test]
    fn an_unclean_restart_is_a_crash_to_every_rollout_and_a_clean_one_is_nothing() {
        for of in ["104.1", "105.1"] {
            let sign = Sign::of(&restarted(false), version(of));
            assert_eq!(sign, Some(Sign::Harm(Harm::Crash)));
        }
        assert_eq!(Sign::of(&restarted(true), version("104.1")), None);
        assert!(tells_harm(&restarted(false)) && !tells_harm(&restarted(true)));
    }

    #[test]
    fn an_oops_speaks_against_the_version_that_it_names() {
        let sign = |names| Sign::of(&trouble(names), version("105.1"));
        assert_eq!(sign(Some("105.1")), Some(Sign::Harm(Harm::PatchTrouble)));
        assert_eq!(sign(Some("104.1")), Some(Sign::Harm(Harm::KernelTrouble)));
        assert_eq!(sign(None), Some(Sign::Harm(Harm::KernelTrouble)));
    }

    #[test]
    fn what_became_of_a_version_matters_to_its_own_rollout_alone() {
        let (this, other) = (version("105.1"), version("104.1"));
        let reason = || "EBUSY".to_owned();
        let told = [
            (
                EventKind::ApplyFailed {
                    version: this,
                    reason: reason(),
                },
                Sign::Harm(Harm::ApplyFailure),
            ),
            (
                EventKind::Quarantined {
                    version: this,
                    reason: reason(),
                },
                Sign::Harm(Harm::ApplyFailure),
            ),
            (
                EventKind::TransitionStalled {
                    version: this,
                    tasks: Vec::new(),
                },
                Sign::Harm(Harm::Stall),
            ),
            (
                EventKind::TransitionFinished {
                    version: this,
                    millis: 1200,
                },
                Sign::Finished,
            ),
        ];
        for (kind, sign) in told {
            assert_eq!(Sign::of(&kind, this), Some(sign));
            assert_eq!(Sign::of(&kind, other), None);
            assert_eq!(tells_harm(&kind), sign != Sign::Finished);
        }
        for kind in [
            EventKind::Fetched { version: this },
            EventKind::Verified { version: this },
            EventKind::Applied { version: this },
        ] {
            assert_eq!(Sign::of(&kind, this), None);
            assert!(!tells_harm(&kind));
        }
    }

    #[test]
    fn long_texts_are_shortened_by_characters() {
        let event = |kind| MachineEvent {
            id: EventId::from_random_bytes([7; 16]),
            at: jiff::Timestamp::UNIX_EPOCH,
            boot_id: "b".repeat(1000),
            kind,
        };
        let failed = shortened(event(EventKind::ApplyFailed {
            version: version("104.1"),
            reason: "ü".repeat(5000),
        }));
        assert_eq!(failed.boot_id.len(), MAX_NAME_CHARS);
        let EventKind::ApplyFailed { reason, .. } = failed.kind else {
            panic!("{failed:?}")
        };
        assert_eq!(reason, "ü".repeat(EventKind::MAX_TEXT_CHARS));
        let stalled = shortened(event(EventKind::TransitionStalled {
            version: version("104.1"),
            tasks: vec!["kworker/3:1".repeat(100); 100],
        }));
        let EventKind::TransitionStalled { tasks, .. } = stalled.kind else {
            panic!("{stalled:?}")
        };
        assert_eq!(tasks.len(), MAX_TASKS);
        assert!(tasks.iter().all(|task| task.len() == MAX_NAME_CHARS));
    }
}
