//! The machines of a batch of check-ins, each with what the choice for it needs.

use std::collections::{BTreeSet, HashMap};

use sqlx::FromRow;
use suture_rollout::RolloutId;
use suture_store::{Account, InconsistentRow, Machine, StoreError};

use super::account;
use super::check_in::Report;
use super::dialect::{Connection, each_bytes};
use super::machine::{MachineRow, with_columns};
use crate::column::{database, parse, to_json};

/// Who checks in, as it was before.
pub struct Caller {
    pub machine: Machine,
    pub account: Account,
    /// The rollouts that exposed the machine.
    pub exposed_by: Vec<RolloutId>,
}

#[derive(FromRow)]
struct CallerRow {
    secret_sha256: Vec<u8>,
    /// Joined by commas; null where there are none.
    exposed_by: Option<String>,
    #[sqlx(flatten)]
    machine: MachineRow,
}

/// The machines that the batch's secrets stand for, by the hash of the secret.
pub async fn find(
    connection: &mut Connection,
    batch: &[Report],
) -> Result<HashMap<[u8; 32], Caller>, StoreError> {
    let rows = rows(&mut *connection, batch).await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        let exposed_by = ids(row.exposed_by.as_deref())?;
        found.push((
            row.secret_sha256,
            Machine::try_from(row.machine)?,
            exposed_by,
        ));
    }
    let accounts: BTreeSet<_> = found
        .iter()
        .map(|(_, machine, _)| machine.account.to_string())
        .collect();
    let accounts = account::by_ids(connection, &accounts).await?;
    let mut callers = HashMap::with_capacity(found.len());
    for (secret, machine, exposed_by) in found {
        let of_machine = accounts
            .iter()
            .find(|account| account.id == machine.account);
        let account = machine.account;
        let account = of_machine
            .ok_or(StoreError::UnknownAccount { account })?
            .clone();
        // The column has no other length.
        if let Ok(hash) = secret.as_slice().try_into() {
            let caller = Caller {
                machine,
                account,
                exposed_by,
            };
            callers.insert(hash, caller);
        }
    }
    Ok(callers)
}

async fn rows(connection: &mut Connection, batch: &[Report]) -> Result<Vec<CallerRow>, StoreError> {
    let secrets: Vec<_> = batch
        .iter()
        .map(|report| hex::encode(report.secret.as_bytes()))
        .collect();
    sqlx::query_as(with_columns!(
        "SELECT secret_sha256,
             (SELECT string_agg(e.rollout_id, ',') FROM exposure e
              WHERE e.account_id = m.account_id AND e.machine_id = m.machine_id) AS exposed_by,",
        concat!("FROM machine m WHERE secret_sha256 IN ", each_bytes!("$1"))
    ))
    .bind(to_json(&secrets)?)
    .fetch_all(connection)
    .await
    .map_err(database("find the machines that check in"))
}

fn ids(joined: Option<&str>) -> Result<Vec<RolloutId>, InconsistentRow> {
    let ids = joined.unwrap_or_default().split(',');
    ids.filter(|id| !id.is_empty())
        .map(|id| parse("exposure", "rollout_id", id))
        .collect()
}
