//! What is forgotten of history, so that a database's size is that of its fleet and not of its age.

use async_trait::async_trait;
use jiff::Timestamp;
use suture_protocol::MachineId;

use crate::{AccountId, StoreError};

/// Looks that are kept of a rollout that has been over for long, evenly, the last one included.
/// Pages show so many.
pub const KEPT_LOOKS: u32 = 300;

/// From when on history is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryBounds {
    /// Of rollouts that were over before this, only harm is kept, [`KEPT_LOOKS`], and the exposures
    /// of machines that no later rollout has come to. Events that no rollout is concerned with go.
    pub details: Timestamp,
    /// Of rollouts that were over before this, harm goes as well. No later than `details`.
    pub harm: Timestamp,
}

/// A piece of a list that was looked through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swept<T> {
    pub forgotten: u64,
    /// Where to go on; none at the end of what is old enough.
    pub next: Option<T>,
}

/// A place in the list of exposures, which is by rollout and time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExposurePlace {
    /// A rollout's number in this database.
    pub rollout: i64,
    /// The exposure after which to go on, if it is this rollout's.
    pub after: Option<(Timestamp, AccountId, MachineId)>,
}

/// Forgets, in small transactions, so that nobody waits for it.
///
/// The audit log, rollouts themselves with their draws, and accounts are never forgotten here.
#[async_trait]
pub trait RetentionStore {
    /// Forgets what single machines' events said to rollouts that are over, what was counted of
    /// it, and looks: of each at most about `at_most` rows. How many went; to be called until none
    /// does.
    async fn forget_past_rollouts(
        &self,
        bounds: HistoryBounds,
        at_most: u32,
    ) -> Result<u64, StoreError>;

    /// Forgets exposures by rollouts that were over before a time, of machines that are gone or
    /// that a later rollout has come to, of the next `at_most` from a place on.
    ///
    /// A machine is only ever offered what is newer than it has, so nothing asks for them any
    /// more. A rollout's count of exposures stays.
    async fn forget_exposures(
        &self,
        before: Timestamp,
        from: &ExposurePlace,
        at_most: u32,
    ) -> Result<Swept<ExposurePlace>, StoreError>;

    /// Forgets events that were received before a time and that concern no rollout, of the next
    /// `at_most` after a number, oldest first.
    async fn forget_events(
        &self,
        before: Timestamp,
        after: u64,
        at_most: u32,
    ) -> Result<Swept<u64>, StoreError>;
}
