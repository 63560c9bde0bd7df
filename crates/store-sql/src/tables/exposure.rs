//! Table `exposure`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sqlx::FromRow;
use suture_protocol::MachineId;
use suture_rollout::RolloutId;
use suture_store::{AccountId, ExposedMachine, InconsistentRow, Machine, StoreError};

use super::dialect::{Connection, each_row};
use crate::column::{database, parse, parse_option, time, to_json};

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

/// A machine that a rollout comes to now.
pub struct Exposure {
    pub account: AccountId,
    pub machine: MachineId,
    pub rollout: RolloutId,
    pub early: bool,
    pub at: Timestamp,
}

/// Records exposures and counts them. No other transaction came between the caller's reading of
/// the counts and this, so the caps hold.
pub async fn add(connection: &mut Connection, exposures: &[Exposure]) -> Result<(), StoreError> {
    if exposures.is_empty() {
        return Ok(());
    }
    let columns = |exposure: &Exposure| {
        let at = exposure.at.as_millisecond();
        let (account, rollout) = (exposure.account.to_string(), exposure.rollout.to_string());
        (
            account,
            exposure.machine.clone(),
            rollout,
            at,
            exposure.early,
        )
    };
    let rows: Vec<_> = exposures.iter().map(columns).collect();
    sqlx::query(concat!(
        "INSERT INTO exposure (account_id, machine_id, rollout_id, exposed_ms, early)
         SELECT r.value ->> 0, r.value ->> 1, r.value ->> 2, CAST(r.value ->> 3 AS bigint),
             CAST(r.value ->> 4 AS boolean)
         FROM ",
        each_row!("$1")
    ))
    .bind(to_json(&rows)?)
    .execute(&mut *connection)
    .await
    .map_err(database("record exposures"))?;
    let mut counts = BTreeMap::<String, i64>::new();
    for (_, _, rollout, ..) in rows {
        *counts.entry(rollout).or_default() += 1;
    }
    for (rollout, count) in counts {
        sqlx::query("UPDATE rollout SET exposed = exposed + $2 WHERE id = $1")
            .bind(rollout)
            .bind(count)
            .execute(&mut *connection)
            .await
            .map_err(database("count exposures"))?;
    }
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
