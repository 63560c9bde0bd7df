//! What to do next, from facts alone.

use suture_advisory::PatchVersion;
use suture_rollout::Offer;

use crate::livepatch_sysfs::Running;
use crate::state::{Quarantined, Withdrawn};

/// The next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextStep {
    /// The kernel has what it should have.
    Keep,
    /// A transition is open; the kernel takes no other patch until it ends.
    WaitFor(PatchVersion),
    /// The version brought this machine down before.
    Quarantined(Quarantined),
    /// Live patches of someone else are enabled. Ours replace all others (`klp_patch.replace`),
    /// so loading one would silently undo them.
    ForeignPatches {
        wanted: PatchVersion,
        names: Vec<String>,
    },
    Apply(PatchVersion),
}

/// The step after a check-in.
pub fn after_offer(offer: &Offer, running: &Running, quarantine: &[Quarantined]) -> NextStep {
    match offer {
        Offer::Version { version } => toward(*version, running, quarantine),
        Offer::UpToDate | Offer::NotYet | Offer::NotCovered => NextStep::Keep,
    }
}

/// The cached versions that may be applied without asking: none that was withdrawn, and, where
/// the server answered for this kernel before, none later than what it wanted then. A version
/// that the server held back or stopped offering is held back here too.
pub fn startable(
    cached: &[PatchVersion],
    last_offer: Option<&Offer>,
    withdrawn: &[Withdrawn],
) -> Vec<PatchVersion> {
    let wanted = |version: PatchVersion| match last_offer {
        // Support that ended is no reason to open a hole again that was closed.
        None | Some(Offer::NotCovered) => true,
        Some(Offer::Version { version: offered }) => version <= *offered,
        Some(Offer::UpToDate | Offer::NotYet) => false,
    };
    let stands = |version: PatchVersion| !withdrawn.iter().any(|it| it.version == version);
    let cached = cached.iter().copied();
    cached
        .filter(|version| wanted(*version) && stands(*version))
        .collect()
}

/// The step of a started agent that has `cached` versions for this kernel build: the newest that
/// is not in quarantine, so that a restarted machine is protected before it reaches the network.
pub fn at_start(
    cached: &[PatchVersion],
    running: &Running,
    quarantine: &[Quarantined],
) -> NextStep {
    let usable =
        |version: &&PatchVersion| !quarantine.iter().any(|entry| entry.version == **version);
    match cached.iter().filter(usable).max() {
        Some(version) => toward(*version, running, quarantine),
        None => NextStep::Keep,
    }
}

fn toward(wanted: PatchVersion, running: &Running, quarantine: &[Quarantined]) -> NextStep {
    if running.in_force >= Some(wanted) {
        return NextStep::Keep;
    }
    if let Some(version) = running.in_transition.or(running.reversing) {
        return NextStep::WaitFor(version);
    }
    if let Some(entry) = quarantine.iter().find(|entry| entry.version == wanted) {
        return NextStep::Quarantined(entry.clone());
    }
    if !running.foreign.is_empty() {
        return NextStep::ForeignPatches {
            wanted,
            names: running.foreign.clone(),
        };
    }
    NextStep::Apply(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeTree, time, version};

    fn quarantined(text: &str) -> Quarantined {
        Quarantined {
            kernel: FakeTree::kernel(),
            version: version(text),
            reason: "the machine went down while it was in transition".to_owned(),
            at: time(0),
        }
    }

    fn offer(text: &str) -> Offer {
        Offer::Version {
            version: version(text),
        }
    }

    fn in_force(text: &str) -> Running {
        Running {
            in_force: Some(version(text)),
            ..Running::default()
        }
    }

    #[test]
    fn a_machine_only_ever_goes_forward() {
        let step = |running: &Running| after_offer(&offer("104.1"), running, &[]);
        assert_eq!(step(&Running::default()), NextStep::Apply(version("104.1")));
        assert_eq!(step(&in_force("103.2")), NextStep::Apply(version("104.1")));
        assert_eq!(step(&in_force("104.1")), NextStep::Keep);
        assert_eq!(step(&in_force("105.1")), NextStep::Keep);
        assert_eq!(
            after_offer(&Offer::UpToDate, &in_force("1.1"), &[]),
            NextStep::Keep
        );
        assert_eq!(
            after_offer(&Offer::NotCovered, &in_force("1.1"), &[]),
            NextStep::Keep
        );
    }

    #[test]
    fn an_open_transition_is_waited_for() {
        let running = Running {
            in_transition: Some(version("104.1")),
            ..in_force("103.2")
        };
        for wanted in ["104.1", "105.1"] {
            let step = after_offer(&offer(wanted), &running, &[]);
            assert_eq!(step, NextStep::WaitFor(version("104.1")));
        }
    }

    #[test]
    fn a_version_that_brought_the_machine_down_stays_out_and_the_next_may_come() {
        let quarantine = [quarantined("104.1")];
        let step = |text| after_offer(&offer(text), &Running::default(), &quarantine);
        assert_eq!(step("104.1"), NextStep::Quarantined(quarantined("104.1")));
        assert_eq!(step("104.2"), NextStep::Apply(version("104.2")));
    }

    #[test]
    fn patches_of_others_are_not_undone() {
        let running = Running {
            foreign: vec!["kpatch_x".to_owned()],
            ..Running::default()
        };
        let names = vec!["kpatch_x".to_owned()];
        let wanted = version("104.1");
        let step = after_offer(&offer("104.1"), &running, &[]);
        assert_eq!(step, NextStep::ForeignPatches { wanted, names });
    }

    #[test]
    fn what_was_withdrawn_or_held_back_stays_in_the_cache() {
        let cached = [version("103.2"), version("104.1")];
        let withdrawn = [Withdrawn {
            kernel: FakeTree::kernel(),
            version: version("104.1"),
            reason: "it broke".to_owned(),
        }];
        let older = [version("103.2")];
        assert_eq!(startable(&cached, None, &[]), cached);
        assert_eq!(startable(&cached, Some(&Offer::NotCovered), &[]), cached);
        assert_eq!(startable(&cached, Some(&offer("104.1")), &[]), cached);
        assert_eq!(startable(&cached, Some(&offer("104.1")), &withdrawn), older);
        assert_eq!(startable(&cached, Some(&offer("103.2")), &[]), older);
        for nothing in [Offer::NotYet, Offer::UpToDate] {
            assert_eq!(startable(&cached, Some(&nothing), &[]), []);
        }
    }

    #[test]
    fn a_restarted_machine_takes_the_newest_good_version_from_its_cache() {
        let cached = [version("103.2"), version("104.1"), version("99.1")];
        let step = |quarantine: &[Quarantined]| at_start(&cached, &Running::default(), quarantine);
        assert_eq!(step(&[]), NextStep::Apply(version("104.1")));
        assert_eq!(
            step(&[quarantined("104.1")]),
            NextStep::Apply(version("103.2"))
        );
        assert_eq!(at_start(&[], &Running::default(), &[]), NextStep::Keep);
        assert_eq!(at_start(&cached, &in_force("104.1"), &[]), NextStep::Keep);
    }
}
