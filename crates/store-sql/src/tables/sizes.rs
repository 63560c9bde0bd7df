//! Sizes that a plan's preview needs.

use jiff::Timestamp;
use sqlx::FromRow;
use suture_rollout::{Published, Scope};
use suture_store::{FleetSizes, InconsistentRow, Machine, StoreError};

use super::dialect::{Connection, is_covered};
use super::kernels;
use crate::column::{count, database};

#[derive(FromRow)]
struct SizesRow {
    free_accounts: i64,
    paid_accounts: i64,
    free_machines: i64,
    paid_machines: i64,
}

impl TryFrom<SizesRow> for FleetSizes {
    type Error = InconsistentRow;

    fn try_from(row: SizesRow) -> Result<Self, InconsistentRow> {
        Ok(Self {
            free_accounts: count("account", "id", row.free_accounts)?,
            paid_accounts: count("account", "id", row.paid_accounts)?,
            free_machines: count("machine", "machine_id", row.free_machines)?,
            paid_machines: count("machine", "machine_id", row.paid_machines)?,
        })
    }
}

/// Counts accounts, and machines heard of in the last [`Machine::SILENCE_SECS`].
pub async fn sizes(
    connection: &mut Connection,
    scope: &Scope,
    published: &[Published],
    now: Timestamp,
) -> Result<FleetSizes, StoreError> {
    let row: SizesRow = sqlx::query_as(concat!(
        "WITH live AS (
             SELECT a.plan = 'free' AS free FROM machine m JOIN account a ON a.id = m.account_id
             WHERE m.checked_in_ms > $2 AND ",
        is_covered!("$1"),
        ")
         SELECT (SELECT count(*) FROM account WHERE plan = 'free' AND deleted_ms IS NULL) AS free_accounts,
             (SELECT count(*) FROM account WHERE plan <> 'free' AND deleted_ms IS NULL) AS paid_accounts,
             (SELECT count(*) FROM live WHERE free) AS free_machines,
             (SELECT count(*) FROM live WHERE NOT free) AS paid_machines"
    ))
    .bind(kernels::covered(scope, published)?)
    .bind(now.as_millisecond() - Machine::SILENCE_SECS * 1000)
    .fetch_one(connection)
    .await
    .map_err(database("count the fleet"))?;
    Ok(row.try_into()?)
}
