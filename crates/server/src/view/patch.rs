//! Published live patches as data.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use suture_advisory::{CveId, PatchVersion, Severity};
use suture_kernel::KernelBuild;
use suture_protocol::Manifest;
use suture_rollout::RolloutId;
use suture_store::Rollout;
use utoipa::ToSchema;

use super::RolloutState;
use crate::patches::{FixLine, PatchCard, PatchInFull};

/// A live patch in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PatchSummary {
    /// `RELEASE_ARCHITECTURE_BUILDID_VERSION`.
    pub name: String,
    #[schema(value_type = String, example = "104.1")]
    pub version: PatchVersion,
    #[schema(value_type = Object)]
    pub kernel: KernelBuild,
    /// The gravest first.
    pub fixes: Vec<FixSummary>,
    /// When the module was built; none: its manifest can't be read now.
    #[schema(value_type = Option<String>)]
    pub created: Option<Timestamp>,
    /// Path of the manifest on this service.
    pub manifest: Option<String>,
    /// Path of the source archive on this service.
    pub source: Option<String>,
    /// None: nothing brings it to machines yet.
    pub rollout: Option<RolloutBrief>,
}

/// A hole that a live patch closes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FixSummary {
    #[schema(value_type = String, example = "CVE-2026-89603")]
    pub cve: CveId,
    /// `low` to `critical`; none: the manifest can't be read now.
    #[schema(value_type = Option<String>)]
    pub severity: Option<Severity>,
    pub title: String,
}

/// The rollout that brings a live patch to machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RolloutBrief {
    #[schema(value_type = String)]
    pub id: RolloutId,
    pub state: RolloutState,
}

/// A piece of the list of live patches, the latest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PatchPage {
    pub patches: Vec<PatchSummary>,
    /// To be sent as `after` for what follows; none: this is the end.
    pub next: Option<String>,
}

/// A live patch in full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PatchView {
    #[serde(flatten)]
    pub summary: PatchSummary,
    /// The signed manifest with functions, inputs and smoke test; none: it can't be read now.
    #[schema(value_type = Option<Object>)]
    pub details: Option<Manifest>,
}

impl PatchSummary {
    pub fn new(card: &PatchCard, rollouts: &[Rollout]) -> Self {
        let path = |file: &String| format!("/v1/repository/targets/{file}");
        Self {
            name: card.name(),
            version: card.version,
            kernel: card.kernel.clone(),
            fixes: card.fixes.iter().map(FixSummary::new).collect(),
            created: card.created,
            manifest: card.manifest.as_ref().map(path),
            source: card.source.as_ref().map(path),
            rollout: RolloutBrief::of(card, rollouts),
        }
    }

    /// The severity of its gravest hole.
    pub fn gravest(&self) -> Option<Severity> {
        self.fixes.iter().filter_map(|fix| fix.severity).max()
    }

    /// A line for feeds: `Live patch 104.1 for 6.1.0-53-amd64`.
    pub fn headline(&self) -> String {
        format!("Live patch {} for {}", self.version, self.kernel.release)
    }
}

impl FixSummary {
    fn new(line: &FixLine) -> Self {
        Self {
            cve: line.cve.clone(),
            severity: line.severity,
            title: line.title.clone(),
        }
    }

    /// The style sheet's class of the severity.
    pub fn class(&self) -> &'static str {
        match self.severity {
            Some(Severity::Critical) => "critical",
            Some(Severity::High) => "high",
            Some(Severity::Medium | Severity::Low | Severity::None) | None => "lower",
        }
    }
}

impl RolloutBrief {
    /// The rollout that covers a patch; one that was withdrawn only if no other does.
    fn of(card: &PatchCard, rollouts: &[Rollout]) -> Option<Self> {
        let covering = rollouts
            .iter()
            .filter(|rollout| rollout.scope.covers(card.version, &card.kernel))
            .map(|rollout| Self {
                id: rollout.id,
                state: RolloutState::of(rollout),
            });
        covering.min_by_key(|brief| brief.state == RolloutState::Withdrawn)
    }
}

impl PatchView {
    pub fn new(patch: PatchInFull, rollouts: &[Rollout]) -> Self {
        Self {
            summary: PatchSummary::new(&patch.card, rollouts),
            details: patch.manifest,
        }
    }
}
