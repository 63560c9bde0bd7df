//! Table `audit`.

use sqlx::FromRow;
use suture_store::{AccountId, AuditEntry, InconsistentRow, NumberedEntry, StoreError};

use super::dialect::Connection;
use crate::column::{count, database, parse, parse_option, time};

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

#[derive(FromRow)]
struct NumberedRow {
    number: i64,
    #[sqlx(flatten)]
    entry: AuditRow,
}

fn numbered(rows: Vec<NumberedRow>) -> Result<Vec<NumberedEntry>, StoreError> {
    let entry = |row: NumberedRow| {
        Ok(NumberedEntry {
            number: count(TABLE, "number", row.number)?,
            entry: row.entry.try_into()?,
        })
    };
    let entries: Result<_, InconsistentRow> = rows.into_iter().map(entry).collect();
    Ok(entries?)
}

/// Lines before the one with this number, newest first; of one account or of all.
pub async fn before(
    connection: &mut Connection,
    before: Option<u64>,
    account: Option<AccountId>,
    limit: u32,
) -> Result<Vec<NumberedEntry>, StoreError> {
    let before = before.and_then(|number| i64::try_from(number).ok());
    let rows: Vec<NumberedRow> = sqlx::query_as(
        "SELECT number, at_ms, actor, action, account_id, subject, reason FROM audit
         WHERE number < $1 AND ($2 = '' OR account_id = $2) ORDER BY number DESC LIMIT $3",
    )
    .bind(before.unwrap_or(i64::MAX))
    .bind(account.map_or_else(String::new, |account| account.to_string()))
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await
    .map_err(database("read the audit log"))?;
    numbered(rows)
}

/// Lines after the one with this number, oldest first.
pub async fn after(
    connection: &mut Connection,
    after: u64,
    limit: u32,
) -> Result<Vec<NumberedEntry>, StoreError> {
    let rows: Vec<NumberedRow> = sqlx::query_as(
        "SELECT number, at_ms, actor, action, account_id, subject, reason FROM audit
         WHERE number > $1 ORDER BY number LIMIT $2",
    )
    .bind(i64::try_from(after).unwrap_or(i64::MAX))
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await
    .map_err(database("read the audit log"))?;
    numbered(rows)
}
