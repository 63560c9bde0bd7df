//! Hooks as operators see them.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use suture_store::HookState;
use utoipa::ToSchema;

use crate::hooks::Hook;

/// A hook of the operator's file, and how far it was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HookView {
    pub name: String,
    /// In words, e.g. `webhook at alerts.example.org`.
    pub target: String,
    /// Actions of the audit log of which it is told.
    pub actions: Vec<String>,
    /// When it was told of something last; none: never.
    #[schema(value_type = Option<String>)]
    pub told: Option<Timestamp>,
    /// Lines of the audit log that it did not take for too long.
    pub given_up: u64,
    /// None: it took everything so far.
    pub trouble: Option<HookTroubleView>,
}

/// How a hook took a message that only says that it works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HookTestView {
    pub name: String,
    /// Why it was not taken, in words; none: it was.
    pub trouble: Option<String>,
}

impl fmt::Display for HookTestView {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.trouble {
            None => write!(formatter, "{} took the test.", self.name),
            Some(why) => write!(formatter, "{} did not take the test: {why}.", self.name),
        }
    }
}

/// Why a hook was not told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HookTroubleView {
    pub tries: u32,
    #[schema(value_type = String)]
    pub next: Timestamp,
    pub what: String,
}

impl HookView {
    pub fn new(hook: &Hook, states: &[HookState]) -> Self {
        let state = states.iter().find(|state| state.name == hook.name);
        let trouble = state.and_then(|state| state.trouble.clone());
        Self {
            name: hook.name.to_string(),
            target: hook.target.words(),
            actions: hook.actions.iter().map(ToString::to_string).collect(),
            told: state.and_then(|state| state.told_at),
            given_up: state.map_or(0, |state| state.given_up),
            trouble: trouble.map(|trouble| HookTroubleView {
                tries: trouble.tries,
                next: trouble.next,
                what: trouble.what,
            }),
        }
    }
}
