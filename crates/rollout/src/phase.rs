//! The life of a rollout.
//!
//! ```text
//! Planned ──► Running (step 0, 1, …) ──► Complete
//!    │          │   ▲                       │
//!    │     halt ▼   │ resume                │
//!    │        Halted                        │
//!    └──────────┴──────────────┬────────────┘
//!                              ▼ by hand, for good
//!                          Withdrawn
//! ```

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Where a rollout is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "kebab-case")]
pub enum Phase {
    /// Drawn and committed to, not begun.
    Planned {
        starts: Timestamp,
    },
    Running {
        step: usize,
        since: Timestamp,
    },
    /// Nobody is offered the version. Machines that have it keep it.
    Halted {
        step: usize,
        at: Timestamp,
        by: HaltedBy,
        /// A sentence for people.
        reason: String,
    },
    /// Like halted, and it never resumes. Machines that have it are told, and are superseded by
    /// a later version.
    Withdrawn {
        at: Timestamp,
        reason: String,
    },
    /// Everyone is offered the version.
    Complete {
        at: Timestamp,
    },
}

/// Who halted a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HaltedBy {
    Evidence,
    Operator,
}

/// A step that is none from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a rollout that is {from} cannot be {to}")]
pub struct InvalidPhase {
    pub from: &'static str,
    pub to: &'static str,
}

impl Phase {
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Planned { .. } => "planned",
            Self::Running { .. } => "running",
            Self::Halted { .. } => "halted",
            Self::Withdrawn { .. } => "withdrawn",
            Self::Complete { .. } => "complete",
        }
    }

    /// Whether nothing more is decided about it: seed and list may be revealed.
    pub fn is_over(&self) -> bool {
        match self {
            Self::Withdrawn { .. } | Self::Complete { .. } => true,
            Self::Planned { .. } | Self::Running { .. } | Self::Halted { .. } => false,
        }
    }

    fn invalid(&self, to: &'static str) -> InvalidPhase {
        InvalidPhase {
            from: self.as_str(),
            to,
        }
    }

    pub fn start(self, at: Timestamp) -> Result<Self, InvalidPhase> {
        match self {
            Self::Planned { .. } => Ok(Self::Running { step: 0, since: at }),
            other => Err(other.invalid("started")),
        }
    }

    /// Goes to the next step.
    pub fn widen(self, at: Timestamp) -> Result<Self, InvalidPhase> {
        match self {
            Self::Running { step, .. } => Ok(Self::Running {
                step: step.saturating_add(1),
                since: at,
            }),
            other => Err(other.invalid("widened")),
        }
    }

    pub fn halt(self, at: Timestamp, by: HaltedBy, reason: String) -> Result<Self, InvalidPhase> {
        match self {
            Self::Running { step, .. } => Ok(Self::Halted {
                step,
                at,
                by,
                reason,
            }),
            Self::Planned { .. } => Ok(Self::Halted {
                step: 0,
                at,
                by,
                reason,
            }),
            // What everyone is offered can still be taken off the shelf; the last step follows
            // if it is resumed.
            Self::Complete { .. } => Ok(Self::Halted {
                step: usize::MAX,
                at,
                by,
                reason,
            }),
            other => Err(other.invalid("halted")),
        }
    }

    /// Goes on with the step at which it was halted, of `steps` steps. The soak begins anew, and
    /// whoever records this begins a new ledger: what was held against the patch was judged by a
    /// person.
    pub fn resume(self, at: Timestamp, steps: usize) -> Result<Self, InvalidPhase> {
        match self {
            Self::Halted { step, .. } => {
                let step = step.min(steps.saturating_sub(1));
                Ok(Self::Running { step, since: at })
            }
            other => Err(other.invalid("resumed")),
        }
    }

    pub fn withdraw(self, at: Timestamp, reason: String) -> Result<Self, InvalidPhase> {
        match self {
            Self::Withdrawn { .. } => Err(self.invalid("withdrawn")),
            Self::Planned { .. }
            | Self::Running { .. }
            | Self::Halted { .. }
            | Self::Complete { .. } => Ok(Self::Withdrawn { at, reason }),
        }
    }

    pub fn complete(self, at: Timestamp) -> Result<Self, InvalidPhase> {
        match self {
            Self::Running { .. } => Ok(Self::Complete { at }),
            other => Err(other.invalid("complete")),
        }
    }
}
