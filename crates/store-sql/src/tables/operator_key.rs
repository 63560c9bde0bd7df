//! Table `operator_key`.

use jiff::Timestamp;
use sqlx::FromRow;
use suture_store::{
    Action, Actor, AuditEntry, InconsistentRow, OperatorKey, OperatorKeyEntry, OperatorKeyId,
    OperatorName, StoreError, Subject,
};

use super::dialect::Connection;
use super::{audit, session};
use crate::column::{database, parse, time};

const TABLE: &str = "operator_key";

#[derive(FromRow)]
struct KeyRow {
    id: String,
    name: String,
    created_ms: i64,
    revoked_ms: Option<i64>,
}

impl TryFrom<KeyRow> for OperatorKeyEntry {
    type Error = InconsistentRow;

    fn try_from(row: KeyRow) -> Result<Self, InconsistentRow> {
        let revoked = |at| time(TABLE, "revoked_ms", at);
        Ok(Self {
            id: parse(TABLE, "id", &row.id)?,
            name: parse(TABLE, "name", &row.name)?,
            created: time(TABLE, "created_ms", row.created_ms)?,
            revoked: row.revoked_ms.map(revoked).transpose()?,
        })
    }
}

pub async fn create(
    connection: &mut Connection,
    name: &OperatorName,
    by: &Actor,
    now: Timestamp,
) -> Result<(OperatorKeyEntry, OperatorKey), StoreError> {
    let secret = OperatorKey::generate().map_err(|_| StoreError::NoRandomBytes)?;
    let row: KeyRow = sqlx::query_as(
        "INSERT INTO operator_key (id, name, secret_sha256, created_ms) VALUES ($1, $2, $3, $4)
         RETURNING id, name, created_ms, revoked_ms",
    )
    .bind(OperatorKeyId::random().to_string())
    .bind(name.as_str())
    .bind(secret.hash().as_bytes().as_slice())
    .bind(now.as_millisecond())
    .fetch_one(&mut *connection)
    .await
    .map_err(database("make an operator's key"))?;
    let key = OperatorKeyEntry::try_from(row)?;
    let line = line(key.id, Action::CreateOperatorKey, by, now);
    audit::add(connection, line).await?;
    Ok((key, secret))
}

fn line(id: OperatorKeyId, action: Action, by: &Actor, now: Timestamp) -> AuditEntry {
    AuditEntry {
        at: now,
        actor: by.clone(),
        action,
        account: None,
        subject: Subject::OperatorKey(id),
        reason: None,
    }
}

/// All keys, oldest first.
pub async fn all(connection: &mut Connection) -> Result<Vec<OperatorKeyEntry>, StoreError> {
    let rows: Vec<KeyRow> = sqlx::query_as(
        "SELECT id, name, created_ms, revoked_ms FROM operator_key ORDER BY created_ms, id",
    )
    .fetch_all(connection)
    .await
    .map_err(database("list operators' keys"))?;
    let keys = rows.into_iter().map(OperatorKeyEntry::try_from);
    Ok(keys.collect::<Result<_, _>>()?)
}

async fn by_id(
    connection: &mut Connection,
    key: OperatorKeyId,
) -> Result<OperatorKeyEntry, StoreError> {
    let row: Option<KeyRow> =
        sqlx::query_as("SELECT id, name, created_ms, revoked_ms FROM operator_key WHERE id = $1")
            .bind(key.to_string())
            .fetch_optional(connection)
            .await
            .map_err(database("find an operator's key"))?;
    Ok(row
        .ok_or(StoreError::UnknownOperatorKey { key })?
        .try_into()?)
}

/// Revokes a key, with its sessions; one that was revoked before keeps its first time.
pub async fn revoke(
    connection: &mut Connection,
    id: OperatorKeyId,
    by: &Actor,
    now: Timestamp,
) -> Result<OperatorKeyEntry, StoreError> {
    let before = by_id(&mut *connection, id).await?;
    if before.revoked.is_some() {
        return Ok(before);
    }
    sqlx::query("UPDATE operator_key SET revoked_ms = $2 WHERE id = $1")
        .bind(id.to_string())
        .bind(now.as_millisecond())
        .execute(&mut *connection)
        .await
        .map_err(database("revoke an operator's key"))?;
    session::end_all_of_key(&mut *connection, id).await?;
    let line = line(id, Action::RevokeOperatorKey, by, now);
    audit::add(&mut *connection, line).await?;
    by_id(connection, id).await
}

/// The key that a secret stands for, if it holds.
pub async fn authenticate(
    connection: &mut Connection,
    key: &OperatorKey,
) -> Result<OperatorKeyEntry, StoreError> {
    let row: Option<KeyRow> = sqlx::query_as(
        "SELECT id, name, created_ms, revoked_ms FROM operator_key
         WHERE secret_sha256 = $1 AND revoked_ms IS NULL",
    )
    .bind(key.hash().as_bytes().as_slice())
    .fetch_optional(connection)
    .await
    .map_err(database("find an operator's key"))?;
    Ok(row.ok_or(StoreError::UnknownOperator)?.try_into()?)
}
