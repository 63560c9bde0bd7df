//! Table `exposure`.

use jiff::Timestamp;
use sqlx::FromRow;
use suture_rollout::RolloutId;
use suture_store::{ExposedMachine, InconsistentRow, Machine, StoreError};

use super::dialect::Connection;
use crate::column::{database, parse, parse_option, time};

const TABLE: &str = "exposure";

/// The rollouts that exposed a machine.
pub async fn of_machine(
    connection: &mut Connection,
    machine: &Machine,
) -> Result<Vec<RolloutId>, StoreError> {
    let ids: Vec<String> = sqlx::query_scalar(
        "SELECT rollout_id FROM exposure WHERE account_id = $1 AND machine_id = $2",
    )
    .bind(machine.account.to_string())
    .bind(machine.id.as_str())
    .fetch_all(connection)
    .await
    .map_err(database("find a machine's exposures"))?;
    let ids = ids.iter().map(|id| parse(TABLE, "rollout_id", id));
    Ok(ids.collect::<Result<_, _>>()?)
}

/// Records an exposure and counts it. The caller's transaction holds the write lock since it
/// read the count, so the cap holds.
pub async fn add(
    connection: &mut Connection,
    machine: &Machine,
    rollout: RolloutId,
    early: bool,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO exposure (account_id, machine_id, rollout_id, exposed_ms, early)
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(machine.account.to_string())
    .bind(machine.id.as_str())
    .bind(rollout.to_string())
    .bind(now.as_millisecond())
    .bind(early)
    .execute(&mut *connection)
    .await
    .map_err(database("record an exposure"))?;
    sqlx::query("UPDATE rollout SET exposed = exposed + 1 WHERE id = $1")
        .bind(rollout.to_string())
        .execute(connection)
        .await
        .map_err(database("count an exposure"))?;
    Ok(())
}

/// Keeps how the first application of a rollout's version ended. False if that is known.
pub async fn end_application(
    connection: &mut Connection,
    machine: &Machine,
    rollout: RolloutId,
    outcome: &str,
) -> Result<bool, StoreError> {
    let changed = sqlx::query(
        "UPDATE exposure SET outcome = $4
         WHERE account_id = $1 AND machine_id = $2 AND rollout_id = $3 AND outcome IS NULL",
    )
    .bind(machine.account.to_string())
    .bind(machine.id.as_str())
    .bind(rollout.to_string())
    .bind(outcome)
    .execute(connection)
    .await
    .map_err(database("record the end of an application"))?;
    Ok(changed.rows_affected() > 0)
}

/// Keeps that a machine said good-bye: that is news of it, which a machine that an operator
/// releases did not give.
pub async fn leave(
    connection: &mut Connection,
    machine: &Machine,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE exposure SET left_ms = $3 WHERE account_id = $1 AND machine_id = $2")
        .bind(machine.account.to_string())
        .bind(machine.id.as_str())
        .bind(now.as_millisecond())
        .execute(connection)
        .await
        .map_err(database("record a machine's leave"))?;
    Ok(())
}

#[derive(FromRow)]
struct ExposedRow {
    account_id: String,
    machine_id: String,
    hostname: Option<String>,
    early: bool,
    exposed_ms: i64,
    checked_in_ms: Option<i64>,
    applied: Option<String>,
}

impl TryFrom<ExposedRow> for ExposedMachine {
    type Error = InconsistentRow;

    fn try_from(row: ExposedRow) -> Result<Self, InconsistentRow> {
        let heard = |at| time("machine", "checked_in_ms", at);
        Ok(Self {
            account: parse(TABLE, "account_id", &row.account_id)?,
            machine: parse(TABLE, "machine_id", &row.machine_id)?,
            hostname: row.hostname,
            early: row.early,
            exposed: time(TABLE, "exposed_ms", row.exposed_ms)?,
            last_check_in: row.checked_in_ms.map(heard).transpose()?,
            applied: parse_option("machine", "applied", row.applied.as_deref())?,
        })
    }
}

/// The machines that a rollout exposed, the latest first.
pub async fn latest(
    connection: &mut Connection,
    rollout: RolloutId,
    at_most: u32,
) -> Result<Vec<ExposedMachine>, StoreError> {
    let rows: Vec<ExposedRow> = sqlx::query_as(
        "SELECT e.account_id, e.machine_id, m.hostname, e.early, e.exposed_ms, m.checked_in_ms,
                m.applied
         FROM exposure e
         LEFT JOIN machine m ON m.account_id = e.account_id AND m.machine_id = e.machine_id
         WHERE e.rollout_id = $1 ORDER BY e.exposed_ms DESC LIMIT $2",
    )
    .bind(rollout.to_string())
    .bind(i64::from(at_most))
    .fetch_all(connection)
    .await
    .map_err(database("list exposed machines"))?;
    let machines = rows.into_iter().map(ExposedMachine::try_from);
    Ok(machines.collect::<Result<_, _>>()?)
}
