//! Where other systems are told of what the audit log says, and how far each was told.

use async_trait::async_trait;
use jiff::Timestamp;

use crate::text::text;
use crate::{NumberedEntry, StoreError};

text! {
    /// The name of a hook, as the operator's file has it.
    HookName, "name of a hook", "1 to 64 of a-z, 0-9, `-` and `_`",
    |text| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        (1..=64).contains(&text.len()) && text.bytes().all(plain)
    }
}

/// How far a hook was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookState {
    pub name: HookName,
    /// The audit log's line up to which everything was told, or is not for this hook.
    pub told: u64,
    /// When it was told of something last; none: never.
    pub told_at: Option<Timestamp>,
    /// Lines that were given up: nobody took them for too long.
    pub given_up: u64,
    /// Trouble with the line after `told`; none: it was not tried yet.
    pub trouble: Option<HookTrouble>,
}

/// A line that nobody took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookTrouble {
    /// At least 1.
    pub tries: u32,
    /// When it may be tried again.
    pub next: Timestamp,
    /// What went wrong last, at most [`HookTrouble::MAX_WHAT`] characters, without a secret.
    pub what: String,
}

impl HookTrouble {
    pub const MAX_WHAT: usize = 300;
}

/// Hooks, in a database. As in [`crate::Store`], every method is one transaction.
#[async_trait]
pub trait HookStore: Send + Sync {
    /// All hooks that were ever told, by their names.
    async fn hooks(&self) -> Result<Vec<HookState>, StoreError>;

    /// The hook's state. A new one begins at the end of the audit log.
    async fn begin_hook(&self, name: &HookName) -> Result<HookState, StoreError>;

    /// Keeps a hook's state, unless it was told more already: whoever stood still for long does
    /// not bring it back.
    async fn keep_hook(&self, state: &HookState) -> Result<(), StoreError>;

    /// Lines of the audit log after the one with this number, oldest first, up to the first that
    /// is not older than `before`.
    ///
    /// Numbers are given before a transaction ends, so a line may become visible after a later
    /// one: `before` must leave transactions the time to end.
    async fn audit_after(
        &self,
        after: u64,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<NumberedEntry>, StoreError>;
}
