//! The whole fleet as data, for operators.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use suture_advisory::PatchVersion;
use suture_protocol::MachineState;
use suture_store::{FleetGroup, FleetSample};
use utoipa::ToSchema;

/// Counted machines, and how that came to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FleetView {
    /// When they were counted.
    #[schema(value_type = String)]
    pub at: Timestamp,
    pub machines: u64,
    /// Heard of within the last hour.
    pub heard: u64,
    /// The last try to apply a live patch failed.
    pub failed: u64,
    /// With a live patch in force.
    pub patched: u64,
    /// By state, in the order of [`FleetView::STATES`].
    pub states: Vec<Counted>,
    /// By kernel release, the most first.
    pub kernels: Vec<Counted>,
    /// By version in force, the newest first.
    pub versions: Vec<Counted>,
    /// Oldest first, an hour apart, and from a fortnight ago on back a day apart.
    pub course: Vec<FleetMoment>,
}

/// Machines of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counted {
    pub name: String,
    pub machines: u64,
}

/// The fleet at one hour.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FleetMoment {
    #[schema(value_type = String)]
    pub at: Timestamp,
    pub machines: u64,
    pub heard: u64,
    pub states: BTreeMap<String, u64>,
    pub versions: BTreeMap<String, u64>,
}

/// Of machines that were not heard of since they enrolled.
const NEW: &str = "new";
/// Of machines without a live patch.
const NONE: &str = "none";

impl FleetView {
    /// The names of states, the best first.
    pub const STATES: [&str; 5] = ["applied", "applying", "unapplied", NEW, "apply-failed"];

    /// `samples` are the oldest first.
    pub fn new(groups: &[FleetGroup], samples: &[FleetSample], at: Timestamp) -> Self {
        let sum = |wanted: &dyn Fn(&FleetGroup) -> bool| {
            let found = groups.iter().filter(|group| wanted(group));
            found.map(|group| group.machines).sum()
        };
        let state = |name: &&str| Counted {
            name: (*name).to_owned(),
            machines: sum(&|group| state_name(group.state) == *name),
        };
        Self {
            at,
            machines: sum(&|_| true),
            heard: groups.iter().map(|group| group.heard).sum(),
            failed: sum(&|group| group.state == Some(MachineState::ApplyFailed)),
            patched: sum(&|group| group.applied.is_some()),
            states: Self::STATES.iter().map(state).collect(),
            kernels: kernels(groups),
            versions: versions(groups),
            course: course(samples),
        }
    }
}

fn state_name(state: Option<MachineState>) -> &'static str {
    state.map_or(NEW, MachineState::as_str)
}

fn version_name(version: Option<PatchVersion>) -> String {
    version.map_or(NONE.to_owned(), |version| version.to_string())
}

fn kernels(groups: &[FleetGroup]) -> Vec<Counted> {
    let mut machines: BTreeMap<&str, u64> = BTreeMap::new();
    for group in groups {
        *machines.entry(group.release.as_str()).or_default() += group.machines;
    }
    let mut kernels: Vec<_> = machines
        .into_iter()
        .map(|(name, machines)| Counted {
            name: name.to_owned(),
            machines,
        })
        .collect();
    kernels.sort_by_key(|kernel| Reverse(kernel.machines));
    kernels
}

fn versions(groups: &[FleetGroup]) -> Vec<Counted> {
    let mut machines: BTreeMap<Option<PatchVersion>, u64> = BTreeMap::new();
    for group in groups {
        *machines.entry(group.applied).or_default() += group.machines;
    }
    let counted = |(version, machines)| Counted {
        name: version_name(version),
        machines,
    };
    machines.into_iter().rev().map(counted).collect()
}

fn course(samples: &[FleetSample]) -> Vec<FleetMoment> {
    let mut course: Vec<FleetMoment> = Vec::new();
    for sample in samples {
        if course.last().is_none_or(|moment| moment.at != sample.at) {
            course.push(FleetMoment {
                at: sample.at,
                ..FleetMoment::default()
            });
        }
        let Some(moment) = course.last_mut() else {
            continue;
        };
        let group = &sample.group;
        moment.machines += group.machines;
        moment.heard += group.heard;
        *moment
            .states
            .entry(state_name(group.state).to_owned())
            .or_default() += group.machines;
        *moment
            .versions
            .entry(version_name(group.applied))
            .or_default() += group.machines;
    }
    course
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(release: &str, state: Option<MachineState>, version: Option<&str>) -> FleetGroup {
        FleetGroup {
            release: release.parse().unwrap(),
            state,
            applied: version.map(|version| version.parse().unwrap()),
            machines: 10,
            heard: 4,
        }
    }

    fn fleet() -> [FleetGroup; 4] {
        [
            group("6.1.0-53-amd64", Some(MachineState::Applied), Some("9.1")),
            group("6.1.0-53-amd64", Some(MachineState::Applied), Some("10.1")),
            group("6.12.9-amd64", Some(MachineState::ApplyFailed), Some("9.1")),
            group("6.12.9-amd64", None, None),
        ]
    }

    fn pairs(counted: &[Counted]) -> Vec<(&str, u64)> {
        counted
            .iter()
            .map(|it| (it.name.as_str(), it.machines))
            .collect()
    }

    #[test]
    fn machines_are_counted_by_each_of_their_sides() {
        let view = FleetView::new(&fleet(), &[], Timestamp::UNIX_EPOCH);
        assert_eq!((view.machines, view.heard), (40, 16));
        assert_eq!((view.failed, view.patched), (10, 30));
        assert_eq!(
            pairs(&view.versions),
            [("10.1", 10), ("9.1", 20), ("none", 10)]
        );
        assert_eq!(
            pairs(&view.kernels),
            [("6.1.0-53-amd64", 20), ("6.12.9-amd64", 20)]
        );
        let states: u64 = view.states.iter().map(|state| state.machines).sum();
        assert_eq!(states, view.machines, "no state is left out");
    }

    #[test]
    fn each_hour_is_a_moment_of_the_course() {
        let at = |hour: i64| Timestamp::from_second(hour * 3600).unwrap();
        let samples: Vec<_> = [1, 1, 2]
            .into_iter()
            .zip(fleet())
            .map(|(hour, group)| FleetSample {
                at: at(hour),
                group,
            })
            .collect();
        let course = FleetView::new(&[], &samples, at(2)).course;
        assert_eq!(course.len(), 2);
        assert_eq!((course[0].at, course[0].machines), (at(1), 20));
        assert_eq!(course[0].versions["10.1"], 10);
        assert_eq!(course[1].states["apply-failed"], 10);
    }
}
