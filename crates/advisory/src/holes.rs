//! Which holes a kernel has, and what became of each.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use suture_kernel::KernelRelease;

use crate::applies::VersionAnswer;
use crate::changelog::Changelog;
use crate::compiled::{Compiled, Reach, reach};
use crate::exploited::{Exploited, ExploitedCatalogue};
use crate::gate::{GateRefusal, gate};
use crate::kernel_version::KernelVersion;
use crate::names::{CveId, PatchVersion};
use crate::record::Record;
use crate::refused::RefusedFixes;
use crate::severity::{Severity, SeverityClaim};

/// What is known of a kernel.
pub struct KernelFacts<'a> {
    pub release: KernelRelease,
    /// The upstream version that it was made from.
    pub version: KernelVersion,
    pub compiled: &'a dyn Fn(&str) -> Compiled,
    /// What its distribution fixed.
    pub changelog: Changelog,
    /// The newest published live patch, and what it closes.
    pub patched: Option<(PatchVersion, BTreeSet<CveId>)>,
    pub refused: RefusedFixes,
    /// What is exploited, besides what the records themselves say.
    pub exploited: ExploitedCatalogue,
}

/// A hole as it concerns one kernel.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hole {
    pub cve: CveId,
    pub title: String,
    pub rating: Rating,
    pub state: State,
    /// Source files that the record names, in mainline's tree.
    pub files: Vec<String>,
    /// Where it is in this kernel; not asked where the version already settles it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reach: Option<Reach>,
    /// What a person should know: claims that disagree, versions that the record doesn't tell.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// How grave the hole is by the severity gate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rating {
    /// None: nobody has rated it.
    pub decisive: Option<SeverityClaim>,
    pub claims: Vec<SeverityClaim>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exploited: Option<Exploited>,
}

/// What became of a hole in one kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum State {
    /// High or Critical, in this kernel, and nobody has closed it.
    Open,
    /// Closed by the newest published live patch.
    Patched { by: PatchVersion },
    /// The vendor's factory refused the fix, or the vendor did.
    Refused { reason: String },
    /// Not in this kernel.
    NotApplicable { because: String },
    /// In this kernel, and nobody has said how grave it is.
    Unrated,
    /// In this kernel, and below what goes into a live patch.
    Waits,
}

/// The holes of one kernel, gravest first within each state.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HoleList {
    pub kernel: KernelRelease,
    pub upstream: String,
    /// How many there are of each state.
    pub counts: BTreeMap<&'static str, usize>,
    pub holes: Vec<Hole>,
}

/// Says what a record means for a kernel.
pub fn assess(record: &Record, kernel: &KernelFacts<'_>) -> Hole {
    let rating = Rating::of(record, kernel);
    let mut notes = rating.disagreement().into_iter().collect::<Vec<_>>();
    notes.extend(record.disagreements().iter().map(ToString::to_string));
    let (state, reach) = state(record, kernel, &rating, &mut notes);
    let files = record.program_files();
    Hole {
        cve: record.id.clone(),
        title: record.title.clone(),
        rating,
        state,
        files: files.into_iter().map(str::to_owned).collect(),
        reach,
        notes,
    }
}

/// The state, from what is surest to what is not: a published patch, the distribution's own
/// word, the record's ranges, the configuration; then what is left is graded.
fn state(
    record: &Record,
    kernel: &KernelFacts<'_>,
    rating: &Rating,
    notes: &mut Vec<String>,
) -> (State, Option<Reach>) {
    if let Some((by, _)) = kernel
        .patched
        .as_ref()
        .filter(|(_, fixes)| fixes.contains(&record.id))
    {
        return (State::Patched { by: *by }, None);
    }
    if let Some(version) = kernel.changelog.fixed_in(&record.id) {
        let because = format!("the kernel's own package fixed it in {version}");
        return (State::NotApplicable { because }, None);
    }
    match record.applies_to(&kernel.version) {
        VersionAnswer::Unaffected { because } => {
            return (State::NotApplicable { because }, None);
        }
        VersionAnswer::Unknown { because } => {
            notes.push(format!("counted as there: {because}"));
        }
        VersionAnswer::Affected => {}
    }
    let reach = reach(&record.program_files(), kernel.compiled);
    if reach == Reach::Absent {
        let because = "this configuration compiles none of its files".to_owned();
        return (State::NotApplicable { because }, Some(reach));
    }
    let refused = kernel.refused.find(&record.id, &kernel.release);
    let state = match (refused, rating.severity()) {
        (Some(refused), _) => State::Refused {
            reason: refused.reason.clone(),
        },
        (None, None) => State::Unrated,
        (None, Some(severity)) if severity.passes_gate() => State::Open,
        (None, Some(_)) => State::Waits,
    };
    (state, Some(reach))
}

impl Rating {
    fn of(record: &Record, kernel: &KernelFacts<'_>) -> Self {
        let listed = kernel.exploited.get(&record.id);
        let exploited = record.exploited.as_ref().or(listed);
        let (decisive, claims) = match gate(&record.id, &record.claims, exploited, None) {
            Ok(decision) => (Some(decision.decisive), decision.claims),
            Err(GateRefusal::NotGrave {
                decisive, claims, ..
            }) => (Some(decisive), claims),
            Err(GateRefusal::Unrated { claims, .. }) => (None, claims),
        };
        Self {
            decisive,
            claims,
            exploited: exploited.cloned(),
        }
    }

    /// None: nobody has rated it.
    pub fn severity(&self) -> Option<Severity> {
        self.decisive.as_ref().map(|claim| claim.severity)
    }

    /// Claims that give another severity than the one that counts.
    pub fn disagreement(&self) -> Option<String> {
        let decisive = self.decisive.as_ref()?;
        let others = self
            .claims
            .iter()
            .filter(|claim| claim.severity != decisive.severity);
        let others: Vec<String> = others.map(ToString::to_string).collect();
        (!others.is_empty())
            .then(|| format!("claims differ: {decisive} counts, {}", others.join(", ")))
    }

    fn score(&self) -> f64 {
        let score = self.decisive.as_ref().and_then(|claim| claim.score);
        score.unwrap_or_default()
    }
}

impl State {
    /// The word for it in lists.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Patched { .. } => "patched",
            Self::Refused { .. } => "refused",
            Self::NotApplicable { .. } => "not applicable",
            Self::Unrated => "unrated",
            Self::Waits => "waits",
        }
    }

    /// Place in a list: what wants work comes first.
    fn place(&self) -> u8 {
        match self {
            Self::Open => 0,
            Self::Unrated => 1,
            Self::Refused { .. } => 2,
            Self::Patched { .. } => 3,
            Self::Waits => 4,
            Self::NotApplicable { .. } => 5,
        }
    }
}

/// The state with what explains it.
impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => write!(formatter, "open"),
            Self::Patched { by } => write!(formatter, "patched by {by}"),
            Self::Refused { reason } => write!(formatter, "refused: {reason}"),
            Self::NotApplicable { because } => write!(formatter, "not applicable: {because}"),
            Self::Unrated => write!(formatter, "unrated"),
            Self::Waits => write!(formatter, "waits for the regular kernel update"),
        }
    }
}

impl HoleList {
    /// Orders holes and counts them.
    pub fn new(kernel: &KernelFacts<'_>, mut holes: Vec<Hole>) -> Self {
        holes.sort_by(|left, right| {
            let place = |hole: &Hole| hole.state.place();
            let severity = |hole: &Hole| hole.rating.severity();
            place(left)
                .cmp(&place(right))
                .then(severity(right).cmp(&severity(left)))
                .then(right.rating.score().total_cmp(&left.rating.score()))
                .then(left.cve.cmp(&right.cve))
        });
        let mut counts = BTreeMap::new();
        for hole in &holes {
            *counts.entry(hole.state.word()).or_default() += 1;
        }
        Self {
            kernel: kernel.release.clone(),
            upstream: kernel.version.to_string(),
            counts,
            holes,
        }
    }
}
