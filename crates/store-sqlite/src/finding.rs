//! Table `finding`.

use jiff::Timestamp;
use sqlx::SqliteConnection;
use suture_rollout::{RolloutId, Stratum};
use suture_store::{Machine, Rollout, StoreError};

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

/// Adds a finding, unless the machine has one of its kind, on either side.
pub async fn add(
    connection: &mut SqliteConnection,
    finding: &Finding<'_>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO finding
             (rollout_id, account_id, machine_id, kind, exposed, paid, steady, at_ms)
         SELECT $1, $2, $3, $4, $5, $6, $7, $8
         WHERE NOT ($9 AND EXISTS (
             SELECT 1 FROM finding WHERE rollout_id = $1 AND account_id = $2 AND kind = $4
                 AND at_ms > $8 - $10 AND at_ms <= $8))
         ON CONFLICT DO NOTHING",
    )
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
