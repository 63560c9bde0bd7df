//! What a machine is told at check-in.

use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use suture_advisory::PatchVersion;
use suture_kernel::{InvalidName, KernelBuild};

use crate::cohort::{Draw, Seed, UnitDigest};
use crate::{Eligible, GroupRules, Phase, Plan, RolloutId, Rule, Scope, Unit};

/// The server's choice for one machine. It says where to go; what is loaded there is proven by
/// the repository's metadata alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Offer {
    /// Go to this version.
    Version { version: PatchVersion },
    /// The machine has the newest version that there is for it.
    UpToDate,
    /// There is a live patch for this kernel build, but its rollout has not come to this machine.
    NotYet,
    /// No live patch is made for this kernel build.
    NotCovered,
}

/// A published live patch, as far as the choice needs it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Published {
    pub kernel: KernelBuild,
    pub version: PatchVersion,
}

/// A rollout, as far as the choice needs it.
#[derive(Debug, Clone)]
pub struct Course {
    pub id: RolloutId,
    pub scope: Scope,
    pub plan: Plan,
    pub phase: Phase,
    pub seed: Seed,
    pub draw: Draw,
    /// See [`crate::Decision::cap`].
    pub cap: u64,
    /// Machines that were exposed so far.
    pub exposed: u64,
}

/// What the choice needs of a machine.
#[derive(Debug, Clone)]
pub struct Candidate<'a> {
    pub kernel: &'a KernelBuild,
    /// The version in force.
    pub applied: Option<PatchVersion>,
    /// The account's id, as text.
    pub account: &'a str,
    /// When the account was made. One that is younger than a draw was not in its list.
    pub account_created: Timestamp,
    pub paid: bool,
    pub preference: EarlyPreference,
    /// The machine's id, as text.
    pub machine: &'a str,
    /// When the machine was enrolled first.
    pub machine_created: Timestamp,
    /// The operator's group that the machine is in, if any.
    pub group: Option<&'a str>,
    /// Rollouts by which the machine was exposed before.
    pub exposed_by: &'a [RolloutId],
    /// The account's plan covers fewer machines than it has, and not this one.
    pub over_limit: bool,
    /// What its group waits for.
    pub rules: &'a GroupRules,
    /// When it asks.
    pub now: Timestamp,
}

/// What an account wants of early groups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EarlyPreference {
    /// To be drawn like everyone of its plan; an account that pays is not drawn.
    #[default]
    Drawn,
    /// In every draw's result.
    Always,
    /// In none.
    Never,
}

impl EarlyPreference {
    pub const ALL: [Self; 3] = [Self::Drawn, Self::Always, Self::Never];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drawn => "drawn",
            Self::Always => "always",
            Self::Never => "never",
        }
    }
}

impl FromStr for EarlyPreference {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let found = Self::ALL.into_iter().find(|it| it.as_str() == text);
        found.ok_or_else(|| {
            let expected = "expected `drawn`, `always` or `never`";
            InvalidName::new("preference", text, expected)
        })
    }
}

/// What a machine is told, and what is recorded with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    pub offer: Offer,
    /// The rollout that exposes the machine by this offer for the first time. Whoever answers
    /// records this in the same transaction, so that the cap holds.
    pub exposes: Option<RolloutId>,
    /// The machine is in the early group of the version that it is offered or has.
    pub early: bool,
    /// A later version is on its way to others.
    pub coming: Option<PatchVersion>,
    /// The version in force was withdrawn, for this reason.
    pub withdrawn: Option<String>,
    /// Something other than the rollouts keeps the machine from what it would be offered.
    pub withheld: Option<Withheld>,
}

/// What keeps a machine from a version that its rollout would bring to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Withheld {
    /// The account's plan does not cover the machine.
    MachineLimit,
    /// Its group's policy, which keeps it from this version.
    Policy { version: PatchVersion, rule: Rule },
}

impl Candidate<'_> {
    /// The text by which the machine is drawn.
    pub fn unit(&self, unit: Unit) -> String {
        match unit {
            Unit::Account => self.account.to_owned(),
            Unit::Machine => format!("{}/{}", self.account, self.machine),
        }
    }
}

/// Whether an account's units are in the list of a draw.
pub fn is_eligible(plan: &Plan, paid: bool, preference: EarlyPreference) -> bool {
    match preference {
        EarlyPreference::Never => false,
        EarlyPreference::Always => true,
        EarlyPreference::Drawn => plan.early_group.eligible == Eligible::Everyone || !paid,
    }
}

impl Course {
    /// Whether the machine is in the early group.
    pub fn is_early(&self, machine: &Candidate) -> bool {
        let early = &self.plan.early_group;
        let listed = |groups: &[String]| {
            machine
                .group
                .is_some_and(|group| groups.iter().any(|known| known == group))
        };
        if listed(&early.never) || machine.preference == EarlyPreference::Never {
            return false;
        }
        if listed(&early.always) || machine.preference == EarlyPreference::Always {
            return true;
        }
        let created = match early.unit {
            Unit::Account => machine.account_created,
            Unit::Machine => machine.machine_created,
        };
        let digest = UnitDigest::new(self.id, &machine.unit(early.unit));
        is_eligible(&self.plan, machine.paid, machine.preference)
            && created <= self.draw.at
            && self.draw.includes(self.seed.rank(digest))
    }

    /// Whether the machine may be offered the version, not counting the cap.
    fn reaches(&self, machine: &Candidate) -> bool {
        let Phase::Running { step, .. } = self.phase else {
            return matches!(self.phase, Phase::Complete { .. });
        };
        let Some(step) = self.plan.step(step) else {
            return false;
        };
        let digest = UnitDigest::new(self.id, &machine.unit(Unit::Machine));
        let by_lot = || self.seed.rank(digest).fraction() < step.share;
        self.is_early(machine) || !step.early_only && (self.cap <= FIRST_COME || by_lot())
    }

    fn exposed_before(&self, machine: &Candidate) -> bool {
        machine.exposed_by.contains(&self.id)
    }

    /// Whether the version may go to the machine now.
    fn admits(&self, machine: &Candidate) -> bool {
        let stopped = matches!(
            self.phase,
            Phase::Planned { .. } | Phase::Halted { .. } | Phase::Withdrawn { .. }
        );
        let room = self.exposed_before(machine) || self.exposed < self.cap;
        !stopped && room && (self.exposed_before(machine) || self.reaches(machine))
    }

    /// What keeps the version from the machine although the rollout admits it. Nothing does if
    /// it was offered before: it may have that version already.
    fn withheld(&self, version: PatchVersion, machine: &Candidate) -> Option<Withheld> {
        if self.exposed_before(machine) {
            return None;
        }
        if machine.over_limit {
            return Some(Withheld::MachineLimit);
        }
        let rule = machine.rules.withholds(version, self, machine.now)?;
        Some(Withheld::Policy { version, rule })
    }
}

/// Up to this cap the machines that ask first are taken: in a small fleet the lot may fall on
/// none for days, and the cap bounds what can go wrong.
const FIRST_COME: u64 = 50;

/// Chooses for a machine.
///
/// The newest version that is published for its very kernel build and that a rollout brings to
/// it wins, unless the account's plan or the group's policy keeps it back. A version without a
/// rollout is offered to nobody. A machine is never told to go back.
pub fn choose(machine: &Candidate, published: &[Published], courses: &[Course]) -> Choice {
    let course_of = |version: PatchVersion| {
        let mut covering = courses
            .iter()
            .filter(|course| course.scope.covers(version, machine.kernel));
        // A version that was withdrawn once is withdrawn, whatever else is planned for it.
        let first = covering.next();
        covering.fold(first, |found, next| match found {
            Some(found) if matches!(found.phase, Phase::Withdrawn { .. }) => Some(found),
            _ => Some(next),
        })
    };
    let mut versions: Vec<PatchVersion> = published
        .iter()
        .filter(|patch| patch.kernel == *machine.kernel)
        .map(|patch| patch.version)
        .collect();
    versions.sort_unstable();
    versions.dedup();

    let is_newer = |version: PatchVersion| machine.applied.is_none_or(|applied| version > applied);
    let mut admitted = versions
        .iter()
        .rev()
        .filter(|version| is_newer(**version))
        .filter_map(|version| {
            let course = course_of(*version)?;
            course.admits(machine).then_some((*version, course))
        })
        .peekable();
    let first = admitted.peek();
    let withheld = first
        .and_then(|(version, course)| course.withheld(*version, machine))
        // The owner is to know at once, not when the next hole is closed elsewhere.
        .or(machine.over_limit.then_some(Withheld::MachineLimit));
    let best = admitted.find(|(version, course)| course.withheld(*version, machine).is_none());
    let goal = best.map(|(version, _)| version).or(machine.applied);
    let goal_course = goal.and_then(course_of);
    let coming = versions.iter().rev().copied().find(|version| {
        goal.is_none_or(|goal| *version > goal)
            && course_of(*version).is_some_and(|course| {
                matches!(course.phase, Phase::Planned { .. } | Phase::Running { .. })
            })
    });
    let withdrawn = machine
        .applied
        .and_then(course_of)
        .and_then(|course| match &course.phase {
            Phase::Withdrawn { reason, .. } => Some(reason.clone()),
            _ => None,
        });
    let offer = match best {
        Some((version, _)) => Offer::Version { version },
        None if versions.is_empty() => Offer::NotCovered,
        None if machine.applied.is_some() => Offer::UpToDate,
        None => Offer::NotYet,
    };
    Choice {
        offer,
        exposes: best
            .filter(|(_, course)| !course.exposed_before(machine))
            .map(|(_, course)| course.id),
        early: goal_course.is_some_and(|course| course.is_early(machine)),
        coming,
        withdrawn,
        withheld,
    }
}
