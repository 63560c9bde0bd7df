//! What machines told.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use suture_advisory::PatchVersion;
use suture_protocol::{EventKind, KernelTrouble};
use suture_store::{KeptEvent, tells_harm};
use utoipa::ToSchema;

use super::Audience;

/// An event of one machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EventView {
    /// Grows with arrival, over all machines.
    pub number: u64,
    /// By this service's clock.
    #[schema(value_type = String)]
    pub received: Timestamp,
    /// E.g. `applied`, `restarted`.
    #[schema(example = "kernel-trouble")]
    pub kind: String,
    /// The kind in words.
    pub words: String,
    #[schema(value_type = Option<String>)]
    pub version: Option<PatchVersion>,
    /// Whether the machine had been exposed; the others are the control group.
    pub exposed: bool,
    /// Whether it speaks against the patch, or against the machine.
    pub harm: bool,
    /// Who and what exactly; for operators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<EventDetail>,
}

/// What only operators see of an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EventDetail {
    pub account: String,
    pub machine: String,
    pub hostname: String,
    /// By the machine's clock.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// What the machine said; empty if nothing but the kind.
    pub text: String,
}

/// Events, the latest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EventPage {
    pub events: Vec<EventView>,
    /// For the parameter `before` of the next page; none: this is the last.
    pub next: Option<u64>,
}

impl EventPage {
    /// Of `events` that were asked for with `limit`.
    pub fn new(events: &[KeptEvent], limit: u32) -> Self {
        let full = events.len() >= limit as usize;
        let last = events.last().map(|event| event.number);
        let view = |event| EventView::new(event, Audience::Operator);
        Self {
            events: events.iter().map(view).collect(),
            next: last.filter(|_| full),
        }
    }
}

impl EventView {
    pub fn new(event: &KeptEvent, audience: Audience) -> Self {
        let detail = || EventDetail {
            account: event.account.to_string(),
            machine: event.machine.to_string(),
            hostname: event.hostname.clone(),
            at: event.at,
            text: text(&event.kind),
        };
        Self {
            number: event.number,
            received: event.received,
            kind: event.kind.as_str().to_owned(),
            words: words(&event.kind).to_owned(),
            version: event.kind.version(),
            exposed: event.exposed,
            harm: tells_harm(&event.kind),
            detail: (audience == Audience::Operator).then(detail),
        }
    }
}

fn words(kind: &EventKind) -> &'static str {
    match kind {
        EventKind::Fetched { .. } => "fetched the patch",
        EventKind::Verified { .. } => "verified the patch",
        EventKind::Applied { .. } => "applied the patch",
        EventKind::TransitionFinished { .. } => "runs the new code in every task",
        EventKind::TransitionStalled { .. } => "did not finish the transition",
        EventKind::ApplyFailed { .. } => "could not apply the patch",
        EventKind::Quarantined { .. } => "went down over the patch and put it in quarantine",
        EventKind::KernelTrouble {
            trouble,
            names_patch,
            ..
        } => trouble_words(*trouble, names_patch.is_some()),
        EventKind::TaintChanged { .. } => "has a newly tainted kernel",
        EventKind::Restarted { clean: true, .. } => "was restarted",
        EventKind::Restarted { clean: false, .. } => "came back from a crash",
    }
}

fn trouble_words(trouble: KernelTrouble, named: bool) -> &'static str {
    match (trouble, named) {
        (KernelTrouble::Warning, false) => "had a kernel warning",
        (KernelTrouble::Warning, true) => "had a kernel warning that names the patch",
        (KernelTrouble::Oops, false) => "had a kernel oops",
        (KernelTrouble::Oops, true) => "had a kernel oops that names the patch",
        (KernelTrouble::Lockup, false) => "had a lockup",
        (KernelTrouble::Lockup, true) => "had a lockup that names the patch",
    }
}

fn text(kind: &EventKind) -> String {
    match kind {
        EventKind::TransitionFinished { millis, .. } => format!("after {millis} ms"),
        EventKind::TransitionStalled { tasks, .. } => format!("held by {}", tasks.join(", ")),
        EventKind::ApplyFailed { reason, .. } | EventKind::Quarantined { reason, .. } => {
            reason.clone()
        }
        EventKind::KernelTrouble { text, .. } => text.clone(),
        EventKind::TaintChanged { before, after, .. } => format!("{before} became {after}"),
        EventKind::Fetched { .. }
        | EventKind::Verified { .. }
        | EventKind::Applied { .. }
        | EventKind::Restarted { .. } => String::new(),
    }
}
