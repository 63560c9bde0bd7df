//! Table `ceremony`.

use jiff::Timestamp;
use sqlx::FromRow;
use suture_store::{AccountId, Ceremony, CeremonyKind, CeremonySecret, NewCeremony, StoreError};

use super::dialect::Connection;
use crate::column::{database, parse_option};

pub async fn begin(
    connection: &mut Connection,
    new: NewCeremony<'_>,
    until: Timestamp,
    now: Timestamp,
) -> Result<CeremonySecret, StoreError> {
    sqlx::query("DELETE FROM ceremony WHERE until_ms <= $1")
        .bind(now.as_millisecond())
        .execute(&mut *connection)
        .await
        .map_err(database("forget old ceremonies"))?;
    let secret = CeremonySecret::generate().map_err(|_| StoreError::NoRandomBytes)?;
    let session = new.session.map(|session| session.hash());
    sqlx::query(
        "INSERT INTO ceremony (secret_sha256, kind, session_sha256, destination, until_ms)
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(secret.hash().as_bytes().as_slice())
    .bind(new.kind.as_str())
    .bind(session.as_ref().map(|hash| hash.as_bytes().as_slice()))
    .bind(new.destination)
    .bind(until.as_millisecond())
    .execute(connection)
    .await
    .map_err(database("begin a ceremony"))?;
    Ok(secret)
}

#[derive(FromRow)]
struct CeremonyRow {
    session_sha256: Option<Vec<u8>>,
    destination: String,
}

/// Takes the ceremony away and tells what it was for.
pub async fn finish(
    connection: &mut Connection,
    secret: &CeremonySecret,
    kind: CeremonyKind,
    now: Timestamp,
) -> Result<Option<Ceremony>, StoreError> {
    let row: Option<CeremonyRow> = sqlx::query_as(
        "DELETE FROM ceremony WHERE secret_sha256 = $1 AND kind = $2 AND until_ms > $3
         RETURNING session_sha256, destination",
    )
    .bind(secret.hash().as_bytes().as_slice())
    .bind(kind.as_str())
    .bind(now.as_millisecond())
    .fetch_optional(&mut *connection)
    .await
    .map_err(database("finish a ceremony"))?;
    let Some(row) = row else { return Ok(None) };
    let owner = match &row.session_sha256 {
        None => None,
        Some(session) => match owner(connection, session, now).await? {
            Some(owner) => Some(owner),
            None => return Ok(None),
        },
    };
    let destination = row.destination;
    Ok(Some(Ceremony { owner, destination }))
}

/// Whose session it is, if it holds.
async fn owner(
    connection: &mut Connection,
    session_sha256: &[u8],
    now: Timestamp,
) -> Result<Option<AccountId>, StoreError> {
    let account: Option<Option<String>> = sqlx::query_scalar(
        "SELECT account_id FROM session WHERE secret_sha256 = $1 AND until_ms > $2",
    )
    .bind(session_sha256)
    .bind(now.as_millisecond())
    .fetch_optional(connection)
    .await
    .map_err(database("find a session"))?;
    let account = account.flatten();
    Ok(parse_option("session", "account_id", account.as_deref())?)
}
