//! The machines of a batch of check-ins, each with what the choice for it needs.

use std::collections::HashSet;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _};
use sqlx::FromRow;
use suture_rollout::RolloutId;
use suture_store::{Account, AccountId, InconsistentRow, Machine, StoreError};

use super::account;
use super::check_in::Report;
use super::dialect::{Connection, each_bytes};
use super::machine::{MachineRow, with_columns};
use crate::column::{database, hex_list, parse};

/// Who checks in.
pub struct Caller {
    /// Nobody else has it yet.
    pub machine: Arc<Machine>,
    pub account: Arc<Account>,
    /// The rollouts that exposed the machine.
    pub exposed_by: Vec<RolloutId>,
}

#[derive(FromRow)]
struct CallerRow<'r> {
    secret_sha256: &'r [u8],
    /// Joined by commas; null where there are none.
    exposed_by: Option<&'r str>,
    #[sqlx(flatten)]
    machine: MachineRow<&'r str>,
}

/// The machines that the batch's secrets stand for, by the hash of the secret.
pub async fn find(
    connection: &mut Connection,
    batch: &[Box<Report>],
) -> Result<HashMap<[u8; 32], Caller>, StoreError> {
    const DOING: &str = "find the machines that check in";
    let rows = sqlx::query(FIND)
        .bind(hex_list(
            batch.iter().map(|report| report.secret.as_bytes()),
        ))
        .fetch_all(&mut *connection)
        .await
        .map_err(database(DOING))?;
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        let row = CallerRow::from_row(row).map_err(database(DOING))?;
        let exposed_by = ids(row.exposed_by)?;
        let machine = Arc::new(Machine::try_from(row.machine)?);
        found.push((row.secret_sha256, machine, exposed_by));
    }
    let accounts = accounts(
        connection,
        found.iter().map(|(_, machine, _)| machine.as_ref()),
    )
    .await?;
    let mut callers = HashMap::with_capacity(found.len());
    for (secret, machine, exposed_by) in found {
        let account = machine.account;
        let unknown = StoreError::UnknownAccount { account };
        let account = Arc::clone(accounts.get(&account).ok_or(unknown)?);
        // The column has no other length.
        if let Ok(hash) = secret.try_into() {
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

const FIND: &str = with_columns!(
    "SELECT secret_sha256,
         (SELECT string_agg(e.rollout_id, ',') FROM exposure e
          WHERE e.account_id = m.account_id AND e.machine_id = m.machine_id) AS exposed_by,",
    concat!(
        "FROM ",
        each_bytes!("$1"),
        " AS r JOIN machine m ON m.secret_sha256 = r.value"
    )
);

/// The machines' accounts, each once.
async fn accounts(
    connection: &mut Connection,
    machines: impl Iterator<Item = &Machine>,
) -> Result<HashMap<AccountId, Arc<Account>>, StoreError> {
    let ids: HashSet<_> = machines.map(|machine| machine.account).collect();
    let ids = ids.iter().map(AccountId::to_string).collect();
    let accounts = account::by_ids(connection, &ids).await?.into_iter();
    Ok(accounts
        .map(|account| (account.id, Arc::new(account)))
        .collect())
}

fn ids(joined: Option<&str>) -> Result<Vec<RolloutId>, InconsistentRow> {
    let ids = joined.unwrap_or_default().split(',');
    ids.filter(|id| !id.is_empty())
        .map(|id| parse("exposure", "rollout_id", id))
        .collect()
}
