//! Table `audit`.

use sqlx::FromRow;
use suture_store::{AccountId, AuditEntry, InconsistentRow, StoreError};

use super::dialect::Connection;
use crate::column::{database, parse, parse_option, time};

const TABLE: &str = "audit";

#[derive(FromRow)]
pub struct AuditRow {
    at_ms: i64,
    actor: String,
    action: String,
    account_id: Option<String>,
    subject: String,
    reason: Option<String>,
}

impl TryFrom<AuditRow> for AuditEntry {
    type Error = InconsistentRow;

    fn try_from(row: AuditRow) -> Result<Self, InconsistentRow> {
        Ok(Self {
            at: time(TABLE, "at_ms", row.at_ms)?,
            actor: parse(TABLE, "actor", &row.actor)?,
            action: parse(TABLE, "action", &row.action)?,
            account: parse_option(TABLE, "account_id", row.account_id.as_deref())?,
            subject: parse(TABLE, "subject", &row.subject)?,
            reason: row.reason,
        })
    }
}

/// Adds a line, in the transaction of the change that it tells of.
pub async fn add(connection: &mut Connection, entry: AuditEntry) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO audit (at_ms, actor, action, account_id, subject, reason)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(entry.at.as_millisecond())
    .bind(entry.actor.to_string())
    .bind(entry.action.as_str())
    .bind(entry.account.map(|account| account.to_string()))
    .bind(entry.subject.to_string())
    .bind(entry.reason)
    .execute(connection)
    .await
    .map_err(database("add to the audit log"))?;
    Ok(())
}

pub async fn latest(
    connection: &mut Connection,
    account: Option<AccountId>,
    at_most: u32,
) -> Result<Vec<AuditEntry>, StoreError> {
    let rows: Vec<AuditRow> = sqlx::query_as(
        "SELECT at_ms, actor, action, account_id, subject, reason FROM audit
         WHERE $1 IS NULL OR account_id = $1 ORDER BY number DESC LIMIT $2",
    )
    .bind(account.map(|account| account.to_string()))
    .bind(i64::from(at_most))
    .fetch_all(connection)
    .await
    .map_err(database("read the audit log"))?;
    Ok(rows
        .into_iter()
        .map(AuditEntry::try_from)
        .collect::<Result<_, _>>()?)
}
