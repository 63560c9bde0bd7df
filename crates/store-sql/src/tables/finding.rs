//! Table `finding`.

use jiff::Timestamp;
use suture_rollout::{RolloutId, Stratum};
use suture_store::{Machine, Rollout, StoreError};

use super::dialect::{ADD_FINDING, Connection};
use crate::column::database;

/// What a running rollout learned of a machine.
pub struct Finding<'a> {
    pub rollout: RolloutId,
    pub machine: &'a Machine,
    /// The name of a harm, or [`FINISHED`].
    pub kind: &'static str,
    pub exposed: bool,
    pub stratum: Stratum,
    pub at: Timestamp,
    /// Whether others of the account in the same hour stand for it ([`Rollout::BURST_SECS`]).
    pub once_for_account: bool,
}

/// The kind of an application that came to its end.
pub const FINISHED: &str = "finished";

/// A machine's stratum by its last check-in.
pub fn stratum(machine: &Machine, paid: bool) -> Stratum {
    let steady = machine.last_check_in.as_ref().is_some_and(|last| {
        last.at.duration_since(machine.steady_since).as_secs() >= Stratum::STEADY_SECS
    });
    Stratum { paid, steady }
}

/// Adds a finding, unless the machine has one of its kind, on either side. Of one rollout's
/// findings a later one has the higher number, and none that is not there yet a lower one than
/// one that is: what was counted is told by a number.
pub async fn add(connection: &mut Connection, finding: &Finding<'_>) -> Result<(), StoreError> {
    sqlx::query(ADD_FINDING)
        .bind(finding.rollout.to_string())
        .bind(finding.machine.account.to_string())
        .bind(finding.machine.id.as_str())
        .bind(finding.kind)
        .bind(finding.exposed)
        .bind(finding.stratum.paid)
        .bind(finding.stratum.steady)
        .bind(finding.at.as_millisecond())
        .bind(finding.once_for_account)
        .bind(Rollout::BURST_SECS * 1000)
        .execute(connection)
        .await
        .map_err(database("record what a machine told"))?;
    Ok(())
}
