//! Machines of table `machine` whose hardware another one took, because the system there was installed
//! anew.

use jiff::Timestamp;
use suture_protocol::{HardwareId, MachineId};
use suture_store::{Account, Machine, NewMachine, StoreError};

use super::dialect::Connection;
use super::machine::{MachineRow, release_each, with_columns};
use crate::column::database;

/// Takes its place from the machine that has the new one's hardware, if there is one, and gives that:
/// the system there was installed anew. Should both live, the other is heard of soon and has a place
/// again.
pub async fn take_place(
    connection: &mut Connection,
    account: &Account,
    new: &NewMachine,
    now: Timestamp,
) -> Result<Option<Machine>, StoreError> {
    let replaced = match &new.hardware {
        Some(hardware) => mark(&mut *connection, account, hardware, &new.id).await?,
        None => None,
    };
    keep_few(connection, account, now).await?;
    Ok(replaced)
}

/// Marks the machine with this hardware that was heard of last.
async fn mark(
    connection: &mut Connection,
    account: &Account,
    hardware: &HardwareId,
    by: &MachineId,
) -> Result<Option<Machine>, StoreError> {
    let row: Option<MachineRow> = sqlx::query_as(with_columns!(
        "UPDATE machine SET replaced_by = $3 WHERE account_id = $1 AND machine_id =
             (SELECT m.machine_id FROM machine m
              WHERE m.account_id = $1 AND m.hardware = $2 AND m.replaced_by IS NULL
              ORDER BY coalesce(m.checked_in_ms, m.enrolled_ms) DESC, m.machine_id LIMIT 1)
         RETURNING",
        ""
    ))
    .bind(account.id.to_string())
    .bind(hardware.as_str())
    .bind(by.as_str())
    .fetch_optional(connection)
    .await
    .map_err(database("find a machine by its hardware"))?;
    Ok(row.map(Machine::try_from).transpose()?)
}

/// Releases those of the account's replaced machines that were heard of longest ago, so that there
/// are no more than it may have machines: each enrolment could add one otherwise.
async fn keep_few(
    connection: &mut Connection,
    account: &Account,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(most) = account.machine_limit() else {
        return Ok(());
    };
    let rows: Vec<MachineRow> = sqlx::query_as(with_columns!(
        "SELECT",
        "FROM machine WHERE account_id = $1 AND replaced_by IS NOT NULL
         ORDER BY coalesce(checked_in_ms, enrolled_ms) DESC, machine_id LIMIT 100 OFFSET $2"
    ))
    .bind(account.id.to_string())
    .bind(i64::from(most))
    .fetch_all(&mut *connection)
    .await
    .map_err(database("find replaced machines"))?;
    release_each(connection, rows, now).await?;
    Ok(())
}

/// Releases machines whose hardware another has taken, and that were not heard of for
/// [`Machine::REPLACED_SECS`], at most so many.
pub async fn release(
    connection: &mut Connection,
    limit: u32,
    now: Timestamp,
) -> Result<Vec<Machine>, StoreError> {
    let rows: Vec<MachineRow> = sqlx::query_as(with_columns!(
        "SELECT",
        "FROM machine m
         WHERE replaced_by IS NOT NULL AND coalesce(checked_in_ms, enrolled_ms) < $1
             AND NOT EXISTS (SELECT 1 FROM machine n WHERE n.account_id = m.account_id
                 AND n.machine_id = m.replaced_by AND n.enrolled_ms >= $1)
         ORDER BY account_id, machine_id LIMIT $2"
    ))
    .bind(now.as_millisecond() - Machine::REPLACED_SECS * 1000)
    .bind(i64::from(limit))
    .fetch_all(&mut *connection)
    .await
    .map_err(database("find replaced machines"))?;
    release_each(connection, rows, now).await
}
