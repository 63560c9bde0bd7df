//! An owner's machines.

use jiff::Timestamp;
use suture_advisory::PatchVersion;
use suture_protocol::MachineId;
use suture_rollout::{Candidate, Course, GroupRules, Phase, Published};
use suture_store::{Account, Machine, Plan, Rollout};

use super::listed::state_words;

/// A machine as its owner sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnedMachine {
    pub id: MachineId,
    pub hostname: String,
    pub kernel: String,
    /// In words.
    pub state: &'static str,
    /// What went wrong, if applying did.
    pub failure: Option<String>,
    pub applied: Option<PatchVersion>,
    pub last_check_in: Option<Timestamp>,
    /// No check-in for longer than [`Machine::SILENCE_SECS`].
    pub silent: bool,
    pub early: EarlyGroupState,
    /// The version in force was withdrawn, for this reason.
    pub withdrawn: Option<String>,
    /// The account's plan does not cover it.
    pub over_limit: bool,
    /// Several machines check in as this one: its disk was copied.
    pub copied: bool,
    /// Its system was installed anew, as another machine.
    pub replaced: bool,
}

/// Whether a machine is in the early group of the patch that is current for its kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EarlyGroupState {
    /// No patch is on its way.
    NoPatch,
    In(PatchVersion),
    NotIn(PatchVersion),
}

impl OwnedMachine {
    /// `rollouts` are the newest first.
    pub fn new(
        machine: &Machine,
        account: &Account,
        published: &[Published],
        rollouts: &[Rollout],
        now: Timestamp,
    ) -> Self {
        let last = machine.last_check_in.as_ref();
        let applied = last.and_then(|report| report.applied);
        let silent = last
            .is_some_and(|report| now.duration_since(report.at).as_secs() > Machine::SILENCE_SECS);
        Self {
            id: machine.id.clone(),
            hostname: machine.hostname.to_string(),
            kernel: machine.kernel.release.to_string(),
            state: state_words(last.map(|report| report.state.name())),
            failure: last
                .and_then(|report| report.state.failure())
                .map(|text| text.as_str().to_owned()),
            applied,
            last_check_in: last.map(|report| report.at),
            silent,
            early: early(machine, account, published, rollouts),
            withdrawn: applied.and_then(|version| withdrawn(machine, version, rollouts)),
            over_limit: machine.over_limit,
            copied: machine.boots.are_of_copies(),
            replaced: machine.replaced_by.is_some(),
        }
    }
}

fn early(
    machine: &Machine,
    account: &Account,
    published: &[Published],
    rollouts: &[Rollout],
) -> EarlyGroupState {
    let versions = published
        .iter()
        .filter(|patch| patch.kernel == machine.kernel)
        .map(|patch| patch.version);
    let current = versions
        .filter_map(|version| {
            let covering = rollouts.iter().find(|rollout| {
                rollout.scope.covers(version, &machine.kernel)
                    && !matches!(rollout.phase, Phase::Withdrawn { .. })
            });
            covering.map(|rollout| (version, rollout))
        })
        .max_by_key(|(version, _)| *version);
    let Some((version, rollout)) = current else {
        return EarlyGroupState::NoPatch;
    };
    if is_early(machine, account, rollout) {
        EarlyGroupState::In(version)
    } else {
        EarlyGroupState::NotIn(version)
    }
}

fn is_early(machine: &Machine, account: &Account, rollout: &Rollout) -> bool {
    let course = Course {
        id: rollout.id,
        scope: rollout.scope.clone(),
        plan: rollout.plan.clone(),
        phase: rollout.phase.clone(),
        seed: rollout.seed.clone(),
        draw: rollout.draw.clone(),
        cap: rollout.cap,
        exposed: rollout.exposed,
    };
    let (account_id, group) = (account.id.to_string(), machine.group.as_ref());
    course.is_early(&Candidate {
        kernel: &machine.kernel,
        applied: None,
        account: &account_id,
        account_created: account.created,
        paid: account.plan != Plan::Free,
        preference: account.early,
        machine: machine.id.as_str(),
        machine_created: machine.created,
        group: group.map(|group| group.as_str()),
        exposed_by: &[],
        over_limit: false,
        rules: GroupRules::NONE,
        now: account.created,
    })
}

fn withdrawn(machine: &Machine, version: PatchVersion, rollouts: &[Rollout]) -> Option<String> {
    let mut covering = rollouts
        .iter()
        .filter(|rollout| rollout.scope.covers(version, &machine.kernel));
    covering.find_map(|rollout| match &rollout.phase {
        Phase::Withdrawn { reason, .. } => Some(reason.clone()),
        _ => None,
    })
}
